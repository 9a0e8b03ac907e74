"""The servers behind a URL: one, or the nodes of a cluster."""

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, NoReturn, Protocol

from redis import exceptions
from redis.asyncio import Redis, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from .. import places, slots
from ..outage import Away, Health, Misconfigured, Worked, no_master
from ..places import Address
from .loops import OfLoop
from .node import Node
from .patience import Patience, connected


class Nodes(Protocol):
    """Which server has a key."""

    async def of(self, key: object) -> Node:
        """The server that has the key; any where there is none."""

    async def all(self) -> list[Node]:
        """All that have keys."""

    def by_slot(self, keys: Sequence[str]) -> list[list[str]]:
        """Keys that one command may name."""

    def health(self, key: object) -> Health:
        """Of the server that has the key, as far as is known."""

    def redirected(self, error: exceptions.AskError, node: Node) -> Node:
        """Where the node sends to."""

    def lost(self, node: Node) -> None:
        """It did not answer."""

    async def close(self) -> None:
        """Ends the connections."""


class Sentinels(Sentinel):
    """Those of redis-py. They say why there is no master. Each is asked when the one before it fails,
    or has had its `socket_timeout`. That one is heard all the same, for as long as there is patience:
    on a busy machine it may take long to connect with TLS."""

    def __init__(self, hosts: Sequence[Address], sentinel_kwargs: dict[str, Any], **options: Any):
        self._soon: float | None = sentinel_kwargs["socket_timeout"]
        without = {"socket_timeout": None, "socket_connect_timeout": None, "redis_connect_func": connected}
        super().__init__(hosts, sentinel_kwargs={**sentinel_kwargs, **without}, **options)  # type: ignore[no-untyped-call]
        # A little less than who needs the master has, who is told why there is none.
        self._patience = math.inf if self._soon is None else self._soon * (len(hosts) + 1) * 0.9

    async def discover_master(self, service_name: str) -> Any:
        answers: list[Any] = []
        try:
            return await Patience(self._patience).wait(lambda: self._named(service_name, answers))
        except TimeoutError as error:
            raise no_master(service_name, [*answers, error]) from None

    async def _named(self, service_name: str, answers: list[Any]) -> Any:
        waiting: list[Any] = list(self.sentinels)
        asked: dict[asyncio.Future[Any], Any] = {}
        try:
            while waiting or asked:
                if waiting:
                    sentinel = waiting.pop(0)
                    asked[_heard(sentinel.sentinel_masters())] = sentinel
                soon = self._soon if waiting else None
                done, _ = await asyncio.wait(asked, timeout=soon, return_when=asyncio.FIRST_COMPLETED)
                for answer in done:
                    sentinel = asked.pop(answer)
                    try:
                        answers.append(answer.result().get(service_name))
                    except (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.NoPermissionError) as error:
                        answers.append(error)
                        continue
                    if answers[-1] and self.check_master_state(answers[-1], service_name):
                        # It is asked first from now on.
                        self.sentinels = [sentinel, *(other for other in self.sentinels if other is not sentinel)]
                        return answers[-1]["ip"], answers[-1]["port"]
        finally:
            for answer in asked:
                answer.cancel()
        raise no_master(service_name, answers)


def _heard(asks: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
    """Asks in the background. Its error is not reported where nobody waits for it any more."""
    asked = asyncio.create_task(asks)
    asked.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
    return asked


class Single:
    """One server, and the Sentinels that name it."""

    def __init__(self, node: Node, of: Callable[[], Sentinels] | None = None):
        self._node = node
        self._of = of

    async def of(self, key: object) -> Node:
        return self._node

    async def all(self) -> list[Node]:
        return [self._node]

    def by_slot(self, keys: Sequence[str]) -> list[list[str]]:
        return [list(keys)]

    def health(self, key: object) -> Health:
        return self._node.health

    def redirected(self, error: exceptions.AskError, node: Node) -> NoReturn:
        raise Misconfigured(slots.NOT_SINGLE) from error

    def lost(self, node: Node) -> None:
        pass

    async def close(self) -> None:
        await self._node.close()
        for sentinel in self._of().sentinels if self._of else ():
            await sentinel.aclose()


class Cluster:
    """The nodes of a cluster, each with a health of its own. CLUSTER SLOTS says which has which
    keys: at the start, and after one was lost; in between MOVED does."""

    def __init__(self, hosts: Sequence[Address], made: Callable[[Address], Node]):
        self._made = made
        self._slots = slots.Slots(hosts)
        self._nodes: dict[Address, Node] = {}
        self._looking = OfLoop(asyncio.Lock)

    async def of(self, key: object) -> Node:
        await self._look()
        return self._node(self._slots.owner(key))

    async def all(self) -> list[Node]:
        await self._look()
        return [self._node(address) for address in self._slots.masters()]

    def by_slot(self, keys: Sequence[str]) -> list[list[str]]:
        return slots.by_slot(keys)

    def health(self, key: object) -> Health:
        return self._node(self._slots.owner(key)).health

    def redirected(self, error: exceptions.AskError, node: Node) -> Node:
        return self._node(self._slots.redirected(error, node.address))

    def lost(self, node: Node) -> None:
        self._slots.lost(node.address)

    async def close(self) -> None:
        for node in list(self._nodes.values()):
            await node.close()

    def _node(self, address: Address) -> Node:
        return self._nodes.get(address) or self._nodes.setdefault(address, self._made(address))

    async def _look(self) -> None:
        if not self._slots.are_stale:
            return
        async with self._looking():
            for address in self._slots.known() if self._slots.are_stale else ():
                try:
                    self._slots.learn(await self._node(address).slots(), address)
                    return
                except Away:
                    pass  # another may know
                except exceptions.ResponseError as error:
                    raise slots.no_cluster(error) from error
            if self._slots.are_stale:
                raise Away("no node of the cluster answers")


def nodes(url: str, patience: float, rest: float, keep: Callable[[Coroutine[Any, Any, Any]], object]) -> Nodes:
    """Of the URL; nothing is connected yet."""
    # A second attempt where a connection was lost, at once; none after a timeout. Should
    # both arrive, the limit has counted too much, never too little.
    retry = Retry(NoBackoff(), 1, (exceptions.ConnectionError,))
    options: dict[str, Any] = {
        "protocol": 2,  # the default differs between versions of redis-py
        "decode_responses": True,
        "socket_connect_timeout": None,  # patience is counted here
        "socket_timeout": None,
        "redis_connect_func": connected,
        "retry": retry,
    }
    url = places.without_times(url)
    kind = places.kind(url)
    if not kind:
        connect: Any = partial(Redis.from_url, places.redis_url(url), **options)
        connect()  # what is wrong with the URL is said now
        return Single(Node(connect, patience, Health(rest), keep))
    place = places.several(url)
    options |= place.options
    if kind == "sentinel":
        of_sentinel = {"retry": retry, **places.soon(patience, place), **place.sentinel}
        own: Any = partial(Sentinels, place.hosts, sentinel_kwargs=of_sentinel)
        sentinels, service = OfLoop[Sentinels](own), place.service()

        def connect(**more: Any) -> Any:
            return sentinels().master_for(service, **{**options, **more, **place.most()})

        return Single(Node(connect, patience, Health(rest), keep), sentinels)
    worked = Worked()

    def made(address: Address) -> Node:
        def connect(**more: Any) -> Any:
            return Redis(host=address[0], port=address[1], **{**options, **more, **place.most()})

        return Node(connect, patience, Health(rest, f"Redis at {address[0]}:{address[1]}", worked), keep, address)

    return Cluster(place.hosts, made)
