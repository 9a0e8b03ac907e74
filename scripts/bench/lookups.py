"""What a server does with its tables and its memory for one decision, counted by callgrind:
beside SET and beside the least module in C (bare/bare.c), on a new key and on one that is there.

    python3 scripts/bench/lookups.py [--servers] [--write] [--callers FUNCTION]

A module opens a key, puts a value in and sets an expiry by three calls. Each call looks the
name up again, and SET does it in fewer. What a module's command takes beyond the least one is its
own; what the least one takes beyond SET is the server's.

The tables of the server neither grow nor shrink while it counts: moving their entries hashes names,
too, and does so now and then. A server's functions are counted by the names that it exports, so one
that the compiler has put into its caller is not seen.
"""

import argparse
import collections
import dataclasses
import pathlib
import re
import sys
import tempfile

import publish
import reference_modules
import versions
from cases import BASE, GRANTED, SLIDING, Case, acquire
from decision_kinds import SERVERS, THE_LEAST
from instructions import KEYS, control, counting_server, one_connection
from load import DEPTH, decision, key, pipelines
from report import table

from server import PROGRAM

PART = "look-ups"
# So many others are there that the keys which come and go change no table's size.
OTHERS = KEYS * 4 // 3
OTHER = Case("another key", b"oth", BASE.command)
# What happens so seldom belongs to no decision.
SELDOM = 0.05


@dataclasses.dataclass(frozen=True)
class Counted:
    """What is counted: a command, and the library of its module if that is not ours."""

    title: str
    case: Case
    is_least: bool = False
    is_ours: bool = True


# No bucket is full again, and its key gone, before the next visit.
SLOW = "bucket:30/h:burst=16"
COUNTED = [
    Counted("SET PX", BASE, is_ours=False),
    Counted("least module in C", THE_LEAST.first, is_least=True, is_ours=False),
    Counted(f"RL.ACQUIRE {SLOW}", Case("bucket", b"bkt", acquire(SLOW), mark=GRANTED)),
    Counted(f"RL.ACQUIRE {SLIDING}", Case("sliding", b"sld", acquire(SLIDING), mark=GRANTED)),
]

# What is told of a decision, and which functions of the servers do it.
ROWS = {
    "the name is hashed": r"dictSdsHash|hashtableSdsHash",
    "names are compared": r"dictSdsKeyCompare|dictSdsCompareKV|hashtableSdsKeyCompare",
    "`lookupKey`": r"lookupKey",
    "`dbAdd`": r"dbAdd|dbAddInternal",
    "`removeExpire`": r"removeExpire",
    "`setExpire`": r"setExpire|setExpireByLink",
    "`notifyKeyspaceEvent`": r"notifyKeyspaceEvent",
    "calls of the module API": r"(RM|VM)_(?!Alloc$|Calloc$|Free$)\w+",
    "blocks allocated": r"malloc|calloc",
    "blocks freed": r"free",
}


class Profile:
    """Who called whom how often, and whose instructions were run."""

    def __init__(self, path):
        self.calls = collections.Counter()
        self.by_library = collections.Counter()
        library = function = called = ""
        times = None
        for line in path.read_text().splitlines():
            name, _, value = line.partition("=")
            if name == "ob":
                library = pathlib.Path(value).name
            elif name == "fn":
                function = value
            elif name == "cfn":
                called = value
            elif name == "calls":
                times = int(value.split()[0])
            elif re.fullmatch(r"\d+ \d+", line):
                if times is None:
                    self.by_library[library] += int(line.split()[1])
                else:
                    # The line after `calls` has what the call took altogether.
                    self.calls[function, called] += times
                    times = None


@dataclasses.dataclass(frozen=True)
class Found:
    """What one decision takes."""

    profile: Profile
    decisions: int

    def times(self, pattern):
        """How often it calls the functions of such a name."""
        return sum(self.callers(pattern).values())

    def instructions(self):
        return sum(self.profile.by_library.values()) / self.decisions

    def inside(self):
        """Those of the module's own code."""
        return (
            sum(count for name, count in self.profile.by_library.items() if name in ("bare.so", "libfloodgate.so"))
            / self.decisions
        )

    def callers(self, pattern):
        """How often each function calls those of such a name."""
        found = collections.Counter()
        for (caller, called), count in self.profile.calls.items():
            if re.fullmatch(pattern, called):
                found[caller] += count / self.decisions
        return found


def measure(counted, program, is_new):
    """The server's version, and what one visit of all keys takes that are new or there."""
    case = counted.case
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "profile"
        others = [reference_modules.bare()] if counted.is_least else []
        with counting_server(path, program=program, module=counted.is_ours, others=others) as server:
            server("DEBUG", "SET-ACTIVE-EXPIRE", "0")
            load = one_connection(server.port)

            def visit(which, keys=KEYS):
                blobs = pipelines(which, keys, 2)
                load.run(blobs, DEPTH * load.lines_of(*decision(which, key(which, 0))))

            visit(OTHER, OTHERS)
            # Twice, for tables that have grown move their entries while further commands come.
            visit(case)
            visit(case)
            blobs, lines = pipelines(case, KEYS, 2), DEPTH * load.lines_of(*decision(case, key(case, 0)))
            if is_new:
                visit(dataclasses.replace(case, command=lambda name: ("DEL", name), mark=None))
            control(server.process, "-z")
            load.run(blobs, lines)
            control(server.process, "-d")
            load.close()
            version = server.version()
        # The file without a number is written when the server ends.
        return version, Found(Profile(pathlib.Path(f"{path}.1")), len(blobs) * DEPTH)


def number(value):
    return f"{value:,.0f}" if value >= 100 or round(value, 1) == round(value) else f"{value:.1f}"


def of_server(program):
    """The server's version, and what was counted by visit and title."""
    found, version = {}, ""
    for is_new in (True, False):
        for counted in COUNTED:
            version, found[is_new, counted.title] = measure(counted, program, is_new)
    return version, found


def tables(found):
    text = ""
    for is_new, visit in ((True, "new key"), (False, "existing key")):
        seen = [found[is_new, counted.title] for counted in COUNTED]
        head = [f"{visit}: times a decision", *(counted.title for counted in COUNTED)]
        rows = [[title, *(number(one.times(pattern)) for one in seen)] for title, pattern in ROWS.items()]
        rows.append(["instructions", *(number(one.instructions()) for one in seen)])
        rows.append(["instructions, × SET", *(f"{one.instructions() / seen[0].instructions():.2f}" for one in seen)])
        least = seen[[counted.is_least for counted in COUNTED].index(True)].instructions()
        rows.append(
            [
                "above the least module, × SET",
                *(
                    "" if not counted.is_ours else f"{(one.instructions() - least) / seen[0].instructions():.2f}"
                    for counted, one in zip(COUNTED, seen)
                ),
            ]
        )
        rows.append(["instructions of the module itself", *(number(one.inside()) for one in seen)])
        text += table(head, rows) + "\n"
    return text


def callers(found, pattern):
    """Who calls the functions of this name; an address stands for what the server does not export."""
    for (is_new, title), one in found.items():
        print(f"  {title}, {'new' if is_new else 'existing'} key")
        for name, count in one.callers(pattern).most_common():
            if count >= SELDOM:
                print(f"    {count:6.2f} {name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", action="store_true", help=f"on {', '.join(SERVERS)} of scripts/servers.sh")
    parser.add_argument("--write", action="store_true", help="write the tables into BENCHMARKS.md")
    parser.add_argument(
        "--callers", metavar="FUNCTION", help="tell who calls the functions of this name (a pattern), too"
    )
    options = parser.parse_args()
    text, measured = "", []
    for program in versions.there(SERVERS) if options.servers else [PROGRAM]:
        version, found = of_server(program)
        measured.append(version)
        text += f"{version}:\n\n{tables(found)}"
        print(f"{version}:\n\n{tables(found)}", flush=True)
        if options.callers:
            callers(found, options.callers)
    if options.write:
        command = " ".join(["python3 scripts/bench/lookups.py", *sys.argv[1:]])
        publish.write(publish.BENCHMARKS, PART, publish.caption(command, measured) + text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
