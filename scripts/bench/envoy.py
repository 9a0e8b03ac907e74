#!/usr/bin/env python3
"""What floodgate-envoy adds to a request through Envoy.

    make build envoy && python3 scripts/bench/envoy.py [--seconds 3] [--rounds 5]

One Envoy has two routes to the same upstream: one without limits, one that asks.
The same clients ask each in turn, for many short rounds; the figures are medians
of the rounds. All of it runs on the cores of this machine, so that only the
difference and the number of commands say something elsewhere."""

import argparse
import asyncio
import dataclasses
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time
import urllib.request

from report import table

from server import Server, begin, free_port

ROOT = pathlib.Path(__file__).parents[2]
UNLIMITED = "without limits"
# Where a request has one descriptor, and where it has four.
PATHS = {UNLIMITED: "/free", "one descriptor": "/one", "four descriptors": "/four"}

LIMITS = "domain: edge\ndescriptors:\n" + "".join(
    f"  - {{key: d{n}, rate_limit: {{unit: hour, requests_per_unit: 4000000000}}}}\n" for n in range(4)
)


def rate_limits(count):
    actions = [f"{{actions: [{{generic_key: {{descriptor_key: d{n}, descriptor_value: x}}}}]}}" for n in range(count)]
    return f"[{', '.join(actions)}]"


def bootstrap(port, grpc):
    """The example's, with these ports and routes."""
    text = (ROOT / "src/bin/envoy/example/envoy.yaml").read_text()
    text = text.replace("port_value: 10000", f"port_value: {port}").replace("port_value: 8081", f"port_value: {grpc}")
    text = text.replace("port_value: 10001", f"port_value: {free_port()}").replace("port_value: 9901", "port_value: 0")
    text = text.replace("timeout: 0.1s", "timeout: 5s").replace("failure_mode_deny: false", "failure_mode_deny: true")
    start, end = text.index("              - match: {prefix: /}"), text.index("  - name: hello")
    routes = "              - {match: {path: /free}, route: {cluster: hello}}\n"
    for path, count in (("/one", 1), ("/four", 4)):
        routes += (
            f"              - {{match: {{path: {path}}}, "
            f"route: {{cluster: hello, rate_limits: {rate_limits(count)}}}}}\n"
        )
    return text[:start] + routes + text[end:]


async def client(port, path, until, times):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = f"GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n".encode()
    while time.perf_counter() < until:
        begun = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"bench: {path} answered {head!r}")
        length = int(re.search(rb"content-length: (\d+)", head)[1])
        await reader.readexactly(length)
        times.append(time.perf_counter() - begun)
    writer.close()


async def measure(port, path, clients, seconds):
    times = []
    begun = time.perf_counter()
    until = begun + seconds
    await asyncio.gather(*(client(port, path, until, times) for _ in range(clients)))
    took = time.perf_counter() - begun
    cuts = statistics.quantiles(times, n=100)
    return len(times), len(times) / took, cuts[49] * 1000, cuts[98] * 1000


def commands(http):
    with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics") as page:
        text = page.read().decode()
    return int(re.search(r"^floodgate_envoy_redis_commands_total (\d+)", text, re.MULTILINE)[1])


def wait(port, path="/", good=(200,)):
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as page:
                if page.status in good:
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"bench: nothing answers on port {port}")


@dataclasses.dataclass
class Route:
    """What was measured of one route, round by round."""

    # Requests a second, and their waits in milliseconds.
    rates: list = dataclasses.field(default_factory=list)
    p50: list = dataclasses.field(default_factory=list)
    p99: list = dataclasses.field(default_factory=list)
    requests: int = 0
    # Commands that the service sent to Redis.
    commands: int = 0


class Programs:
    """Those that are started on one core, and end together."""

    def __init__(self, core):
        self.core, self.started = core, []

    def start(self, *command):
        self.started.append(
            subprocess.Popen(
                command,
                preexec_fn=lambda: begin([self.core]),  # noqa: PLW1509
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.started:
            process.terminate()
            process.wait()


def asked():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3, help="of each round")
    parser.add_argument("--rounds", type=int, default=5, help="of each route")
    parser.add_argument("--clients", type=int, default=8, help="that ask at a time")
    return parser.parse_args()


def start(programs, redis, folder):
    """The service and an Envoy in front of it; the ports of both by HTTP."""
    service = os.environ.get("FLOODGATE_ENVOY_SERVICE") or os.path.join(
        os.environ.get("CARGO_TARGET_DIR", ROOT / "target"), "replay", "floodgate-envoy"
    )
    envoy = subprocess.run([ROOT / "scripts/envoy.sh"], capture_output=True, text=True, check=True).stdout.strip()
    grpc, http, front = free_port(), free_port(), free_port()
    limits, edge = pathlib.Path(folder, "limits.yaml"), pathlib.Path(folder, "envoy.yaml")
    limits.write_text(LIMITS)
    edge.write_text(bootstrap(front, grpc))
    programs.start(
        service,
        "--config",
        limits,
        "--redis",
        f"redis://127.0.0.1:{redis.port}",
        "--listen",
        f"127.0.0.1:{grpc}",
        "--http",
        f"127.0.0.1:{http}",
    )
    wait(http, "/healthcheck")
    programs.start(envoy, "-c", edge, "--concurrency", "1", "--disable-hot-restart")
    wait(front, "/free")
    return http, front


def in_turn(options, http, front):
    """All routes, by name, in rounds."""
    routes = {name: Route() for name in PATHS}
    for _ in range(options.rounds):
        for name, path in PATHS.items():
            route, before = routes[name], commands(http)
            count, rate, p50, p99 = asyncio.run(measure(front, path, options.clients, options.seconds))
            route.rates.append(rate)
            route.p50.append(p50)
            route.p99.append(p99)
            route.requests += count
            route.commands += commands(http) - before
    return routes


def rows(routes):
    base = routes[UNLIMITED]
    for name, route in routes.items():
        added = (
            ["", ""]
            if route is base
            else [
                f"{statistics.median(waits) - statistics.median(plain):.2f}"
                for waits, plain in ((route.p50, base.p50), (route.p99, base.p99))
            ]
        )
        yield [
            name,
            f"{statistics.median(route.rates):,.0f}",
            f"{statistics.median(route.p50):.2f}",
            f"{statistics.median(route.p99):.2f}",
            *added,
            f"{route.commands / max(route.requests, 1):.2f}",
        ]


def main():
    options, cores = asked(), sorted(os.sched_getaffinity(0))
    server = Server()
    try:
        with tempfile.TemporaryDirectory(prefix="floodgate-bench-") as folder, Programs(cores[0]) as programs:
            http, front = start(programs, server, folder)
            os.sched_setaffinity(0, {cores[-1]})
            routes = in_turn(options, http, front)
    finally:
        server.stop()
    print(
        table(
            [
                f"through Envoy, {options.clients} clients",
                "requests/s",
                "p50 ms",
                "p99 ms",
                "p50 added",
                "p99 added",
                "Redis commands a request",
            ],
            list(rows(routes)),
        ),
        end="",
    )
    print("envoyproxy/ratelimit sends INCRBY and EXPIRE for each descriptor")


if __name__ == "__main__":
    main()
