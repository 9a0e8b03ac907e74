"""Which node of a cluster has which keys."""

from collections.abc import Sequence
from typing import Any

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, MovedError

from .outage import Misconfigured
from .places import Address

NOT_SINGLE = (
    "this Redis is a node of a cluster, and another node has the key: write floodgate+cluster://host:port in place "
    "of redis://host:port"
)
NO_CLUSTER = "this Redis is no node of a cluster: write redis://host:port in place of floodgate+cluster://host:port"


def slot_of(key: object) -> int:
    """The slot of a key, or of its hash tag."""
    return int(key_slot(key if isinstance(key, bytes) else str(key).encode(errors="replace")))


def by_slot(keys: Sequence[str]) -> list[list[str]]:
    """Keys that one command may name."""
    found: dict[int, list[str]] = {}
    for key in keys:
        found.setdefault(slot_of(key), []).append(key)
    return list(found.values())


class Slots:
    """What is known of a cluster: by CLUSTER SLOTS, and by MOVED since."""

    def __init__(self, hosts: Sequence[Address]):
        self.are_stale = True
        self._known = list(hosts)
        self._owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS

    def owner(self, key: object) -> Address:
        """Who has the key; any node where nobody is known to have it, or there is no key."""
        return (None if key is None else self._owners[slot_of(key)]) or self._known[0]

    def masters(self) -> list[Address]:
        """All that have slots."""
        return sorted({owner for owner in self._owners if owner is not None})

    def known(self) -> list[Address]:
        """Whom to ask what the cluster is like: last those that were lost last."""
        return list(self._known)

    def learn(self, reply: Any, asked: Address) -> None:
        """The reply to CLUSTER SLOTS, of the node that was asked."""
        owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, master, *_ in reply:
            owners[first : last + 1] = [(master[0] or asked[0], int(master[1]))] * (last + 1 - first)
        self._owners, self.are_stale = owners, False
        self._known = list(dict.fromkeys([*self.masters(), *self._known]))

    def redirected(self, error: AskError, asked: Address) -> Address:
        """Where the node that was asked sends to."""
        address = (str(error.host or asked[0]), int(error.port))
        if isinstance(error, MovedError):
            self._owners[error.slot_id] = address
        return address

    def lost(self, address: Address) -> None:
        """It does not answer: others may know who has its keys now."""
        self._known = [other for other in self._known if other != address] + [address]
        self.are_stale = True


def no_cluster(error: Exception) -> Exception:
    """What to raise where CLUSTER SLOTS is refused."""
    return Misconfigured(NO_CLUSTER) if "cluster support disabled" in str(error) else error
