import contextlib
import sys
from collections.abc import Iterator

import pytest
from running import Caller, Program, Proxy, Redis, free_port


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What ends the server comes last."""
    items.sort(key=lambda item: "outage" in item.nodeid)


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with contextlib.ExitStack() as stack:
        server = Redis(tmp_path_factory.mktemp("redis"))
        stack.callback(server.stop)
        yield server


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "provider:app", "--port", str(port), "--log-level", "warning"]
    program = Program(tmp_path_factory.mktemp("provider"), *command)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        program.stop()


@pytest.fixture(scope="session")
def proxy(tmp_path_factory: pytest.TempPathFactory, redis: Redis, provider: str) -> Iterator[Proxy]:
    program = Proxy(tmp_path_factory.mktemp("proxy"), redis, provider)
    try:
        yield program
    finally:
        program.stop()


@pytest.fixture
def caller(proxy: Proxy) -> Caller:
    return proxy.caller()
