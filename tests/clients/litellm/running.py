"""A server with the module, LiteLLM's proxy on it, and requests to that."""

import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from auth import in_redis
from floodgate_redis import FailClosed, Limiter, Server

HERE = Path(__file__).parent
PACKAGE = HERE.parents[2] / "src/clients/python"
MODULE = Path(os.environ["FLOODGATE_MODULE"])


def eventually(what: str, holds: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Program:
    """It ends when this process does, however that ends."""

    def __init__(self, folder: Path, *command: str, **environment: str):
        self.command = ["setpriv", "--pdeathsig", "TERM", "--", *command]
        self.folder = folder
        self.environment = environment
        self.said = folder / f"{Path(command[0]).name}.log"
        self.start()

    def start(self) -> None:
        environment = os.environ | {"PYTHONPATH": f"{PACKAGE}:{HERE}", "PYTHONDONTWRITEBYTECODE": "1"}
        with open(self.said, "a") as said:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=environment | self.environment, stdout=said, stderr=said
            )

    def wait_until(self, answers: Callable[[], Any]) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.said.read_text()
            with contextlib.suppress(OSError, http.client.HTTPException, redis.RedisError):
                answers()
                return True
            return False

        eventually(f"{self.command[4]} does not answer: {self.said}", ready, 120)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Redis(Program):
    """All that it answered outlives it."""

    def __init__(self, folder: Path):
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self.admin: Any = redis.Redis(port=self.port, decode_responses=True, protocol=2)
        program = os.environ.get("FLOODGATE_SERVER", "redis-server")
        arguments = ["--port", str(self.port), "--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        super().__init__(folder, program, *arguments, "--loadmodule", str(MODULE))
        self.wait_until(self.admin.ping)
        self.limiter = Limiter(Server(self.url, patience=5), FailClosed())

    def used(self, key: str) -> list[int]:
        """Of each of its limits."""
        return [row.used for row in self.limiter.quota(key)]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def start_again(self) -> None:
        self.start()
        self.wait_until(self.admin.ping)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def retry_after(self) -> int:
        return int(self.headers["Retry-After"])


NUMBERS = itertools.count()


@dataclass(frozen=True)
class Caller:
    """Of a key, a team and an organisation of its own."""

    proxy: "Proxy"
    key: str = field(default_factory=lambda: "sk-a{0}-t{0}-o{0}".format(next(NUMBERS)))

    @property
    def keys(self) -> list[str]:
        _, _, team, organization = self.key.split("-")
        return [in_redis(self.key), f"llm:team:{team}", f"llm:organization:{organization}"]

    def used(self) -> tuple[int, int, int, int]:
        """Places held, and tokens of key, team and organisation."""
        rows = [self.proxy.redis.used(key) for key in self.keys]
        places = rows[0][1] if rows[0] else 0
        return (places, *(row[0] if row else 0 for row in rows))  # type: ignore[return-value]

    def settles(self, tokens: int) -> None:
        try:
            eventually("it is settled", lambda: self.used() == (0, tokens, tokens, tokens))
        except AssertionError as error:
            raise AssertionError(f"{self.used()} are used, not {tokens}") from error

    def connect(self, path: str, body: Any = None) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy.port, timeout=60)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers)
        return connection

    def ask(self, path: str, body: Any = None) -> Answer:
        with contextlib.closing(self.connect(path, body)) as connection:
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    def chat(self, text: str = "hello", **more: Any) -> Answer:
        return self.ask("/v1/chat/completions", {"model": "chat", "messages": user(text)} | more)

    @contextlib.contextmanager
    def while_it_answers(self, path: str, body: Any) -> Iterator[threading.Thread]:
        asking = threading.Thread(target=self.ask, args=(path, body))
        asking.start()
        yield asking
        asking.join()


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


class Proxy(Program):
    """`litellm` in two processes."""

    def __init__(self, folder: Path, redis: Redis, provider: str):
        self.redis = redis
        self.port = free_port()
        program = str(Path(sys.executable).parent / "litellm")
        arguments = ["--config", str(HERE / "config.yaml"), "--host", "127.0.0.1", "--port", str(self.port)]
        super().__init__(
            folder, program, *arguments, "--num_workers", "2",
            REDIS_URL=redis.url, CACHE_URL=redis.url, PROVIDER=provider,
            LITELLM_MASTER_KEY=f"sk-{os.urandom(24).hex()}",
        )  # fmt: skip
        self.wait_until(lambda: Caller(self).ask("/health/liveliness"))

    def caller(self) -> Caller:
        return Caller(self)
