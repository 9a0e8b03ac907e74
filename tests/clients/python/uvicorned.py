"""Applications under uvicorn, as processes of their own, and requests to them."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any, NamedTuple


class Response(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Uvicorn:
    """`uvicorn APP --workers N` on a port of its own."""

    def __init__(
        self, app: str, workers: int = 1, interface: str = "auto", probe: str = "/openapi.json", **environment: str
    ):
        self.app = app
        self.workers = workers
        self.interface = interface
        self.probe = probe
        self.environment = environment
        self.seen: list[tuple[str, str, Response]] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        # It ends when this process does, however that ends.
        command = ["setpriv", "--pdeathsig", "TERM", "--", sys.executable, *self.arguments()]
        folder = os.path.dirname(os.path.abspath(__file__))
        self.process = subprocess.Popen(
            command, cwd=folder, env=os.environ | self.environment, stdout=sys.stderr
        )  # to which uvicorn gives the errors of WSGI, too
        deadline = time.monotonic() + 60
        while True:
            try:
                self.request("GET", self.probe)
                return
            except OSError:
                assert self.process.poll() is None, f"{self.app} ended"
                assert time.monotonic() < deadline, f"{self.app} does not answer"
                time.sleep(0.05)

    def arguments(self) -> list[str]:
        """Of Python."""
        arguments = ["-m", "uvicorn", self.app, "--port", str(self.port), "--workers", str(self.workers)]
        return [*arguments, "--log-level", "warning", "--interface", self.interface]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def connect(self, caller: str = "127.0.0.1") -> http.client.HTTPConnection:
        """From one of the machine's own addresses, 127.0.0.0/8."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60, source_address=(caller, 0))

    def request(self, method: str, path: str, body: Any = None, caller: str = "127.0.0.1", **more: str) -> Response:
        connection = self.connect(caller)
        try:
            headers = {"Content-Type": "application/json"} | more
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            response = Response(answer.status, answer.headers, answer.read())
            if self.seen is not None:
                self.seen.append((method, path, response))
            return response
        except http.client.HTTPException as error:  # it was killed while it answered
            raise ConnectionResetError(str(error)) from error
        finally:
            connection.close()

    def get(self, path: str, caller: str = "127.0.0.1", **headers: str) -> Response:
        return self.request("GET", path, caller=caller, **headers)


class Preforked(Uvicorn):
    """Workers that are forked once the application is imported: see preforked.py."""

    def arguments(self) -> list[str]:
        return ["preforked.py", self.app, str(self.port), str(self.workers), self.interface]
