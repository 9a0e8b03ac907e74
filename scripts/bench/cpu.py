"""Server processor time a decision, beside SET of the same moment."""

import dataclasses
import itertools
import statistics

from cases import BASE
from load import DEPTH, Load, decision, key, pipelines
from server import Client

# A visit to all keys is cut into so many parts, and SET has its turn between
# them: what disturbs the machine for a while disturbs both.
PARTS = 8
CASES_DATABASE = 1


@dataclasses.dataclass
class Figures:
    """What the rounds of one case gave."""

    case: object
    # Microseconds of server time a decision, by round.
    micros: list = dataclasses.field(default_factory=list)
    # Against SET PX of the same moment, by round.
    ratios: list = dataclasses.field(default_factory=list)
    decisions: int = 0
    marked: int = 0

    def ratio(self):
        return statistics.median(self.ratios)

    def as_expected(self):
        """The part of the decisions that were what the case is about."""
        return self.marked / self.decisions if self.case.mark and self.decisions else 1.0


class Meter:
    """Reads the server's processor time, less what the reading takes."""

    def __init__(self, server):
        self.server = server
        readings = [server.cpu() for _ in range(41)]
        self.own = statistics.median(b - a for a, b in itertools.pairwise(readings))

    def spent(self, work):
        """(seconds of server time, what the work returned)."""
        before = self.server.cpu()
        result = work()
        return max(0.0, self.server.cpu() - before - self.own), result


class Rival:
    """SET on keys of its own that stay: what every case is held against."""

    def __init__(self, server, keys):
        self.load = Load(server.port)
        self.lines = DEPTH * self.load.lines_of(BASE.command(key(BASE, 0)))
        self.load.run(pipelines(BASE, keys, 1), self.lines)
        self.again = pipelines(BASE, keys, 2)
        self.parts = itertools.cycle(split(pipelines(BASE, keys, 3)))

    def visit(self):
        """All keys, so that none is gone when its turn comes."""
        self.load.run(self.again, self.lines)

    def turn(self):
        """Sends one part; returns how many decisions it was."""
        part = next(self.parts)
        self.load.run(part, self.lines)
        return len(part) * DEPTH


def split(blobs):
    size = -(-len(blobs) // PARTS)
    return [blobs[at:at + size] for at in range(0, len(blobs), size)]


class Visits:
    """The connections of the cases, whose keys are in a database of their own."""

    def __init__(self, server, keys):
        self.keys = keys
        self.load = Load(server.port, CASES_DATABASE)
        self.admin = Client(server.port)
        self.admin("SELECT", CASES_DATABASE)

    def lines(self, case):
        names = [key(case, number) for number in range(case.per_command)]
        return DEPTH * self.load.lines_of(*decision(case, *names))

    def make(self, case, rival):
        """Only the keys of this case, and each visited once more, as SET's are:
        the server's table of keys has its final size then. Returns the third visit."""
        self.admin("FLUSHDB", "SYNC")
        first = case.preparation()
        self.load.run(pipelines(first, self.keys, 1), self.lines(first))
        rival.visit()
        lines = self.lines(case)
        self.load.run(pipelines(case, self.keys, 2), lines)
        return pipelines(case, self.keys, 3), lines

    def close(self):
        self.admin("FLUSHALL", "SYNC")
        self.admin.close()
        self.load.close()


def measure(server, cases, keys, rounds):
    """The cases in turn. At the third visit to its keys the server's time is
    taken, part by part, and SET's beside each part."""
    meter, visits, rival = Meter(server), Visits(server, keys), Rival(server, keys)
    figures = {case.name: Figures(case) for case in [BASE, *cases]}
    base = figures[BASE.name]
    others = [entry for entry in figures.values() if entry is not base]
    for round_ in range(rounds):
        # The order turns, so that no case always follows the same other.
        turn = round_ % len(others)
        for entry in others[turn:] + others[:turn]:
            blobs, lines = visits.make(entry.case, rival)
            side_by_side(meter, entry, base, rival, lambda part: visits.load.run(part, lines, entry.case.mark), blobs)
    rival.load.close()
    visits.close()
    return figures


def side_by_side(meter, entry, base, rival, send, blobs):
    """One round of a case: its parts and those of SET in turn."""
    spent, sets = [0.0, 0], [0.0, 0]
    for at, part in enumerate(split(blobs)):
        # Who goes first changes, too.
        for ours in (at % 2 == 0, at % 2 == 1):
            if ours:
                seconds, marked = meter.spent(lambda: send(part))
                decisions = len(part) * DEPTH * entry.case.per_command
                add(spent, seconds, decisions)
                entry.decisions += decisions
                entry.marked += marked
            else:
                add(sets, *meter.spent(rival.turn))
    entry.micros.append(spent[0] / spent[1] * 1e6)
    base.micros.append(sets[0] / sets[1] * 1e6)
    entry.ratios.append(entry.micros[-1] / base.micros[-1])
    base.ratios.append(1.0)


def add(total, seconds, decisions):
    total[0] += seconds
    total[1] += decisions
