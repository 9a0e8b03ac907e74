"""The libraries that people use today, as they use them: each decision by the
library itself, over one connection, beside the same client asking us. What the
server spends counts, not how fast the client's language is."""

import os
import pathlib
import statistics
import subprocess
import sys

from server import cores

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLACE = ROOT / ".cache" / "bench-peers"
PACKAGES = ["limits", "redis", "pybreaker"]
CLIENT = pathlib.Path(__file__).parent / "peer_client.py"
CASES = ["RL.ACQUIRE 100/m", "limits: fixed window", "limits: sliding counter", "limits: moving window",
         "CB.ACQUIRE + CB.REPORT", "pybreaker: one call"]


def python():
    """The interpreter of a private environment that has the libraries; made when it is missing."""
    found = PLACE / "bin" / "python"
    done = PLACE / "complete"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", PLACE], check=True)
        subprocess.run([found, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES], check=True)
        done.touch()
    return found


def versions():
    out = subprocess.run([python(), "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"],
                         check=True, capture_output=True, text=True).stdout
    return ", ".join(line for line in out.splitlines() if line.split("==")[0].lower() in PACKAGES)


class Peer:
    """A client of one library that decides when told to."""

    def __init__(self, port, case):
        self.process = subprocess.Popen([python(), CLIENT, str(port), case], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True,
                                        preexec_fn=lambda: os.sched_setaffinity(0, {cores()[1]}))
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError(f"the client of {case} did not start")

    def decide(self, count):
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        granted = int(self.process.stdout.readline())
        if granted < count * 0.99:
            raise RuntimeError(f"only {granted} of {count} were granted")

    def stop(self):
        self.process.stdin.close()
        self.process.wait(20)


def measure(server, rounds=5, decisions=2_000):
    """(case, median of microseconds of server time a decision, of the ratio to ours)."""
    server("FLUSHALL", "SYNC")
    peers = {case: Peer(server.port, case) for case in CASES}
    micros = {case: [] for case in CASES}
    for round_ in range(-1, rounds):
        for case, peer in peers.items():
            before = server.cpu()
            peer.decide(decisions)
            if round_ >= 0:
                micros[case].append((server.cpu() - before) / decisions * 1e6)
    for peer in peers.values():
        peer.stop()
    for case, seen in micros.items():
        ours = micros["CB.ACQUIRE + CB.REPORT" if "breaker" in case or "CB." in case else "RL.ACQUIRE 100/m"]
        yield case, statistics.median(seen), statistics.median(a / b for a, b in zip(seen, ours))
