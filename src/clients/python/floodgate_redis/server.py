"""Redis, asked with little patience: a limiter must not be what is slow."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as OutOfPatience
from typing import Any

from redis import BlockingConnectionPool, Redis, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from .outage import Away, Health, Misconfigured, log
from .words import Words


class Server:
    """A Redis server with Floodgate, by its URL (`redis://`, `rediss://`, `unix://`).

    A command has `patience` seconds. After a failure Redis is not asked for `rest`
    seconds, and then by one request for all. At most `waiters` commands wait in line
    at a time, each on a connection of its own. Threads may share it.
    """

    LATEST = 60.0
    """Seconds after which the answer to what took something comes no more."""

    def __init__(self, url: str, *, patience: float = 0.25, rest: float = 1.0, waiters: int = 64):
        self._url = url
        # A second attempt where a connection was lost, at once; none after a
        # timeout. Should both arrive, the limit has counted too much, never too
        # little.
        retry = Retry(NoBackoff(), 1, (exceptions.ConnectionError,))
        self._options: dict[str, Any] = {
            "protocol": 2,  # the default differs between versions of redis-py
            "decode_responses": True,
            "socket_connect_timeout": patience,
            "retry": retry,
        }

        # Any: redis-py types its own commands, not those of modules.
        def connections(longest: float) -> Any:
            most = {"max_connections": 50, "timeout": patience, "socket_timeout": longest}
            return Redis(connection_pool=BlockingConnectionPool.from_url(url, **most, **self._options))

        self._redis = connections(patience)
        # For what has to be given back, should its answer be late.
        self._taking = connections(self.LATEST)
        self._waiters = threading.BoundedSemaphore(waiters)
        self._patience = patience
        self._health = Health(rest)

    def check(self) -> None:
        """For the start of a program: raises Misconfigured where Redis refuses the
        credentials or has no Floodgate. That Redis is away it only logs."""
        try:
            self.ask("RL.HELP")
        except (Away, exceptions.NoPermissionError):
            pass

    def ask(self, *command: str | int) -> Any:
        """The answer. Raises Away, Misconfigured, or the server's own error."""
        return self._answer(lambda: self._redis.execute_command(*command))

    def ask_at_once(self, *commands: Words) -> list[Any]:
        """The answers of one transaction, in one round trip."""

        def transaction() -> Any:
            with self._redis.pipeline(transaction=True) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                return pipe.execute()

        return list(self._answer(transaction))

    def take(self, command: Words, undo: Callable[[Any], Sequence[Words]]) -> Any:
        """The answer of a command that takes what has to be given back. It may be
        obeyed although nobody waits for the answer any more, who was interrupted or
        out of patience: `undo` then says how what was taken is given back."""
        asked: Future[Any] = Future()

        def run() -> None:
            try:
                asked.set_result(self._taking.execute_command(*command))
            except BaseException as error:
                asked.set_exception(error)

        def ask() -> Any:
            threading.Thread(target=run, name=f"floodgate {command[0]}", daemon=True).start()
            try:
                return asked.result(self._patience)
            except OutOfPatience as error:
                raise TimeoutError("no answer in time") from error

        def give_back(answered: "Future[Any]") -> None:
            if answered.exception() is not None:
                return  # leases and TTLs settle it
            for told in undo(answered.result()):
                self._health.awake()
                self.finish(*told)

        try:
            return self._answer(ask)
        except (Away, KeyboardInterrupt, SystemExit, GeneratorExit):
            asked.add_done_callback(give_back)
            raise

    def wait(self, seconds: float, *command: str | int) -> Any:
        """The answer of a command that waits. Past `waiters` at a time it does not
        wait."""
        if not self._waiters.acquire(blocking=False):
            return self.ask(*command)
        try:
            # A connection of its own: it is blocked meanwhile, and for longer than
            # the others' timeout.
            own: Any = Redis.from_url(self._url, socket_timeout=seconds + self._patience, **self._options)
            with own:
                return self._answer(lambda: own.execute_command(*command, "WAIT", f"{int(seconds * 1000)}ms"))
        finally:
            self._waiters.release()

    def finish(self, *command: str | int) -> None:
        """Tells what came of the work. Raises nothing: the work counts more."""
        try:
            self.ask(*command)
        except (Away, Misconfigured):
            pass  # leases and TTLs settle it
        except exceptions.RedisError as error:
            log.warning("%s: %s", command[0], error)

    def finish_at_once(self, *commands: Words) -> None:
        """The same for several commands, in one round trip."""

        def pipeline() -> None:
            with self._redis.pipeline(transaction=False) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                pipe.execute()

        try:
            self._answer(pipeline)
        except (Away, Misconfigured):
            pass  # as above
        except exceptions.RedisError as error:
            log.warning("could not report the result of the work: %s", error)

    def close(self) -> None:
        """Ends the connections."""
        self._redis.close()
        self._taking.close()

    def __enter__(self) -> "Server":
        self.check()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, question: Callable[[], Any]) -> Any:
        self._health.turn()
        try:
            answer = question()
        except Exception as error:
            told = self._health.failed(error)
            if told is error:
                raise
            raise told from error
        self._health.answered()
        return answer
