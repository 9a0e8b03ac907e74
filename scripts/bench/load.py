"""Load: prepared pipelines, sent and counted without looking at the replies twice."""

import random
import select

from server import Client, pack

DEPTH = 32
CONNECTIONS = 4


def key(case, number):
    """Fourteen bytes: a tag of the case and the number."""
    return b"%s:%010d" % (case.tag, 0 if case.hot else number)


def decision(case, *names):
    """The commands that make one decision: one, or more."""
    return [case.command(*names), *(case.then(*names) if case.then else ())]


def packed(case, *names):
    """The same, as it is sent."""
    return b"".join(pack(*command) for command in decision(case, *names))


def pipelines(case, keys, order):
    """Every key of a case once, in pipelines; the order is random, and another
    one for another number, so that no case walks through memory in a line."""
    names = [key(case, number) for number in range(keys)]
    random.Random(order).shuffle(names)
    if case.per_command == 1:
        # All names are as long, so one packed decision serves for all.
        around = packed(case, names[0]).split(names[0])
        decisions = [name.join(around) for name in names]
    else:
        decisions = [
            packed(case, *names[at : at + case.per_command])
            for at in range(0, keys - case.per_command + 1, case.per_command)
        ]
    whole = len(decisions) - len(decisions) % DEPTH
    return [b"".join(decisions[at : at + DEPTH]) for at in range(0, whole, DEPTH)]


class Load:
    """Several connections that each have one pipeline under way."""

    def __init__(self, port, database=0):
        self.port = port
        self.database = database
        self.sockets = []
        for _ in range(CONNECTIONS):
            client = Client(port)
            client("SELECT", database)
            # Nothing is under way, so nothing is lost with its buffer.
            self.sockets.append(client.socket)

    def lines_of(self, *commands):
        """How many lines the replies to the commands have."""
        return self.lines_after(b"".join(pack(*command) for command in commands))

    def lines_after(self, sent):
        """How many lines come back for commands that are packed already."""
        probe = Client(self.port)
        probe("SELECT", self.database)
        probe.socket.sendall(sent + pack("ECHO", "end-of-reply"))
        lines = 0
        while (line := probe.file.readline()) != b"$12\r\n":
            # An error, and no text that holds a negative number.
            if line[:1] == b"-" and line[1:2].isalpha():
                raise RuntimeError(f"{sent}: {line.decode().strip()}")
            lines += 1
        probe.close()
        return lines

    def run(self, blobs, lines_a_blob, mark=None):
        """Sends the pipelines and returns how often `mark` came back."""
        marked = 0
        waiting = iter(blobs)
        poll = select.poll()
        # By file: the connection, lines still to come, what came back so far.
        state = {}
        for connection in self.sockets:
            blob = next(waiting, None)
            if blob is None:
                break
            poll.register(connection, select.POLLIN)
            state[connection.fileno()] = [connection, lines_a_blob, b""]
            connection.sendall(blob)
        while state:
            ready = poll.poll(60_000)
            if not ready:
                raise TimeoutError(f"replies have fewer lines than the first had: {blobs[0][:100]}")
            for file, _ in ready:
                entry = state[file]
                data = entry[0].recv(1 << 18)
                if not data:
                    raise ConnectionError("the server closed the connection")
                entry[1] -= data.count(b"\n")
                if mark:
                    entry[2] += data
                if entry[1] > 0:
                    continue
                if mark:
                    marked += entry[2].count(mark)
                blob = next(waiting, None)
                if blob is None:
                    poll.unregister(file)
                    del state[file]
                    continue
                entry[1:] = [lines_a_blob, b""]
                entry[0].sendall(blob)
        return marked

    def close(self):
        for connection in self.sockets:
            connection.close()
