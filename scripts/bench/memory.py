"""What a key costs in memory, and that nothing stays behind when keys are gone."""

import dataclasses
import time

import peers
from cases import LUA_SORTED_SET, Case, acquire, lua_cases
from load import DEPTH, Load, decision, key, pipelines

# A sixteenth of a million fills the server's table of keys as much as a million
# does, so that a key costs the same.
MILLION = 1_000_000
QUICK = MILLION // 16


@dataclasses.dataclass
class Row:
    """What one kind of key costs."""

    name: str
    keys: int
    bound: int | None
    # Bytes a key while all are there, and what is left a key when all are gone.
    a_key: float
    left: float


BASE = Case("SET key v PX", b"set", lambda key: ("SET", key, "v", "PX", "600000"))
# What makes a key, and the most bytes that it may cost.
CASES = [
    (BASE, None),
    (Case("RL.ACQUIRE bucket:30/h", b"bkt", acquire("bucket:30/h")), 146),
    (Case("RL.ACQUIRE 100/10m, used once", b"sld", acquire("100/10m")), 178),
    (Case("RL.ACQUIRE fixed:100/h", b"fix", acquire("fixed:100/h:start=first")), None),
    (Case("RL.ACQUIRE of three limits", b"thr", acquire("100/10m,200/h,5000/d")), None),
    (
        Case(
            "RL.RESERVE of one place",
            b"res",
            lambda key: ("RL.RESERVE", 1, key, "concurrent:5", "TTL", "10m", "ID", "a"),
        ),
        500,
    ),
    (Case("breaker 50%/60s, one report", b"cbr", lambda key: ("CB.REPORT", key, "OK", "BREAKER", "50%/60s")), 400),
]
LEFT = [
    Case("bucket", b"lek", acquire("bucket:1/2s")),
    Case("sliding", b"lek", acquire("100/2s")),
    Case("fixed", b"lek", acquire("fixed:100/2s:start=first")),
    Case("three limits", b"lek", acquire("10/s,20/2s,fixed:30/2s")),
    Case("breaker", b"lek", lambda key: ("CB.REPORT", key, "OK", "BREAKER", "50%/2s:idle=2s")),
    Case("reservation", b"lek", lambda key: ("RL.RESERVE", 1, key, "concurrent:20", "TTL", "1s")),
]


class Scale:
    """used_memory with none of our connections in it."""

    def __init__(self, server):
        self.server = server

    def send(self, visits):
        """Sends pipelines: (pipelines, lines that come back for each)."""
        load = Load(self.server.port)
        for blobs, lines in visits:
            load.run(blobs, lines)
        load.close()

    def used(self):
        for _ in range(200):
            if int(self.server.client.info("clients")["connected_clients"]) == 1:
                break
            time.sleep(0.01)
        return self.server.memory()

    def empty(self):
        self.server("FLUSHALL", "SYNC")
        return self.used()


def lines_of(server, case):
    load = Load(server.port)
    lines = DEPTH * load.lines_of(*decision(case, key(case, 0)))
    load.close()
    return lines


def measure(server, keys, others=True):
    """One row a case: ours, then what others keep."""
    # A slow machine takes longer than some keys live.
    server("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    for case, bound in CASES:
        yield one(server, case, keys, bound)
    yield full(server, min(keys, QUICK))
    if not others:
        return
    scripts = lua_cases(lambda text: server("SCRIPT", "LOAD", text).decode())
    libraries = peers.cases(server, print)
    for case in scripts + libraries:
        # They are as they come: the first decision on a key made it.
        yield one(server, case.preparation(), keys, None)
    windows = (LUA_SORTED_SET, "limits: moving window")
    for case in scripts + libraries:
        if case.name in windows:
            # Of so few that the passes take no minute, after which they would expire.
            yield one(server, dataclasses.replace(case, name=f"{case.name}, all 100 used"), QUICK // 16, None, 100)


def one(server, case, keys, bound, passes=1, wait=lambda at: None):
    """A row: the keys visited so many times."""
    scale, lines = Scale(server), lines_of(server, case)
    blobs = pipelines(case, keys, 1)
    # The limits are known, and what the server makes only once is there.
    scale.send([(blobs[:64], lines)])
    before = scale.empty()
    for at in range(passes):
        wait(at)
        scale.send([(blobs, lines)])
    full_ = scale.used()
    held = len(blobs) * DEPTH
    return Row(case.name, held, bound, (full_ - before) / held, max(0, scale.empty() - before) / held)


def full(server, keys):
    """All 100 of the limit used, in as many slots as there are: two at a time,
    at every fiftieth of the period. The period is as short as the machine is quick."""
    probe = Case("", b"all", acquire("1000000/h"))
    blobs, lines = pipelines(probe, keys, 1), lines_of(server, probe)
    scale = Scale(server)
    scale.send([(blobs, lines)])
    started = time.monotonic()
    scale.send([(blobs, lines)])
    period = round(2 + 3 * 50 * (time.monotonic() - started))
    case = Case(f"RL.ACQUIRE 100/{period}s, all 100 used", b"all", acquire(f"100/{period}s", "COST", 2))
    times = []

    def wait(at):
        times.append(time.monotonic())
        time.sleep(max(0.0, times[0] + at * period / 50 - times[-1]))

    return one(server, case, keys, 720, passes=50, wait=wait)


def no_leak(server, keys):
    """(kind, bytes a key that are left when all keys have expired by themselves)."""
    scale = Scale(server)
    server("DEBUG", "SET-ACTIVE-EXPIRE", "1")
    for case in LEFT:
        blobs, lines = pipelines(case, keys, 1), lines_of(server, case)
        scale.send([(blobs[:64], lines)])
        before = scale.empty()
        scale.send([(blobs, lines)])
        for _ in range(600):
            if server("DBSIZE") == 0:
                break
            time.sleep(0.1)
        yield case.name, (scale.used() - before) / keys
