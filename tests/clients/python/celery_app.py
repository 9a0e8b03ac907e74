"""Tasks of Celery that a limit lets start, in all workers together. The broker is a
folder, so that only Redis goes away."""

import os
import tempfile
import time
import uuid

from celery import Celery
from floodgate_redis import FailClosed, Limiter, Server
from floodgate_redis.celery import limited
from kombu.transport import filesystem
from kombu.utils.json import dumps

FOLDER = os.environ["FOLDER"]


class Channel(filesystem.Channel):
    """A message is in the folder when all of it is written. The host's own channel may take
    one that it has only opened: it is empty, and the worker ends."""

    def _put(self, queue, payload, **kwargs):
        with tempfile.NamedTemporaryFile("w", dir=FOLDER, delete=False) as message:
            message.write(dumps(payload))
        name = f"{round(time.monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        os.rename(message.name, os.path.join(self.data_folder_out, name))


filesystem.Transport.Channel = Channel
app = Celery("mail", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": f"{FOLDER}/queue",
        "data_folder_out": f"{FOLDER}/queue",
        "control_folder": f"{FOLDER}/control",
        "visibility_timeout": 2,  # a task that waits comes back within a second
    },
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    task_ignore_result=True,
)
limiter = Limiter(Server(os.environ["REDIS_URL"], patience=20), FailClosed())


def tell(what: str) -> None:
    with open(f"{FOLDER}/told", "a") as told:
        told.write(f"{what}\n")


@app.task(bind=True, base=limited(limiter, "5/h", key=lambda task, args, kwargs: f"mail:{args[0]}"))
def send(self, user, letter):
    tell(f"sent {letter} {self.request.retries} {os.getpid()}")


@app.task(bind=True, base=limited(limiter, "100/h"))
def fails(self):
    """By itself, as often as the host says: three retries."""
    tell(f"tried {self.request.retries}")
    raise self.retry(countdown=0.01)


@app.task(base=limited(limiter, "1/h", cost=2))
def never():
    tell("never")


@app.task(base=limited(limiter, "2/300ms"))
def soon():
    tell(f"soon {time.time()}")
