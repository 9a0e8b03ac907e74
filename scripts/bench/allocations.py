"""Of what blocks of memory a key is made, by jemalloc's size classes.

    python3 scripts/bench/allocations.py [name …] [--servers]

What is left of a key's bytes is its share of the server's tables. Blocks are counted by
MEMORY MALLOC-STATS, which servers with another allocator do not have.
"""

import argparse
import sys

import memory
from cases import LUA_GCRA, Case, lua_cases
from load import DEPTH, pipelines

from server import Server, programs

KEYS = 1 << 16
# Rarer blocks belong to no key: what the allocator keeps ready, and buffers.
SELDOM = 0.02
CASES = [case for case, _ in memory.CASES] + [
    Case("RL.RESERVE of one unit", b"unt", lambda key: ("RL.RESERVE", 1, key, "100/h", "TTL", "10m", "ID", "a")),
    Case(
        "RL.RESERVE of one place, id of 36 bytes",
        b"uui",
        lambda key: ("RL.RESERVE", 1, key, "concurrent:5", "TTL", "10m", "ID", "0" * 36),
    ),
]


def blocks(text):
    """How many blocks of each size class are in use."""
    # The first table is of all arenas together.
    lines = text[text.index("\nbins:") + 1 : text.index("\nlarge: ", text.index("\nbins:"))].splitlines()
    names = lines[0].split()[1:]
    size, count = names.index("size"), names.index("curregs")
    rows = [line.split() for line in lines[1:] if "---" not in line]
    return {int(row[size]): int(row[count]) for row in rows}


def measure(server, case):
    """Bytes a key, and of each size class its blocks a key."""
    server("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    scale, lines, all_keys = memory.Scale(server), memory.lines_of(server, case), pipelines(case, KEYS, 1)
    scale.send([(all_keys[:64], lines)])
    used = scale.empty()
    before = blocks(server("MEMORY", "MALLOC-STATS").decode())
    scale.send([(all_keys, lines)])
    held = len(all_keys) * DEPTH
    used = (scale.used() - used) / held
    now = blocks(server("MEMORY", "MALLOC-STATS").decode())
    scale.empty()
    each = {size: (count - before.get(size, 0)) / held for size, count in now.items()}
    return used, {size: count for size, count in each.items() if count > SELDOM}


def words(each):
    return " + ".join(f"{count:.2g} × {size}" for size, count in sorted(each.items(), reverse=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only cases whose name holds one of these")
    parser.add_argument("--servers", action="store_true", help="the servers of scripts/servers.sh, too")
    options = parser.parse_args()
    for program in programs(options.servers):
        with Server(**program) as server:
            print(f"\n{server.version()}, {server.allocator()}")
            if not server.allocator().startswith("jemalloc"):
                print("  its allocator does not count blocks")
                continue
            cases = CASES + [
                case
                for case in lua_cases(lambda text: server("SCRIPT", "LOAD", text).decode())
                if case.name == LUA_GCRA
            ]
            for case in cases:
                if not options.names or any(name in case.name for name in options.names):
                    used, each = measure(server, case.preparation())
                    tables = used - sum(size * count for size, count in each.items())
                    print(f"  {case.name:40} {used:4.0f} = {words(each)}, tables {tables:.0f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
