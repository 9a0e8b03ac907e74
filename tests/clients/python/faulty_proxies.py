"""Ways to a server that are worse than others."""

import socket
import threading
import time


class LossyWay:
    """Answers to commands that WAIT get lost, and the server does not hear that a client has
    gone."""

    def __init__(self, port: int):
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self._waiting: list[socket.socket] = []
        self._is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """From now on who waits loses the connection."""
        self._is_cut = True
        for client in self._waiting:
            _close(client)

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.create_connection(("127.0.0.1", self._port))
            for passes in (self._asks, self._tells):
                threading.Thread(target=passes, args=(client, server), daemon=True).start()

    def _asks(self, client: socket.socket, server: socket.socket) -> None:
        while asked := _read(client):
            if b"WAIT" in asked:
                self._waiting.append(client)
                if self._is_cut:
                    _close(client)
                    return
            server.sendall(asked)
        # The server's end stays open.

    def _tells(self, client: socket.socket, server: socket.socket) -> None:
        while told := _read(server):
            if client not in self._waiting:
                try:
                    client.sendall(told)
                except OSError:
                    pass  # it has gone


class SlowWay:
    """Each answer takes so many seconds longer, and those to what says `lost` never come. With
    `path` the way begins at a Unix socket."""

    def __init__(self, port: int, seconds: float, path: str = ""):
        self._port = port
        self._seconds = seconds
        if path:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(path)
            self._listener.listen()
            self.url = f"unix://{path}"
        else:
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
            self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._passes, args=(client,), daemon=True).start()

    def _passes(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._port))
        while asked := _read(client):
            server.sendall(asked)
            told = _read(server)
            time.sleep(self._seconds)
            if b"lost" not in asked:
                client.sendall(told)
        server.close()


class TurnedWay:
    """It leads to another server once it is turned: as where an operator restarts one with other
    settings. Who is connected loses the connection."""

    def __init__(self, port: int):
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def turn(self, port: int) -> None:
        self._port = port
        ends, self._ends = self._ends, []
        for end in ends:
            _close(end)

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.create_connection(("127.0.0.1", self._port))
            self._ends += [client, server]
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=_passes_on, args=(one, other), daemon=True).start()


def _passes_on(one: socket.socket, other: socket.socket) -> None:
    while said := _read(one):
        try:
            other.sendall(said)
        except OSError:
            break
    _close(other)


def _read(end: socket.socket) -> bytes:
    try:
        return end.recv(65536)
    except OSError:
        return b""


def _close(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it is closed already
