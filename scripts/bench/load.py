"""Load: prepared pipelines, sent and counted without looking at the replies twice."""

import random
import select
import socket
import time

from server import Client, pack

DEPTH = 32
CONNECTIONS = 4


def key(case, number):
    """Fourteen bytes: a tag of the case and the number."""
    return b"%s:%010d" % (case.tag, number)


def decision(case, *names):
    """The commands that make one decision: one, or two."""
    return [case.command(*names)] + ([case.then(*names)] if case.then else [])


def pipelines(case, keys, order):
    """Every key of a case once, in pipelines; the order is random, and another
    one for another number, so that no case walks through memory in a line."""
    numbers = list(range(keys))
    random.Random(order).shuffle(numbers)
    commands = []
    for at in range(0, keys - case.per_command + 1, case.per_command):
        names = [key(case, number) for number in numbers[at:at + case.per_command]]
        commands.append(b"".join(pack(*command) for command in decision(case, *names)))
    whole = len(commands) - len(commands) % DEPTH
    return [b"".join(commands[at:at + DEPTH]) for at in range(0, whole, DEPTH)]


class Load:
    """Several connections that each have one pipeline under way."""

    def __init__(self, port):
        self.sockets = []
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sockets.append(connection)
        self.port = port

    def lines_of(self, *commands):
        """How many lines the replies to the commands have."""
        return self.lines_after(b"".join(pack(*command) for command in commands))

    def lines_after(self, sent):
        """How many lines come back for commands that are packed already."""
        probe = Client(self.port)
        probe.socket.sendall(sent + pack("ECHO", "end-of-reply"))
        lines = 0
        while (line := probe.file.readline()) != b"$12\r\n":
            if lines == 0 and line.startswith(b"-"):
                raise RuntimeError(f"{sent}: {line.decode().strip()}")
            lines += 1
        probe.close()
        return lines

    def run(self, blobs, lines_a_blob, mark=None):
        """Sends the pipelines; returns how often `mark` came back, and the
        seconds that each pipeline took."""
        marked, times = 0, []
        waiting = iter(blobs)
        poll = select.poll()
        # By file: the connection, lines still to come, when it was sent.
        state = {}
        for connection in self.sockets:
            blob = next(waiting, None)
            if blob is None:
                break
            poll.register(connection, select.POLLIN)
            state[connection.fileno()] = [connection, lines_a_blob, time.perf_counter(), b""]
            connection.sendall(blob)
        while state:
            ready = poll.poll(10_000)
            if not ready:
                raise TimeoutError(f"replies have fewer lines than the first had: {blobs[0][:100]}")
            for file, _ in ready:
                entry = state[file]
                data = entry[0].recv(1 << 18)
                if not data:
                    raise ConnectionError("the server closed the connection")
                entry[1] -= data.count(b"\n")
                if mark:
                    entry[3] += data
                if entry[1] > 0:
                    continue
                times.append(time.perf_counter() - entry[2])
                if mark:
                    marked += entry[3].count(mark)
                blob = next(waiting, None)
                if blob is None:
                    poll.unregister(file)
                    del state[file]
                    continue
                entry[1:] = [lines_a_blob, time.perf_counter(), b""]
                entry[0].sendall(blob)
        return marked, times

    def close(self):
        for connection in self.sockets:
            connection.close()
