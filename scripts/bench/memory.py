"""What a key costs in memory, and that nothing stays behind when keys are gone."""

import dataclasses
import time

from cases import Case, acquire
from load import DEPTH, Load, key, pipelines


@dataclasses.dataclass
class Row:
    """What one kind of key costs."""

    case: Case
    keys: int
    bound: int | None
    # Bytes a key while all are there, and what is left a key when all are gone.
    a_key: float
    left: float


# What makes a key, and the most bytes that it may cost.
CASES = [
    (Case("SET key v PX", b"set", lambda key: ("SET", key, "v", "PX", "600000")), None),
    (Case("RL.ACQUIRE bucket:30/h", b"bkt", acquire("bucket:30/h")), 146),
    (Case("RL.ACQUIRE 100/10m, used once", b"sld", acquire("100/10m")), 178),
    (Case("RL.ACQUIRE fixed:100/h", b"fix", acquire("fixed:100/h:start=first")), None),
    (Case("CB.REPORT of a breaker 50%/60s", b"cbr",
          lambda key: ("CB.REPORT", key, "OK", "BREAKER", "50%/60s")), 400),
    (Case("RL.ACQUIRE of three limits", b"thr", acquire("100/10m,200/h,5000/d")), None),
]


def measure(server, keys):
    """One row a case: a million keys are a fair figure, fewer a quick one."""
    load = Load(server.port)
    for case, bound in CASES:
        yield one(server, load, case, keys, bound)
    # All 100 of the limit used, in as many slots as there are: two at a time,
    # within a period that takes just about fifty passes.
    probe = Case("", b"prb", acquire("1000000/h"))
    blobs = pipelines(probe, keys, 1)
    started = time.monotonic()
    load.run(blobs, DEPTH * load.lines_of(probe.command(key(probe, 0))))
    period = int((time.monotonic() - started) * 65_000) + 2_000
    case = Case(f"RL.ACQUIRE 100/{period}ms, all 100 used", b"all", acquire(f"100/{period}ms", "COST", 2))
    yield one(server, load, case, keys, 720, passes=50)
    load.close()


def one(server, load, case, keys, bound, passes=1):
    server("FLUSHALL", "SYNC")
    blobs = pipelines(case, keys, 1)
    lines = DEPTH * load.lines_of(case.command(key(case, 0)))
    # The limits are known and the server's buffers have their size.
    load.run(blobs[:8], lines)
    server("FLUSHALL", "SYNC")
    before = server.memory()
    for _ in range(passes):
        load.run(blobs, lines)
    held, full = server("DBSIZE"), server.memory()
    server("FLUSHALL", "SYNC")
    return Row(case, held, bound, (full - before) / held, max(0, server.memory() - before) / held)


def no_leak(server, keys):
    """Bytes a key that are left when many keys have expired by themselves."""
    load = Load(server.port)
    case = Case("", b"lek", acquire("100/2s"))
    blobs = pipelines(case, keys, 1)
    lines = DEPTH * load.lines_of(case.command(key(case, 0)))
    load.run(blobs[:8], lines)
    server("FLUSHALL", "SYNC")
    before = server.memory()
    load.run(blobs, lines)
    for _ in range(600):
        if server("DBSIZE") == 0:
            break
        time.sleep(0.1)
    load.close()
    return (server.memory() - before) / keys
