"""Starts exporter, Prometheus and Alertmanager beside a running server.

    PORT=6379 python3 scripts/monitoring/monitor.py

Secrets: scripts/monitoring/secrets/slack-url and secrets/pagerduty-key."""

import os
import pathlib
import re
import signal
import sys

from stack import HERE, Stack

FOLDER = pathlib.Path(os.environ.get("MONITOR_DATA", HERE / "../../.cache/monitor")).resolve()


def main():
    port = os.environ.get("PORT") or "6379"
    if not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        sys.exit(f"monitor: PORT={port} is not a port from 1 to 65535")
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
