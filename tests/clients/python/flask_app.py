"""Flask-Limiter on Floodgate: one import, and one URI."""

import os

import floodgate_redis.limits  # noqa: F401
from flask import Flask
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

app = Flask(__name__)
seconds = int(os.environ["REDIS_PATIENCE"])
limiter = Limiter(
    get_remote_address,
    app=app,
    default_limits=["10/hour"],
    storage_uri=os.environ["STORAGE"],
    storage_options={"socket_timeout": seconds, "socket_connect_timeout": seconds},
    strategy="moving-window",
    headers_enabled=True,
    in_memory_fallback=["2/hour"],
    in_memory_fallback_enabled=True,
)


@app.get("/")
def hello() -> str:
    return "hello"


@app.get("/costly")
@limiter.limit("10/hour", cost=4)
def costly() -> str:
    return "costly"


@app.get("/four")
@limiter.limit("60/hour")
def four() -> str:
    return "by itself" if limiter._storage_dead else "by Redis"


@app.get("/free")
@limiter.exempt
def free() -> str:
    return "free"
