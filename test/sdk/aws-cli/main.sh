#!/bin/sh
# Calls GetCallerIdentity every second, and prints the outcome, a line for each call.
export PYTHONPATH=/sdk/site
while :; do
	if answer=$(@python@ -m awscli sts get-caller-identity --query Arn --output text 2>&1); then
		echo "ok $answer"
	else
		# shellcheck disable=SC2086 # puts it all on one line
		echo "failed" $answer
	fi
	sleep 1
done
