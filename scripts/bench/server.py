"""A redis-server of our own: started, pinned to a core, asked, stopped."""

import contextlib
import ctypes
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PROGRAM = os.environ.get("FLOODGATE_SERVER", "redis-server")


def module_path():
    """The release build, or the one that FLOODGATE_BUILD names (debug)."""
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    build = os.environ.get("FLOODGATE_BUILD", "release")
    return os.path.abspath(os.path.join(target, build, "libfloodgate.so"))


ALLOWED = sorted(os.sched_getaffinity(0))


def cores():
    """The core of the server and the one of the load; the same where there is but one."""
    return ALLOWED[0], ALLOWED[-1]


def programs(every):
    """What starts a server: this machine's and, where all are wanted, those of scripts/servers.sh."""
    found = [{}]
    if every:
        script = pathlib.Path(__file__).parent.parent / "servers.sh"
        listed = subprocess.run([script, "fetch"], check=True, capture_output=True, text=True).stdout
        found += [{"program": line.split()[2]} for line in listed.splitlines()]
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pack(*args):
    """A command as the protocol has it."""
    out = [b"*%d\r\n" % len(args)]
    for arg in args:
        arg = arg if isinstance(arg, bytes) else str(arg).encode()
        out.append(b"$%d\r\n%s\r\n" % (len(arg), arg))
    return b"".join(out)


class ReplyError(Exception):
    """The server answered with an error."""


class Client:
    """A plain connection: one command, one reply."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def __call__(self, *args):
        self.socket.sendall(pack(*args))
        return self.read()

    def read(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise ReplyError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        raise ConnectionError(f"not a reply: {line!r}")

    def info(self, section):
        text = self("INFO", section).decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def close(self):
        self.file.close()
        self.socket.close()


LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def begin(cores):
    """What a server does before it is one: it stays on its cores, and ends with us also
    when we are killed."""
    os.sched_setaffinity(0, set(cores))
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Server:
    """A running server with the module and perhaps others, on the first core that we may use."""

    def __init__(
        self, *settings, module=True, module_arguments=(), others=(), wrap=(), program=PROGRAM, on_cores=ALLOWED[:1]
    ):
        self.program = program
        if module and not os.path.exists(module_path()):
            raise SystemExit(f"bench: the module is not built: {module_path()} is missing (make build makes it)")
        try:
            told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(f"bench: cannot run {program}: {getattr(error, 'strerror', None) or error}") from None
        self.port = free_port()
        self.folder = tempfile.mkdtemp(prefix="floodgate-bench-")
        command = [
            *wrap,
            program,
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            self.folder,
            "--logfile",
            os.path.join(self.folder, "log"),
            *settings,
        ]
        if "6.2." not in told:
            # Since 7.0 DEBUG must be asked for.
            command += ["--enable-debug-command", "local"]
        if module:
            command += ["--loadmodule", module_path(), *module_arguments]
        for other in others:
            command += ["--loadmodule", str(other)]
        # No thread runs yet when a server starts, so what runs before it is safe.
        self.process = subprocess.Popen(
            command,
            preexec_fn=lambda: begin(on_cores),  # noqa: PLW1509
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self.client = self._connect()
        except BaseException:
            self._end()
            raise

    def _connect(self):
        for _ in range(600):
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError):
                client = Client(self.port)
                with contextlib.suppress(ReplyError):
                    client("PING")
                    return client
            time.sleep(0.1)
        log = os.path.join(self.folder, "log")
        text = pathlib.Path(log).read_text(errors="replace")[-2000:] if os.path.exists(log) else ""
        raise SystemExit(f"bench: {self.program} does not start; its log:\n{text}")

    def __call__(self, *args):
        return self.client(*args)

    def cpu(self):
        """Seconds of processor time that the server's main thread has used."""
        info = self.client.info("cpu")
        suffix = "_main_thread" if "used_cpu_user_main_thread" in info else ""
        return float(info["used_cpu_user" + suffix]) + float(info["used_cpu_sys" + suffix])

    def memory(self):
        return int(self.client.info("memory")["used_memory"])

    def allocator(self):
        return self.client.info("memory")["mem_allocator"]

    def version(self):
        info = self.client.info("server")
        if "valkey_version" in info:
            return f"Valkey {info['valkey_version']}"
        return f"Redis {info['redis_version']}"

    def stop(self):
        self.client.close()
        self._end()

    def _end(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def machine():
    """The processor's name and how many cores we may use."""
    name = "unknown processor"
    with contextlib.suppress(OSError):
        found = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
        name = found.group(1).strip() if found else name
    return f"{name}, {len(ALLOWED)} cores"
