"""`make bench`: what a decision costs the server, beside what people use today.

Every figure is a ratio within one run: the server on one core, the load on the
other, the cases in turn for many short rounds, medians with the least and the
most. Server time is what the server itself reports (INFO cpu).
"""

import argparse
import dataclasses
import os
import signal
import subprocess
import sys
import time

import check
import cpu
import growth
import latency
import memory
import peers
import propagation
import report
import windows
from cases import AGAIN, CASES, HOT, HOT_BASE, LUA_GCRA, LUA_SORTED_SET, lua_cases
from load import DEPTH

from server import Server, cores

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
    missed: list = dataclasses.field(default_factory=list)


def parse():
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each case")
    parser.add_argument("--keys", type=int, default=100_000, help="keys a case")
    parser.add_argument("--memory-keys", type=int, default=memory.QUICK,
                        help="keys for the figures of memory (a million takes minutes more)")
    parser.add_argument("--only", help="only cases whose name holds this, beside SET")
    parser.add_argument("--parts", default=",".join(PARTS), help="which tables, by comma: " + ", ".join(PARTS))
    parser.add_argument("--servers", action="store_true",
                        help="memory and replication on the servers of scripts/servers.sh, too")
    parser.add_argument("--markdown", action="store_true", help="end with what BENCHMARKS.md shows")
    parser.add_argument("--check", action="store_true", help="fail when a bound is missed by more than the noise")
    options = parser.parse_args()
    # Whole pipelines, also of the largest command: no key is left out.
    whole = DEPTH * max(case.per_command for case in CASES)
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
        parts.costs = cpu.measure(server, cases_for(server, options.only), options.keys, options.rounds,
                                  further=options.rounds + 1)
    say(report.costs(parts.costs, report.PLAIN))
    parts.missed += check.costs(parts.costs, not options.only)


def measure_hot(options, parts):
    many = parts.costs or {}
    with Server() as server:
        figures = cpu.measure(server, [case for case, _ in HOT], options.keys, options.rounds, HOT_BASE)
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
        parts.latency = latency.measure(server, options.keys, options.rounds + 2)
    say(report.latency(parts.latency, report.PLAIN))
    parts.missed += check.latency(parts.latency)


def measure_modes(options, _):
    """The same under AOF everysec, and with one replica."""
    rounds = max(1, options.rounds // 2)
    with Server(*EVERYSEC) as server:
        persistent(server, options, rounds, "AOF everysec")
    with Server("--client-output-buffer-limit", "replica 0 0 0") as server, \
            Server("--replicaof", "127.0.0.1", str(server.port), core=cores()[1]) as replica:
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
    for program in programs(options):
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
    for program in programs(options)[1:]:
        with Server(**program) as server:
            say(f"(memory on {server.version()})")
            others[f"{server.version()}, {server.allocator()}"] = list(
                memory.measure(server, min(options.memory_keys, memory.QUICK)))
    if others:
        parts.servers = others
        say(report.servers(others))


def programs(options):
    """This machine's server, and those of scripts/servers.sh when they are asked for."""
    found = [{}]
    if options.servers:
        listed = subprocess.run([peers.ROOT / "scripts" / "servers.sh", "fetch"], check=True, capture_output=True,
                                text=True).stdout
        found += [{"program": line.split()[2]} for line in listed.splitlines()]
    return found


PARTS = {
    "cost": measure_cost,
    "hot": measure_hot,
    "windows": measure_windows,
    "latency": measure_latency,
    "modes": measure_modes,
    "growth": measure_growth,
    "replication": measure_replication,
    "memory": measure_memory,
}


def main():
    options = parse()
    # So that servers are stopped also when we are.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parts = Parts()
    with Server() as server:
        heading = report.heading(server, peers.versions())
    say(heading)
    os.sched_setaffinity(0, {cores()[1]})
    for name in options.parts:
        started = time.monotonic()
        PARTS[name](options, parts)
        say(f"({name}: {time.monotonic() - started:.0f} s)\n")
    if options.markdown:
        say(report.in_short(parts, heading))
    for line in parts.missed:
        say(f"missed: {line}")
    return 1 if options.check and parts.missed else 0


if __name__ == "__main__":
    sys.exit(main())
