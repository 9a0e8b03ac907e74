"""What a reservation costs by how many others are open on its key.

    python3 scripts/bench/reservations.py [open …]

Instructions a command, counted by callgrind: they repeat where times do not.
"""

import sys

from instructions import control, counted
from load import DEPTH, Load

from server import Server, pack

UNITS = "1000000000/h"
LIMITS = "concurrent:1000000," + UNITS
MEASURED = 3200


def reserve(number):
    return "RL.RESERVE", 1, "k", LIMITS, "COST", 10, "TTL", f"{3_600_000 + number}ms", "ID", f"id{number:08}"


def measure(count):
    """Instructions of RENEW, and of RESERVE with COMMIT, with so many open; then of the first
    RL.ACQUIRE after all have ended."""
    wrap = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "-q")
    with Server(
        "--hz", "1", "--dynamic-hz", "no", module_arguments=("enable-debug-command", "yes"), wrap=wrap
    ) as server:
        server("RL.DEBUG", "CLOCK", "SET", 1_800_000_000_000_000)
        load = Load(server.port)

        def run(commands, lines_each):
            commands = list(commands)
            blobs = [
                b"".join(pack(*command) for command in commands[at : at + DEPTH])
                for at in range(0, len(commands), DEPTH)
            ]
            # One connection: the order matters.
            for blob in blobs:
                load.sockets[0].sendall(blob)
                left = lines_each * blob.count(b"\r\n*") + lines_each
                while left > 0:
                    left -= load.sockets[0].recv(1 << 18).count(b"\n")

        def instructions(commands, lines_each):
            control(server.process, "-z")
            run(commands, lines_each)
            return counted(server) / len(commands)

        lines = load.lines_of(reserve(0))
        run((reserve(number) for number in range(count)), lines)
        # Those to be renewed are spread over all, and each gets another end.
        numbers = [number * 7919 % count for number in range(MEASURED)]
        renews = [
            ("RL.RENEW", f"id{number:08}", "TTL", f"{7_200_000 + turn}ms", 1, "k")
            for turn, number in enumerate(numbers)
        ]
        renewed = instructions(renews, 1)
        reserved = instructions([reserve(count + number) for number in range(MEASURED)], lines)
        committed = instructions(
            [("RL.COMMIT", f"id{count + number:08}", 1, "k", "COST", 5) for number in range(MEASURED)], 1
        )
        server("RL.DEBUG", "CLOCK", "ADVANCE", 3 * 3_600_000_000)
        ended = instructions([("RL.ACQUIRE", "k", UNITS)], 6)
        load.close()
        return renewed, reserved, committed, ended


def main():
    counts = [int(count) for count in sys.argv[1:]] or [1, 10, 100, 1000, 10_000]
    print(f"{'open':>8} {'RL.RENEW':>10} {'RL.RESERVE':>11} {'RL.COMMIT':>10} {'all ended':>10}   instructions")
    for count in counts:
        print(f"{count:8,}" + " {:10.0f} {:11.0f} {:10.0f} {:10.0f}".format(*measure(count)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
