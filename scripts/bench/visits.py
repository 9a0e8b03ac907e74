"""First and second visits: what a decision costs on a key that is new, and on one that is
there, beside SET's of the same kind. Most limiters of a service are cold: an address that
comes once, a user who comes back after the window.

Each turn begins with an empty database and sends every key twice, in two random orders.
Turns of SET stand before and after each kind's, so that what disturbs the machine for a
while disturbs both."""

import dataclasses
import statistics

from cases import BASE
from cpu import Figures, Meter
from decision_kinds import Kind
from load import DEPTH, Load, decision, key, packed, pipelines

from server import Client


@dataclasses.dataclass
class Seen:
    """What the rounds of one kind gave, by visit."""

    kind: Kind
    # Empty where the key is one that is there.
    new: Figures
    there: Figures

    @classmethod
    def of(cls, kind):
        return cls(kind, Figures(kind.first), Figures(kind.second))

    def both(self):
        return self.new, self.there


@dataclasses.dataclass(frozen=True)
class Turn:
    """The pipelines of a kind's two visits."""

    load: Load
    lines: int
    visits: tuple
    seen: Seen

    @classmethod
    def of(cls, kind, load, keys):
        names = [key(kind.first, number) for number in range(kind.first.per_command)]
        lines = DEPTH * load.lines_of(*decision(kind.first, *names))
        visits = tuple(pipelines(case, keys, order) for order, case in ((1, kind.first), (2, kind.second)))
        if kind.first.hot:
            visits = ([], in_turn(kind, keys))
        return cls(load, lines, visits, Seen.of(kind))

    def take(self, meter, admin):
        """Both visits, on an empty database."""
        admin("FLUSHDB", "SYNC")
        for blobs, figures in zip(self.visits, self.seen.both()):
            if blobs:
                self.visit(meter, blobs, figures)

    def visit(self, meter, blobs, figures):
        seconds, marked = meter.spent(lambda: self.load.run(blobs, self.lines, figures.case.mark))
        figures.add(seconds, len(blobs) * DEPTH * figures.case.per_command, marked)


def in_turn(kind, keys):
    """Both commands one after the other, on one key."""
    name = key(kind.first, 0)
    pair = packed(kind.first, name) + packed(kind.second, name)
    return [pair * (DEPTH // 2)] * (keys // DEPTH)


def plain(case):
    """A SET, as it stands beside a kind."""
    return Kind(case.name, case, case)


def measure(server, kinds, keys, rounds):
    """Seen by name of kind, in so many rounds (any iterable)."""
    meter, admin, load = Meter(server), Client(server.port), Load(server.port)
    turns = [Turn.of(one, load, keys) for one in kinds]
    sets = {case.name: Turn.of(plain(case), load, keys) for case in (BASE, *(one.beside for one in kinds))}
    for round_ in rounds:
        # The order turns, so that no kind always follows the same other.
        at = round_ % len(turns)
        latest = None
        for turn in turns[at:] + turns[:at]:
            beside = sets[turn.seen.kind.beside.name]
            # What came after the last is what comes before this one.
            if latest is not beside:
                beside.take(meter, admin)
            turn.take(meter, admin)
            beside.take(meter, admin)
            latest = beside
            for ours, theirs in zip(turn.seen.both(), beside.seen.both()):
                if ours.micros:
                    ours.compare(statistics.mean(theirs.micros[-2:]))
    admin("FLUSHALL", "SYNC")
    for connection in (admin, load):
        connection.close()
    return {turn.seen.kind.name: turn.seen for turn in turns}
