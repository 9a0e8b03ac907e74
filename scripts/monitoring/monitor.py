"""Starts exporter, Prometheus and Alertmanager beside a running server.

    PORT=6379 python3 scripts/monitoring/monitor.py

Secrets: scripts/monitoring/secrets/slack-url and secrets/pagerduty-key."""

import os
import pathlib
import re
import signal
import socket
import sys

from stack import HERE, Stack

FOLDER = pathlib.Path(os.environ.get("MONITOR_DATA", HERE / "../../.cache/monitor")).resolve()


def ask(port):
    """The first line that the server on this port answers to what the exporter will ask, as the exporter's user."""
    commands = [["RL.METRICS"]]
    if os.environ.get("REDIS_PASSWORD"):
        commands.insert(0, ["AUTH", *filter(None, [os.environ.get("REDIS_USER")]), os.environ["REDIS_PASSWORD"]])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection, connection.makefile("rb") as lines:
        for command in commands:
            words = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in map(os.fsencode, command))
            connection.sendall(b"*%d\r\n%s" % (len(command), words))
            line = lines.readline().decode(errors="replace").strip()
            if line.startswith("-"):
                break
        return line


def tell_problem(port):
    """Says what keeps the server from being watched. It may come later, so nothing ends for it."""
    ways = {
        "-NOAUTH": "its password belongs into REDIS_PASSWORD",
        "-WRONGPASS": "REDIS_PASSWORD has another password",
        "-ERR unknown command": "it has not loaded the module",
        "-NOPERM": "OPERATIONS.md, Monitoring, has the rights that its user needs",
    }
    try:
        line = ask(port)
    except OSError as error:
        why = f"does not answer ({error.strerror or error}): start it, or name its port, as in PORT=6380"
    else:
        if line and not line.startswith("-"):
            return
        way = next((way for start, way in ways.items() if line.startswith(start)), None)
        why = f"answers '{line[1:]}'" + (f": {way}" if way else "")
    print(f"monitor: the server at 127.0.0.1:{port} {why}", file=sys.stderr)


def main():
    port = os.environ.get("PORT") or "6379"
    if not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        sys.exit(f"monitor: PORT={port} is not a port from 1 to 65535")
    FOLDER.mkdir(parents=True, exist_ok=True)
    # A terminal that is closed sends SIGHUP; under nohup that is ignored, and stays so.
    for name in signal.SIGTERM, signal.SIGHUP:
        if signal.getsignal(name) != signal.SIG_IGN:
            signal.signal(name, lambda number, _: sys.exit(128 + number))
    tell_problem(port)
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
