"""What clients wait for: redis-benchmark on the other core, the commands in turn."""

import dataclasses
import math
import re
import shutil
import statistics
import subprocess

from cases import AGAIN, BASE, BUCKET, SLIDING
from sampling import sure_median, within

from server import cores

OURS = f"RL.ACQUIRE {SLIDING}"


@dataclasses.dataclass(frozen=True)
class Way:
    """How the load comes."""

    name: str
    options: tuple


PLAIN = Way("50 plain connections", ("-c", "50"))
WAYS = [PLAIN, Way("4 connections, 32-deep pipelines", ("-c", "4", "-P", "32"))]
# A run takes about so many seconds; of the fewest requests that it has, ten are
# above p99.9.
RUN = 0.4
FEWEST = 10_000
# What p99 of SET may differ by from itself where something is said of p99; rounds until
# that is known, at most, and their part of the time.
CLAIM = 0.10
MOST_ROUNDS, BOUNDED_PART = 60, 0.7


def commands(hot):
    """Name and command. On one hot key the limits are those that hold for it: a
    billion an hour, so that it is granted."""
    key = "hot" if hot else "__rand_int__"
    bucket, sliding = ("bucket:1000000000/h", "1000000000/h") if hot else (BUCKET, SLIDING)
    return {
        BASE.name: ["SET", f"lat:{key}", "v", "PX", "60000"],
        AGAIN: ["SET", f"lag:{key}", "v", "PX", "60000"],
        f"RL.ACQUIRE {BUCKET}": ["RL.ACQUIRE", f"lab:{key}", bucket],
        OURS: ["RL.ACQUIRE", f"las:{key}", sliding],
    }


@dataclasses.dataclass
class Round:
    """What redis-benchmark told of one command: milliseconds."""

    rate: float
    p50: float
    p99: float
    p999: float


@dataclasses.dataclass
class Waits:
    """All rounds of one command."""

    way: Way
    hot: bool
    name: str
    rounds: list
    # p99 against SET's of the same round.
    ratios: list

    def median(self, field):
        return statistics.median(getattr(round_, field) for round_ in self.rounds)


def once(port, way, command, keys, requests, on_cores=None):
    wanted = ",".join(str(core) for core in on_cores or cores()[1:])
    pinned = ["taskset", "-c", wanted] if shutil.which("taskset") else []
    out = subprocess.run(
        [
            *pinned,
            "redis-benchmark",
            "-p",
            str(port),
            *way.options,
            "-n",
            str(requests),
            "-r",
            str(keys),
            "--precision",
            "3",
            *command,
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.replace("\r", "\n")
    rate = float(re.search(r"throughput summary: ([\d.]+)", out).group(1))
    reached = [(float(percent), float(ms)) for percent, ms in re.findall(r"([\d.]+)% <= ([\d.]+) milliseconds", out)]

    def at(wanted):
        return next((ms for percent, ms in reached if percent >= wanted), reached[-1][1])

    return Round(rate, at(50), at(99), at(99.9))


def is_sure(rows):
    """Whether SET's p99 against itself is known to a tenth, on plain connections and many
    keys: else nothing is said of p99."""
    again = next((row.ratios for row in rows if row.name == AGAIN and row.way is PLAIN and not row.hot), [])
    low, high = sure_median(again)
    return low >= 1 - CLAIM and high <= 1 + CLAIM


def measure(server, keys, rounds, hot=(False, True), seconds=math.inf):
    """Rows for every way of load, over many keys and on one hot key. Those that have a
    bound come until SET's p99 against itself is known, or the time is over: what may fail
    should be sure."""
    if not shutil.which("redis-benchmark"):
        return []
    rows = []
    for way in WAYS:
        for one in hot:
            server("FLUSHALL", "SYNC")
            tried = commands(one)
            table = {name: Waits(way, one, name, [], []) for name in tried}
            # The machine's pace; the keys are there then.
            pace = once(server.port, way, tried[BASE.name], keys, FEWEST).rate
            requests = max(FEWEST, int(RUN * pace))
            bounded = way is PLAIN and not one
            part = BOUNDED_PART if bounded else (1 - BOUNDED_PART) / (len(WAYS) * len(hot) - 1)
            most = max(MOST_ROUNDS, rounds) if bounded else rounds
            group = table.values()
            for round_ in within(most, seconds * part, f"latency, {way.name}"):
                turn = round_ % len(tried)
                for name in [*tried][turn:] + [*tried][:turn]:
                    table[name].rounds.append(once(server.port, way, tried[name], keys, requests))
                for row in group:
                    row.ratios.append(row.rounds[-1].p99 / table[BASE.name].rounds[-1].p99)
                if bounded and round_ + 1 >= 2 * rounds and is_sure(group):
                    break
            rows += group
    server("FLUSHALL", "SYNC")
    return rows
