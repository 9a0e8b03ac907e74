"""Which bounds are missed by more than the noise of this very run."""

import statistics

from cases import AGAIN, BASE, CHEAPER, CHEAPER_IN_USE, HOT, LESS_IN_USE
from decision_kinds import FIRST, LEAST
from latency import PLAIN

# Above what a limit's first steps take, where nothing should grow.
GROWTH = 0.10
# What the work of a command itself is told in.
INSIDE = "time inside the command"
INSTRUCTIONS = "instructions"
# What p99 may differ by where SET differs less from itself.
SPREAD = 0.15


def noise(ratios):
    """How far SET against itself strays, as a part of it: half the rounds lie within."""
    return statistics.median(abs(ratio - 1) for ratio in ratios)


def costs(figures, whole=True):
    """Of all cases, or where they are not whole, of some."""
    allowed = 1 + noise(figures[AGAIN].ratios)
    missed = []
    for name, entry in figures.items():
        if entry.case.bound and entry.ratio() > entry.case.bound * allowed:
            missed.append(
                f"{name}: {entry.ratio():.2f} × SET PX, at most {entry.case.bound:.2f} and {allowed - 1:.0%} of noise"
            )
        if entry.as_expected() < 0.99:
            missed.append(f"{name}: only {entry.as_expected():.1%} of the decisions were so")
    return missed + cheaper(figures, CHEAPER, whole)


def visits(seen, server):
    """First and second visits on one server."""
    least = seen.get(LEAST)
    missed = [] if least else [f"{server}: the least module was not measured, so nothing beside it was checked"]
    for name, entry in seen.items():
        for visit, reach, figures in (
            ("new key", entry.kind.new, entry.new),
            ("existing key", entry.kind.there, entry.there),
        ):
            if not figures.ratios:
                continue
            of_least = getattr(least, "new" if figures is entry.new else "there").ratio() if least else None
            bound = reach.bound(server.startswith(FIRST), of_least)
            again = getattr(seen[AGAIN], "new" if figures is entry.new else "there")
            allowed = 1 + noise(again.ratios)
            if bound and figures.ratio() > bound * allowed:
                missed.append(
                    f"{server}: {name}, {visit}: {figures.ratio():.2f} × SET PX, at most {bound:.2f} "
                    f"and {allowed - 1:.0%} of noise"
                )
            if figures.as_expected() < 0.99:
                missed.append(f"{server}: {name}, {visit}: only {figures.as_expected():.1%} of the decisions were so")
    return missed


def keys(sizes):
    """Beside SET's a decision costs no more on the most keys than on the fewest."""
    first, last = sizes[0], sizes[-1]
    missed = []
    for name, entry in last.items():
        for visit in ("new", "there"):
            early, late = getattr(first[name], visit).ratio(), getattr(entry, visit).ratio()
            if late > early * (1 + GROWTH):
                missed.append(
                    f"{name}, {visit}: {early:.2f} × SET on {first[name].keys:,} keys, {late:.2f} on {entry.keys:,}"
                )
    return missed


def hot(figures, many):
    """One hot key costs no more than many keys do, where both were measured."""
    allowed = 1 + noise(figures[AGAIN].ratios)
    missed = []
    for case, twin in HOT:
        if twin in many and (times := times_many(figures, many, case.name, twin)) > allowed:
            missed.append(f"{case.name} on one hot key: {times:.2f} × {twin} on many keys")
    return missed


def times_many(figures, many, name, twin):
    """Server time on one hot key beside that of the same on many."""
    return statistics.median(figures[name].micros) / statistics.median(many[twin].micros)


def windows(in_use, instructions):
    """The time inside the commands is told and not checked: it strays as all time does."""
    missed = cheaper(in_use.figures, CHEAPER_IN_USE, whole=True)
    for what, entry, times in times_inside(in_use, instructions):
        if what is INSTRUCTIONS and times < entry.times:
            missed.append(f"{entry.peer}: {times:.1f} times the {what} of {entry.ours}, at least {entry.times:g}")
    return missed


def times_inside(in_use, instructions):
    """How many times what ours takes a peer takes, by what the commands themselves
    take: (of what, the bound, times)."""
    for what, taken in ((INSIDE, in_use.inside), (INSTRUCTIONS, instructions)):
        for entry in LESS_IN_USE if taken else []:
            yield what, entry, taken[entry.peer] / taken[entry.ours]


def times_ours(figures, ours, peer):
    """How many times what ours costs a peer does: both beside SET, round by round."""
    return statistics.median(a / b for a, b in zip(figures[peer].ratios, figures[ours].ratios))


def cheaper(figures, expected, whole):
    allowed = 1 + noise(figures[AGAIN].ratios)
    missed = []
    for entry in expected:
        if entry.ours not in figures or entry.peer not in figures:
            # A check that was not made has not passed.
            missed += [f"{entry.peer} or {entry.ours} was not measured"] if whole else []
            continue
        times = times_ours(figures, entry.ours, entry.peer)
        if times * allowed < entry.times:
            missed.append(
                f"{entry.peer}: {times:.1f} times {entry.ours}, at least {entry.times:g} "
                f"less {allowed - 1:.0%} of noise"
            )
    return missed


def latency(rows):
    """p99 on plain connections and many keys, within the spread of SET against itself:
    its farthest round, for a p99 is made by whatever else the machine does."""
    by_name = {row.name: row.ratios for row in rows if row.way is PLAIN and not row.hot}
    if not by_name:
        return ["latency was not measured: redis-benchmark is missing"]
    allowed = 1 + max(SPREAD, *(abs(ratio - 1) for ratio in by_name[AGAIN]))
    return [
        f"{name}: p99 is {statistics.median(ratios):.2f} × that of SET PX, at most {allowed:.2f}"
        for name, ratios in by_name.items()
        if name not in (BASE.name, AGAIN) and statistics.median(ratios) > allowed
    ]


def growth(tables):
    """The later half of the steps beside the first."""
    missed = []
    for table in tables:
        for at, column in enumerate(table.columns):
            figures = [row[at] for _, row in table.rows]
            half = len(figures) // 2
            early, late = max(figures[:half]), statistics.median(figures[half:])
            if late > early * (1 + GROWTH):
                missed.append(f"{column} grows with {table.title}: {early:.4g} to {late:.4g}")
    return missed


def memory(rows):
    return [
        f"{row.name}: {row.a_key:.0f} bytes a key, at most {row.bound}"
        for row in rows
        if row.bound and row.a_key > row.bound
    ]


def leaks(left):
    return [f"{kind}: {bytes_:.1f} bytes a key stay when all have expired" for kind, bytes_ in left if bytes_ >= 1]


def replication(rows):
    """One effect a command, or one for each of the two of a breaker, or none."""
    return [f"{row.name}: {row.effects:g} effects a command" for row in rows if row.effects > 1]
