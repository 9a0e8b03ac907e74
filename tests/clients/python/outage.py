"""What programs that try a plug-in share: they ask whoever started them to end the server
and to start it again, and count what four processes let through meanwhile."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import redis

URL = f"redis://127.0.0.1:{sys.argv[1]}"
admin: Any = redis.Redis(port=int(sys.argv[1]), decode_responses=True, protocol=2)


def please(what: str) -> None:
    print(what, flush=True)
    sys.stdin.readline()


def eventually(what: str, holds: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class TimeLimit(Exception):
    """As Celery's SoftTimeLimitExceeded, which a signal raises in the midst of anything."""


def _over(*_: object) -> None:
    raise TimeLimit


def interrupted(does: Callable[[], object], seconds: float = 0.5) -> None:
    """By its time limit."""
    before = signal.signal(signal.SIGALRM, _over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        does()
        raise AssertionError("it was not interrupted")
    except TimeLimit:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# One interpreter imports what four processes need: that takes most of their time.
FOUR = """
import os
children = []
while len(children) < 3 and (child := os.fork()):
    children.append(child)
if len(children) < 3:
    children.clear()
"""
# A program of `take` is run as long as its standard input is open; it says how many passed.
AS_LONG = """
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
passed = 0
while not ended.is_set():
    passed += bool(take())
os.write(1, f"{passed}\\n".encode())  # at once, for others write there, too
for child in children:
    os.waitpid(child, 0)
"""


def four_processes(what: str, imports: str, program: str) -> int:
    """What passes in all, with the server gone in between. `program` has a `take`."""
    command = [sys.executable, "-c", imports + FOUR + program + AS_LONG, URL]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = subprocess.Popen(command, **pipes)
    before = int(admin.info("commandstats").get(f"cmdstat_{what}", {"calls": 0})["calls"])
    eventually("they begin", lambda: int(admin.info("commandstats").get(f"cmdstat_{what}", {"calls": 0})["calls"]) > before + 20)
    please("down")
    time.sleep(0.3)
    please("up")
    eventually("they go on", lambda: int(admin.info("commandstats").get(f"cmdstat_{what}", {"calls": 0})["calls"]) > 150)
    told = processes.communicate(timeout=60)[0].split()
    assert len(told) == 4 and not processes.returncode, told
    return sum(int(passed) for passed in told)
