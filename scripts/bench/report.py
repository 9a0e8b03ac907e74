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


def costs(figures):
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
    text = table(["32-deep pipelines, 100 000 keys", "µs", "× SET PX", "min-max", "at most"], rows)
    for ours, peer, times in CHEAPER:
        if ours in figures and peer in figures:
            ratio = figures[peer].ratio() / figures[ours].ratio()
            text += f"{peer} costs {ratio:.1f} times {ours} (at least {times:g})\n"
    return text
