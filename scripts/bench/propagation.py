"""What a change sends to a replica, in bytes."""

import time

from cases import BUCKET, SLIDING, THREE, acquire, batch
from load import key
from server import Server

COMMANDS = [
    ("SET key v PX 60000", lambda key: ("SET", key, "v", "PX", "60000"), 1),
    ("RL.ACQUIRE bucket, granted", acquire(BUCKET), 1),
    ("RL.ACQUIRE 100/m, granted", acquire(SLIDING), 1),
    ("RL.ACQUIRE three limits, granted", acquire(THREE), 1),
    ("RL.BATCH EACH of 50, a key", batch(BUCKET), 50),
]


class Name:
    """Stands for a case: its keys only."""

    tag = b"rep"


def measure(server):
    """(command, bytes a decision) with one replica, on keys that are there."""
    with Server("--replicaof", "127.0.0.1", str(server.port)) as replica:
        for _ in range(300):
            if replica.client.info("replication")["master_link_status"] == "up":
                break
            time.sleep(0.1)
        for name, command, keys in COMMANDS:
            names = [key(Name, number) for number in range(keys)]
            server("FLUSHALL", "SYNC")
            server(*command(*names))
            before = int(server.client.info("replication")["master_repl_offset"])
            for _ in range(10):
                server(*command(*names))
            after = int(server.client.info("replication")["master_repl_offset"])
            yield name, (after - before) / 10 / keys
