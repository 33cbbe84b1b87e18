"""Gets an object every second with the S3 hook of Airflow, of a connection without settings."""

import time

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

hook = S3Hook(aws_conn_id=None)
while True:
    try:
        print(hook.read_key("object", "trial"), flush=True)
    except Exception as error:
        print(repr(error), flush=True)
    time.sleep(1)
