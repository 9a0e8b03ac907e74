"""Stands for the conftest.py of Flask-Limiter: its tests that want a Redis run on our
storage."""

import os
from collections.abc import Callable
from typing import Any

import floodgate_redis.limits
import pytest
import redis
from flask import Blueprint, Flask, request
from flask.views import View
from flask_limiter import ExemptionScope, Limiter
from flask_limiter.util import get_remote_address

PORT = os.environ["PORT"]
THEIRS, OURS = "redis://localhost:46379", f"floodgate://127.0.0.1:{PORT}"

# As they name the client of their storage.
floodgate_redis.limits.FloodgateStorage.storage = property(lambda storage: storage.client)  # type: ignore[attr-defined]


@pytest.fixture
def redis_connection() -> Any:
    connection = redis.Redis(port=int(PORT))
    connection.flushall()
    return connection


@pytest.fixture
def memcached_connection() -> Any:
    """No test here asks it for more."""

    class Nothing:
        def flush_all(self) -> None: ...

    return Nothing()


@pytest.fixture
def mongo_connection() -> None: ...


@pytest.fixture
def extension_factory() -> Callable[..., Any]:
    def made(config: dict[str, Any] | None = None, **arguments: Any) -> Any:
        app = Flask(__name__)
        for name, value in (config or {}).items():
            app.config.setdefault(name, OURS if value == THEIRS else value)
        arguments = {name: OURS if value == THEIRS else value for name, value in arguments.items()}
        return app, Limiter(arguments.pop("key_func", get_remote_address), app=app, **arguments)

    return made


@pytest.fixture
def kitchensink_factory(extension_factory: Callable[..., Any]) -> Callable[..., Any]:
    """What their tests of the command line look at: a page and a view, each limited."""

    def made(**arguments: Any) -> Any:
        app, limiter = extension_factory(
            default_limits=["10/second", "1000/hour", lambda: "10/minute" if request.headers.get("X-Evil") else "20/minute"],
            application_limits=["5000/hour"],
            meta_limits=["2/day"],
            headers_enabled=True,
            **arguments,
        )
        app.add_url_rule("/", "root", lambda: "42")
        health = Blueprint("health", __name__, url_prefix="/health")
        health.add_url_rule("/", "health", lambda: "ok")
        app.register_blueprint(health)

        class ResourceView(View):
            methods = ["GET", "POST"]
            decorators = [limiter.limit("5/second", per_method=True)]

            def dispatch_request(self) -> str:
                return request.method.lower()

        app.add_url_rule("/resource", view_func=ResourceView.as_view("resource"))
        limiter.exempt(
            health, flags=ExemptionScope.DEFAULT | ExemptionScope.APPLICATION | ExemptionScope.ANCESTORS
        )
        return app, limiter

    return made
