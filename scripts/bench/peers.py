"""The libraries that people use today: what they send for a decision is written
down while they decide, then sent again in pipelines like everything else here.
So what the server spends on a decision is compared, and neither the client's
language nor its waiting."""

import pathlib
import re
import statistics
import subprocess
import sys

from load import DEPTH, Load

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


def recorded(port, case):
    """What the library sends for one decision on each of its keys."""
    out = subprocess.run([python(), CLIENT, str(port), case], check=True, capture_output=True, text=True)
    return [bytes.fromhex(line) for line in out.stdout.split()]


def measure(server, rounds=7, passes=10):
    """(case, commands a decision, median of microseconds of server time a decision, of the ratio to ours)."""
    server("FLUSHALL", "SYNC")
    load = Load(server.port)
    blobs, lines, commands = {}, {}, {}
    for case in CASES:
        decisions = recorded(server.port, case)
        blobs[case] = [b"".join(decisions[at:at + DEPTH]) for at in range(0, len(decisions), DEPTH)]
        lines[case] = DEPTH * load.lines_after(decisions[0])
        commands[case] = commands_in(decisions[0])
    micros = {case: [] for case in CASES}
    for _ in range(rounds):
        for case in CASES:
            before = server.cpu()
            load.run(blobs[case] * passes, lines[case])
            micros[case].append((server.cpu() - before) / (passes * len(blobs[case]) * DEPTH) * 1e6)
    load.close()
    for case, seen in micros.items():
        ours = micros["CB.ACQUIRE + CB.REPORT" if "breaker" in case or "CB." in case else "RL.ACQUIRE 100/m"]
        yield case, commands[case], statistics.median(seen), statistics.median(a / b for a, b in zip(seen, ours))


def commands_in(sent):
    """How many commands these bytes are."""
    return len(re.findall(rb"(?:^|\r\n)\*\d+\r\n\$", sent))
