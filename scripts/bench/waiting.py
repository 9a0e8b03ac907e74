"""What waiting lines cost a server at rest, and those who do not wait.

    python3 scripts/bench/waiting.py [--waiters 10000] [--seconds 10] [--rounds 5]

At rest: processor time of a server whose clients do nothing but wait, each on a
key of its own, in RL.ACQUIRE … WAIT, and beside it in BLPOP and doing nothing:
the connections themselves cost something, too.

For others: instructions of RL.ACQUIRE on other keys, counted by callgrind, while
so many clients do nothing, and while they wait.
"""

import argparse
import resource
import shutil
import socket
import statistics
import sys
import time

from cases import Case, acquire
from instructions import control, counted
from load import DEPTH, Load, pipelines

from server import Server, pack

# Nobody is served while it is measured.
LIMIT, PATIENCE = "1/d", "1h"
KEYS = 1600
# Only what the command itself does is counted, not the server's own timer.
COMMAND = "floodgate::commands::acquire::acquire"
COLUMNS = {"idle": "connected", "BLPOP": "waiting in BLPOP", "WAIT": "waiting in RL.ACQUIRE … WAIT"}


class Crowd:
    """Connections that have each sent one command and get no answer."""

    def __init__(self, server, size, how):
        self.sockets = []
        for number in range(size):
            # Where lines of ours are compared with others, all else is the same.
            server("RL.ACQUIRE", f"own:{number:010}", LIMIT)
            connection = socket.create_connection(("127.0.0.1", server.port))
            command = {
                "WAIT": ("RL.ACQUIRE", f"own:{number:010}", LIMIT, "WAIT", PATIENCE),
                "BLPOP": ("BLPOP", f"own:list:{number:010}", 3600),
            }.get(how)
            if command:
                connection.sendall(pack(*command))
            self.sockets.append(connection)
        expected = 0 if how == "idle" else size
        while int(server.client.info("clients")["blocked_clients"]) < expected:
            time.sleep(0.05)

    def close(self):
        for connection in self.sockets:
            connection.close()


def start(size, *settings, wrap=()):
    server = Server(
        "--maxclients",
        str(size + 100),
        *settings,
        module_arguments=("wait-max", PATIENCE, "waiters-max", str(size)),
        wrap=wrap,
    )
    return server


def at_rest(size, seconds, rounds):
    """Milliseconds of processor time a second, by what the clients do."""
    spent = {how: [] for how in COLUMNS}
    for _ in range(rounds):
        for how, all_spent in spent.items():
            with start(size) as server:
                crowd = Crowd(server, size, how)
                time.sleep(1)
                before = server.cpu()
                time.sleep(seconds)
                all_spent.append((server.cpu() - before) / seconds * 1000)
                crowd.close()
    return spent


def for_others(size):
    """Instructions of a decision on other keys, by what the clients do."""
    case = Case("RL.ACQUIRE", b"oth", acquire("100/m"))
    for how in ("idle", "WAIT"):
        with start(
            size,
            "--hz",
            "1",
            "--dynamic-hz",
            "no",
            wrap=(
                "valgrind",
                "--tool=callgrind",
                "--callgrind-out-file=/dev/null",
                "-q",
                "--collect-atstart=no",
                f"--toggle-collect={COMMAND}",
            ),
        ) as server:
            crowd = Crowd(server, size, how)
            load = Load(server.port)
            blobs = [blob for order in range(6) for blob in pipelines(case, KEYS, order)]
            lines = DEPTH * load.lines_of(case.command(b"oth:0000000000"))
            load.run(blobs, lines)
            control(server.process, "-z")
            load.run(blobs, lines)
            yield how, counted(server) / (len(blobs) * DEPTH)
            load.close()
            crowd.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waiters", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if options.rounds:
        print(f"processor time at rest, ms a second, {options.waiters:,} clients (median of {options.rounds}, min-max)")
        for how, spent in at_rest(options.waiters, options.seconds, options.rounds).items():
            print(f"  {statistics.median(spent):6.2f} ({min(spent):.2f}-{max(spent):.2f})  {COLUMNS[how]}")
    if not shutil.which("valgrind"):
        print("instructions: not counted, valgrind is not installed")
        return 0
    print(f"instructions of RL.ACQUIRE on other keys, {options.waiters:,} clients")
    base = None
    for how, count in for_others(options.waiters):
        base = base or count
        print(f"  {count:6.0f} {count / base - 1:+6.1%}  {COLUMNS[how]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
