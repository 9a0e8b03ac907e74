"""Instructions a command, counted by callgrind: they repeat where times do not.

    python3 scripts/bench/instructions.py [name …]
    python3 scripts/bench/instructions.py --check tests/instructions.txt
    python3 scripts/bench/instructions.py --write tests/instructions.txt
    python3 scripts/bench/instructions.py --add tests/instructions.txt

A file of counts holds for one version of the server. What is checked is each
command's count beside that of SET, so that another build of the server, another
libc or processor, whose functions are others for both, changes little. A check
fails when a command takes more than 5% more of a SET than the file says (15% where
limits take turns, whose counts depend on the time that passes); what
takes less is only told, so that the file can be written anew.

A window has as many slots as moments that it was asked at, so that a busy machine, which
asks later, would count more. Where that matters each visit has a slot of its own.

What disturbs a count only adds to it: a pass of the server's timer (2%), keys
that a server's random hash seed lays together (2%). So the lowest counts, of some
turns on a server and, for what is written or seems too many, of some servers.
"""

import argparse
import dataclasses
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

from cases import BASE, CASES, DENIED, GRANTED, SLIDING, Case, acquire
from decision_kinds import OURS
from load import DEPTH, Load, decision, key, pipelines

from server import PROGRAM, Client, Server, pack

# The keys are few: what counts is the path, not the caches. Visited twice
# before counting, so that the server's table of keys has its final size.
KEYS = 1600
# How often a server is counted, and on how many servers what must be sure is.
TURNS = 3
SERVERS = 3
# Seconds that are longer than a slot of a minute, a 64th of it, and than a window of 10/s.
BETWEEN_VISITS = 1.2


def control(process, *options):
    subprocess.run(["callgrind_control", *options, str(process.pid)], check=True, capture_output=True)


def counted(server):
    """Instructions since the counters were zeroed."""
    out = subprocess.run(
        ["callgrind_control", "-e", str(server.process.pid)], check=True, capture_output=True, text=True
    ).stdout
    found = re.search(r"Th 1\s+([\d,]+)", out) or re.search(r"^\s+Ir\s*[:=]?\s*([\d,]+)", out, re.M)
    if not found:
        raise RuntimeError(f"callgrind_control says:\n{out}")
    return int(found.group(1).replace(",", ""))


@dataclasses.dataclass(frozen=True)
class Aged(Case):
    """One key with a long history: as many grants, spread over its window, as
    it has slots for."""

    # Of one of those grants.
    cost: int = 1
    # The window in seconds, and how many grants lie in it.
    window: int = 0
    grants: int = 50


def aged(limits, window, cost, grants=50, mark=GRANTED, asks=1):
    return Aged(
        f"one key after {grants} grants, {limits}" + (", denied" if mark == DENIED else ""),
        b"age",
        acquire(limits, "COST", asks),
        mark=mark,
        cost=cost,
        window=window,
        grants=grants,
        by_time=window <= 60,
    )


DAY = 86_400
# What a decision costs must not grow with count, window or age.
AGED = [
    aged("100000/m", 60, 1),
    aged("1000000000/d", DAY, 1_000_000),
    aged("1000000000000/366d", 366 * DAY, 1_000_000_000),
    aged("bucket:10000/h", 3600, 10),
    aged("bucket:1000000000000/366d", 366 * DAY, 1_000_000_000),
    aged("fixed:1000000000000/366d", 366 * DAY, 1_000_000_000),
    aged("10/d", DAY, 1, grants=10, mark=DENIED),
    aged("64/366d", 366 * DAY, 1, grants=64, mark=DENIED),
    aged("1000000000000/366d", 366 * DAY, 20_000_000_000, mark=DENIED),
]


@dataclasses.dataclass(frozen=True)
class Waited(Case):
    """Keys that nobody waits for, while a client waits for another."""


WAITED = [
    Waited(f"RL.ACQUIRE {SLIDING} while a client waits elsewhere", b"wai", acquire(SLIDING), mark=GRANTED, by_time=True)
]


def let_one_wait(server):
    """The connection of a client that waits."""
    waiting = Client(server.port)
    server("RL.ACQUIRE", "elsewhere", "1/h")
    waiting.socket.sendall(pack("RL.ACQUIRE", "elsewhere", "1/h", "WAIT", "2h"))
    for _ in range(1000):
        if server.client.info("floodgate")["floodgate_waiting_now"] == "1":
            return waiting
        time.sleep(0.01)
    raise RuntimeError("the client does not wait")


@dataclasses.dataclass(frozen=True)
class New(Case):
    """Keys that are new to each turn: the database is emptied before it."""


@dataclasses.dataclass(frozen=True)
class Changing(Case):
    """Keys whose limits change with each visit: every other one sends this instead."""

    otherwise: Callable | None = None


def of_kind(kind):
    """What is counted of a kind: its new keys, or the limits that take turns."""
    case = kind.first
    fields = {field.name: getattr(case, field.name) for field in dataclasses.fields(case)} | {"hot": False}
    if case.hot:
        return Changing(**fields | {"name": kind.name, "prepare": case.command, "otherwise": kind.second.command})
    return New(**fields | {"name": f"{kind.name}, new key"})


# Of a bucket that is soon full again each key is new, whenever it is visited.
KINDS = [of_kind(kind) for kind in OURS if kind.new.most or kind.first.hot]


def live_through(server, case):
    """Gives the case's key its history, by the debug clock."""
    now = int(server.client("TIME")[0]) * 1_000_000
    step = case.window * 1_000_000 // case.grants
    for grant in range(case.grants):
        server("RL.DEBUG", "CLOCK", "SET", now - (case.grants - 1 - grant) * step)
        server("RL.ACQUIRE", key(case, 0), case.command(b"")[2], "COST", case.cost)
    server("RL.DEBUG", "CLOCK", "REAL")


def one_connection(port):
    """A load whose pipelines come one after the other: how many the server finds
    at a time, and what each look costs, must not depend on a busy machine."""
    load = Load(port)
    for other in load.sockets[1:]:
        other.close()
    del load.sockets[1:]
    return load


def counting_server(profile=None, *, module=True, **more):
    """A server whose instructions are counted."""
    # A server of scripts/servers.sh may be started by a script.
    wrap = [
        "valgrind",
        "--tool=callgrind",
        "--trace-children=yes",
        f"--callgrind-out-file={profile or '/dev/null'}",
        "-q",
    ]
    if profile:
        wrap += ["--dump-instr=no", "--collect-jumps=no", "--compress-strings=no", "--compress-pos=no"]
    # One pass of the server's own timer a second disturbs least.
    return Server(
        "--hz",
        "1",
        "--dynamic-hz",
        "no",
        module=module,
        module_arguments=["enable-debug-command", "yes", "wait-max", "2h"] if module else [],
        wrap=wrap,
        **more,
    )


def count(case, profile=None):
    """Instructions a decision after the case's keys are there: the lowest of some
    turns on a server of its own, for what other cases left behind would count, too."""
    with counting_server(profile) as server:
        load = one_connection(server.port)
        waiting = let_one_wait(server) if isinstance(case, Waited) else None
        if isinstance(case, Aged):
            live_through(server, case)
            blobs = [pack(*case.command(key(case, 0))) * DEPTH] * 50
        else:
            made = case.preparation()
            if case.prepare:
                load.run(pipelines(made, KEYS, 1), DEPTH * load.lines_of(*decision(made, key(case, 0))))
            blobs = pipelines(case, KEYS, 1 if case.by_time else 2)
        names = [key(case, number) for number in range(case.per_command)]
        lines = DEPTH * load.lines_of(*decision(case, *names))
        turns = [blobs, blobs]
        if isinstance(case, Changing):
            turns[0] = pipelines(dataclasses.replace(case, command=case.otherwise), KEYS, 2)
        if isinstance(case, New):
            # Nothing is taken away but by what is counted.
            server("DEBUG", "SET-ACTIVE-EXPIRE", "0")
        load.run(turns[0], lines)
        decisions = len(blobs) * DEPTH * case.per_command
        counts = []
        for turn in range(1, TURNS + 1):
            if case.by_time:
                time.sleep(BETWEEN_VISITS)
            if isinstance(case, New):
                server("FLUSHALL", "SYNC")
            control(server.process, "-z")
            marked = load.run(turns[turn % 2], lines, case.mark)
            # One key was asked before, to learn how long replies are.
            if case.mark and marked < 0.99 * decisions:
                raise RuntimeError(f"{case.name}: {marked} of {decisions} were what the case is about")
            counts.append(counted(server) / decisions)
        load.close()
        if waiting:
            waiting.close()
        return min(counts)


def surely(case):
    """The lowest count of some servers."""
    return min(count(case) for _ in range(SERVERS))


# What is checked: all that has a bound for its time, and what must not grow.
CHECKED = [BASE] + [case for case in CASES if case.bound is not None] + AGED + KINDS + WAITED
TOLERANCE = 0.05
# Limits that take turns are sorted anew each time, and their windows hold as many
# slots as milliseconds have passed: more on a slower machine.
TOLERANCE_IN_TURN = 0.15


def tolerance(case):
    return TOLERANCE_IN_TURN if isinstance(case, Changing) else TOLERANCE


def server_version():
    """`Redis server v=7.0.15`, without what tells one build from another."""
    out = subprocess.run([PROGRAM, "--version"], check=True, capture_output=True, text=True).stdout
    return out.split(" sha=")[0].strip()


def write(path):
    with open(path, "w") as file:
        file.write(f"{server_version()}\n")
        for case in CHECKED:
            file.write(f"{surely(case):.0f} {case.name}\n")
            file.flush()


def add(path):
    """Counts what the file lacks, and leaves its other rows as they are."""
    with open(path) as file:
        there = {line.split(" ", 1)[1] for line in file.read().splitlines()[1:]}
    with open(path, "a") as file:
        for case in CHECKED:
            if case.name not in there:
                file.write(f"{surely(case):.0f} {case.name}\n")
                file.flush()


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
    missing = [case.name for case in CHECKED if case.name not in expected]
    if missing:
        print(f"instructions: {path} lacks {', '.join(missing)}: make instructions")
        return 1
    base = surely(BASE)

    def change(found, case):
        return found / base * expected[BASE.name] / expected[case.name] - 1

    failed = 0
    for case in CHECKED:
        found = base if case is BASE else count(case)
        if change(found, case) > tolerance(case):
            found = min(found, surely(case))
        too_many = change(found, case) > tolerance(case)
        failed += too_many
        print(
            f"instructions: {found:6.0f} {found / base:5.2f} x SET {change(found, case):+6.1%} {case.name}"
            f"{'  TOO MANY' if too_many else ''}",
            flush=True,
        )
    if failed:
        print(
            f"instructions: too many beside {path}. Find why (callgrind, or --profile), or, "
            "when it is worth it, say why in the commit that writes the file anew: make instructions"
        )
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", help="write callgrind's profile of the last case here")
    parser.add_argument("--check", metavar="FILE")
    parser.add_argument("--write", metavar="FILE")
    parser.add_argument("--add", metavar="FILE", help="write the rows that the file lacks")
    parser.add_argument("names", nargs="*", help="cases whose name holds one of these")
    options = parser.parse_args()
    if options.add:
        return add(options.add)
    if options.write:
        return write(options.write)
    if options.check:
        return check(options.check)
    every = CASES + AGED + KINDS + WAITED
    cases = [case for case in every if not options.names or any(name in case.name for name in options.names)]
    for case in cases:
        print(f"{count(case, options.profile):9.0f}  {case.name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
