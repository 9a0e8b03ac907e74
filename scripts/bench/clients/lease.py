"""Run by leases.py: decides on one key as often as it can, by the package for Python, with
a lease or without, or so many times a second, and says how often, and when it granted."""

import json
import sys
import time

from floodgate_redis import FailClosed, Lease, Limiter, Server


def main():
    port, limits, processes, pace = sys.argv[1:5]
    # A busy machine is slower than the patience of a web server.
    limiter = Limiter(Server(f"redis://127.0.0.1:{port}", patience=5), FailClosed())
    key, leases, step = "hot", int(processes), 1 / float(pace) if float(pace) else 0.0
    lease = Lease(limiter, key, limits, processes=leases) if leases else None
    acquire = lease.acquire if lease else lambda: limiter.acquire(key, limits)
    acquire()
    print("ready", flush=True)
    begin, end = (float(word) for word in sys.stdin.readline().split())
    time.sleep(max(0.0, begin - time.monotonic()))
    decisions, granted = 0, []
    while (now := time.monotonic()) < end:
        if step and (early := begin + decisions * step - now) > 0:
            time.sleep(early)
        decisions += 1
        if acquire().granted:
            granted.append(round((time.monotonic() - begin) * 1e6))
    if lease:
        lease.close()
    print(json.dumps({"decisions": decisions, "granted": granted}))


main()
