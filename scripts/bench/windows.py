"""Windows in use: what a decision costs when most of its limit is taken.

An empty window flatters whoever keeps one entry a grant, so those that keep a
window are measured here with about 75 of 100 a minute taken on each key: all keys
are visited in bursts of four grants, evenly over the minute and in real time, so
that the oldest four leave with each burst. The first minute fills the windows;
what the server spends on the bursts after it is taken down, beside SET's. Before
a case's burst the server is asked how much memory each of its keys takes, so that
the caches hold its keys and not those of the case before it, as on a server that
does nothing else.

Reading, parsing and sending take as long whoever decides. So the server's own
account is taken down, too: the time inside the commands (INFO commandstats).

The same windows on few keys under callgrind give the instructions of a decision.
They repeat where times stray, and say nothing of what waits for memory.
"""

import dataclasses
import functools
import shutil
import statistics
import time

from cases import AGAIN, BASE, LUA_SORTED_SET, OUR_SLIDING
from cpu import CASES_DATABASE, Figures, Meter, Turn
from instructions import control, counted, counting_server, one_connection
from load import DEPTH, Load, decision, key, pipelines

from server import Client

BURST = 4
# Bursts that fill a window.
FILL = 19
EVERY = 60.0 * BURST / 75
NAMES = [
    AGAIN,
    OUR_SLIDING,
    LUA_SORTED_SET,
    "limits: moving window",
    "limits: moving window, and what is left",
    "limits: sliding counter",
]


# As many as a server under callgrind decides on in time.
COUNTED_KEYS = 2 * DEPTH
COUNTED_BURSTS = 2


@dataclasses.dataclass(frozen=True)
class InUse:
    """What was measured, by name of case."""

    figures: dict
    # Microseconds inside the commands of a decision.
    inside: dict
    # How many of the 100 were taken when all was over.
    taken: float


def inside(server, case, work):
    """Microseconds that the server was inside the commands of a case while `work` ran,
    by its own account: what a script calls is in the script's time."""
    sent = {command[0].lower() for command in decision(case, key(case, 0))}
    server("CONFIG", "RESETSTAT")
    work()
    told = server.client.info("commandstats")
    of_case = [
        fields for name in sent if (fields := told.get("cmdstat_" + (name if isinstance(name, str) else name.decode())))
    ]
    return sum(int(dict(field.split("=") for field in fields.split(","))["usec"]) for fields in of_case)


def when_due(bursts):
    """The numbers of the bursts, with those that fill. Where the machine falls
    behind, the windows have less in them: it shows."""
    started = time.monotonic()
    for burst in range(FILL + bursts):
        time.sleep(max(0.0, started + burst * EVERY - time.monotonic()))
        yield burst


def visits(case, keys, burst):
    """Pipelines made now: some carry the client's clock."""
    return [blob for visit in range(BURST) for blob in pipelines(case, keys, BURST * burst + visit)]


def look(case, keys):
    """Pipelines that read all keys of a case, whatever they hold, and change nothing."""
    looked = dataclasses.replace(case, command=lambda key: ("MEMORY", "USAGE", key, "SAMPLES", 0), then=None)
    return pipelines(looked, keys, 0)


def instructions(cases_for):
    """Instructions a decision by name of case; empty where valgrind is missing."""
    if not shutil.which("valgrind"):
        return {}
    with counting_server() as server:
        cases = cases_for(server)
        load = one_connection(server.port)
        lines = {case.name: DEPTH * load.lines_of(*decision(case, key(case, 0))) for case in cases}
        counts = {case.name: [] for case in cases}
        for burst in when_due(COUNTED_BURSTS):
            for case in cases:
                blobs = visits(case, COUNTED_KEYS, burst)
                control(server.process, "-z")
                load.run(blobs, lines[case.name])
                counts[case.name].append(counted(server) / (len(blobs) * DEPTH))
        load.close()
    # What disturbs a count only adds to it.
    return {name: min(found[FILL:]) for name, found in counts.items()}


def measure(server, cases, keys, bursts):
    keys -= keys % DEPTH
    server("FLUSHALL", "SYNC")
    meter, load = Meter(server), Load(server.port, CASES_DATABASE)
    base = Figures(BASE)
    entries = [base] + [Figures(case) for case in cases if case.name in NAMES]
    lines = {entry.case.name: DEPTH * load.lines_of(*decision(entry.case, key(entry.case, 0))) for entry in entries}
    micros = {entry.case.name: [] for entry in entries}
    for burst in when_due(bursts):
        first = burst % len(entries)
        for entry in entries[first:] + entries[:first]:
            load.run(look(entry.case, keys), DEPTH)
            # All of it counts: the first grant of a burst is the one that finds
            # old ones to forget.
            turn = Turn(entry.case, load, lines[entry.case.name], ([], visits(entry.case, keys, burst)))
            figures = entry if burst >= FILL else Figures(entry.case)
            spent = inside(server, entry.case, functools.partial(turn.take, meter, figures))
            micros[entry.case.name].append(spent / (BURST * keys))
        if burst >= FILL:
            for entry in entries:
                entry.compare(base.micros[-1])
    taken = used(server.port, next(entry.case for entry in entries if entry.case.name == OUR_SLIDING), keys)
    load.close()
    return InUse(
        {entry.case.name: entry for entry in entries},
        {name: statistics.median(found[FILL:]) for name, found in micros.items()},
        taken,
    )


def used(port, case, keys):
    """How many units the server counts as taken on some keys: their median."""
    client = Client(port)
    client("SELECT", CASES_DATABASE)
    seen = []
    for number in range(0, keys, 64):
        limit = client("RL.QUOTA", key(case, number))[0]
        seen.append(dict(zip(limit[::2], limit[1::2]))[b"used"])
    client.close()
    return statistics.median(seen)
