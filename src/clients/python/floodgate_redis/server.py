"""Redis, asked with little patience: a limiter must not be what is slow."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as OutOfPatience
from typing import Any

from redis import BlockingConnectionPool, Redis, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from .outage import OUTAGE, Away, Health, Misconfigured, log
from .words import Words


class Server:
    """A Redis server with Floodgate, by its URL (`redis://`, `rediss://`, `unix://`).

    A command has `patience` seconds. After a failure Redis is not asked for `rest`
    seconds, and then by one request for all. At most `waiters` commands wait in line
    at a time, each on a connection of its own: those of limits, of reservations and of
    caches together. Threads may share it.
    """

    LATEST = 60.0
    """Seconds for which the answer to a command that takes something may still come."""

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
        """The answer of a command that takes what has to be given back. Redis may obey it
        although its caller waits no more, being interrupted or out of patience. `undo` then
        makes, of the late answer, the commands that give back what was taken."""
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
                raise TimeoutError(f"no answer within {self._patience:g} s") from error

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
        return self._in_line(seconds, command, None)

    def take_in_line(self, seconds: float, command: Words, undo: Words) -> Any:
        """The same for a command that takes what has to be given back. Where its answer
        is lost, `undo` gives back what it took; the reply to `undo` is 0 where it took
        nothing."""
        if not self._waiters.acquire(blocking=False):
            return self.take(command, lambda answer: [undo] if answer[0] else [])
        return self._in_line(seconds, command, undo)

    def finish(self, *command: str | int) -> None:
        """Reports the result of the work. It raises nothing, because the work counts more
        than the report."""
        try:
            self.ask(*command)
        except (Away, Misconfigured):
            pass  # leases and TTLs settle it
        except exceptions.RedisError as error:
            log.warning("%s failed: %s", command[0], error)

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

    def _in_line(self, seconds: float, command: Words, undo: Words | None) -> Any:
        # A connection of its own: it is blocked meanwhile, and for longer than the
        # others' timeout.
        own: Any = Redis.from_url(self._url, socket_timeout=seconds + self._patience, **self._options)
        asked = False

        def ask() -> Any:
            nonlocal asked
            asked = True
            with own:
                return own.execute_command(*command, "WAIT", f"{int(seconds * 1000)}ms")

        try:
            return self._answer(ask)
        except Away:
            if asked and undo is not None:
                threading.Thread(
                    target=self._give_back, args=(undo,), name=f"floodgate {undo[0]}", daemon=True
                ).start()
            raise
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            if asked and undo is not None:
                self.finish(*undo)  # at once: the process may be about to end
            raise
        finally:
            self._waiters.release()

    def _give_back(self, undo: Words) -> None:
        """Gives back what a command took whose answer is lost. Redis is asked even while
        it rests: one that hangs does it when it goes on."""
        try:
            if not self._taking.execute_command(*undo):
                # It may find later that the connection is closed, and have granted the
                # request in between.
                time.sleep(self._patience)
                self._taking.execute_command(*undo)
        except (*OUTAGE, exceptions.RedisError):
            pass  # its TTL settles it

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
