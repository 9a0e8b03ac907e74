"""Stands for the conftest.py of `limits`: its tests run on our storages."""

import os

import floodgate_redis.limits  # noqa: F401
import pytest
import redis
import tests.utils

PORT = os.environ["PORT"]


def _on(uri):
    # A busy machine may take longer than the second that is usual.
    patient = {"socket_timeout": 20, "socket_connect_timeout": 20}
    storage = pytest.param(uri, patient, None, id="floodgate")
    return pytest.mark.parametrize("uri, args, fixture", [storage])


for kind in ("all", "moving_window", "sliding_window_counter"):
    setattr(tests.utils, f"{kind}_storage", _on(f"floodgate://127.0.0.1:{PORT}"))
    setattr(tests.utils, f"async_{kind}_storage", _on(f"async+floodgate://127.0.0.1:{PORT}"))


@pytest.fixture(autouse=True)
def empty():
    redis.Redis(port=int(PORT)).flushall()
