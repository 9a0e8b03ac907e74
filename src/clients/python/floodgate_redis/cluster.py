"""The servers behind a URL: one, or the nodes of a cluster."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn, Protocol

from redis import Redis, Sentinel, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from . import forks, places, slots
from .node import Node
from .outage import Away, Health, Misconfigured, Worked, no_master
from .places import Address


class Nodes(Protocol):
    """Which server has a key."""

    def of(self, key: object) -> Node:
        """The server that has the key; any where there is none."""

    def all(self) -> list[Node]:
        """All that have keys."""

    def by_slot(self, keys: Sequence[str]) -> list[list[str]]:
        """Keys that one command may name."""

    def health(self, key: object) -> Health:
        """Of the server that has the key, as far as is known."""

    def redirected(self, error: exceptions.AskError, node: Node) -> Node:
        """Where the node sends to."""

    def lost(self, node: Node) -> None:
        """It did not answer."""

    def close(self) -> None:
        """Ends the connections."""


class Abandoned:
    """A connection to a master that ends where its answer is given up, as other connections of redis-py do.
    Otherwise the next request would get that answer, and a master that hangs would be asked
    even where Sentinels name another one."""

    def read_response(self, *args: Any, **options: Any) -> Any:
        """See redis-py."""
        read: Any = super()
        return read.read_response(*args, **{**options, "disconnect_on_error": True})


class MasterConnection(Abandoned, SentinelManagedConnection):
    """A connection to the master that Sentinels name."""


class MasterSSLConnection(Abandoned, SentinelManagedSSLConnection):
    """The same with TLS."""


class Sentinels(Sentinel):
    """Those of redis-py. They say why there is no master."""

    sentinels: list[Any]

    def __init__(self, hosts: Sequence[Address], sentinel_kwargs: dict[str, Any], **options: Any):
        self._hosts, self._of_each = hosts, sentinel_kwargs
        super().__init__(hosts, sentinel_kwargs=sentinel_kwargs, **options)  # type: ignore[no-untyped-call]
        forks.take_part(self)

    def _begin(self) -> None:
        """See forks."""
        forks.leave(*self.sentinels)
        self.sentinels = [Redis(host, port, **self._of_each) for host, port in self._hosts]

    def discover_master(self, service_name: str) -> Any:
        answers: list[Any] = []
        for sentinel in self.sentinels:
            try:
                answers.append((sentinel.sentinel_masters()).get(service_name))
            except (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.NoPermissionError) as error:
                answers.append(error)
                continue
            if answers[-1] and self.check_master_state(answers[-1], service_name):  # type: ignore[no-untyped-call]
                # It is asked first from now on.
                self.sentinels = [sentinel, *(other for other in self.sentinels if other is not sentinel)]
                return answers[-1]["ip"], answers[-1]["port"]
        raise no_master(service_name, answers)

    def master_for(self, service_name: str, **options: Any) -> Any:  # type: ignore[override]
        """See redis-py."""
        kind = MasterSSLConnection if options.get("ssl") else MasterConnection
        return super().master_for(service_name, connection_class=kind, **options)  # type: ignore[no-untyped-call]


class Single:
    """One server, and the Sentinels that name it."""

    def __init__(self, node: Node, of: Sentinels | None = None):
        self._node = node
        self._of = of

    def of(self, key: object) -> Node:
        return self._node

    def all(self) -> list[Node]:
        return [self._node]

    def by_slot(self, keys: Sequence[str]) -> list[list[str]]:
        return [list(keys)]

    def health(self, key: object) -> Health:
        return self._node.health

    def redirected(self, error: exceptions.AskError, node: Node) -> NoReturn:
        raise Misconfigured(slots.NOT_SINGLE) from error

    def lost(self, node: Node) -> None:
        pass

    def close(self) -> None:
        self._node.close()
        for sentinel in self._of.sentinels if self._of else ():
            sentinel.close()


class Cluster:
    """The nodes of a cluster, each with a health of its own. CLUSTER SLOTS says which has which
    keys: at the start, and after one was lost; in between MOVED does."""

    def __init__(self, hosts: Sequence[Address], made: Callable[[Address], Node]):
        self._made = made
        self._slots = slots.Slots(hosts)
        self._nodes: dict[Address, Node] = {}
        forks.begin(self)

    def _begin(self) -> None:
        """See forks."""
        self._looking = threading.Lock()

    def of(self, key: object) -> Node:
        self._look()
        return self._node(self._slots.owner(key))

    def all(self) -> list[Node]:
        self._look()
        return [self._node(address) for address in self._slots.masters()]

    def by_slot(self, keys: Sequence[str]) -> list[list[str]]:
        return slots.by_slot(keys)

    def health(self, key: object) -> Health:
        return self._node(self._slots.owner(key)).health

    def redirected(self, error: exceptions.AskError, node: Node) -> Node:
        return self._node(self._slots.redirected(error, node.address))

    def lost(self, node: Node) -> None:
        self._slots.lost(node.address)

    def close(self) -> None:
        for node in list(self._nodes.values()):
            node.close()

    def _node(self, address: Address) -> Node:
        return self._nodes.get(address) or self._nodes.setdefault(address, self._made(address))

    def _look(self) -> None:
        if not self._slots.are_stale:
            return
        with self._looking:
            for address in self._slots.known() if self._slots.are_stale else ():
                try:
                    self._slots.learn(self._node(address).slots(), address)
                    return
                except Away:
                    pass  # another may know
                except exceptions.ResponseError as error:
                    raise slots.no_cluster(error) from error
            if self._slots.are_stale:
                raise Away("no node of the cluster answers")


def nodes(url: str, patience: float, rest: float) -> Nodes:
    """Of the URL; nothing is connected yet."""
    # A second attempt where a connection was lost, at once; none after a timeout. Should
    # both arrive, the limit has counted too much, never too little.
    retry = Retry(NoBackoff(), 1, (exceptions.ConnectionError,))
    options: dict[str, Any] = {
        "protocol": 2,  # the default differs between versions of redis-py
        "decode_responses": True,
        "socket_connect_timeout": patience,
        "retry": retry,
    }
    url = places.without_times(url)
    kind = places.kind(url)
    if not kind:
        return Single(Node(partial(Redis.from_url, places.redis_url(url), **options), patience, Health(rest)))
    place = places.several(url)
    options |= place.options
    if kind == "sentinel":
        of_sentinel = {"retry": retry, **places.soon(patience, place), **place.sentinel}
        sentinels = Sentinels(place.hosts, of_sentinel)
        service = place.service()

        def connect(**more: Any) -> Any:
            return sentinels.master_for(service, **{**options, **more, **place.most()})

        return Single(Node(connect, patience, Health(rest)), sentinels)
    worked = Worked()

    def made(address: Address) -> Node:
        def connect(**more: Any) -> Any:
            return Redis(host=address[0], port=address[1], **{**options, **more, **place.most()})

        return Node(connect, patience, Health(rest, f"Redis at {address[0]}:{address[1]}", worked), address)

    return Cluster(place.hosts, made)
