"""The libraries that people use today. Each decides for real, and what it sends
for a decision is written down on the way; that is then sent again for many keys,
in pipelines, like everything else here. So what the server spends on a decision
is compared, and neither the client's language nor its waiting."""

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import threading
import time

from cases import Case

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("FLOODGATE_CACHE", ROOT / ".cache")).resolve() / "bench"
CLIENTS = pathlib.Path(__file__).parent / "clients"
GRANTED = b":1\r\n"


class Missing(Exception):
    """A library cannot be had here, and why."""


# ---- installing them, each language's in a folder of its own -----------------


@dataclasses.dataclass(frozen=True)
class Language:
    """Where the libraries of a language are, and how they come there."""

    name: str
    packages: tuple
    programs: tuple

    @property
    def folder(self):
        return CACHE / self.name

    def install(self):
        """Quick when they are there. Who comes second waits until the first is done."""
        for program in self.programs:
            if not shutil.which(program):
                raise Missing(f"{program} is not installed")
        CACHE.mkdir(parents=True, exist_ok=True)
        wanted, done = "\n".join(self.packages), self.folder / "installed"
        with open(CACHE / f"{self.name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if done.exists() and done.read_text() == wanted:
                return
            print(f"bench: installing {', '.join(self.packages)} into {self.folder}", file=sys.stderr, flush=True)
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir()
            for command in self.commands():
                ran = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
                if ran.returncode:
                    reason = (ran.stderr or ran.stdout).strip().splitlines()[-1:] or ["it does not say why"]
                    raise Missing(f"{' '.join(self.packages)} cannot be had: {reason[0]}")
            done.write_text(wanted)


class Python(Language):
    @property
    def python(self):
        return self.folder / "venv" / "bin" / "python"

    def commands(self):
        yield [sys.executable, "-m", "venv", self.folder / "venv"]
        yield [self.python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *self.packages]

    def program(self, port, library):
        return [self.python, CLIENTS / "python.py", str(port), library]

    def versions(self):
        listed = subprocess.run(
            [self.python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        return {entry["name"]: entry["version"] for entry in json.loads(listed) if entry["name"] in self.packages}


class Node(Language):
    def commands(self):
        (self.folder / "package.json").write_text('{"private": true}')
        yield ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *self.packages]

    def program(self, port, library):
        return ["node", CLIENTS / "node.js", str(port), library, self.folder]

    def versions(self):
        named = [re.sub("@.*", "", package) for package in self.packages]
        return {
            name: json.loads((self.folder / "node_modules" / name / "package.json").read_text())["version"]
            for name in named
        }


PYTHON = Python("python", ("limits", "pybreaker", "redis"), ())
# The fifth ioredis runs on Debian's own Node, too.
NODE = Node("node", ("rate-limiter-flexible", "ioredis@5"), ("node", "npm"))


@dataclasses.dataclass(frozen=True)
class Library:
    """One way to decide with a library."""

    name: str
    language: Language
    tag: bytes
    # What comes back once for each granted decision, where a constant tells.
    mark: bytes | None = None


LIBRARIES = [
    Library("limits: fixed window", PYTHON, b"liF"),
    Library("limits: sliding counter", PYTHON, b"liC", GRANTED),
    Library("limits: moving window", PYTHON, b"liM", GRANTED),
    Library("limits: moving window, and what is left", PYTHON, b"liN"),
    Library("rate-limiter-flexible", NODE, b"rlf"),
    Library("pybreaker", PYTHON, b"pyb"),
]


def versions():
    """By package, of those that are installed."""
    found = {}
    for language in (PYTHON, NODE):
        with contextlib.suppress(Missing):
            language.install()
            found |= language.versions()
    return found


# ---- writing down what they send ---------------------------------------------


class Recorder:
    """Stands between a client and the server and keeps what the client sends."""

    def __init__(self, port):
        self.server = port
        self.sent = bytearray()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.server))
            threading.Thread(target=self._carry, args=(client, server, self.sent), daemon=True).start()
            threading.Thread(target=self._carry, args=(server, client, None), daemon=True).start()

    @staticmethod
    def _carry(source, target, kept):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if kept is not None:
                    kept += data
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def take(self):
        """The commands that were sent since the last time."""
        sent = bytes(self.sent)
        self.sent.clear()
        return list(commands_in(sent))

    def close(self):
        # What waits in accept learns of it by this, and not by close alone.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def commands_in(sent):
    """The commands in these bytes, each a list of its arguments."""
    at = 0

    def number(kind):
        nonlocal at
        end = sent.index(b"\r\n", at)
        if sent[at : at + 1] != kind:
            raise ValueError(f"not a command: {sent[at:end]!r}")
        value, at = int(sent[at + 1 : end]), end + 2
        return value

    while at < len(sent):
        command = []
        for _ in range(number(b"*")):
            length = number(b"$")
            command.append(sent[at : at + length])
            at += length + 2
        yield command


@dataclasses.dataclass(frozen=True)
class Spoken:
    """A command that a library sent, for any key and at any time."""

    arguments: tuple
    key: bytes
    # Which arguments were the client's clock.
    clock: tuple

    @classmethod
    def of(cls, command, key):
        now = time.time()
        clock = tuple(
            at
            for at, argument in enumerate(command)
            if re.fullmatch(rb"\d{10}\.\d+", argument) and abs(float(argument) - now) < 60
        )
        return cls(tuple(command), key, clock)

    def __call__(self, key):
        return tuple(
            b"%.6f" % time.time() if at in self.clock else argument.replace(self.key, key)
            for at, argument in enumerate(self.arguments)
        )


class Decider:
    """A library at work in a process of its own."""

    def __init__(self, library, port):
        command = library.language.program(port, library.name)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def grants(self, key):
        with contextlib.suppress(BrokenPipeError):
            print(key.decode(), file=self.process.stdin, flush=True)
        if self.process.stdout.readline().strip() != "granted":
            self.process.kill()
            raise Missing(f"it does not grant: {self.process.stderr.read()[-500:]}")

    def stop(self):
        self.process.stdin.close()
        self.process.wait(20)


def recorded(server, library):
    """The library's decision as a case."""
    library.language.install()
    recorder = Recorder(server.port)
    decider = Decider(library, recorder.port)
    name = b"%s:%010d" % (library.tag, 1)
    try:
        # It greets the server and loads its scripts at other keys.
        for _ in range(2):
            decider.grants(b"%s:%010d" % (library.tag, 0))
        seen = []
        for _ in range(3):
            recorder.take()
            decider.grants(name)
            seen.append([Spoken.of(command, name) for command in recorder.take()])
    finally:
        decider.stop()
        recorder.close()
    first, again, last = seen
    at_zero = [[command.arguments[0] for command in decision] for decision in (again, last)]
    if at_zero[0] != at_zero[1] or not first:
        raise Missing(f"its decisions differ: {at_zero}")
    return Case(
        library.name,
        library.tag,
        again[0],
        then=all_of(again[1:]),
        mark=library.mark,
        prepare=first[0],
        prepare_then=all_of(first[1:]),
    )


def all_of(commands):
    return (lambda key: [command(key) for command in commands]) if commands else None


def cases(server, say):
    """The libraries that can be had; of the others it is said why not."""
    found = []
    for library in LIBRARIES:
        try:
            found.append(recorded(server, library))
        except Missing as reason:
            say(f"{library.name} is not measured: {reason}")
    return found
