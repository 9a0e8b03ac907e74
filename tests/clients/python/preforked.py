"""An application in several processes that are forked once it is imported, as `gunicorn --preload`
does: python preforked.py APP PORT WORKERS INTERFACE. Imports take most of the time of a process
that uvicorn starts."""

import ctypes
import os
import signal
import socket
import sys
from typing import Any

import uvicorn
from uvicorn.importer import import_from_string

PR_SET_PDEATHSIG = 1


def serve(application: Any, listener: socket.socket, interface: Any) -> None:
    """In a child. It ends when its parent does, however that ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    uvicorn.Server(uvicorn.Config(application, interface=interface, log_level="warning")).run([listener])


def main() -> None:
    app, port, workers, interface = sys.argv[1:]
    application = import_from_string(app)
    # Listening before there are children, so that no request is refused meanwhile.
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=2048)
    children = []
    for _ in range(int(workers)):
        if child := os.fork():
            children.append(child)
        else:
            serve(application, listener, interface)
            os._exit(0)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.sigwait({signal.SIGTERM})
    for child in children:
        os.kill(child, signal.SIGTERM)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
