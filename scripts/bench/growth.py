"""One hot key: what a decision costs by count, after a long history."""

import statistics

from load import DEPTH, Load
from server import pack

COUNTS = [10 ** power for power in range(1, 10)]
ALGORITHMS = ["bucket:{}/h", "{}/h", "fixed:{}/h"]


def measure(server, commands=6400, rounds=5):
    """Against SET of one hot key in the same round: (count, [ratio an algorithm])."""
    load = Load(server.port)

    def spend(*command):
        blobs = [pack(*command) * DEPTH] * (commands // DEPTH)
        lines = DEPTH * load.lines_of(command)
        load.run(blobs[:20], lines)
        before = server.cpu()
        load.run(blobs, lines)
        return server.cpu() - before

    ratios = {}
    for _ in range(rounds):
        for count in COUNTS:
            base = spend("SET", "hot", "v", "PX", "60000")
            for algorithm in ALGORITHMS:
                limit = algorithm.format(count)
                ratios.setdefault((count, algorithm), []).append(
                    spend("RL.ACQUIRE", f"hot:{limit}", limit) / base)
    load.close()
    for count in COUNTS:
        yield count, [statistics.median(ratios[count, algorithm]) for algorithm in ALGORITHMS]
