"""Growth with the number of keys: from 10,000 to 10,000,000, what a decision costs beside
SET's on as many keys, and what a key takes in memory.

Each kind has a server of its own, all on one core, and all grow together. What leads up to
a size are keys that are new; then as many of those that are there are visited in a random
order: that is what waits for memory. The kinds' batches come in turn, so that what disturbs
the machine for a while disturbs all."""

import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import random

from cases import LUA, Case, acquire
from cpu import Figures, Meter
from decision_kinds import BARE, LEAST
from load import DEPTH, Load, key, packed

from server import ALLOWED, Server

SIZES = [10_000, 100_000, 1_000_000, 10_000_000]
BATCHES = 5
# Of commands a batch.
MOST, LEAST_BATCH = 100_000, 1600
# How often a size is reached anew: on few keys the batches are so short that all of a
# time make one round.
TIMES = {10_000: 8, 100_000: 4}
# Of a key and its table, with room to spare; and the part of free memory that is taken.
BYTES_A_KEY, PART = 250, 0.7
HOUR_MS = 3_600_000
# Keys that one call of the script makes.
A_FILL = 10_000

# Nothing expires, and no bucket is full again, before the largest size is there.
SETS = Case("SET key v PX", b"set", lambda key: ("SET", key, "v", "PX", HOUR_MS))
KINDS = [
    SETS,
    Case("RL.ACQUIRE bucket", b"bkt", acquire("bucket:30/d")),
]
THE_LEAST = Case(LEAST, b"bar", lambda key: (BARE, key, HOUR_MS))


@dataclasses.dataclass
class Size:
    """What one kind gave at one number of keys."""

    keys: int
    new: Figures
    there: Figures
    a_key: list = dataclasses.field(default_factory=list)


def free_memory(text=None):
    """Bytes, as the kernel tells."""
    text = text or pathlib.Path("/proc/meminfo").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("MemAvailable"))


def fitting(sizes, kinds, free):
    """Sizes that all kinds together have room for."""
    return [size for size in sizes if size * kinds * BYTES_A_KEY <= free * PART]


def batch_of(size):
    """Commands in whole pipelines: all batches together are at most the size."""
    wanted = max(LEAST_BATCH, min(MOST, size // 10))
    return wanted - wanted % DEPTH


class Growing:
    """A kind on its server."""

    def __init__(self, case, server):
        self.case, self.server = case, server
        self.meter = Meter(server)
        self.fill = server("SCRIPT", "LOAD", (LUA / "fill.lua").read_text())
        self.around = packed(case, key(case, 0)).split(key(case, 0))
        load = Load(server.port)
        self.lines = DEPTH * load.lines_of(case.command(key(case, 0)))
        load.close()
        self.empty()

    def empty(self):
        self.server("FLUSHALL", "SYNC")
        self.before, self.held = self.server.memory(), 0

    def blobs(self, numbers):
        """Pipelines on these keys, of which there are whole ones."""
        decisions = [key(self.case, number).join(self.around) for number in numbers]
        return [b"".join(decisions[at : at + DEPTH]) for at in range(0, len(decisions), DEPTH)]

    def grow(self, size):
        """Up to so many keys, not measured, on any core."""
        name, _, *words = self.case.command(b"")
        os.sched_setaffinity(self.server.process.pid, ALLOWED)
        while self.held < size:
            end = min(size, self.held + A_FILL)
            self.server("EVALSHA", self.fill, 0, self.case.tag, self.held, end, name, *words)
            self.held = end
        os.sched_setaffinity(self.server.process.pid, ALLOWED[:1])

    def measured(self, numbers):
        """Seconds that the server takes for them."""
        blobs = self.blobs(numbers)
        load = Load(self.server.port)
        seconds, _ = self.meter.spent(lambda: load.run(blobs, self.lines))
        load.close()
        return seconds

    def new(self, count, chance):
        numbers = list(range(self.held, self.held + count))
        chance.shuffle(numbers)
        self.held += count
        return self.measured(numbers)

    def there(self, count, chance):
        return self.measured(chance.sample(range(self.held), count))

    def bytes_a_key(self):
        return (self.server.memory() - self.before) / self.held


def up_to(size, growing, found, chance):
    """All kinds, of which SET is the first, from where they are to the size; the last
    batches of it are measured."""
    batch = batch_of(size)
    start = size - size % batch - BATCHES * batch
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(lambda kind: kind.grow(start), growing))
    for visit in ("new", "there"):
        spent = [[getattr(kind, visit)(batch, chance) for kind in growing] for _ in range(BATCHES)]
        if size in TIMES:
            spent = [[sum(of_kind) for of_kind in zip(*spent)]]
        for seconds in spent:
            base = seconds[0] / (batch * BATCHES // len(spent)) * 1e6
            for kind, of_kind in zip(growing, seconds):
                figures = getattr(found[kind.case.name], visit)
                figures.add(of_kind, batch * BATCHES // len(spent))
                figures.compare(base)
    for kind in growing:
        found[kind.case.name].a_key.append(kind.bytes_a_key())


def measure(sizes, others=(), say=print):
    """For each size that memory has room for, what each kind gave, by name."""
    chance = random.Random(1)
    cases = KINDS + ([THE_LEAST] if others else [])
    fit = fitting(sizes, len(cases), free_memory())
    for size in sizes[len(fit) :]:
        say(
            f"{size:,} keys are not measured: {len(cases)} servers with so many need "
            f"{size * len(cases) * BYTES_A_KEY / PART / 2**30:.1f} GiB, and {free_memory() / 2**30:.1f} GiB are free"
        )
    with contextlib.ExitStack() as stack:
        # Beside another module ours notes events of keys, for that module may listen.
        growing = [
            Growing(case, stack.enter_context(Server(others=others if case is THE_LEAST else ()))) for case in cases
        ]
        for size in fit:
            say(f"  keys: {size:,}")
            found = {case.name: Size(size, Figures(case), Figures(case)) for case in cases}
            times = TIMES.get(size, 1)
            for _ in range(times):
                if times > 1:
                    for kind in growing:
                        kind.empty()
                up_to(size, growing, found, chance)
            yield found
