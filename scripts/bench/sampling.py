"""How many rounds, and what their figures are worth."""

import math
import statistics
import sys
import time

# Half of a figure's rounds lie within so much of its median, or it is not shown.
WIDEST = 0.10
# How sure the bounds of a median are.
SURE = 0.95
# Rounds that are had whatever the time is: fewer say nothing of their spread.
FEWEST = 3


def within(most, seconds, what, clock=time.monotonic, out=sys.stderr):
    """Numbers of rounds, at most so many, until the time is over; tells of each."""
    started = clock()
    for number in range(most):
        passed = clock() - started
        # The next is not begun when it would end late.
        if number >= FEWEST and passed * (number + 1) / number > seconds:
            break
        print(f"  {what}: round {number + 1} of {most}, {passed:.0f} s of {seconds:.0f}", file=out, flush=True)
        yield number


def interquartile(values):
    """How far the quartiles lie from each other, as a part of the median."""
    if len(values) < 2:
        return math.inf
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / middle if middle else math.inf


def steady(values):
    return len(values) >= FEWEST and interquartile(values) <= WIDEST


def unsteady(values):
    """Why a figure is not steady."""
    if len(values) < FEWEST:
        return f"{len(values)} rounds, at least {FEWEST}"
    return f"half of its rounds lie {interquartile(values):.0%} apart, at most {WIDEST:.0%}"


def sure_median(values):
    """Between which values the median lies, as surely as SURE says: those of the ranks
    that a coin as often reaches. Without end where the values are too few."""
    count = len(values)
    ordered = sorted(values)
    below, rank = 0.0, 0
    while rank < count // 2:
        below += math.comb(count, rank) / 2**count
        if 2 * below > 1 - SURE:
            break
        rank += 1
    if rank == 0:
        return -math.inf, math.inf
    return ordered[rank - 1], ordered[count - rank]
