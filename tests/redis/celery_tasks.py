"""What celery_client.cpp asks a worker to do."""

import os
import time

from celery import Celery

app = Celery("celery_tasks", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_RESULT_BACKEND"])


@app.task(name="add")
def add(a, b):
    return a + b


@app.task(name="describe")
def describe(*args, **kwargs):
    return {"args": list(args), "kwargs": kwargs}


@app.task(name="fail")
def fail(why):
    raise ValueError(why)


@app.task(name="now")
def now():
    return time.time()


@app.task(name="append")
def append(key, value):
    """Into a list of the broker's server, so that the order can be seen."""
    with app.connection_or_acquire() as connection:
        return connection.default_channel.client.rpush(key, value)
