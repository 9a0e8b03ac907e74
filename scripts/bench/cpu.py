"""Server processor time a decision: all cases in turn, many short rounds."""

import dataclasses
import statistics

from cases import BASE
from load import DEPTH, Load, decision, key, pipelines


@dataclasses.dataclass
class Figures:
    """What the rounds of one case gave."""

    case: object
    # Microseconds of server time a decision, by round.
    micros: list = dataclasses.field(default_factory=list)
    # Against SET PX of the same round.
    ratios: list = dataclasses.field(default_factory=list)
    decisions: int = 0
    marked: int = 0
    # Decisions a second and seconds of each pipeline, by the client's clock.
    rates: list = dataclasses.field(default_factory=list)
    times: list = dataclasses.field(default_factory=list)

    def ratio(self):
        return statistics.median(self.ratios)

    def as_expected(self):
        """The part of the decisions that were what the case is about."""
        return self.marked / self.decisions if self.case.mark else 1.0


class Visits:
    """What is sent for one case in a round."""

    def __init__(self, case, keys, load):
        first = case
        if case.prepare:
            first = dataclasses.replace(case, command=case.prepare, per_command=1)
        self.create = pipelines(first, keys, 1)
        self.again = pipelines(case, keys, 2)
        self.measured = pipelines(case, keys, 3)
        names = [key(case, number) for number in range(case.per_command)]
        self.lines_to_create = DEPTH * load.lines_of(*decision(first, *names[:first.per_command]))
        self.lines = DEPTH * load.lines_of(*decision(case, *names))


def measure(server, cases, keys, rounds):
    """Runs the cases in turn, each on an empty server: its keys are created,
    visited once more (the server's table has grown then), and at the third
    visit what the server spends is measured."""
    load = Load(server.port)
    visits = {case.name: Visits(case, keys, load) for case in cases}
    figures = {case.name: Figures(case) for case in cases}
    for round_ in range(rounds):
        base = None
        # The order turns, so that no case always follows the same other.
        turn = round_ % len(cases)
        order = [BASE] + [case for case in cases[turn:] + cases[:turn] if case.name != BASE.name]
        for case in order:
            visit = visits[case.name]
            server("FLUSHALL", "SYNC")
            load.run(visit.create, visit.lines_to_create)
            load.run(visit.again, visit.lines)
            before = server.cpu()
            marked, times = load.run(visit.measured, visit.lines, case.mark)
            spent = server.cpu() - before
            decisions = len(visit.measured) * DEPTH * case.per_command
            micros = spent / decisions * 1e6
            base = base or micros
            entry = figures[case.name]
            entry.micros.append(micros)
            entry.ratios.append(micros / base)
            entry.decisions += decisions
            entry.marked += marked
            entry.times += times
    load.close()
    return figures
