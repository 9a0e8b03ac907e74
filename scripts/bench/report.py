"""Tables that people can read and paste: Markdown."""

import datetime
import os
import statistics
import subprocess

import check
from cases import AGAIN, BASE, CHEAPER, CHEAPER_IN_USE, HOT
from decision_kinds import FIRST, LEAST
from leases import COUNT

from server import ALLOWED, machine

PLAIN = "no persistence"


def heading(server, libraries):
    today = datetime.date.today().isoformat()
    load = os.getloadavg()[0]
    busy = f", load {load:.1f} when it began" if load > len(ALLOWED) / 2 else ""
    return (
        f"{today} · {server.version()}, {server.allocator()} · floodgate {revision()} · {machine()}{busy}\n"
        f"libraries: {', '.join(libraries) or 'none'}\n"
    )


def revision():
    ran = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return ran.stdout.strip() or "of an unknown revision"


def table(head, rows):
    """A table in Markdown, its columns aligned."""
    rows = [head, *rows]
    widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def bound(value, shape="{:.2f}"):
    return "" if value is None else shape.format(value)


def named(entry):
    return entry.case.name + ("" if entry.as_expected() > 0.999 else f" ({entry.as_expected():.1%} so)")


def costs(figures, mode):
    """The bounds hold without persistence."""
    rows = [
        [
            named(entry),
            f"{statistics.median(entry.micros):.2f}",
            spread(entry.ratios),
            bound(entry.case.bound if mode == PLAIN else None),
        ]
        for entry in figures.values()
    ]
    return (
        table([f"server CPU a decision, 32-deep pipelines, {mode}", "µs", "× SET PX (min-max)", "at most"], rows)
        + noise(figures)
        + compared(figures, CHEAPER)
    )


def hot(figures, many):
    """Beside SET on one key, and beside the same on many keys where they were measured."""
    twins = {case.name: twin for case, twin in HOT} | {BASE.name: BASE.name}
    rows = [
        [
            named(entry),
            f"{statistics.median(entry.micros):.2f}",
            spread(entry.ratios),
            f"{check.times_many(figures, many, name, twins[name]):.2f}" if twins[name] in many else "",
        ]
        for name, entry in figures.items()
    ]
    return table(["server CPU a decision, one hot key", "µs", "× SET PX (min-max)", "× many keys"], rows) + noise(
        figures
    )


def visits(seen, server):
    """Both visits on one server, and what they may cost there."""
    least = seen.get(LEAST)
    rows = []
    for name, entry in seen.items():
        cells = []
        for visit in ("new", "there"):
            figures, reach = getattr(entry, visit), getattr(entry.kind, visit)
            of_least = getattr(least, visit).ratio() if least else None
            cells += (
                [
                    f"{statistics.median(figures.micros):.2f}",
                    spread(figures.ratios),
                    bound(reach.bound(server.startswith(FIRST), of_least)),
                ]
                if figures.ratios
                else ["", "", ""]
            )
        rows.append([name, *cells])
    stray = (
        f"{max(check.noise(figures.ratios) for figures in seen[AGAIN].both()):.1%}"
        if AGAIN in seen
        else "nothing known"
    )
    return table(
        [
            f"server CPU a decision, 32-deep pipelines, {server}",
            "new key: µs",
            "× SET PX (min-max)",
            "at most",
            "existing key: µs",
            "× SET PX (min-max)",
            "at most",
        ],
        rows,
    ) + (f"noise: half of the rounds of SET against itself lie within {stray}\n")


def keys(sizes):
    rows = [
        [
            f"{entry.keys:,} keys: {name}",
            spread(entry.new.ratios),
            spread(entry.there.ratios),
            f"{statistics.median(entry.a_key):.0f}",
        ]
        for found in sizes
        for name, entry in found.items()
    ]
    return table(
        ["server CPU a decision, × SET on as many keys", "new key (min-max)", "existing key (min-max)", "bytes a key"],
        rows,
    )


def threads(rows, version):
    return table(
        [f"{version} with io-threads 2", "load", "a second", "× SET PX (min-max)"],
        [[row.name, row.way.name, f"{row.rate():,.0f}", spread(row.ratios)] for row in rows],
    )


def leases(rows):
    return table(
        ["one key, Python", "leases", "decisions a second (min-max)", "most in any second"],
        [
            [
                f"{row.processes} process{'es' if row.processes > 1 else ''}",
                "yes" if row.leased else "no",
                f"{row.rate():,.0f} ({min(row.rates):,.0f}-{max(row.rates):,.0f})",
                f"{row.most:,} of {COUNT:,}",
            ]
            for row in rows
        ],
    )


def noise(figures):
    return f"noise: half of the rounds of SET against itself lie within {check.noise(figures[AGAIN].ratios):.1%}\n"


def compared(figures, expected):
    return "".join(
        f"{entry.peer} costs {check.times_ours(figures, entry.ours, entry.peer):.1f} times {entry.ours} "
        f"(at least {entry.times:g})\n"
        for entry in expected
        if entry.ours in figures and entry.peer in figures
    )


def windows(in_use, instructions):
    figures = in_use.figures
    rows = [
        [
            named(entry),
            f"{statistics.median(entry.micros):.2f}",
            spread(entry.ratios),
            f"{in_use.inside[name]:.2f}",
            f"{instructions[name]:,.0f}" if name in instructions else "",
        ]
        for name, entry in figures.items()
    ]
    least = {check.INSIDE: "", check.INSTRUCTIONS: " (at least {:g})"}
    less = "".join(
        f"{entry.peer} takes {times:.1f} times the {what} of {entry.ours}{least[what].format(entry.times)}\n"
        for what, entry, times in check.times_inside(in_use, instructions)
    )
    return (
        table(
            [
                f"the same, windows in use: {in_use.taken:.0f} of 100 a minute taken",
                "µs",
                "× SET PX (min-max)",
                "µs inside the command",
                "instructions",
            ],
            rows,
        )
        + "The table above has windows that were hardly used: that flatters whoever keeps an entry a grant.\n"
        + noise(figures)
        + compared(figures, CHEAPER_IN_USE)
        + less
    )


def latency(rows, mode):
    return "\n".join(
        table(
            [
                f"{way}, {'one hot key' if hot else 'many keys'}, {mode}",
                "a second",
                "p50 ms",
                "p99 ms",
                "p99.9 ms",
                "p99 × SET PX (min-max)",
            ],
            [
                [
                    row.name,
                    f"{row.median('rate'):,.0f}",
                    *(f"{row.median(field):.3f}" for field in ("p50", "p99", "p999")),
                    spread(row.ratios),
                ]
                for row in group
            ],
        )
        for (way, hot), group in grouped(rows)
    )


def grouped(rows):
    groups = {}
    for row in rows:
        groups.setdefault((row.way.name, row.hot), []).append(row)
    return groups.items()


def growth(tables, unit):
    return "\n".join(
        table(
            [f"{unit} a decision by {part.title}", *part.columns],
            [
                [step, *(f"{value:,.0f}" if value > 100 else f"{value:.2f}" for value in figures)]
                for step, figures in part.rows
            ],
        )
        for part in tables
    )


def memory(rows, server):
    return table(
        [f"bytes a key, TTL included, {server}", "bytes", "at most", "of keys", "when they are gone"],
        [
            [
                row.name,
                f"{row.a_key:.0f}",
                bound(row.bound, "{}"),
                f"{row.keys:,}",
                "all back" if row.left < 1 else f"{row.left:.0f} a key left",
            ]
            for row in rows
        ],
    )


def servers(rows_by_server):
    """One column a server."""
    first = next(iter(rows_by_server.values()))
    return table(
        ["bytes a key, TTL included", *rows_by_server],
        [[row.name, *(f"{rows[at].a_key:.0f}" for rows in rows_by_server.values())] for at, row in enumerate(first)],
    )


def leaks(left):
    return (
        "bytes a key that are left after all have expired by themselves: "
        + ", ".join(f"{kind} {max(0.0, bytes_):.1f}" for kind, bytes_ in left)
        + "\n"
    )


def replication(rows, server):
    return table(
        [f"to a replica, a command, {server}", "bytes", "effects", "sent as"],
        [[row.name, f"{row.bytes:.0f}", f"{row.effects:g}", ", ".join(row.commands) or "nothing"] for row in rows],
    )
