"""What a change sends to a replica: which commands, and how many bytes."""

import contextlib
import dataclasses
import time

from cases import BUCKET, SLIDING, THREE, acquire, batch
from load import key

from server import Client, pack

DECISIONS = [
    ("SET key v PX 60000", lambda key: [("SET", key, "v", "PX", "60000")], 1),
    ("RL.ACQUIRE bucket, granted", lambda key: [acquire(BUCKET)(key)], 1),
    ("RL.ACQUIRE 100/m, granted", lambda key: [acquire(SLIDING)(key)], 1),
    ("RL.ACQUIRE three limits, granted", lambda key: [acquire(THREE)(key)], 1),
    ("RL.ACQUIRE, denied", lambda key: [acquire("20/d", "COST", 20)(key)], 1),
    ("RL.BATCH EACH of 50 keys", lambda *keys: [batch(BUCKET)(*keys)], 50),
    ("CB.ACQUIRE + CB.REPORT OK", lambda key: [("CB.ACQUIRE", key, "50%/60s"), ("CB.REPORT", key, "OK")], 1),
]
TIMES = 5


class Name:
    """Stands for a case: its keys only."""

    tag = b"rep"
    hot = False


@dataclasses.dataclass
class Row:
    """What a decision on keys that are there sends."""

    name: str
    # Of each command that was asked for.
    bytes: float
    effects: float
    # The commands that carry the change, or wrap what does.
    commands: list
    keys: int


class Replica(Client):
    """A connection that the server takes for a replica."""

    def __init__(self, port):
        super().__init__(port)
        self.socket.settimeout(60)
        # What diskless servers send needs this; the others do not mind.
        self("REPLCONF", "capa", "psync2")
        self.socket.sendall(pack("PSYNC", "?", "-1"))
        self._line(b"+FULLRESYNC")
        self.file.read(int(self._line(b"$")[1:]))

    def _line(self, start):
        """The next line that starts so; empty ones say that the server is at work."""
        while line := self.file.readline():
            if line.startswith(start):
                return line
            if line.strip():
                break
        raise ConnectionError(f"the server sends no data: {line!r}")

    def until(self, end):
        """(commands, bytes) that came before the key `end` was set."""
        commands, size = [], 0
        while True:
            command = self.read()
            if not isinstance(command, list):
                continue
            if command[:2] == [b"SET", end]:
                return commands, size
            # The server's own, at its own time.
            if command[0].upper() in (b"PING", b"SELECT", b"REPLCONF"):
                continue
            commands.append(command[0].decode())
            size += len(pack(*command))


def linked(replica):
    """Waits until a replica has all that its master has."""
    for _ in range(600):
        if replica.client.info("replication")["master_link_status"] == "up":
            return
        time.sleep(0.1)
    raise TimeoutError("the replica does not come up")


def measure(server):
    """Rows, on keys that are there."""
    # A replica of ours gives no sign of life; nor does it want the dump on a socket.
    for setting in (("repl-timeout", "600"), ("repl-diskless-sync", "no"), ("repl-ping-replica-period", "600")):
        server("CONFIG", "SET", *setting)
    server("FLUSHALL", "SYNC")
    with contextlib.closing(Replica(server.port)) as replica:
        for number, (name, decision, keys) in enumerate(DECISIONS):
            names = [key(Name, 1000 * number + one) for one in range(keys)]
            for round_ in range(TIMES + 1):
                for command in decision(*names):
                    server(*command)
                if round_ == 0:
                    server("SET", "begin", "")
                    replica.until(b"begin")
            server("SET", "end", "")
            commands, size = replica.until(b"end")
            effects = [command for command in commands if command not in ("MULTI", "EXEC")]
            yield Row(name, size / TIMES, len(effects) / TIMES, sorted(set(commands)), keys)
