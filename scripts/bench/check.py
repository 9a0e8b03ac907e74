"""Which bounds are missed by more than the noise of this very run."""

import statistics

from cases import CHEAPER


def noise(figures):
    """How far SET against itself strays, as a part of it: half the rounds lie within."""
    ratios = figures["SET again (the noise)"].ratios
    return statistics.median(abs(ratio - 1) for ratio in ratios)


def costs(figures):
    allowed = 1 + noise(figures)
    missed = []
    for name, entry in figures.items():
        if entry.case.bound and entry.ratio() > entry.case.bound * allowed:
            missed.append(f"{name}: {entry.ratio():.2f} × SET PX, at most {entry.case.bound:.2f}")
        if entry.as_expected() < 0.99:
            missed.append(f"{name}: only {entry.as_expected():.1%} of the decisions were so")
    for ours, peer, times in CHEAPER:
        if ours in figures and peer in figures:
            ratio = figures[peer].ratio() / figures[ours].ratio()
            if ratio * allowed < times:
                missed.append(f"{peer}: {ratio:.1f} times {ours}, at least {times:g}")
    return missed


def memory(rows):
    return [
        f"{row.case.name}: {row.a_key:.0f} bytes a key, at most {row.bound}"
        for row in rows
        if row.bound and row.a_key > row.bound
    ]
