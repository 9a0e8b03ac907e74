"""What is measured: one row a case, and the bounds that hold for it."""

import dataclasses
import pathlib
from collections.abc import Callable

LUA = pathlib.Path(__file__).parent / "lua"
GRANTED = b"*6\r\n:1\r\n"
DENIED = b"*6\r\n:0\r\n"
ADMITTED = b"*4\r\n:1\r\n"


@dataclasses.dataclass(frozen=True)
class Case:
    """A command on many keys."""

    name: str
    # Three letters: the keys of the case start with them.
    tag: bytes
    command: Callable
    # Decisions a command takes.
    per_command: int = 1
    # Further commands on the key that belong to the decision.
    then: Callable | None = None
    # What comes back once for each decision that is what the case is about.
    mark: bytes | None = None
    # Prepares a key: the command, and further ones, that are sent once for each.
    prepare: Callable | None = None
    prepare_then: Callable | None = None
    # Server time against `SET key v PX 60000`, at most.
    bound: float | None = None
    # All of it on one key.
    hot: bool = False
    # What a visit costs depends on the time since the last one: a window has as many slots as
    # moments that it was asked at.
    by_time: bool = False

    def preparation(self):
        """The case of making the keys."""
        if not self.prepare:
            return self
        return dataclasses.replace(self, command=self.prepare, then=self.prepare_then, per_command=1, mark=None)


def acquire(limits, *more):
    return lambda key: ("RL.ACQUIRE", key, limits, *more)


def batch(limits):
    return lambda *keys: ("RL.BATCH", "EACH", len(keys), *(part for key in keys for part in (key, limits, 1)))


BASE = Case("SET key v PX 60000", b"set", lambda key: ("SET", key, "v", "PX", "60000"))
BUCKET = "bucket:30/m:burst=16"
SLIDING = "100/m"
THREE = "10/s,200/m,5000/h"

AGAIN = "SET again (the noise)"
# The limits that the scripts and libraries are given: what they are compared with.
OUR_BUCKET = f"RL.ACQUIRE {BUCKET}, granted"
OUR_SLIDING = f"RL.ACQUIRE {SLIDING}, granted"
OUR_FIXED = "RL.ACQUIRE fixed:100/m, granted"
OUR_BUCKET_DENIED = "RL.ACQUIRE bucket, denied"
OUR_SLIDING_DENIED = "RL.ACQUIRE sliding, denied"
OUR_BREAKER = "CB.ACQUIRE + CB.REPORT OK"

CASES = [
    BASE,
    Case(AGAIN, b"seT", lambda key: ("SET", key, "v", "PX", "60000")),
    Case("INCR", b"inc", lambda key: ("INCR", key)),
    # Half used before, so that no key is full again, and gone, before its next visit.
    Case(OUR_BUCKET, b"bkt", acquire(BUCKET), mark=GRANTED, prepare=acquire(BUCKET, "COST", 8), bound=1.20),
    Case(OUR_SLIDING, b"sld", acquire(SLIDING), mark=GRANTED, bound=1.25, by_time=True),
    Case(OUR_FIXED, b"fix", acquire("fixed:100/m:start=first"), mark=GRANTED),
    Case(OUR_BUCKET_DENIED, b"bkd", acquire("bucket:1/d"), mark=DENIED, prepare=acquire("bucket:1/d"), bound=0.95),
    Case(OUR_SLIDING_DENIED, b"slD", acquire("2/d"), mark=DENIED, prepare=acquire("2/d", "COST", 2), bound=0.95),
    Case(
        "RL.ACQUIRE fixed, denied",
        b"fxd",
        acquire("fixed:1/d:start=first"),
        mark=DENIED,
        prepare=acquire("fixed:1/d:start=first"),
        bound=0.95,
    ),
    Case("RL.ACQUIRE three limits, granted", b"thr", acquire(THREE), mark=GRANTED, bound=1.6, by_time=True),
    Case("RL.QUOTA of one limit", b"quo", lambda key: ("RL.QUOTA", key), prepare=acquire("100/d"), bound=1.3),
    Case(
        "RL.BATCH EACH of 50, a key",
        b"bat",
        batch(BUCKET),
        per_command=50,
        mark=GRANTED,
        prepare=acquire(BUCKET, "COST", 8),
        bound=0.65,
    ),
    Case(
        OUR_BREAKER,
        b"cba",
        lambda key: ("CB.ACQUIRE", key, "50%/60s"),
        mark=ADMITTED,
        then=lambda key: [("CB.REPORT", key, "OK")],
        bound=2.0,
    ),
    Case(
        "CL.THROTTLE",
        b"clt",
        lambda key: ("CL.THROTTLE", key, 15, 30, 60),
        mark=b"*5\r\n:0\r\n",
        prepare=lambda key: ("CL.THROTTLE", key, 15, 30, 60, 8),
    ),
]

# The largest count there is.
MOST = 10**12


def on_one_key(name, tag, command, **more):
    return Case(name, tag, command, hot=True, **more)


HOT_BASE = dataclasses.replace(BASE, hot=True)
# One hot key, and what of the above on many keys it must not cost more than.
HOT = [
    (on_one_key(AGAIN, b"seT", BASE.command), AGAIN),
    (on_one_key("INCR", b"inc", lambda key: ("INCR", key)), "INCR"),
    (on_one_key("RL.ACQUIRE bucket:10^12/d, granted", b"bkt", acquire(f"bucket:{MOST}/d"), mark=GRANTED), OUR_BUCKET),
    (on_one_key("RL.ACQUIRE 10^12/d, granted", b"sld", acquire(f"{MOST}/d"), mark=GRANTED), OUR_SLIDING),
    (on_one_key("RL.ACQUIRE fixed:10^12/d, granted", b"fix", acquire(f"fixed:{MOST}/d"), mark=GRANTED), OUR_FIXED),
    (on_one_key("RL.ACQUIRE bucket:1/d, denied", b"bkd", acquire("bucket:1/d"), mark=DENIED), OUR_BUCKET_DENIED),
    (
        on_one_key(
            "RL.ACQUIRE 10^12/d, denied",
            b"slD",
            acquire(f"{MOST}/d"),
            mark=DENIED,
            prepare=acquire(f"{MOST}/d", "COST", MOST),
        ),
        OUR_SLIDING_DENIED,
    ),
    (
        on_one_key(
            OUR_BREAKER,
            b"cba",
            lambda key: ("CB.ACQUIRE", key, "50%/60s"),
            mark=ADMITTED,
            then=lambda key: [("CB.REPORT", key, "OK")],
        ),
        OUR_BREAKER,
    ),
]

LUA_GCRA = "Lua script: GCRA"
LUA_SORTED_SET = "Lua script: sorted set"


def lua_cases(load_script):
    """The scripts, once the server knows them."""
    gcra = load_script((LUA / "gcra.lua").read_text())
    sorted_set = load_script((LUA / "sorted_set.lua").read_text())
    return [
        Case(
            LUA_GCRA,
            b"luG",
            lambda key: ("EVALSHA", gcra, 1, key, 16, 30, 60, 1),
            mark=b"*4\r\n:1\r\n",
            prepare=lambda key: ("EVALSHA", gcra, 1, key, 16, 30, 60, 8),
        ),
        Case(LUA_SORTED_SET, b"luZ", lambda key: ("EVALSHA", sorted_set, 1, key, 100, 60000), mark=b"*2\r\n:1\r\n"),
    ]


@dataclasses.dataclass(frozen=True)
class Cheaper:
    """A peer costs at least so many times what ours does."""

    ours: str
    peer: str
    times: float


CHEAPER = [Cheaper(OUR_BUCKET, LUA_GCRA, 4.0)]
# Those that keep a window are compared where windows are in use.
CHEAPER_IN_USE = [
    Cheaper(OUR_SLIDING, LUA_SORTED_SET, 5.0),
    # For the same answer: `hit` alone says yes or no.
    Cheaper(OUR_SLIDING, "limits: moving window, and what is left", 5.0),
    # By `hit` alone 5 was wanted too; this is what is reached on a machine whose
    # memory others use: a third of ours is reading, parsing and sending, alike for all.
    Cheaper(OUR_SLIDING, "limits: moving window", 4.0),
]
# By instructions, which do not wait for memory.
LESS_IN_USE = [
    Cheaper(OUR_SLIDING, LUA_SORTED_SET, 5.0),
    Cheaper(OUR_SLIDING, "limits: moving window", 5.0),
]
