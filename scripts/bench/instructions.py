"""Instructions a command, counted by callgrind: they repeat where times do not.

    python3 scripts/bench/instructions.py [name …]
    python3 scripts/bench/instructions.py --check tests/instructions.txt
    python3 scripts/bench/instructions.py --write tests/instructions.txt

A file of counts holds for one build of the server. It fails a check when a
command takes more than 5% more than it says; what takes less is only told, so
that the file can be written anew.
"""

import argparse
import dataclasses
import re
import shutil
import subprocess
import sys

from cases import CASES
from load import DEPTH, Load, decision, key, pipelines
from server import PROGRAM, Server

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
            lines = DEPTH * load.lines_of(*decision(case, *names))
            blobs = 2 * pipelines(case, KEYS, 2)
            load.run(blobs, lines)
            control(server.process, "-z")
            load.run(blobs, lines)
            yield case, counted(server) / (len(blobs) * DEPTH * case.per_command)
            load.close()


# What is checked: the hot path, and what it is compared with.
CHECKED = ["SET key v PX 60000", "RL.ACQUIRE bucket:30/m:burst=16, granted", "RL.ACQUIRE 100/m, granted",
           "RL.ACQUIRE sliding, denied", "RL.ACQUIRE three limits, granted",
           "CB.ACQUIRE + CB.REPORT OK", "RL.BATCH EACH of 50, a key"]
TOLERANCE = 0.05


def server_version():
    return subprocess.run([PROGRAM, "--version"], check=True, capture_output=True, text=True).stdout.strip()


def write(path):
    with open(path, "w") as file:
        file.write(f"{server_version()}\n")
        for case, count in measure([case for case in CASES if case.name in CHECKED]):
            file.write(f"{count:.0f} {case.name}\n")


def check(path):
    """0 when all is well, or nothing can be said."""
    if not shutil.which("valgrind"):
        print("instructions: not counted, valgrind is not installed")
        return 0
    with open(path) as file:
        version, *lines = file.read().splitlines()
    if version != server_version():
        print(f"instructions: not counted, {path} was written for another server: {version}")
        return 0
    expected = {name: float(count) for count, name in (line.split(" ", 1) for line in lines)}
    failed = 0
    for case, count in measure([case for case in CASES if case.name in expected]):
        change = count / expected[case.name] - 1
        failed += change > TOLERANCE
        print(f"instructions: {count:6.0f} {change:+6.1%} {case.name}{'  TOO MANY' if change > TOLERANCE else ''}")
    if failed:
        print(f"instructions: more than {TOLERANCE:.0%} above {path}. Find why (callgrind, or --profile), or, "
              "when it is worth it, say why in the commit that writes the file anew: make instructions")
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", help="write callgrind's profile of the last case here")
    parser.add_argument("--check", metavar="FILE")
    parser.add_argument("--write", metavar="FILE")
    parser.add_argument("names", nargs="*", help="cases whose name holds one of these")
    options = parser.parse_args()
    if options.write:
        return write(options.write)
    if options.check:
        return check(options.check)
    cases = [case for case in CASES if not options.names or any(name in case.name for name in options.names)]
    for case, count in measure(cases, options.profile):
        print(f"{count:9.0f}  {case.name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
