"""Starts exporter, Prometheus and Alertmanager beside a running server.

    PORT=6379 python3 scripts/monitoring/monitor.py

Secrets: scripts/monitoring/secrets/slack-url and secrets/pagerduty-key."""

import os
import pathlib
import signal
import sys

from stack import HERE, Stack

FOLDER = pathlib.Path(os.environ.get("MONITOR_DATA", HERE / "../../.cache/monitor")).resolve()


def main():
    port = int(os.environ.get("PORT", "6379"))
    FOLDER.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with Stack(FOLDER, port) as stack:
        for name in stack.ports:
            print(f"{name:13} http://{stack.address(name)}/")
        for secret in "slack-url", "pagerduty-key":
            if not (HERE / "secrets" / secret).exists():
                print(f"{HERE / 'secrets' / secret} is missing: no alert goes there")
        print(f"Grafana       import {HERE / 'dashboard.json'}\nCtrl-C ends them.", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            pass


main()
