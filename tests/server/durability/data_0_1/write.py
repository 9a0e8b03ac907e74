#!/usr/bin/env python3
"""Writes the test data of this folder with a module of version 0.1:

    write.py REDIS_SERVER LIBFLOODGATE_SO

The data here was written once, on Redis 6.2.14 (what it writes, every later server
reads), by the development build of revision 453f19a, whose encodings are those of
version 0.1. It must not be written anew with a later version: that a later version
loads exactly this is what `tests/server/durability/written_by_0_1.rs` shows.

    rdb/dump.rdb                 SAVE
    live/appendonly.aof          the effect of every command, as it was made
    rewritten/appendonly.aof     BGREWRITEAOF without RDB preamble
    dumps.txt                    database, key and DUMP of every key, in hexadecimal
    said.jsonl                   what users see: a line each of [time, database, command, reply]

Times are microseconds since 1970, to be given to RL.DEBUG CLOCK SET. Bytes that are
not ASCII stand as the characters of the same numbers. Lines of said.jsonl beyond the
first time look ahead: nothing was changed between them. The last lines do change what
they touch ("then" stands first in them)."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

# Effects of `ratelimit` and `cbcircuit`: the low five bits of their first byte.
LIMIT_KINDS = {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 18, 24, 25}
CIRCUIT_KINDS = {1, 2, 3, 4, 5, 6, 7}


class Wire:
    """A connection in RESP3; bytes are read as the characters of the same numbers."""

    def __init__(self, port):
        self.file = socket.create_connection(("127.0.0.1", port)).makefile("rwb")
        self.call("HELLO", "3")

    def call(self, *words):
        words = [word.encode("latin-1") for word in words]
        self.file.write(b"*%d\r\n" % len(words))
        for word in words:
            self.file.write(b"$%d\r\n%s\r\n" % (len(word), word))
        self.file.flush()
        return self.read()

    def read(self):
        line = self.file.readline()[:-2].decode("latin-1")
        kind, rest = line[:1], line[1:]
        if kind == "-":
            raise RuntimeError(rest)
        if kind == "+":
            return rest
        if kind == ":":
            return int(rest)
        if kind == "_":
            return None
        if kind == "#":
            return rest == "t"
        if kind in "$=":
            text = self.file.read(int(rest) + 2)[:-2]
            return text.decode("latin-1")
        if kind == "%":
            return {self.read(): self.read() for _ in range(int(rest))}
        if kind in "*~":
            return [self.read() for _ in range(int(rest))]
        raise RuntimeError(f"unexpected reply: {line!r}")


class Server:
    def __init__(self, program, module):
        self.dir = tempfile.TemporaryDirectory(prefix="floodgate-")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            [program, "--port", str(self.port), "--save", "", "--appendonly", "yes"]
            + ["--appendfsync", "always", "--aof-use-rdb-preamble", "no", "--dir", self.dir.name]
            + ["--loadmodule", module, "enable-debug-command", "yes"],
            stdout=subprocess.DEVNULL,
        )
        for _ in range(500):
            try:
                self.wire = Wire(self.port)
                break
            except OSError:
                time.sleep(0.02)
        self.now = None

    def __call__(self, line, *more):
        """A command: words between blanks, then words as they are."""
        return self.wire.call(*line.split(), *more)

    def at(self, now):
        self.now = now
        self(f"RL.DEBUG CLOCK SET {now}")

    def on(self, us):
        self.at(self.now + us)

    def file(self, name):
        return pathlib.Path(self.dir.name) / name

    def end(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.dir.cleanup()


def breakers(c, prefix, end):
    """Circuits of each trip in each state, as they are at `end`."""
    trips = {"row": "3", "in_period": "3/10m", "rate": "50%/10m:min=4", "of_calls": "50%/6calls"}

    def fail(key, times, breaker=None):
        for at in range(times):
            c(f"CB.REPORT {key} FAIL DUR {at + 1}s" + (f" BREAKER {breaker}" if breaker and at == 0 else ""))

    for name, trip in trips.items():
        key = f"{prefix}{name}"
        # Closed: some of each outcome, one short of opening.
        c(f"CB.ACQUIRE {key}:closed {trip}")
        for outcome in ["OK", "OK", "IGNORE", "FAIL", "OK", "FAIL"]:
            c(f"CB.REPORT {key}:closed {outcome} DUR 20ms")
        # Open for an hour yet; and open for the third time, with backoff.
        fail(f"{key}:open", 6, f"{trip}:open=2h")
        # Half-open: a round of three trials, one of them good, one in flight.
        half = f"{trip}:open=1m:probes=3:lease=50m"
        fail(f"{key}:half", 6, half)
        # Open, but its time is over: nobody has called since.
        fail(f"{key}:over", 6, f"{trip}:open=1m")
        fail(f"{key}:forced_open", 2, trip)
        c(f"CB.FORCE {key}:forced_open OPEN FOR 3h REASON", "maintenance \x00\xff")
        c(f"CB.FORCE {key}:forced_closed CLOSED")
        fail(f"{key}:forced_closed", 5)
        c(f"CB.FORCE {key}:auto OPEN")
        c(f"CB.FORCE {key}:auto AUTO")
        c(f"CB.PIN {key}:pinned {trip}:open=7m")
        c(f"CB.PIN {key}:pinned_for {trip} FOR 5h")
        fail(f"{key}:unpinned", 1, trip)
        c(f"CB.PIN {key}:unpinned 9")
        c(f"CB.UNPIN {key}:unpinned")
        fail(f"{key}:reset", 6, trip)
        c(f"CB.RESET {key}:reset")
        # Slow calls, where a breaker looks at them.
        slow = f"{trip}:slow=100ms" + (":slowrate=60%" if "%" in trip else "")
        if "%" in trip:
            c(f"CB.REPORT {key}:slow OK DUR 3s BREAKER {slow}")
            for ms in [50, 150, 99]:
                c(f"CB.REPORT {key}:slow OK DUR {ms}ms")
        # Another breaker for the same circuit.
        fail(f"{key}:changed", 2, trip)
        c(f"CB.ACQUIRE {key}:changed 7/20m")
        # Opened twice, each opening twice as long.
        again = f"{key}:again"
        fail(again, 6, f"{trip}:open=10s:backoff=2:maxopen=1h")
    c.on(10 * SECOND)
    for name in trips:
        key = f"{prefix}{name}:again"
        token = c(f"CB.ACQUIRE {key}")[2]
        c(f"CB.REPORT {key} FAIL TOKEN", token)
    c.on(50 * SECOND)
    tokens = {}
    for name in trips:
        key = f"{prefix}{name}"
        first, second = c(f"CB.ACQUIRE {key}:half"), c(f"CB.ACQUIRE {key}:half")
        c(f"CB.REPORT {key}:half OK DUR 5ms TOKEN", first[2])
        tokens[f"{key}:half"] = second[2]
        # Closed again, and its calls let in little by little.
        ramp = f"{key}:ramp"
        c(f"CB.REPORT {ramp} FAIL BREAKER 1:open=10s:ramp=2h")
    c.on(10 * SECOND)
    for name in trips:
        ramp = f"{prefix}{name}:ramp"
        token = c(f"CB.ACQUIRE {ramp}")[2]
        c(f"CB.REPORT {ramp} OK TOKEN", token)
        for _ in range(3):
            c(f"CB.ACQUIRE {ramp}")
        # A trial whose lease ends is lost.
        lost = f"{prefix}{name}:lost"
        c(f"CB.REPORT {lost} FAIL BREAKER 1:open=1s:lease=5s")
    c.on(2 * SECOND)
    for name in trips:
        c(f"CB.ACQUIRE {prefix}{name}:lost")
    c.on(end - c.now)
    # A breaker with a limit; denied by it, a clock that stepped back is recorded.
    limited = f"{prefix}limited"
    c(f"CB.ACQUIRE {limited} 3/10m LIMIT {limited}:limit 2/h COST 2")
    c(f"CB.REPORT {limited} FAIL")
    c.on(-MINUTE)
    c(f"CB.ACQUIRE {limited} LIMIT {limited}:limit 2/h")
    c(f"CB.ACQUIRE {limited} 4/10m LIMIT {limited}:limit 2/h")
    c.on(MINUTE)
    return tokens


def limiters(c, prefix):
    """A key of each algorithm and option, used a little."""
    plain = [
        "10/h", "64/d", "65/d", "5000/d", "1000000000000/366d", "7/45m:name=seven",
        "bucket:100/h", "bucket:100/h:burst=500", "bucket:3/d:keep=34%", "bucket:1000000000000/366d",
        "fixed:1000/day", "fixed:10/month:tz=Europe/Paris", "fixed:7/w:tz=America/New_York", "fixed:9/2h",
        "fixed:50/h:start=first", "100/h:per=call", "100/h:shadow,3/h", "1/h:shadow", "40/h:keep=50%",
        "unlimited", "unlimited,20/h", "10/s,100/m,1000/h,5000/d",
        "1000/h,900/h:name=a,800/h:name=b,700/h:name=c,bucket:600/h,bucket:500/h:name=e,fixed:400/d,300/w",
    ]
    for limits in plain:
        c(f"RL.ACQUIRE {prefix}plain:{limits} {limits} COST 2 CRITICAL")
        c.on(7 * SECOND + 13)
        c(f"RL.ACQUIRE {prefix}plain:{limits} {limits} COST 1")
    # Many slots of a long window.
    for at in range(30):
        c(f"RL.ACQUIRE {prefix}busy 5000/h,bucket:9000/h,60/h COST {at % 3 + 1}")
        c.on(40 * SECOND)
    for _ in range(70):
        c(f"RL.ACQUIRE {prefix}exact 64/2h")
        c.on(11 * SECOND)
    # Limits that are not listed any more.
    for limits in ["60/h", "fixed:60/d", "bucket:60/h", "60/d", "60/h:per=call", "60/h:name=x", "5/h,50/d"]:
        c(f"RL.ACQUIRE {prefix}orphans {limits} COST 5")
    # Named limits whose count, period and algorithm changed.
    for limits in ["20/h:name=n,9/d", "30/h:name=n,8/d", "30/2h:name=n,8/d", "bucket:30/2h:name=m,8/d"]:
        c(f"RL.ACQUIRE {prefix}renamed {limits} COST 2")
        c.on(SECOND)
    # More used than a lowered limit allows.
    c(f"RL.ACQUIRE {prefix}lowered 100/d,bucket:100/d COST 80")
    c(f"RL.ACQUIRE {prefix}lowered 50/d,bucket:50/d")
    # Given back; forgotten; a clock that stepped back, recorded by a denial.
    c(f"RL.ACQUIRE {prefix}refunded 10/h,bucket:20/h,fixed:30/d COST 9")
    c.on(SECOND)
    c(f"RL.ACQUIRE {prefix}refunded 10/h,bucket:20/h,fixed:30/d COST 1")
    c(f"RL.REFUND {prefix}refunded 4")
    c(f"RL.ACQUIRE {prefix}reset 10/d COST 4")
    c(f"RL.PIN {prefix}reset 11/d FOR 9d")
    c(f"RL.RESET {prefix}reset")
    c(f"RL.ACQUIRE {prefix}denied 10/d COST 9")
    c(f"RL.ACQUIRE {prefix}denied 10/h,10/d COST 2")
    c(f"RL.ACQUIRE {prefix}back 3/d,bucket:3/d COST 3")
    c.on(-2 * HOUR)
    c(f"RL.ACQUIRE {prefix}back 3/d,bucket:3/d")
    c(f"CL.THROTTLE {prefix}throttle 15 30 3600 3")
    c.on(2 * HOUR)
    c(f"RL.BATCH ALL 3 {prefix}batch:a 10/d 3 {prefix}batch:b bucket:20/d 4 {prefix}batch:a 10/d 2")
    c(f"CL.THROTTLE {prefix}throttle 15 30 3600 4")
    # What redis-cell left: a string with nanoseconds.
    c(f"SET {prefix}cell", str((c.now + 20 * MINUTE) * 1000))
    c(f"CL.THROTTLE {prefix}cell 15 30 3600 1")
    # Pins and blocks.
    c(f"RL.PIN {prefix}pin:alone 5/h")
    c(f"RL.PIN {prefix}pin:for 5/h,bucket:9/d FOR 8d")
    c(f"RL.ACQUIRE {prefix}pin:for 3/h COST 2")
    c(f"RL.ACQUIRE {prefix}pin:used 20/d COST 6")
    c(f"RL.PIN {prefix}pin:used 5/d")
    c(f"RL.PIN {prefix}pin:policy @gold,7/s FOR 8d")
    c(f"RL.ACQUIRE {prefix}pin:policy 3/h")
    c(f"RL.PIN {prefix}pin:gone @removed")
    c(f"RL.ACQUIRE {prefix}pin:gone 30/d COST 3")
    c(f"RL.PIN {prefix}pin:unlimited unlimited")
    c(f"RL.ACQUIRE {prefix}pin:ended 30/d COST 3")
    c(f"RL.PIN {prefix}pin:ended 1/d FOR 1s")
    c(f"RL.ACQUIRE {prefix}unpinned 30/d COST 3")
    c(f"RL.PIN {prefix}unpinned 1/d")
    c(f"RL.UNPIN {prefix}unpinned")
    c(f"RL.BLOCK {prefix}block:alone FOREVER REASON", "binary \x00\r\n\xfe")
    c(f"RL.BLOCK {prefix}block:for FOR 4d")
    c(f"RL.ACQUIRE {prefix}block:used 30/d COST 3")
    c(f"RL.BLOCK {prefix}block:used FOR 5h REASON", "too much")
    c(f"RL.PIN {prefix}block:pinned 4/d")
    c(f"RL.BLOCK {prefix}block:pinned FOREVER")
    c(f"RL.BLOCK {prefix}unblocked FOREVER")
    c(f"RL.ACQUIRE {prefix}unblocked 30/d COST 3")
    c(f"RL.UNBLOCK {prefix}unblocked")
    c("RL.ACQUIRE", prefix + "binary \x00\xff\r\n", "10/d", "COST", "3")


def reservations(c, prefix):
    """On every algorithm: open, settled for less and for more, released, renewed, ended."""
    sets = {
        "sliding": "100/4h", "exact": "60/4h", "bucket": "bucket:100/d", "fixed": "fixed:100/month",
        "first": "fixed:100/5h:start=first", "concurrent": "concurrent:9", "all": "1000/4h,bucket:900/d,fixed:800/d,concurrent:7",
    }
    for name, limits in sets.items():
        key = f"{prefix}{name}"
        def reserve(id, cost, ttl):
            return c(f"RL.RESERVE 1 {key} {limits} COST {cost} TTL {ttl} ID", id)
        reserve("open", 5, "9d")
        reserve("\x00\xff id", 4, "8h")
        reserve("renewed", 3, "20s")
        reserve("less", 10, "1h")
        reserve("more", 10, "1h")
        reserve("released", 8, "1h")
        reserve("ended", 6, "30s")
        reserve("late", 7, "30s")
        c.on(10 * SECOND)
        c(f"RL.RENEW renewed TTL 7h 1 {key}")
        c(f"RL.COMMIT less 1 {key} COST 4")
        c(f"RL.COMMIT more 1 {key} COST 25")
        c(f"RL.RELEASE released 1 {key}")
        c.on(25 * SECOND)
        c(f"RL.COMMIT late 1 {key} COST 2")
    # Of several keys, of other limits later, and beyond what there is.
    keys = [f"{prefix}tree:{level}" for level in "abc"]
    c(f"RL.RESERVE 3 {keys[0]} 90/4h {keys[1]} bucket:80/d {keys[2]} concurrent:3,70/d COST 11 TTL 6h ID tree")
    c(f"RL.RESERVE 3 {keys[0]} 90/4h {keys[1]} bucket:80/d {keys[2]} concurrent:3,70/d COST 2 TTL 6h ID done")
    c(f"RL.COMMIT done 3 {' '.join(keys)} COST 1")
    c(f"RL.RESERVE 1 {prefix}changed 50/4h,concurrent:4 COST 9 TTL 6h ID old")
    c(f"RL.RESERVE 1 {prefix}changed bucket:50/d,concurrent:2:name=c COST 8 TTL 6h ID new")
    c(f"RL.RESERVE 1 {prefix}debt 20/4h,bucket:20/d COST 20 TTL 6h ID debt")
    c(f"RL.COMMIT debt 1 {prefix}debt COST 35")
    c(f"RL.RESERVE 1 {prefix}pinned 20/4h COST 5 TTL 6h ID one")
    c(f"RL.PIN {prefix}pinned 30/4h")
    c(f"RL.BLOCK {prefix}pinned FOR 3d")
    c(f"RL.RESERVE 1 {prefix}tracked 20/4h COST 5 TTL 6h ID two")
    c(f"RL.RECORD {prefix}tracked OK SPEND 1.5")


def usage(c, prefix):
    """Called in several hours of several days."""
    c(f"RL.ACQUIRE {prefix}api 20/h,500/d COST 7 TRACK")
    c(f"RL.ACQUIRE {prefix}api 20/h,500/d COST 7")
    c(f"RL.ACQUIRE {prefix}api 20/h,500/d COST 7")
    c(f"RL.RECORD {prefix}api OK SPEND 0.000000001 DUR 3ms")
    c(f"RL.RECORD {prefix}api OK CACHED SPEND 12345.6789 DUR 820ms COUNT 40")
    c(f"RL.RECORD {prefix}api FAIL DUR 90s COUNT 3")
    c(f"RL.RECORD {prefix}api FAIL SPEND 1000000")
    c(f"RL.RECORD {prefix}only OK COUNT 5 DUR 17ms")
    c(f"CL.THROTTLE {prefix}throttle 3 5 3600 2")
    c(f"RL.RECORD {prefix}throttle OK")


def lasting(c):
    """By the real clock keys get expiry times, and effects say so; a pin without an
    end keeps them."""
    c("RL.PIN real:pinned 10/366d,bucket:20/366d,concurrent:5")
    c("RL.RESERVE 1 real:pinned * COST 2 TTL 9d ID real")
    c("RL.PIN real:used 10/366d,bucket:20/366d")
    c("RL.ACQUIRE real:used * COST 3")
    c("RL.RECORD real:pinned OK SPEND 2.5 DUR 40ms")
    c("RL.BLOCK real:blocked FOREVER REASON abuse")
    c("CB.PIN real:breaker 3:open=20d")
    for _ in range(3):
        c("CB.REPORT real:breaker FAIL")
    c("CB.FORCE real:forced OPEN REASON", "by the real clock")


def keys(c):
    """Database, key, type: all there are."""
    for database in ["0", "3"]:
        c(f"SELECT {database}")
        for key in sorted(c("KEYS *")):
            yield database, key, c("TYPE", key)
    c("SELECT 0")


def looks(kind, key):
    """What users can ask about a key, without changing it."""
    if kind == "cbcircuit":
        return [["CB.STATE", key]]
    return [["RL.QUOTA", key], ["RL.RESERVATIONS", key], ["RL.STATS", key, "HOURS", "24", "DAYS", "30"]]


def named(words, reply):
    """Maps as maps, which a server of version 6.2 writes as flat arrays."""
    if not isinstance(reply, list) or words[0] == "RL.RESERVATIONS":
        return reply
    reply = [named(words, item) for item in reply]
    names = reply[::2]
    if reply and len(reply) % 2 == 0 and all(isinstance(name, str) for name in names):
        return dict(zip(names, reply[1::2]))
    return reply


def said(c, now, tokens):
    """Everything that users see now and later; then what a few commands answer."""
    table = list(keys(c))
    for ahead in [0, 25 * SECOND, 50 * MINUTE, 7 * HOUR]:
        c.at(now + ahead)
        if ahead == 0:
            for words in [["RL.POLICY", "LIST"], ["RL.POLICY", "EXPORT"], ["DBSIZE"]]:
                yield [c.now, "0", words, named(words, c(*words))]
        for database, key, kind in table:
            c(f"SELECT {database}")
            for words in looks(kind, key):
                reply = named(words, c.wire.call(*words))
                if reply and (ahead == 0 or words[0] in ["RL.QUOTA", "CB.STATE"]):
                    yield [c.now, database, words, reply]
    c("SELECT 0")
    c.at(now)
    then = []
    for key, token in tokens.items():
        then += [["CB.REPORT", key, "FAIL", "TOKEN", token], ["CB.REPORT", key, "OK", "TOKEN", token]]
    for key in sorted({key for database, key, kind in table if database == "0" and key.startswith("res:")}):
        for id in ["open", "\x00\xff id", "renewed", "less", "ended", "tree", "old", "new", "debt", "one", "two"]:
            then.append(["RL.RENEW", id, "TTL", "9h", "1", key])
    for name, limits in [
        ("lim:busy", "5000/h,bucket:9000/h,60/h"), ("lim:exact", "64/2h"), ("lim:lowered", "50/d,bucket:50/d"),
        ("lim:orphans", "60/h,fixed:60/d,bucket:60/h,60/d,60/h:per=call,60/h:name=x,5/h,50/d"),
        ("lim:denied", "10/d"), ("lim:back", "3/d,bucket:3/d"), ("lim:pin:for", "1/s"), ("lim:block:used", "30/d"),
    ]:
        then.append(["RL.ACQUIRE", name, limits])
    then += [["CL.THROTTLE", "lim:cell", "15", "30", "3600"], ["CL.THROTTLE", "lim:throttle", "15", "30", "3600"]]
    then += [["RL.ACQUIRE", "gold:new"], ["RL.ACQUIRE", "other", "@silver"], ["CB.ACQUIRE", "pay:a"]]
    for words in then:
        yield ["then", "0", words, c.wire.call(*words)]


def check_kinds(log):
    """That the log has every kind of effect."""
    found = {False: set(), True: set()}
    data, at = log.read_bytes(), 0
    while at < len(data):
        end = data.index(b"\r\n", at)
        words, at = int(data[at + 1 : end]), end + 2
        command = []
        for _ in range(words):
            end = data.index(b"\r\n", at)
            size = int(data[at + 1 : end])
            command.append(data[end + 2 : end + 2 + size])
            at = end + 2 + size + 2
        if command[0].upper() == b"RL.EFFECT":
            for payload in command[2::2]:
                found[payload[0] & 0x20 != 0].add(payload[0] & 0x1F)
    missing = LIMIT_KINDS - found[False], CIRCUIT_KINDS - found[True]
    assert missing == (set(), set()), f"kinds of effects that do not occur: {missing}"


def policies(c):
    c("RL.POLICY SET gold 1000/h,50/s PREFIX gold:")
    c("RL.POLICY SET silver bucket:100/h:burst=300")
    c("RL.POLICY SET seconds 10/s PREFIX pay: BREAKER 5:open=30")
    c("RL.POLICY SET thousands 10/s BREAKER 5:open=30000 PREFIX pay:slow:")
    c("RL.POLICY SET rates 9/m PREFIX rate: BREAKER 50%/60s:open=30000:slow=500:backoff=2:maxopen=600000:lease=9000:idle=90000000")
    c("RL.POLICY SET binary 20/d PREFIX", "\x00\xfe:")
    c("RL.POLICY SET removed 5/h PREFIX removed:")
    c("RL.POLICY SET late 5/h")
    c("RL.POLICY SET gold 2000/h,50/s PREFIX gold:")
    imported = {"name": "imported", "limits": "7/d", "prefix": "imported:", "breaker": "4:open=45000"}
    c("RL.POLICY IMPORT", json.dumps([imported]))


def followers(c):
    """Keys whose limits and breakers are policies'."""
    for key in ["gold:a", "imported:a", "\x00\xfe:a"]:
        c("RL.ACQUIRE", key)
    c("RL.ACQUIRE named @silver,30/d COST 4")
    c("RL.ACQUIRE removed:a COST 2")
    c("RL.ACQUIRE named:removed @removed COST 2")
    for key, times in [("pay:a", 2), ("pay:open", 5), ("pay:slow:a", 2), ("pay:slow:open", 5), ("imported:b", 4)]:
        for _ in range(times):
            c(f"CB.REPORT {key} FAIL DUR 70ms")
    for at in range(9):
        c(f"CB.REPORT rate:a {'FAIL' if at % 3 == 0 else 'OK'} DUR {at * 90}ms")
    c("CB.ACQUIRE rate:new")


def main():
    program, module = sys.argv[1:]
    c = Server(program, os.path.abspath(module))
    try:
        # The real time at the end, to the minute: what was done lies in the past then.
        end = int(time.time()) // 60 * MINUTE
        c.at(end - 3 * DAY - 5 * HOUR)
        for _ in range(3):
            usage(c, "use:")
            c.on(DAY + HOUR)
        c.at(end - 5 * HOUR)
        usage(c, "use:")
        policies(c)
        c.at(end - 52 * MINUTE)
        limiters(c, "lim:")
        c.at(end - 13 * MINUTE)
        usage(c, "use:")
        reservations(c, "res:")
        c.at(end - 5 * MINUTE)
        followers(c)
        c.at(end - 3 * MINUTE)
        tokens = breakers(c, "brk:", end - MINUTE)
        c("RL.POLICY DEL removed")
        c("RL.POLICY DEL late")
        c("SELECT 3")
        c("RL.ACQUIRE elsewhere 10/d COST 4")
        c("CB.FORCE elsewhere:breaker OPEN")
        c("SELECT 0")
        c("RL.DEBUG CLOCK REAL")
        lasting(c)
        now = int(time.time() * SECOND) + SECOND
        c.at(now)
        for folder in ["rdb", "live", "rewritten"]:
            (HERE / folder).mkdir(exist_ok=True)
        check_kinds(c.file("appendonly.aof"))
        shutil.copy(c.file("appendonly.aof"), HERE / "live")
        c("SAVE")
        shutil.copy(c.file("dump.rdb"), HERE / "rdb")
        with open(HERE / "dumps.txt", "w", encoding="ascii") as out:
            for database, key, _ in keys(c):
                c(f"SELECT {database}")
                words = [key, c("DUMP", key)]
                print(database, *(word.encode("latin-1").hex() for word in words), file=out)
        c("SELECT 0")
        c("BGREWRITEAOF")
        while "aof_rewrite_in_progress:0" not in c("INFO persistence"):
            time.sleep(0.05)
        shutil.copy(c.file("appendonly.aof"), HERE / "rewritten")
        with open(HERE / "said.jsonl", "w", encoding="ascii") as out:
            out.writelines(json.dumps(line, separators=(",", ":")) + "\n" for line in said(c, now, tokens))
    finally:
        c.end()


if __name__ == "__main__":
    main()
