#!/bin/sh
# Calls GetCallerIdentity every few seconds, as each call is a process that takes a second of a
# processor. Prints the outcome, a line for each call.
export PYTHONPATH=/sdk/site
while :; do
	if answer=$(@python@ -m awscli sts get-caller-identity --query Arn --output text 2>&1); then
		echo "ok $answer"
	else
		# shellcheck disable=SC2086 # puts it all on one line
		echo "failed" $answer
	fi
	sleep 3
done
