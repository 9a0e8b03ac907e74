"""`make bench`: what a decision costs the server, beside what people use today.

Every figure is a ratio within one run: the server on one core, the load on the
other, the cases in turn for many short rounds, medians with the least and the
most. Server time is what the server itself reports (INFO cpu).
"""

import argparse
import os
import sys

import check
import cpu
import growth
import latency
import memory
import peers
import propagation
import report
from cases import CASES, lua_cases
from load import DEPTH
from server import Server, cores


def parse():
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="rounds of each case")
    parser.add_argument("--keys", type=int, default=100_000, help="keys a case")
    parser.add_argument("--memory-keys", type=int, default=1_000_000, help="keys for the figures of memory")
    parser.add_argument("--only", help="only cases whose name holds this, beside SET")
    parser.add_argument("--parts", default="cost,peers,modes,latency,hot,memory,replication", help="which tables, by comma")
    parser.add_argument("--check", action="store_true", help="fail when a bound is missed by more than the noise")
    options = parser.parse_args()
    # Whole pipelines, also of the largest command: no key is left out.
    whole = DEPTH * max(case.per_command for case in CASES)
    options.keys = max(whole, options.keys - options.keys % whole)
    return options


def cases_for(server, only):
    cases = CASES + lua_cases(lambda text: server("SCRIPT", "LOAD", text).decode())
    if only:
        cases = [case for case in cases if only in case.name or case.name.startswith("SET")]
    return cases


def with_persistence(options):
    """The same under AOF everysec, and with one replica."""
    with Server("--appendonly", "yes", "--appendfsync", "everysec") as server:
        figures = cpu.measure(server, cases_for(server, options.only), options.keys, max(3, options.rounds // 3))
        print(report.costs(figures, "AOF everysec"))
    with Server() as server, Server("--replicaof", "127.0.0.1", str(server.port)):
        figures = cpu.measure(server, cases_for(server, options.only), options.keys, max(3, options.rounds // 3))
        print(report.costs(figures, "one replica"))


def main():
    options = parse()
    parts = options.parts.split(",")
    missed = []
    with Server() as server:
        os.sched_setaffinity(0, {cores()[1]})
        print(report.heading(server))
        if "cost" in parts:
            figures = cpu.measure(server, cases_for(server, options.only), options.keys, options.rounds)
            print(report.costs(figures, "no persistence"))
            missed += check.costs(figures)
        if "latency" in parts:
            print(report.latency(latency.measure(server, options.keys)))
        if "hot" in parts:
            print(report.counts(growth.measure(server)))
        if "memory" in parts:
            rows = list(memory.measure(server, options.memory_keys))
            print(report.memory(rows))
            missed += check.memory(rows)
            server("DEBUG", "SET-ACTIVE-EXPIRE", "1")
            left = memory.no_leak(server, options.memory_keys // 4)
            print(f"{left:.1f} bytes a key are left after all have expired by themselves\n")
        if "replication" in parts:
            print(report.replication(list(propagation.measure(server))))
    if "peers" in parts:
        with Server() as server:
            print(report.peers(list(peers.measure(server)), peers.versions()))
    if "modes" in parts:
        with_persistence(options)
    for line in missed:
        print("missed:", line)
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
