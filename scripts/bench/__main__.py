"""`make bench`: what a decision costs the server, beside what people use today.

Every figure is a ratio within one run: the server on one core, the load on the
other, the cases in turn for many short rounds, medians with the least and the
most. Server time is what the server itself reports (INFO cpu).
"""

import argparse
import os
import sys

import cpu
import report
from cases import CASES, lua_cases
from server import Server, cores


def main():
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="rounds that count")
    parser.add_argument("--keys", type=int, default=100_000, help="keys a case")
    parser.add_argument("--only", help="only cases whose name holds this, beside SET")
    options = parser.parse_args()

    with Server() as server:
        os.sched_setaffinity(0, {cores()[1]})
        cases = CASES + lua_cases(lambda text: server("SCRIPT", "LOAD", text).decode())
        if options.only:
            cases = [case for case in cases if options.only in case.name or case.name.startswith("SET key")]
        print(report.heading(server))
        figures = cpu.measure(server, cases, options.keys, options.rounds)
        print(report.costs(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
