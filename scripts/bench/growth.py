"""The cost of a decision must not grow: not with count, not with the window, not
with age. Instructions a decision, counted by callgrind, tell that exactly; where
valgrind is missing, processor time against SET's has to do."""

import dataclasses
import shutil

from cases import BASE, Case, acquire
from cpu import Meter
from instructions import control, counted, one_connection
from load import DEPTH, Load, key, pipelines

from server import Server

COUNTS = [10**power for power in (1, 2, 3, 4, 6, 9, 12)]
WINDOWS = ["10s", "1m", "1h", "1d", "30d", "366d"]
# In how many fiftieths of an hour each key was granted something before.
AGES = [1, 10, 50, 100, 1000]
FIFTIETH_US = 72_000_000
ALGORITHMS = {"bucket": "bucket:{}/{}", "sliding": "{}/{}", "fixed": "fixed:{}/{}"}
VISITS = 4


@dataclasses.dataclass(frozen=True)
class Table:
    """One dimension: a row of figures for each step of it."""

    title: str
    columns: list
    # (step, figures)
    rows: list


class Instructions:
    """Instructions a decision."""

    unit = "instructions"
    keys = 4 * DEPTH
    wrap = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--instr-atstart=no", "-q")

    def __init__(self, server):
        self.server = server

    def spent(self, work, decisions):
        control(self.server.process, "-i", "on")
        control(self.server.process, "-z")
        work()
        count = counted(self.server)
        control(self.server.process, "-i", "off")
        return count / decisions


class Processor:
    """Processor time a decision, against SET's."""

    unit = "× SET PX"
    keys = 200 * DEPTH
    wrap = ()

    def __init__(self, server):
        self.meter = Meter(server)
        self.load = Load(server.port, 2)
        self.lines = DEPTH * self.load.lines_of(BASE.command(key(BASE, 0)))
        self.sets = pipelines(BASE, self.keys, 1) * VISITS

    def spent(self, work, decisions):
        base, _ = self.meter.spent(lambda: self.load.run(self.sets, self.lines))
        ours, _ = self.meter.spent(work)
        return ours / decisions / (base / len(self.sets) / DEPTH)


def measure():
    """The tables, and the unit of their figures."""
    way = Instructions if shutil.which("valgrind") else Processor
    # One pass of the server's own timer a second disturbs least.
    with Server(
        "--hz", "1", "--dynamic-hz", "no", module_arguments=("enable-debug-command", "yes"), wrap=way.wrap
    ) as server:
        counter, load = way(server), one_connection(server.port)

        def figure(case, history=0, between=lambda: None):
            server("FLUSHALL", "SYNC")
            first = case.preparation()
            lines = DEPTH * load.lines_of(case.command(key(case, 0)))
            load.run(pipelines(first, way.keys, 1), lines)
            blobs = pipelines(case, way.keys, 1)
            for _ in range(history):
                between()
                load.run(blobs, lines)
            return counter.spent(lambda: load.run(blobs * VISITS, lines), VISITS * len(blobs) * DEPTH)

        def limited(count, window):
            # Half is taken before, so that no bucket is full again, and gone, before its next visit.
            limits = [limit.format(count, window) for limit in ALGORITHMS.values()]
            return [
                figure(Case("", b"gro", acquire(limit), prepare=acquire(limit, "COST", count // 2))) for limit in limits
            ]

        # What the server does only once is done.
        limited(10, "h")
        tables = [
            Table("count, in an hour", [*ALGORITHMS], [(f"{count:,}", limited(count, "h")) for count in COUNTS]),
            Table("window, of a million", [*ALGORITHMS], [(window, limited(10**6, window)) for window in WINDOWS]),
        ]
        server("RL.DEBUG", "CLOCK", "SET", 1_800_000_000_000_000)
        aged = [Case("", b"gro", acquire(limit.format(10**6, "h"))) for limit in ALGORITHMS.values()]
        aged.append(Case("", b"gro", lambda key: ("CB.REPORT", key, "OK", "BREAKER", "50%/h")))
        rows = [
            (
                f"{age:,}",
                [figure(case, age, lambda: server("RL.DEBUG", "CLOCK", "ADVANCE", FIFTIETH_US)) for case in aged],
            )
            for age in AGES
        ]
        tables.append(Table("age, in fiftieths of the window with grants", [*ALGORITHMS, "breaker 50%/h"], rows))
        load.close()
    return tables, way.unit
