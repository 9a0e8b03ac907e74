"""What clients wait for: redis-benchmark with 50 plain connections, in turn."""

import re
import statistics
import subprocess

from cases import BUCKET, SLIDING
from server import cores

COMMANDS = [
    ("SET key v PX 60000", ["SET", "lat:__rand_int__", "v", "PX", "60000"]),
    ("SET again (the noise)", ["SET", "lag:__rand_int__", "v", "PX", "60000"]),
    ("RL.ACQUIRE bucket:30/m:burst=16", ["RL.ACQUIRE", "lab:__rand_int__", BUCKET]),
    ("RL.ACQUIRE 100/m", ["RL.ACQUIRE", "las:__rand_int__", SLIDING]),
]


def once(port, command, requests, keys):
    """(commands a second, ms of p50, p99, p99.9), as redis-benchmark tells them."""
    out = subprocess.run(
        ["taskset", "-c", str(cores()[1]), "redis-benchmark", "-p", str(port), "-c", "50", "-n", str(requests),
         "-r", str(keys), "--precision", "3", *command],
        check=True, capture_output=True, text=True).stdout.replace("\r", "\n")
    rate = float(re.search(r"throughput summary: ([\d.]+)", out).group(1))
    reached = [(float(percent), float(ms)) for percent, ms in re.findall(r"([\d.]+)% <= ([\d.]+) milliseconds", out)]
    at = lambda wanted: next((ms for percent, ms in reached if percent >= wanted), reached[-1][1])
    return rate, at(50), at(99), at(99.9)


def measure(server, keys, rounds=5, requests=20_000):
    """(command, medians of rate, p50, p99, p99.9, least and most p99)."""
    rows = {name: [] for name, _ in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS:
            rows[name].append(once(server.port, command, requests, keys))
    for name, seen in rows.items():
        medians = [statistics.median(values) for values in zip(*seen)]
        p99 = [row[2] for row in seen]
        yield name, medians, min(p99), max(p99)
