"""Calls GetCallerIdentity every second, and prints the outcome, a line for each call."""

import time

import boto3

client = boto3.client("sts")
while True:
    try:
        print("ok", client.get_caller_identity()["Arn"], flush=True)
    except Exception as error:
        print("failed", repr(error), flush=True)
    time.sleep(1)
