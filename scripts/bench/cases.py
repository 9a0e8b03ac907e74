"""What is measured: one row a case, and the bounds that hold for it."""

import dataclasses
import pathlib
from typing import Callable

LUA = pathlib.Path(__file__).parent / "lua"
GRANTED = b"*6\r\n:1\r\n"
DENIED = b"*6\r\n:0\r\n"


@dataclasses.dataclass(frozen=True)
class Case:
    """A command on many keys."""

    name: str
    # Three letters: the keys of the case start with them.
    tag: bytes
    command: Callable
    # Decisions a command takes.
    per_command: int = 1
    # A second command on the key that belongs to the decision.
    then: Callable | None = None
    # What a reply must hold: so often a command as there are decisions.
    mark: bytes | None = None
    # Prepares a key: the commands that are sent once for each.
    prepare: Callable | None = None
    # Server time against `SET key v PX 60000`, at most.
    bound: float | None = None


def acquire(limits, *more):
    return lambda key: ("RL.ACQUIRE", key, limits, *more)


def batch(limits):
    return lambda *keys: ("RL.BATCH", "EACH", len(keys), *(part for key in keys for part in (key, limits, 1)))


BASE = Case("SET key v PX 60000", b"set", lambda key: ("SET", key, "v", "PX", "60000"))
BUCKET = "bucket:30/m:burst=16"
SLIDING = "100/m"
THREE = "10/s,200/m,5000/h"

CASES = [
    BASE,
    Case("SET again (the noise)", b"seT", lambda key: ("SET", key, "v", "PX", "60000")),
    Case("INCR", b"inc", lambda key: ("INCR", key)),
    Case("RL.ACQUIRE bucket:30/m:burst=16, granted", b"bkt", acquire(BUCKET), mark=GRANTED, bound=1.20),
    Case("RL.ACQUIRE 100/m, granted", b"sld", acquire(SLIDING), mark=GRANTED, bound=1.25),
    Case("RL.ACQUIRE bucket, denied", b"bkd", acquire("bucket:1/d"), mark=DENIED,
         prepare=acquire("bucket:1/d"), bound=0.95),
    Case("RL.ACQUIRE sliding, denied", b"sld"[:2] + b"D", acquire("2/d"), mark=DENIED,
         prepare=acquire("2/d", "COST", 2), bound=0.95),
    Case("RL.ACQUIRE fixed, denied", b"fxd", acquire("fixed:1/d:start=first"), mark=DENIED,
         prepare=acquire("fixed:1/d:start=first"), bound=0.95),
    Case("RL.ACQUIRE three limits, granted", b"thr", acquire(THREE), mark=GRANTED, bound=1.6),
    Case("RL.QUOTA of one limit", b"quo", lambda key: ("RL.QUOTA", key), prepare=acquire("100/d"), bound=1.3),
    Case("RL.BATCH EACH of 50, a key", b"bat", batch(BUCKET), per_command=50, mark=b"*6\r\n:1\r\n", bound=0.65),
    Case("CB.ACQUIRE + CB.REPORT OK", b"cba", lambda key: ("CB.ACQUIRE", key, "50%/60s"),
         then=lambda key: ("CB.REPORT", key, "OK"), bound=2.0),
    Case("CL.THROTTLE", b"clt", lambda key: ("CL.THROTTLE", key, 15, 30, 60), mark=b"*5\r\n:0\r\n"),
]


def lua_cases(load_script):
    """The scripts, once the server knows them."""
    gcra = load_script((LUA / "gcra.lua").read_text())
    sorted_set = load_script((LUA / "sorted_set.lua").read_text())
    return [
        Case("Lua GCRA, granted", b"luG", lambda key: ("EVALSHA", gcra, 1, key, 16, 30, 60, 1), mark=b"*4\r\n:1\r\n"),
        Case("Lua sorted set, granted", b"luZ", lambda key: ("EVALSHA", sorted_set, 1, key, 100, 60000),
             mark=b"*2\r\n:1\r\n"),
    ]


# Cheaper than a peer: ours, the peer, how many times at least.
CHEAPER = [
    ("RL.ACQUIRE bucket:30/m:burst=16, granted", "Lua GCRA, granted", 4.0),
    ("RL.ACQUIRE 100/m, granted", "Lua sorted set, granted", 5.0),
]
