"""Kinds of decisions by what their key is: new, there, changed, gone again. One row a kind,
and the bounds that hold for it."""

import dataclasses

from cases import (
    ADMITTED,
    AGAIN,
    BASE,
    BUCKET,
    DENIED,
    GRANTED,
    LUA_GCRA,
    OUR_BREAKER,
    SLIDING,
    THREE,
    Case,
    acquire,
    batch,
    lua_cases,
)

# The least module's command.
BARE = "BARE.TAKE"


@dataclasses.dataclass(frozen=True)
class Reach:
    """What a visit may cost, in SET's of the same visit: on Redis 7.0, above the least
    module on every server, and on the others than Redis 7.0."""

    most: float | None = None
    above_least: float | None = None
    elsewhere: float | None = None

    def bound(self, is_first, least):
        """On a server where the least module takes so much, or has not been measured."""
        bounds = [
            self.most if is_first else self.elsewhere,
            least + self.above_least if least and self.above_least else None,
        ]
        return min((bound for bound in bounds if bound), default=None)


NOWHERE = Reach()
# The servers that kinds are measured on; their bounds beside SET are for the first.
FIRST = "Redis 7.0"
SERVERS = ["redis-7.0", "redis-8.6", "valkey-9.1"]


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a key's first visit sends, when it is new, and what its second does. Where the
    cases are hot, two clients send both in turn on one key, which is there."""

    name: str
    first: Case
    second: Case
    # The SET that it stands beside.
    beside: Case = BASE
    new: Reach = NOWHERE
    there: Reach = NOWHERE


def kind(name, tag, command, again=None, mark=None, again_mark=None, **more):
    """`again` is what the second visit sends, where it is something else."""
    case_fields = {field: more.pop(field) for field in ("per_command", "then", "hot") if field in more}
    first = Case(name, tag, command, mark=mark, **case_fields)
    second = dataclasses.replace(first, command=again or command, mark=again_mark or mark)
    return Kind(name, first, second, **more)


def throttle(key):
    return "CL.THROTTLE", key, 15, 30, 60


THROTTLED = b"*5\r\n:0\r\n"
# A unit is back after 3.6 ms: each visit finds the key gone.
SOON_FULL = "bucket:1000000/h"
GONE_SOON = Case("SET key v PX 4", b"seG", lambda key: ("SET", key, "v", "PX", "4"))
# So much that all calls of a turn on one key are granted.
FEW, MANY = "bucket:10000000/h", "bucket:30000000/m"
ON_ONE_KEY = dataclasses.replace(BASE, name="SET key v PX 60000, one key", hot=True)

LEAST = "least module in C"
OF_BUCKET = f"RL.ACQUIRE {BUCKET}"
OF_SLIDING = f"RL.ACQUIRE {SLIDING}"
OF_THREE = "RL.ACQUIRE three limits"
OF_BREAKER = "CB.ACQUIRE"
SOON = f"RL.ACQUIRE {SOON_FULL}, soon full again"
DENIAL = "RL.ACQUIRE bucket:1/d, then denied"
BATCH = "RL.BATCH EACH of 50, a key"
CHANGED = "one key, two buckets in turn"
TURNED = "one key, two limits and the same turned round"

OURS = [
    kind(AGAIN, b"seT", BASE.command),
    kind(OF_BUCKET, b"bkt", acquire(BUCKET), mark=GRANTED, new=Reach(1.10, 0.20), there=Reach(0.95, 0.15)),
    kind(OF_SLIDING, b"sld", acquire(SLIDING), mark=GRANTED, new=Reach(1.10, 0.20), there=Reach(1.02, 0.15)),
    kind(OF_THREE, b"thr", acquire(THREE), mark=GRANTED, new=Reach(1.25)),
    kind(DENIAL, b"bkd", acquire("bucket:1/d"), mark=GRANTED, again_mark=DENIED, there=Reach(0.90)),
    kind(
        BATCH,
        b"bat",
        batch(BUCKET),
        per_command=50,
        mark=GRANTED,
        new=Reach(0.75, elsewhere=0.95),
        there=Reach(0.75, elsewhere=0.75),
    ),
    kind(OF_BREAKER, b"cba", lambda key: ("CB.ACQUIRE", key, "50%/60s"), mark=ADMITTED, new=Reach(1.15)),
    kind(
        OUR_BREAKER,
        b"cbr",
        lambda key: ("CB.ACQUIRE", key, "50%/60s"),
        mark=ADMITTED,
        then=lambda key: [("CB.REPORT", key, "OK")],
    ),
    kind("CL.THROTTLE", b"clt", throttle, mark=THROTTLED, new=Reach(1.15, 0.25), there=Reach(None, 0.20)),
    kind(SOON, b"soo", acquire(SOON_FULL), mark=GRANTED, beside=GONE_SOON, new=Reach(1.10, 0.20), there=Reach(1.10)),
    kind(CHANGED, b"alt", acquire(FEW), acquire(MANY), mark=GRANTED, hot=True, beside=ON_ONE_KEY, there=Reach(1.15)),
    kind(
        TURNED,
        b"two",
        acquire(f"{FEW},{MANY}"),
        acquire(f"{MANY},{FEW}"),
        mark=GRANTED,
        hot=True,
        beside=ON_ONE_KEY,
        there=Reach(1.15),
    ),
]
THE_LEAST = kind(LEAST, b"bar", lambda key: (BARE, key, 60_000), mark=GRANTED)
# Under the tag of its own, for it runs on a server of its own.
OF_CELL = kind("CL.THROTTLE of redis-cell", b"cel", throttle, mark=THROTTLED)


def lua_kinds(load_script):
    return [
        Kind(case.name, dataclasses.replace(case, prepare=None), case)
        for case in lua_cases(load_script)
        if case.name == LUA_GCRA
    ]
