"""Instructions a command, counted by callgrind: they repeat where times do not.

    python3 scripts/bench/instructions.py [--profile FILE] [name …]
"""

import argparse
import dataclasses
import re
import subprocess
import sys

from cases import CASES
from load import DEPTH, Load, key, pipelines
from server import Server

# The keys are few: what counts is the path, not the caches. Visited twice
# before counting, so that the server's table of keys has its final size.
KEYS = 1600


def control(process, *options):
    subprocess.run(["callgrind_control", *options, str(process.pid)], check=True, capture_output=True)


def counted(server):
    """Instructions since the counters were zeroed."""
    out = subprocess.run(["callgrind_control", "-e", str(server.process.pid)], check=True, capture_output=True,
                         text=True).stdout
    found = re.search(r"Th 1\s+([\d,]+)", out) or re.search(r"^\s+Ir\s*[:=]?\s*([\d,]+)", out, re.M)
    if not found:
        raise RuntimeError(f"callgrind_control says:\n{out}")
    return int(found.group(1).replace(",", ""))


def measure(cases, profile=None):
    """Instructions a decision of each case, after its keys are there."""
    wrap = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile or '/dev/null'}", "-q"]
    if profile:
        wrap += ["--dump-instr=no", "--collect-jumps=no"]
    # One pass of the server's own timer a second disturbs least. Each case has
    # a server of its own: what the others left behind would count, too.
    for case in cases:
        with Server("--hz", "1", "--dynamic-hz", "no", wrap=wrap) as server:
            load = Load(server.port)
            if case.prepare:
                prepared = dataclasses.replace(case, command=case.prepare, per_command=1)
                load.run(pipelines(prepared, KEYS, 1), DEPTH * load.lines_of(case.prepare(key(case, 0))))
            names = [key(case, number) for number in range(case.per_command)]
            lines = DEPTH * load.lines_of(case.command(*names))
            blobs = 2 * pipelines(case, KEYS, 2)
            load.run(blobs, lines)
            control(server.process, "-z")
            load.run(blobs, lines)
            yield case, counted(server) / (len(blobs) * DEPTH * case.per_command)
            load.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", help="write callgrind's profile of the last case here")
    parser.add_argument("names", nargs="*", help="cases whose name holds one of these")
    options = parser.parse_args()
    cases = [case for case in CASES if not options.names or any(name in case.name for name in options.names)]
    for case, count in measure(cases, options.profile):
        print(f"{count:9.0f}  {case.name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
