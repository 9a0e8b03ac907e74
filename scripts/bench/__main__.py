"""`make bench`: what a decision costs the server, beside what people use today.

Every figure is a ratio within one run: the server on one core, the load on the
other, the cases in turn for many short rounds, medians with the least and the
most. Server time is what the server itself reports (INFO cpu).

What is measured:
    cases               one row a command, with its bounds
    decision_kinds      by what the key is: new, there, changed, gone again; with their bounds
    peers               the libraries that people use today (clients, lua)
    reference_modules   the least module in C (bare), and redis-cell
How:
    server, versions    a server of our own; which servers scripts/servers.sh has
    load                prepared pipelines
    sampling            how many rounds, and what their figures are worth
Each part of `make bench`:
    cpu, visits, windows, keys, growth, memory, propagation, latency, threads, leases
What becomes of it:
    check               the bounds that are missed
    report, picture     tables and drawings
    publish             their places in BENCHMARKS.md and README.md
Run by hand:
    instructions, lookups, allocations, reservations, waiting, envoy

`test_bench` tries what needs no server.
"""

import argparse
import dataclasses
import os
import signal
import sys
import time

import check
import cpu
import decision_kinds
import growth
import keys
import latency
import leases
import memory
import peers
import propagation
import publish
import reference_modules
import report
import sampling
import threads
import versions
import visits
import windows
from cases import AGAIN, CASES, HOT, HOT_BASE, LUA_GCRA, LUA_SORTED_SET, lua_cases
from load import DEPTH

from server import Server, cores, programs

# What is measured with an AOF or a replica: what changes something.
CHANGES = [AGAIN, "granted", "RL.BATCH", "CB.ACQUIRE", LUA_GCRA, LUA_SORTED_SET]
EVERYSEC = ("--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")


@dataclasses.dataclass
class Parts:
    """What was measured, by part; and the bounds that it misses."""

    costs: dict | None = None
    hot: tuple | None = None
    in_use: windows.InUse | None = None
    # Of windows in use; empty where they could not be counted.
    instructions: dict | None = None
    latency: list | None = None
    growth: tuple | None = None
    replication: list | None = None
    memory: list | None = None
    servers: dict | None = None
    # By server.
    visits: dict | None = None
    keys: list | None = None
    threads: dict | None = None
    leases: list | None = None
    # The server that most parts ran on.
    server: str = ""
    # With their versions.
    libraries: list = dataclasses.field(default_factory=list)
    missed: list = dataclasses.field(default_factory=list)
    left: publish.Left = dataclasses.field(default_factory=publish.Left)
    # Seconds that the part of now has.
    seconds: float = 0.0


def parse():
    purpose, _, _ = __doc__.partition("\n\nWhat is measured:")
    parser = argparse.ArgumentParser(prog="make bench", description=purpose)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each case")
    parser.add_argument("--keys", type=int, default=100_000, help="keys a case")
    parser.add_argument(
        "--memory-keys",
        type=int,
        default=memory.QUICK,
        help="keys for the figures of memory (a million takes minutes more)",
    )
    parser.add_argument("--only", help="only cases whose name holds this, beside SET")
    parser.add_argument("--parts", default=",".join(PARTS), help="which tables, by comma: " + ", ".join(PARTS))
    parser.add_argument(
        "--servers", action="store_true", help="memory and replication on the servers of scripts/servers.sh, too"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=30,
        help="about so many for all parts that come in rounds; three rounds are had whatever it says",
    )
    parser.add_argument("--most-keys", type=int, default=keys.SIZES[-1], help="for the growth with the number of keys")
    parser.add_argument("--write", action="store_true", help="write what was measured into BENCHMARKS.md and README.md")
    parser.add_argument("--check", action="store_true", help="fail when a bound is missed by more than the noise")
    options = parser.parse_args()
    # Whole pipelines, also of the largest command and of half as many keys: none is left out.
    whole = 2 * DEPTH * max(case.per_command for case in CASES)
    options.keys = max(whole, options.keys - options.keys % whole)
    options.parts = options.parts.split(",")
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"unknown parts: {', '.join(unknown)}")
    return options


def say(text):
    print(text, flush=True)


def cases_for(server, only=None, names=None):
    cases = CASES + lua_cases(lambda text: server("SCRIPT", "LOAD", text).decode())
    if names is None:
        cases += peers.cases(server, say)
    else:
        cases = [case for case in cases if any(name in case.name for name in names)]
    if only:
        cases = [case for case in cases if only in case.name or case.name == AGAIN]
    return cases


def measure_cost(options, parts):
    with Server() as server:
        parts.costs = cpu.measure(
            server,
            cases_for(server, options.only),
            options.keys,
            options.rounds,
            further=options.rounds + 1,
            seconds=parts.seconds,
        )
    say(report.costs(parts.costs, report.PLAIN))
    parts.missed += check.costs(parts.costs, not options.only)


def measure_hot(options, parts):
    many = parts.costs or {}
    with Server() as server:
        figures = cpu.measure(
            server, [case for case, _ in HOT], options.keys, options.rounds, HOT_BASE, seconds=parts.seconds
        )
    parts.hot = figures, many
    say(report.hot(figures, many))
    parts.missed += check.hot(figures, many)


def windows_for(server):
    return [case for case in cases_for(server) if case.name in windows.NAMES]


def measure_windows(options, parts):
    with Server() as server:
        # All of them, for they are compared with one another.
        parts.in_use = windows.measure(server, windows_for(server), options.keys // 25, 2 * options.rounds)
    parts.instructions = windows.instructions(windows_for)
    say(report.windows(parts.in_use, parts.instructions))
    parts.missed += check.windows(parts.in_use, parts.instructions)


def measure_latency(options, parts):
    with Server() as server:
        parts.latency = latency.measure(server, options.keys, options.rounds + 2, seconds=parts.seconds)
    say(report.latency(parts.latency, report.PLAIN))
    if not latency.is_sure(parts.latency):
        say("p99 of SET against itself is not known to a tenth: nothing is said of p99")
    parts.missed += check.latency(parts.latency)


def measure_modes(options, _):
    """The same under AOF everysec, and with one replica."""
    rounds = max(1, options.rounds // 2)
    with Server(*EVERYSEC) as server:
        persistent(server, options, rounds, "AOF everysec")
    with (
        Server("--client-output-buffer-limit", "replica 0 0 0") as server,
        Server("--replicaof", "127.0.0.1", str(server.port), on_cores=cores()[1:]) as replica,
    ):
        propagation.linked(replica)
        persistent(server, options, rounds, "one replica")


def persistent(server, options, rounds, mode):
    say(report.costs(cpu.measure(server, cases_for(server, options.only, CHANGES), options.keys, rounds), mode))
    say(report.latency(latency.measure(server, options.keys, 2 * rounds - 1, hot=(False,)), mode))


def measure_growth(_, parts):
    parts.growth = growth.measure()
    say(report.growth(*parts.growth))
    parts.missed += check.growth(parts.growth[0])


def measure_replication(options, parts):
    for program in programs(options.servers):
        with Server(**program) as server:
            rows = list(propagation.measure(server))
            say(report.replication(rows, server.version()))
        parts.replication = parts.replication or rows
        parts.missed += check.replication(rows)


def measure_memory(options, parts):
    with Server() as server:
        parts.memory = list(memory.measure(server, options.memory_keys))
        say(report.memory(parts.memory, f"{server.version()}, {server.allocator()}"))
        left = list(memory.no_leak(server, memory.QUICK))
        say(report.leaks(left))
    parts.missed += check.memory(parts.memory) + check.leaks(left)
    others = {}
    for program in programs(options.servers)[1:]:
        with Server(**program) as server:
            say(f"(memory on {server.version()})")
            others[f"{server.version()}, {server.allocator()}"] = list(
                memory.measure(server, min(options.memory_keys, memory.QUICK))
            )
    if others:
        parts.servers = others
        say(report.servers(others))


def had(what, build):
    """A module that is built here, or nothing and why."""
    try:
        return build()
    except peers.Missing as reason:
        say(f"{what} is not measured: {reason}")
        return None


def measure_visits(options, parts):
    least = had(decision_kinds.LEAST, reference_modules.bare)
    cell = had(decision_kinds.OF_CELL.name, reference_modules.cell)
    if not cell:
        say(reference_modules.CELL_BY_HAND)
    parts.visits, programs_ = {}, versions.there(decision_kinds.SERVERS)
    seconds = parts.seconds / max(1, len(programs_))
    for program in programs_:
        with Server(program=program) as server:
            of = server.version()
            all_kinds = decision_kinds.OURS + decision_kinds.lua_kinds(
                lambda text, server=server: server("SCRIPT", "LOAD", text).decode()
            )
            seen = visits.measure(
                server,
                chosen(all_kinds, options.only),
                options.keys // 2,
                sampling.within(4 * options.rounds, seconds * 0.75, f"visits, {of}"),
            )
        if least:
            # Beside another module ours notes events of keys, for that module may listen.
            with Server(program=program, others=[least]) as server:
                seen |= visits.measure(
                    server,
                    [decision_kinds.THE_LEAST],
                    options.keys // 2,
                    sampling.within(4 * options.rounds, seconds * 0.1, f"{decision_kinds.LEAST}, {of}"),
                )
        if cell and not options.only:
            # A server has but one CL.THROTTLE.
            with Server(module=False, program=program, others=[cell]) as server:
                seen |= visits.measure(
                    server,
                    [decision_kinds.OF_CELL],
                    options.keys // 2,
                    sampling.within(4 * options.rounds, seconds * 0.15, f"redis-cell, {of}"),
                )
        say(report.visits(seen, of))
        parts.visits[of] = seen
        parts.missed += check.visits(seen, of)


def chosen(all_kinds, only):
    return [kind for kind in all_kinds if not only or only in kind.name or kind.name == AGAIN]


def measure_keys(options, parts):
    least = had(decision_kinds.LEAST, reference_modules.bare)
    sizes = [size for size in keys.SIZES if size <= options.most_keys]
    parts.keys = list(keys.measure(sizes, [least] if least else [], say))
    say(report.keys(parts.keys))
    parts.missed += check.keys(parts.keys)


def measure_threads(options, parts):
    parts.threads, programs_ = {}, versions.there(decision_kinds.SERVERS[1:])
    seconds = parts.seconds / max(1, len(programs_)) / len(latency.WAYS)
    for program in programs_:
        version, rows = threads.measure(
            program,
            options.keys,
            lambda way, program=program: sampling.within(
                2 * options.rounds, seconds, f"io-threads, {os.path.basename(program)}, {way}"
            ),
        )
        if rows:
            parts.threads[version] = rows
            say(report.threads(rows, version))


def measure_leases(options, parts):
    try:
        parts.leases = leases.measure(sampling.within(options.rounds, parts.seconds, "leases"))
    except peers.Missing as reason:
        say(f"leases are not measured: {reason}")
        return
    say(report.leases(parts.leases))


def write(options, parts):
    """What was measured, into the pages."""
    command = f"make bench BENCH='{' '.join(sys.argv[1:])}'"
    bodies = {}
    if parts.visits:
        bodies["visits"] = publish.visits(parts.visits, parts.left, command)
        if short := publish.in_short(parts.visits, parts.left):
            bodies[publish.IN_SHORT] = short
            publish.write(publish.README, publish.IN_SHORT, short)
    if parts.costs:
        bodies["cost"] = publish.costs(parts, parts.left, command)
    if parts.memory:
        bodies["memory"] = publish.memory(parts, command)
    if parts.replication:
        bodies["replication"] = publish.replication(parts, command)
    if parts.keys:
        bodies["keys"] = publish.sizes(parts.keys, parts.left, command, parts.server)
        publish.PICTURE.write_text(publish.drawing(parts.keys, publish.measured_on([parts.server])))
    if parts.latency:
        bodies["latency"] = publish.latency(parts.latency, parts.left, command, parts.server)
    if parts.threads:
        bodies["threads"] = publish.threads(parts.threads, parts.left, command)
    if parts.leases:
        bodies["leases"] = publish.on_one_key(parts.leases, parts.left, command, parts.server)
    for part, body in bodies.items():
        publish.write(publish.BENCHMARKS, part, body)
    say(f"written: {', '.join(bodies) or 'nothing'}")
    for line in parts.left.out:
        say(f"left out: {line}")


PARTS = {
    "visits": measure_visits,
    "cost": measure_cost,
    "hot": measure_hot,
    "windows": measure_windows,
    "latency": measure_latency,
    "threads": measure_threads,
    "leases": measure_leases,
    "modes": measure_modes,
    "growth": measure_growth,
    "keys": measure_keys,
    "replication": measure_replication,
    "memory": measure_memory,
}
# How much more time than the others a part has; the time of those that are not named is
# their own, by what they do.
SHARES = {"visits": 5, "cost": 5, "hot": 2, "latency": 3, "keys": 3}


def share(names, seconds):
    """Of the seconds left, those of the first of these parts."""
    wanted = [SHARES.get(name, 1) for name in names]
    return seconds * wanted[0] / sum(wanted)


def main():
    options = parse()
    # So that servers are stopped, and their folders go, also when we are stopped. A terminal that is
    # closed sends SIGHUP; under nohup that is ignored, and stays so.
    for name in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        if signal.getsignal(name) != signal.SIG_IGN:
            signal.signal(name, lambda number, _: sys.exit(128 + number))
    parts = Parts()
    # First the server: where none starts, nothing need be installed.
    with Server() as server:
        parts.server = server.version()
        parts.libraries = [f"{name} {version}" for name, version in sorted(peers.versions().items())]
        say(report.heading(server, parts.libraries))
    os.sched_setaffinity(0, {cores()[1]})
    end = time.monotonic() + options.minutes * 60
    for at, name in enumerate(options.parts):
        started = time.monotonic()
        parts.seconds = share(options.parts[at:], max(0.0, end - started))
        say(f"({name}: part {at + 1} of {len(options.parts)})")
        PARTS[name](options, parts)
        say(f"({name}: {time.monotonic() - started:.0f} s)\n")
    if options.write:
        write(options, parts)
    for line in parts.missed:
        say(f"missed: {line}")
    return 1 if options.check and parts.missed else 0


if __name__ == "__main__":
    sys.exit(main())
