"""What BENCHMARKS.md and README.md hold of a run: each part has its place between two
comments, and its own date, server and processor. A figure whose rounds stray too far is
left out, and the run says which."""

import datetime
import statistics

import keys
import leases
import picture
import sampling
from cases import AGAIN, BASE, HOT, LUA_GCRA, OUR_BREAKER
from check import noise
from decision_kinds import OF_BUCKET, OF_SLIDING, OF_THREE
from latency import PLAIN, is_sure
from peers import ROOT
from report import grouped, table

from server import machine

BENCHMARKS, README = ROOT / "BENCHMARKS.md", ROOT / "README.md"
PICTURE = ROOT / "scripts" / "bench" / "keys.svg"
IN_SHORT = "in short"
# README's rows, by name of kind.
ROWS = {
    "RL.ACQUIRE, sliding window": OF_SLIDING,
    "RL.ACQUIRE, bucket": OF_BUCKET,
    "RL.ACQUIRE with three limits": OF_THREE,
    "CB.ACQUIRE and CB.REPORT": OUR_BREAKER,
    "a Lua script with GCRA": LUA_GCRA,
}


class Lost(Exception):
    """A page has no place for a part."""


def marks(part):
    return f"<!-- make bench: {part} -->\n", f"<!-- end of {part} -->"


def placed(text, part, body):
    """The text with the part's place filled anew."""
    begin, end = marks(part)
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise Lost(f"the page has no place for '{part}': it lacks {begin.strip()} or {end}")
    return before + begin + "\n" + body.strip() + "\n\n" + end + after


class Left:
    """What is left out, told at the end."""

    def __init__(self):
        self.out = []

    def cell(self, values, what, shape="{:.2f}"):
        """The median of what its rounds agree on, or nothing."""
        if not values:
            return ""
        if not sampling.steady(values):
            self.out.append(f"{what}: {sampling.unsteady(values)}")
            return ""
        return shape.format(statistics.median(values))


def measured_on(what):
    return f"{datetime.date.today().isoformat()}; {', '.join(what)}; {machine()}"


def caption(command, what):
    return f"`{command}`, {measured_on(what)}.\n\n"


def rows_that_say_something(rows):
    """Without those that have no figure left."""
    return [row for row in rows if any(row[1:])]


def visits(by_server, left, command):
    names = list(dict.fromkeys(name for seen in by_server.values() for name in seen))
    head = ["server CPU a decision, × `SET` of the same visit"]
    for server in by_server:
        head += [f"{server}: new key", "existing key"]
    rows = []
    for name in names:
        row = [name]
        for server, seen in by_server.items():
            for visit in ("new", "there"):
                ratios = getattr(seen[name], visit).ratios if name in seen else []
                row.append(left.cell(ratios, f"{name}, {visit}, {server}"))
        rows.append(row)
    return caption(command, by_server) + table(head, rows_that_say_something(rows)) + "\n" + strays(by_server)


def strays(by_server):
    most = max(noise(figures.ratios) for seen in by_server.values() for figures in seen[AGAIN].both())
    return f"Half of the rounds of `SET` against itself lay within {most:.1%} in that run.\n"


def in_short(by_server, left):
    """Five rows and two sentences; nothing where a row strays, as the table has told."""
    rows = []
    for name, kind in ROWS.items():
        pairs = [
            [figures.ratios for figures in (seen[kind].there, seen[kind].new)]
            for seen in by_server.values()
            if kind in seen
        ]
        if len(pairs) == len(by_server) and all(sampling.steady(ratios) for pair in pairs for ratios in pair):
            rows.append([name, *(" / ".join(f"{statistics.median(ratios):.2f}" for ratios in pair) for pair in pairs)])
    if len(rows) < len(ROWS):
        left.out.append(f"README.md stays as it is: only {len(rows)} of its {len(ROWS)} rows are known well enough")
        return None
    today = datetime.date.today().isoformat()
    return (
        table(["server CPU of one decision, × `SET key v PX`: existing key / new key", *by_server], rows)
        + f"\n`make bench` measured this on {today}, on {machine()}.\n{strays(by_server)}"
    )


def sizes(found, left, command, server):
    """The table, and the picture of it."""
    rows = []
    for name in found[0]:
        for visit, title in (("new", "new key"), ("there", "existing key")):
            # Beside itself SET is 1.
            if name == keys.SETS.name:
                continue
            rows.append(
                [
                    f"{name}, {title}, × SET",
                    *(
                        left.cell(getattr(size[name], visit).ratios, f"{name}, {visit}, {size[name].keys:,} keys")
                        for size in found
                    ),
                ]
            )
        rows.append([f"{name}, bytes a key", *(f"{statistics.median(size[name].a_key):.0f}" for size in found)])
    head = ["keys", *(f"{size[keys.SETS.name].keys:,}" for size in found)]
    return (
        caption(command, [server])
        + table(head, rows_that_say_something(rows))
        + f"\n![What a decision costs and a key takes, by the number of keys]({PICTURE.relative_to(ROOT)})\n"
    )


def drawing(found, note):
    """What each size costs, and a key takes."""

    def line(name, visit):
        figures = [getattr(size[name], visit).ratios for size in found]
        return picture.Line(
            name,
            [statistics.median(ratios) if sampling.steady(ratios) else None for ratios in figures],
            dashed=visit == "new",
        )

    # SET stands beside itself as what never strays.
    names = [name for name in found[0] if name != keys.SETS.name]
    cost = [line(name, visit) for name in names for visit in ("new", "there")]
    memory = [
        picture.Line(name, [statistics.median(size[name].a_key) for size in found]) for name in [*names, keys.SETS.name]
    ]
    shown = [picture.Line(one.name, one.figures, one.dashed) for one in cost if any(one.figures)]
    panels = [picture.Panel("server CPU a decision, × SET on as many keys", shown)] if shown else []
    panels.append(picture.Panel("bytes a key", memory))
    return picture.svg(
        panels, [size[keys.SETS.name].keys for size in found], f"{note}; dashed: new keys, else existing keys"
    )


def latency(waits, left, command, server):
    """Throughput and the median of all ways; p99 beside SET's where that is known."""
    text = caption(command, [server])
    for (way, is_hot), group in grouped(waits):
        if is_hot:
            continue
        rows = [
            [
                row.name,
                left.cell([one.rate for one in row.rounds], f"{row.name}, {way}, a second", "{:,.0f}"),
                left.cell([one.p50 for one in row.rounds], f"{row.name}, {way}, p50", "{:.2f}"),
            ]
            for row in group
        ]
        head = [way, "a second", "p50 ms"]
        if way == PLAIN.name and is_sure(group):
            head += ["p99, × SET's"]
            rows = [[*row, f"{statistics.median(entry.ratios):.2f}"] for row, entry in zip(rows, group)]
        elif way == PLAIN.name:
            left.out.append(
                f"p99 of {way}: SET's against itself is not known to a tenth after {len(group[0].rounds)} rounds"
            )
        text += table(head, rows_that_say_something(rows)) + "\n"
    return text


def threads(by_server, left, command):
    rows = [
        [
            server,
            row.way.name,
            row.name,
            left.cell(row.rates, f"{row.name}, {server}, {row.way.name}, a second", "{:,.0f}"),
            left.cell([] if row.name == BASE.name else row.ratios, f"{row.name}, {server}, {row.way.name}, × SET"),
        ]
        for server, found in by_server.items()
        for row in found
        if row.name != AGAIN
    ]
    return caption(command, by_server) + table(
        ["`io-threads 2`", "load", "command", "a second", "× `SET`"],
        [row for row in rows if row[4] or (row[2] == BASE.name and row[3])],
    )


def on_one_key(found, left, command, server):
    rows = [
        [
            str(row.processes),
            "with leases" if row.leased else "each asks",
            left.cell(
                row.rates, f"{row.processes} processes, {'with leases' if row.leased else 'each asks'}", "{:,.0f}"
            ),
            f"{row.most:,}",
        ]
        for row in found
    ]
    return caption(command, [server]) + table(
        ["processes", "one key", "decisions a second", f"most in any second, of {leases.COUNT:,} allowed"], rows
    )


def costs(parts, left, command):
    """On many keys, in windows in use and on one key, of what was measured."""
    used = parts.in_use.figures if parts.in_use else {}
    inside = parts.in_use.inside if parts.in_use else {}
    counted = parts.instructions or {}
    on_one_key = {twin: parts.hot[0][case.name] for case, twin in HOT} if parts.hot else {}
    head = [
        "server CPU a decision, × `SET key v PX 60000`",
        "window hardly used",
        "in use",
        "in use, inside",
        "in use, instructions",
        "one hot key",
    ]
    rows = []
    for name, entry in parts.costs.items():
        if name in (BASE.name, AGAIN):
            continue
        rows.append(
            [
                name,
                left.cell(entry.ratios, name),
                left.cell(used[name].ratios if name in used else [], f"{name}, in use"),
                f"{inside[name] / inside[AGAIN]:.2f}" if name in inside else "",
                f"{counted[name] / counted[AGAIN]:.2f}" if name in counted else "",
                left.cell(on_one_key[name].ratios if name in on_one_key else [], f"{name}, one hot key"),
            ]
        )
    return (
        caption(command, [parts.server, *parts.libraries])
        + table(head, rows_that_say_something(rows))
        + f"\nHalf of the rounds of `SET` against itself lay within {noise(parts.costs[AGAIN].ratios):.1%} on many "
        "keys.\n"
    )


def memory(parts, command):
    """Bytes a key, on all servers that were measured."""
    by_server = {parts.server: parts.memory} | (parts.servers or {})
    head = ["a key of 14 bytes: bytes, TTL included", *by_server]
    rows = [
        [row.name, *(f"{found[at].a_key:.0f}" for found in by_server.values())] for at, row in enumerate(parts.memory)
    ]
    return (
        caption(command, by_server)
        + table(head, rows)
        + f"\nOn {parts.server} of {parts.memory[0].keys:,} keys, where a row does not say otherwise.\n"
    )


def replication(parts, command):
    return caption(command, [parts.server]) + table(
        ["to a replica, a command", "bytes"], [[row.name, f"{row.bytes:.0f}"] for row in parts.replication]
    )


def write(path, part, body):
    text = path.read_text()
    path.write_text(placed(text, part, body))
