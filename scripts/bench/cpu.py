"""Server processor time a decision, beside SET of the same moment."""

import dataclasses
import itertools
import math
import statistics

from cases import AGAIN, BASE, Case
from load import DEPTH, Load, decision, key, pipelines
from sampling import within

from server import Client

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

    def add(self, seconds, decisions, marked=0):
        """Takes a round down."""
        self.micros.append(seconds / decisions * 1e6)
        self.decisions += decisions
        self.marked += marked

    def compare(self, set_micros):
        """The last round beside what SET took then."""
        self.ratios.append(self.micros[-1] / set_micros)

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


@dataclasses.dataclass(frozen=True)
class Turn:
    """Two visits to all keys of a case. Only the second is taken down: the caches
    then hold what the first left, as on a server that does nothing else."""

    case: Case
    load: Load
    lines: int
    visits: tuple

    @classmethod
    def of(cls, case, load, keys):
        names = [key(case, number) for number in range(case.per_command)]
        lines = DEPTH * load.lines_of(*decision(case, *names))
        return cls(case, load, lines, tuple(pipelines(case, keys, order) for order in (2, 3)))

    def take(self, meter, entry):
        first, second = self.visits
        self.load.run(first, self.lines)
        seconds, marked = meter.spent(lambda: self.load.run(second, self.lines, self.case.mark))
        entry.add(seconds, len(second) * DEPTH * self.case.per_command, marked)


def make(case, load, keys):
    """The keys of a case, and its turn."""
    first = case.preparation()
    load.run(pipelines(first, keys, 1), DEPTH * load.lines_of(*decision(first, key(first, 0))))
    return Turn.of(case, load, keys)


def measure(server, cases, keys, rounds, base_case=BASE, further=0, seconds=math.inf):
    """The cases in turn, each between two turns of SET on as many keys of its own:
    what disturbs the machine for a while disturbs both. Those that have a bound, and
    the noise, have further rounds: what may fail should be sure. No round begins that
    would end after so many seconds."""
    meter, admin = Meter(server), Client(server.port)
    load, rival = Load(server.port, CASES_DATABASE), Load(server.port)
    admin("SELECT", CASES_DATABASE)
    set_turn = make(base_case, rival, keys)
    figures = {case.name: Figures(case) for case in [base_case, *cases]}
    base = figures[base_case.name]
    every = [entry for entry in figures.values() if entry is not base]
    bounded = [entry for entry in every if entry.case.bound or entry.case.name == AGAIN]
    for round_ in within(rounds + further, seconds, "cases"):
        others = every if round_ < rounds else bounded
        # The order turns, so that no case always follows the same other.
        turn = round_ % len(others)
        for entry in others[turn:] + others[:turn]:
            # The keys of one case at a time.
            admin("FLUSHDB", "SYNC")
            ours = make(entry.case, load, keys)
            set_turn.take(meter, base)
            ours.take(meter, entry)
            set_turn.take(meter, base)
            entry.compare(statistics.mean(base.micros[-2:]))
            base.ratios.append(1.0)
    admin("FLUSHALL", "SYNC")
    for connection in (admin, load, rival):
        connection.close()
    return figures
