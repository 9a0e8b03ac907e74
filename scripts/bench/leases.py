"""One hot key beyond a core: decisions a second that processes get of one key, each asking
the server for every one, or spending of a lease; and by how much leases go beyond what an
exact count allows in any period.

The processes are Python's, and have all cores; the server has the first."""

import dataclasses
import json
import os
import statistics
import subprocess
import time

from peers import CLIENTS as PROGRAMS
from peers import PYTHON, ROOT

from server import ALLOWED, Server

PROCESSES = [1, 2, 4]
ENDLESS = "1000000000000/d"
# What a process alone reaches without leases, in any second.
COUNT, PERIOD_US = 2000, 1_000_000


@dataclasses.dataclass(frozen=True)
class Demand:
    """What all processes together ask for, a second, and for how long."""

    limits: str
    # As much as they can where it is 0.
    pace: float
    seconds: float


MOST = Demand(ENDLESS, 0, 1.0)
# Half more than the limit grants, all the time: what is on lease is spent late.
BEYOND = Demand(f"{COUNT}/s", 1.5 * COUNT, 3.5)
# Before all of them have begun.
SOON = 0.2


@dataclasses.dataclass
class Row:
    """So many processes, with leases or without."""

    processes: int
    leased: bool
    # Decisions a second, by round.
    rates: list = dataclasses.field(default_factory=list)
    # The most that was granted in any period.
    most: int = 0

    def rate(self):
        return statistics.median(self.rates)

    def beyond(self):
        """How much more than the count was granted in any period, as a part of it."""
        return max(0, self.most - COUNT) / COUNT


def most_in(times, period):
    """The most of these times that lie in any half-open period."""
    times = sorted(times)
    most = first = 0
    for last, time_ in enumerate(times):
        while times[first] <= time_ - period:
            first += 1
        most = max(most, last - first + 1)
    return most


def together(port, demand, row):
    """What so many processes say that begin at the same time."""
    command = [
        PYTHON.python,
        PROGRAMS / "lease.py",
        str(port),
        demand.limits,
        str(row.processes if row.leased else 0),
        str(demand.pace / row.processes),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src" / "clients" / "python")}
    started = []
    try:
        for _ in range(row.processes):
            started.append(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
            )
            os.sched_setaffinity(started[-1].pid, ALLOWED)
        for process in started:
            if process.stdout.readline().strip() != "ready":
                raise RuntimeError("a process of the package for Python does not begin")
        begin = time.monotonic() + SOON
        for process in started:
            print(begin, begin + demand.seconds, file=process.stdin, flush=True)
        return [json.loads(process.stdout.readline()) for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()


def measure(rounds):
    """Rows, each a round after the other."""
    PYTHON.install()
    rows = [Row(processes, leased) for processes in PROCESSES for leased in (False, True)]
    with Server() as server:
        for round_ in rounds:
            for row in rows:
                server("FLUSHALL", "SYNC")
                told = together(server.port, MOST, row)
                row.rates.append(sum(one["decisions"] for one in told) / MOST.seconds)
                # Of seconds that lie in it there are many.
                if round_ == 0:
                    server("FLUSHALL", "SYNC")
                    told = together(server.port, BEYOND, row)
                    row.most = most_in([at for one in told for at in one["granted"]], PERIOD_US)
    return rows
