"""Exporter, Prometheus and Alertmanager as processes on loopback, each with the
files of this folder, its ports and addresses put in, in a folder of its own."""

import pathlib
import shutil
import socket
import subprocess
import time
import urllib.request

HERE = pathlib.Path(__file__).parent


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait(what, done, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            found = done()
            if found:
                return found
        except OSError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"not within {seconds} s: {what}")


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


class Stack:
    """Ports: those of `ports`, else the usual ones of each program."""

    def __init__(self, folder, redis_port, ports=None, changes=()):
        self.folder = pathlib.Path(folder)
        self.ports = ports or {"exporter": 9121, "prometheus": 9090, "alertmanager": 9093}
        for name in ("metrics.lua", "prometheus.yml", "rules.yml", "alertmanager.yml"):
            text = (HERE / name).read_text()
            text = text.replace("127.0.0.1:6379", f"127.0.0.1:{redis_port}")
            text = text.replace("127.0.0.1:9121", f"127.0.0.1:{self.ports['exporter']}")
            text = text.replace("127.0.0.1:9093", f"127.0.0.1:{self.ports['alertmanager']}")
            for of, old, new in changes:
                if of == name:
                    if old not in text:
                        raise SystemExit(f"{name} lacks {old!r}")
                    text = text.replace(old, new)
            (self.folder / name).write_text(text)
        secrets = self.folder / "secrets"
        if (HERE / "secrets").is_dir():
            shutil.copytree(HERE / "secrets", secrets, dirs_exist_ok=True)
        secrets.mkdir(exist_ok=True)
        self.processes = []

    def run(self, *command):
        name = pathlib.Path(command[0]).name
        with open(self.folder / f"{name}.log", "w") as log:
            try:
                self.processes.append(subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log))
            except OSError as error:
                raise SystemExit(
                    f"cannot start {name}: {error.strerror} (scripts/setup.sh monitor installs it)"
                ) from None

    def check(self):
        """A port may be somebody else's: then ours has ended."""
        for process in self.processes:
            if process.poll() is not None:
                name = pathlib.Path(process.args[0]).name
                raise SystemExit(f"{name} has ended:\n{(self.folder / (name + '.log')).read_text()[-2000:]}")

    def end(self, name):
        """Ends the program whose name ends so."""
        for process in self.processes:
            if pathlib.Path(process.args[0]).name.endswith(name):
                process.terminate()
                process.wait()

    def address(self, name):
        return f"127.0.0.1:{self.ports[name]}"

    def __enter__(self):
        try:
            # Prometheus says which servers to ask. One that hangs is told as such before
            # Prometheus takes the exporter to be gone.
            self.run(
                "prometheus-redis-exporter",
                "-redis.addr",
                "",
                "-script",
                "metrics.lua",
                "-connection-timeout",
                "2s",
                "-web.listen-address",
                self.address("exporter"),
            )
            self.run(
                "prometheus-alertmanager",
                "--config.file=alertmanager.yml",
                "--storage.path=alertmanager",
                "--cluster.listen-address=",
                "--web.listen-address",
                self.address("alertmanager"),
            )
            self.run(
                "prometheus",
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=prometheus",
                "--web.listen-address",
                self.address("prometheus"),
            )
            for name, path in ("exporter", "/metrics"), ("alertmanager", "/-/ready"), ("prometheus", "/-/ready"):
                url = f"http://{self.address(name)}{path}"
                wait(f"{name} serves", lambda url=url: self.check() or get(url))
            self.check()
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()
