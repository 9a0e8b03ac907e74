"""Tables that people can read and paste."""

import datetime
import statistics

from cases import CHEAPER
from server import machine


def heading(server):
    today = datetime.date.today().isoformat()
    return f"{today} · {server.version()} · {machine()}\n"


def table(head, rows):
    """A table in Markdown, its columns aligned."""
    rows = [head, *rows]
    widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"


def memory(rows):
    return table(["memory a key, over {:,} keys of 14 bytes, TTL included".format(rows[0].keys), "bytes", "at most",
                  "when they are gone"],
                 [[row.case.name, f"{row.a_key:.0f}", "" if row.bound is None else str(row.bound),
                   "all back" if row.left < 1 else f"{row.left:.0f} a key left"] for row in rows])


def latency(rows):
    return table(["50 plain connections, ms", "a second", "p50", "p99 (min-max)", "p99.9"],
                 [[name, f"{rate:,.0f}", f"{p50:.3f}", f"{p99:.3f} ({least:.3f}-{most:.3f})", f"{p999:.3f}"]
                  for name, (rate, p50, p99, p999), least, most in rows])


def peers(rows, versions):
    return table(["what libraries send, pipelined", "commands", "µs", "× ours"],
                 [[name, str(commands), f"{micros:.2f}", f"{ratio:.1f}"] for name, commands, micros, ratio in rows]
                 ) + versions + "\n"


def replication(rows):
    return table(["to a replica, a command", "bytes"], [[name, f"{count:.0f}"] for name, count in rows])


def counts(rows):
    return table(["one hot key, × SET PX, by count", "bucket", "sliding", "fixed"],
                 [[f"{count:,}", *(f"{ratio:.2f}" for ratio in ratios)] for count, ratios in rows])


def costs(figures, mode):
    rows = []
    for entry in figures.values():
        bound = entry.case.bound
        note = "" if entry.as_expected() > 0.999 else f" ({entry.as_expected():.1%} so)"
        rows.append([
            entry.case.name + note,
            f"{statistics.median(entry.micros):.2f}",
            f"{entry.ratio():.2f}",
            f"{min(entry.ratios):.2f}-{max(entry.ratios):.2f}",
            "" if bound is None else f"{bound:.2f}",
        ])
    text = table([f"32-deep pipelines, {mode}", "µs", "× SET PX", "min-max", "at most"], rows)
    for ours, peer, times in CHEAPER:
        if ours in figures and peer in figures:
            ratio = figures[peer].ratio() / figures[ours].ratio()
            text += f"{peer} costs {ratio:.1f} times {ours} (at least {times:g})\n"
    return text
