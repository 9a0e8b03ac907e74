"""Server processor time a decision: all cases in turn, many short rounds."""

import dataclasses
import statistics

from cases import BASE
from load import DEPTH, Load, Pipelines, key
from server import pack


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


def measure(server, cases, keys, rounds, commands, settle=2):
    """Runs the cases in turn; the first `settle` rounds create the keys and do not count."""
    load = Load(server.port)
    pipelines = {case.name: Pipelines(case, keys) for case in cases}
    for case in cases:
        if case.prepare:
            prepared = dataclasses.replace(case, command=case.prepare, per_command=1)
            blobs = Pipelines(prepared, keys).blobs
            load.run(blobs, DEPTH * load.lines_of(case.prepare(key(case, 0))))
    lines = {}
    figures = {case.name: Figures(case) for case in cases}
    for round_ in range(-settle, rounds):
        base = None
        # The order turns, so that no case always follows the same other.
        turn = round_ % len(cases)
        order = [BASE] + [case for case in cases[turn:] + cases[:turn] if case.name != BASE.name]
        for case in order:
            if case.name not in lines:
                names = [key(case, number) for number in range(case.per_command)]
                lines[case.name] = DEPTH * load.lines_of(case.command(*names))
            own = pipelines[case.name]
            # While settling each key is visited once.
            count = len(own.blobs) if round_ == -settle else max(1, commands // case.per_command // DEPTH)
            blobs = own.take(count)
            before = server.cpu()
            marked, times = load.run(blobs, lines[case.name], case.mark)
            spent = server.cpu() - before
            decisions = len(blobs) * DEPTH * case.per_command / case.commands_a_decision
            if round_ < 0:
                continue
            micros = spent / decisions * 1e6
            if case.name == BASE.name:
                base = micros
            entry = figures[case.name]
            entry.micros.append(micros)
            entry.ratios.append(micros / base)
            entry.decisions += decisions
            entry.marked += marked
            entry.times += times
    load.close()
    return figures
