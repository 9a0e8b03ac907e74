#!/usr/bin/env python3
"""Replays the access log of a web server against Floodgate, at the log's own
times, with one limiter per address, and shows whom it would have slowed down.

    LOG=/var/log/nginx/access.log LIMITS=20/m TOP=20 scripts/demo.py

LOG     one access log in the common or combined format, plain or gzip, read
        as `make replay` reads it (default: generated traffic)
LIMITS  the limits of each address (default: 10/m)
TOP     how many addresses to show (default: 15)

It starts a server of its own, which keeps nothing, and stops it. Needs Python
3.8 and redis-server, nothing else. FLOODGATE_SERVER and FLOODGATE_MODULE name
other ones than `redis-server` and the release build.
"""

import calendar
import contextlib
import gzip
import io
import ipaddress
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LINE = re.compile(r"(\S.*?) \[(\d{1,2})/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d)(?: ([+-])(\d\d)(\d\d))?\]")
MONTHS = {name: number for number, name in enumerate(calendar.month_abbr)}
CHUNK = 1000


def fail(message):
    sys.exit("demo: " + message)


def without_port(word):
    found = re.fullmatch(r"(\d+(?:\.\d+){3}):\d+|\[([^]]*)\]:\d+", word)
    return (found[1] or found[2]) if found else word


def is_address(word):
    try:
        return bool(ipaddress.ip_address(word))
    except ValueError:
        return False


def client(names):
    """Of the words before the time the caller's address: the first of a list, and behind a virtual host."""
    words = [without_port(word) for word in re.sub(r",\s*[^\s,]+", "", names).split(None, 2)]
    return words[1] if len(words) > 1 and is_address(words[1]) else words[0]


def parse(line):
    """Who asked, and when in seconds since 1970; None for a line of another kind."""
    found = LINE.match(line)
    if not found or found[3] not in MONTHS:
        return None
    date = (int(found[4]), MONTHS[found[3]], int(found[2]), int(found[5]), int(found[6]), int(found[7]))
    seconds = calendar.timegm(date)
    if found[8]:
        offset = int(found[9]) * 3600 + int(found[10]) * 60
        seconds -= offset if found[8] == "+" else -offset
    return (client(found[1]), seconds) if seconds >= 0 else None


def generated():
    """Two hours of traffic: many quiet addresses, and a few in a hurry."""
    dice = random.Random(2015)
    start = calendar.timegm((2026, 3, 1, 12, 0, 0))
    requests = [
        ("10.0.%d.%d" % (n // 250, n % 250 + 1), start + dice.randrange(7200))
        for n in range(600)
        for _ in range(dice.randint(1, 6))
    ]
    for n in range(1, 9):
        begin = start + dice.randrange(7000)
        requests += [("192.0.2.%d" % n, begin + dice.randrange(20 * n)) for _ in range(40 * n)]
    return requests


def read_log():
    """The requests in order of time, where they are from, and lines passed over."""
    path = os.environ.get("LOG")
    if not path:
        source, requests, passed_over = "generated traffic", generated(), 0
    else:
        parsed = []
        try:
            with open(path, "rb") as file:
                opened = gzip.open if file.read(2) == b"\x1f\x8b" else open
            # Editors of Windows put a mark in front of a file.
            with opened(path, "rt", encoding="utf-8-sig", errors="replace") as lines:
                for line in lines:
                    parsed.append(parse(line))
        except (OSError, EOFError, zlib.error) as error:
            why = getattr(error, "strerror", None) or error
            # What is there of a log that is still being packed is worth a look.
            if not parsed:
                fail("cannot read %s: %s" % (path, why))
            sys.stderr.write("demo: %s was read only in part: %s\n" % (path, why))
        source = os.path.basename(path)
        requests = [request for request in parsed if request]
        passed_over = len(parsed) - len(requests)
    if not requests:
        fail("%s holds no request in the common log format (make replay reads other formats)" % source)
    # Servers log a request when it ends, so the lines are not quite in order.
    requests.sort(key=lambda request: request[1])
    return source, requests, passed_over


class ServerError(Exception):
    """An error that the server answered."""


class Client:
    """The little of the protocol that this needs."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.lines = self.socket.makefile("rb")

    def pipeline(self, commands):
        """Sends all commands at once; gives all replies, errors among them."""
        parts = []
        for words in commands:
            parts.append(b"*%d\r\n" % len(words))
            for word in words:
                word = str(word).encode()
                parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
        self.socket.sendall(b"".join(parts))
        return [self.reply() for _ in commands]

    def call(self, *words):
        (reply,) = self.pipeline([words])
        if isinstance(reply, ServerError):
            raise reply
        return reply

    def reply(self):
        line = self.lines.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return ServerError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            length = int(rest)
            return self.lines.read(length + 2)[:-2].decode(errors="replace") if length >= 0 else None
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        raise ConnectionError("not the protocol: %r" % line)


class Server:
    """A server with the module, in a folder that goes with it."""

    def __init__(self):
        target = os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target")
        module = os.environ.get("FLOODGATE_MODULE") or os.path.join(target, "release", "libfloodgate.so")
        if not os.path.exists(module):
            fail("the module is not built: %s is missing (make build makes it)" % module)
        self.folder = tempfile.TemporaryDirectory(prefix="floodgate-demo-")
        self.path = os.path.join(self.folder.name, "socket")
        program = os.environ.get("FLOODGATE_SERVER", "redis-server")
        try:
            self.process = subprocess.Popen(
                [
                    program,
                    "--port",
                    "0",
                    "--unixsocket",
                    self.path,
                    "--save",
                    "",
                    "--appendonly",
                    "no",
                    "--loadmodule",
                    os.path.abspath(module),
                    "enable-debug-command",
                    "yes",
                ],
                cwd=self.folder.name,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            fail("cannot start %s: %s" % (program, error.strerror))

    def __enter__(self):
        return self

    def client(self):
        end = time.monotonic() + 30
        while time.monotonic() < end and self.process.poll() is None:
            try:
                client = Client(self.path)
                client.call("PING")
                return client
            except (OSError, ServerError):
                time.sleep(0.02)
        self.process.kill()
        log = self.process.stdout.read().decode(errors="replace")
        fail("the server does not start; its log:\n" + log)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.folder.cleanup()


class Address:
    """What became of the requests of one address."""

    def __init__(self):
        self.granted = 0
        self.denied = 0
        self.remaining = 0
        self.longest_wait_ms = 0

    def count(self, reply):
        granted, _, self.remaining, retry_after_ms = reply[:4]
        if granted:
            self.granted += 1
        else:
            self.denied += 1
            self.longest_wait_ms = max(self.longest_wait_ms, retry_after_ms)

    @property
    def requests(self):
        return self.granted + self.denied


def replay(client, requests, limits):
    """Asks for every request at its own time."""
    addresses = {}
    for start in range(0, len(requests), CHUNK):
        chunk = requests[start : start + CHUNK]
        commands = []
        for address, seconds in chunk:
            commands.append(("RL.DEBUG", "CLOCK", "SET", seconds * 1_000_000))
            commands.append(("RL.ACQUIRE", "ip:" + address, limits))
        replies = client.pipeline(commands)
        for reply in replies:
            if isinstance(reply, ServerError):
                fail("the server says: %s" % reply)
        for (address, _), reply in zip(chunk, replies[1::2]):
            addresses.setdefault(address, Address()).count(reply)
    return addresses


def show(addresses, top):
    heads = ("address", "requests", "granted", "denied", "remaining", "longest wait")
    busiest = sorted(addresses.items(), key=lambda item: (-item[1].requests, item[0]))[:top]
    rows = [
        (
            name,
            "%d" % one.requests,
            "%d" % one.granted,
            "%d" % one.denied,
            "%d" % one.remaining,
            "%.1f s" % (one.longest_wait_ms / 1000) if one.denied else "-",
        )
        for name, one in busiest
    ]
    widths = [max(len(row[n]) for row in [heads] + rows) for n in range(len(heads))]

    def line(row):
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        return "  " + "  ".join(cells).rstrip()

    print(line(heads))
    print(line(["-" * width for width in widths]))
    for row in rows:
        print(line(row))


def number(name, default):
    text = os.environ.get(name) or str(default)
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < 1:
        fail("%s=%s is not a number of 1 and more" % (name, text))
    return int(text)


def write(text):
    """Writes to standard output. A reader that stops early (`| head`) is no failure."""
    problem = None
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    except BrokenPipeError:
        pass
    except OSError as error:
        problem = "cannot write to standard output: %s" % error.strerror
    # At its end Python would try to write once more.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if problem:
        fail(problem)


def main():
    if len(sys.argv) > 1:
        write(__doc__.strip() + "\n")
        sys.exit(0 if sys.argv[1] in ("-h", "--help") else 2)
    limits = os.environ.get("LIMITS") or "10/m"
    top = number("TOP", 15)
    source, requests, passed_over = read_log()
    with Server() as server:
        client = server.client()
        began = time.monotonic()
        addresses = replay(client, requests, limits)
        took = time.monotonic() - began

    with contextlib.redirect_stdout(io.StringIO()) as table:
        tell(limits, top, source, requests, passed_over, addresses, took)
    write(table.getvalue())


def tell(limits, top, source, requests, passed_over, addresses, took):
    """Prints what became of the requests."""
    span = requests[-1][1] - requests[0][1]
    granted = sum(one.granted for one in addresses.values())
    stamp = "%d %b %Y %H:%M"
    print()
    print(
        "%s: %d requests of %d addresses, %s to %s UTC"
        % (
            source,
            len(requests),
            len(addresses),
            time.strftime(stamp, time.gmtime(requests[0][1])),
            time.strftime(stamp, time.gmtime(requests[-1][1])),
        )
    )
    print("each address may do %s" % limits)
    print()
    show(addresses, top)
    print()
    print(
        "%d granted, %d denied (%.1f%%), of %d addresses; %.1f hours replayed in %.2f s"
        % (
            granted,
            len(requests) - granted,
            100 * (len(requests) - granted) / len(requests),
            sum(1 for one in addresses.values() if one.denied),
            span / 3600,
            took,
        )
    )
    print("remaining: what the address had left after its last request")
    if passed_over:
        print("%d lines were passed over: they are not requests in the common log format" % passed_over)
    print("try LIMITS=bucket:30/m:burst=50,500/h or LOG=/path/to/access.log")


def end(number, _):
    """Whoever ends it by a signal finds no server left over: what it uses is closed on the way out."""
    sys.exit(128 + number)


if __name__ == "__main__":
    # A terminal that is closed sends SIGHUP; under nohup that is ignored, and stays so.
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(name) != signal.SIG_IGN:
            signal.signal(name, end)
    main()
