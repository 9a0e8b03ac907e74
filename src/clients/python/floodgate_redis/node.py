"""One Redis server, asked with little patience."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as OutOfPatience
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

from redis import exceptions

from . import forks
from .outage import NOT_TAKEN, OUTAGE, Health
from .places import Address
from .starts import started
from .words import Words, of_floodgate, take_something

UNLIMITED = 2**31


class Lanes:
    """At most so many requests ask at a time, and the others wait until one of them is
    through. That is no sign that Redis is away: each of those that ask has its answer soon, or
    finds out."""

    def __init__(self, most: int):
        self._most = most
        forks.begin(self)

    def _begin(self) -> None:
        """See forks."""
        self._free = threading.Semaphore(self._most)

    @contextmanager
    def one(self) -> Iterator[None]:
        """One of them; for nobody else meanwhile."""
        with self._free:
            yield


class Node:
    """One Redis server. `connect` makes a client of it, with more of redis-py's options. A
    command has `patience` seconds from when it is sent."""

    LATEST = 60.0
    """Seconds for which the answer to a command that takes something may still come."""

    MOST = 50
    """Requests that ask at a time, unless the URL says `max_connections`."""

    def __init__(self, connect: Callable[..., Any], patience: float, health: Health, address: Address = ("", 0)):
        self.health = health
        self.address = address
        self._connect = connect
        self._patience = patience
        self._clients: tuple[Any, ...] = ()
        forks.begin(self)
        self._lanes = Lanes(self._most)

    def _begin(self) -> None:
        """See forks: the pools of redis-py have locks, and connections of the parent."""
        forks.leave(*self._clients)
        self._redis = self._connect(socket_timeout=self._patience, max_connections=self.MOST)
        # For what has to be given back, should its answer be late: then its connection is in use
        # for longer than its lane.
        self._taking = self._connect(socket_timeout=self.LATEST)
        self._clients = (self._redis, self._taking)
        self._most = self._redis.connection_pool.max_connections
        for client in self._clients:
            client.connection_pool.max_connections = UNLIMITED

    def ask(self, command: Words, asking: bool = False) -> Any:
        """The answer. Raises Away, Misconfigured, or the server's own error. With `asking` the
        key is on its way to this node."""
        return self._answer((command,), lambda: _told(self._redis, command, asking), self._lanes.one())

    def slots(self) -> Any:
        """CLUSTER SLOTS, which a node answers also where it can decide nothing."""
        return self._answer((), lambda: self._redis.execute_command("CLUSTER", "SLOTS"), self._lanes.one())

    def ask_at_once(self, commands: Sequence[Words]) -> list[Any]:
        """The answers of one transaction, in one round trip."""

        def together() -> Any:
            with self._redis.pipeline(transaction=True) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                return pipe.execute()

        return list(self._answer(commands, together, self._lanes.one()))

    def take(self, command: Words, late: Callable[[Any], None], asking: bool = False) -> Any:
        """The same as `ask`. Redis may obey although its caller waits no more, being
        interrupted or out of patience: `late` then gets the answer."""
        asked: Future[Any] = Future()

        def run() -> None:
            try:
                asked.set_result(_told(self._taking, command, asking))
            except BaseException as error:
                asked.set_exception(error)

        def ask() -> Any:
            if not started(run, f"floodgate {command[0]}"):
                return _told(self._redis, command, asking)
            try:
                return asked.result(self._patience)
            except OutOfPatience as error:
                raise TimeoutError(f"no answer within {self._patience:g} s") from error

        def answered(asked: "Future[Any]") -> None:
            if asked.exception() is None:
                self.health.awake()
                late(asked.result())

        try:
            return self._answer((command,), ask, self._lanes.one())
        except BaseException:  # whatever a signal raises, too
            asked.add_done_callback(answered)
            raise

    def wait(self, seconds: float, command: Words, undo: Words | None, asking: bool = False) -> Any:
        """The answer of a command that waits in line. Where it is lost, `undo` gives back what
        the command took."""
        # A connection of its own: it is blocked meanwhile, and for longer than the
        # others' timeout.
        own = self._connect(socket_timeout=seconds + self._patience)
        command = (*command, "WAIT", f"{int(seconds * 1000)}ms")
        asked = False

        def ask() -> Any:
            nonlocal asked
            asked = True
            with own:
                return _told(own, command, asking)

        try:
            return self._answer((command,), ask)
        except NOT_TAKEN:
            raise
        except BaseException:  # as above
            if undo is not None and asked and not started(lambda: self._give_back(undo), f"floodgate {undo[0]}"):
                with suppress(*OUTAGE, exceptions.RedisError):  # its TTL settles it
                    _told(self._redis, undo, False)
            raise

    def close(self) -> None:
        """Ends the connections."""
        self._redis.close()
        self._taking.close()

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

    def _answer(
        self, commands: Sequence[Words], question: Callable[[], Any], lane: AbstractContextManager[None] | None = None
    ) -> Any:
        """The answer to the question, which sends these commands: without any, it does not say
        that the server can decide."""
        takes, ours = take_something(commands), of_floodgate(commands)
        self.health.look()
        with lane or nullcontext():
            since = self.health.turn(takes, ours) if commands else time.monotonic()
            try:
                answer = question()
            except Exception as error:
                told = self.health.failed(error, since, ours)
                if told is error:
                    raise
                raise told from error
            if commands:
                self.health.answered(takes, ours)
            return answer


def _told(client: Any, command: Words, asking: bool) -> Any:
    if not asking:
        return client.execute_command(*command)
    with client.pipeline(transaction=False) as pipe:
        pipe.execute_command("ASKING")
        pipe.execute_command(*command)
        return pipe.execute()[1]
