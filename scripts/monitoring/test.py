"""Makes each of the seven alerts fire on a real server, sees it delivered by the
real programs, and sees it resolve; then takes from them what they see by, and sees
that told. Takes about four minutes.

    python3 scripts/monitoring/test.py path/to/libfloodgate.so [picture.svg]

FLOODGATE_SERVER names another server program than redis-server."""

import http.server
import itertools
import json
import os
import pathlib
import re
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

from picture import draw
from stack import HERE, Stack, free_port, get, wait

ALERTS = [
    "FloodgateErrorRate",
    "FloodgateQueue",
    "FloodgateBreakerOpenings",
    "FloodgateResponseTime",
    "FloodgateBatchFailures",
    "FloodgateLatency",
    "FloodgateBreakerOpen",
]
# The day of the summary, in seconds.
DAY = 6
CRITICAL = {"FloodgateErrorRate", "FloodgateBreakerOpenings", "FloodgateLatency"}


class Web(http.server.BaseHTTPRequestHandler):
    """Stands for Slack and PagerDuty."""

    heard = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        Web.heard.append((self.path, json.loads(body)))
        self.send_response(202 if "pagerduty" in self.path else 200)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


class Mail(socketserver.StreamRequestHandler):
    """As much of SMTP as a sender needs."""

    heard = []
    times = []

    def handle(self):
        def say(line):
            self.wfile.write(line.encode() + b"\r\n")

        say("220 sink")
        while line := self.rfile.readline().decode().strip():
            word = line.split()[0].upper()
            if word == "DATA":
                say("354 go on")
                lines = []
                while (text := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                    lines.append(text)
                Mail.heard.append("\n".join(lines))
                Mail.times.append(time.monotonic())
                say("250 taken")
            elif word == "QUIT":
                say("221 bye")
                return
            else:
                say("250 ok")


def serve(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def redis(port, *words):
    done = subprocess.run(["redis-cli", "-p", str(port), *map(str, words)], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def traffic(port):
    """Everything goes wrong at once."""
    redis(port, "CB.REPORT", "svc:stuck", "FAIL", "BREAKER", "1:open=90s")
    redis(port, "RL.ACQUIRE", "line", "1/h")
    waiters = [
        subprocess.Popen(
            ["redis-cli", "-p", str(port), "RL.ACQUIRE", "line", "1/h", "WAIT", "30s"], stdout=subprocess.DEVNULL
        )
        for _ in range(5)
    ]
    for n in range(12):
        redis(port, "CB.REPORT", "api", "FAIL", "DUR", "900ms", "BREAKER", "1000")
        redis(port, "CB.REPORT", f"svc:{n}", "FAIL", "BREAKER", "1")
        redis(port, "RL.BATCH", "EACH", 2, "b", "3/h", 1, "b", "3/h", 1)
        redis(port, "CB.ACQUIRE", f"svc:{n}")
        redis(port, "CB.ACQUIRE", "well")
        redis(port, "RL.RESERVE", 1, f"user:{n % 3}", "*", "TTL", "1m")
        redis(port, "RL.ACQUIRE", f"trial:{n % 3}", "2/m,1/m:shadow:name=tight")
        # One in sixteen commands is timed: as many as it takes to see some.
        subprocess.run(
            ["redis-cli", "-p", str(port)],
            input="RL.ACQUIRE busy 90/s\n" * 200,
            text=True,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        time.sleep(0.4)
    # Names that are no text, two that would be the same if bytes were lost, and an empty one.
    for name in b"", b"svc:\xff\n", b"svc:\xfe\n", 'svc:é"\\'.encode():
        subprocess.run(
            ["redis-cli", "-p", str(port), "CB.REPORT", name, "FAIL", "BREAKER", "1"],
            stdout=subprocess.DEVNULL,
            check=True,
        )
    redis(port, "DEBUG", "SLEEP", "1.5")
    return waiters


def metrics_in(text):
    return {
        name
        for name in re.findall(r"[a-z_:0-9]+", text)
        if name.startswith(("floodgate_", "instance:floodgate_", "redis_")) and name != "redis_script_values"
    }


def main():
    module = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        web = serve(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web))
        mail = serve(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail))
        port = free_port()
        program = os.environ.get("FLOODGATE_SERVER", "redis-server")
        old = " v=6." in subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        # 6.2 has neither the setting that allows DEBUG nor CONFIG SET of a module's.
        command += [] if old else ["--enable-debug-command", "yes"]
        server = subprocess.Popen(
            [*command, "--loadmodule", module, "queue-max", "5"], cwd=folder, stdout=subprocess.DEVNULL
        )
        try:
            run(folder, port, web, mail)
        finally:
            server.kill()
            server.wait()


def sped_up(web, mail):
    """The files of an operator, with our receivers, and quicker than he wants them."""
    return [
        ("prometheus.yml", "_interval: 5s", "_interval: 1s"),
        # A busy machine stalls for a tenth of a second by itself, and would not
        # come to rest. rules.test.yml shows the threshold.
        ("rules.yml", "floodgate_stall_ms_max >= 100", "floodgate_stall_ms_max >= 1000"),
        ("alertmanager.yml", "127.0.0.1:25", f"127.0.0.1:{mail}"),
        ("alertmanager.yml", "https://events.pagerduty.com/v2/enqueue", f"http://127.0.0.1:{web}/pagerduty"),
        ("alertmanager.yml", "group_wait: 5s", "group_wait: 1s"),
        ("alertmanager.yml", "group_wait: 1m", "group_wait: 20s"),
        ("alertmanager.yml", "group_interval: 30s", "group_interval: 2s"),
        ("alertmanager.yml", "group_interval: 24h", f"group_interval: {DAY}s"),
        ("alertmanager.yml", "repeat_interval: 23h", f"repeat_interval: {DAY * 23000 // 24}ms"),
    ]


def run(folder, port, web, mail):
    ports = {name: free_port() for name in ("exporter", "prometheus", "alertmanager")}
    stack = Stack(folder, port, ports, sped_up(web, mail))
    (stack.folder / "secrets/slack-url").write_text(f"http://127.0.0.1:{web}/slack")
    (stack.folder / "secrets/pagerduty-key").write_text("a-key")
    wait("the server serves", lambda: redis(port, "PING") == "PONG")
    with stack:
        redis(port, "RL.POLICY", "SET", "gold", "2/m", "PREFIX", "user:")
        watched = Watched(stack, port, time.time())
        time.sleep(6)
        waiters = traffic(port)
        all_arrive()
        every_metric_is_served(watched)
        every_query_has_data(watched)
        labels_name_what_they_count(watched)
        all_resolve(port, waiters)
        silence_is_told(watched)
        what_lasts_is_mailed_once_a_day(watched)
        if len(sys.argv) > 2:
            pathlib.Path(sys.argv[2]).write_text(draw(HERE / "dashboard.json", watched.ask, watched.start, time.time()))


class Watched:
    """A server, and what Prometheus knows of it since the start."""

    def __init__(self, stack, port, start):
        self.stack, self.port, self.start = stack, port, start
        self.instance = f"127.0.0.1:{port}"

    def ask(self, path, **query):
        url = f"http://{self.stack.address('prometheus')}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        return json.loads(get(url))["data"]

    def range(self, expression, step):
        return self.ask("query_range", query=expression, start=self.start, end=time.time(), step=step)["result"]

    def labels(self, metric, label):
        return {series[label] for series in self.ask("series", **{"match[]": metric}) if label in series}

    def told_of(self, alert, to, state):
        return any(
            to in path and alert in text and state in text.lower() and self.instance in text
            for path, text in ((path, json.dumps(body)) for path, body in list(Web.heard))
        )


def delivered(to, state):
    """The alerts that a receiver was told of in this state."""
    found = set()
    for path, body in list(Web.heard):
        text = json.dumps(body)
        if to in path and state in text.lower():
            found |= {alert for alert in ALERTS if re.search(rf"\b{alert}\b", text)}
    return found


def all_arrive():
    wait("all seven reach Slack", lambda: delivered("slack", "firing") >= set(ALERTS), 120)
    wait("the critical ones reach PagerDuty", lambda: delivered("pagerduty", "trigger") >= CRITICAL, 30)
    assert not delivered("pagerduty", "trigger") - CRITICAL, delivered("pagerduty", "trigger")
    wait("the summary is mailed", lambda: any("FloodgateErrorRate" in text for text in Mail.heard), 60)
    print("delivered: Slack 7 of 7, PagerDuty the 3 critical ones, e-mail the summary", flush=True)


def every_metric_is_served(watched):
    served = set(watched.ask("label/__name__/values"))
    used = metrics_in((HERE / "dashboard.json").read_text())
    rules = (HERE / "rules.yml").read_text()
    used |= metrics_in(
        "\n".join(
            line
            for line in rules.splitlines()
            if "rate(" in line or "expr:" in line or "increase(" in line or "record:" in line
        )
    )
    missing = used - served
    assert not missing, f"not served: {sorted(missing)}"
    print(f"all {len(used)} metrics of dashboard and rules are served", flush=True)


def every_query_has_data(watched):
    expressions = [
        target["expr"]
        for panel in json.loads((HERE / "dashboard.json").read_text())["panels"]
        for target in panel.get("targets", [])
    ]
    for expression in expressions:
        found = watched.range(expression, 2)
        assert any(value != "NaN" for series in found for _, value in series["values"]), f"no data: {expression}"
    print(f"all {len(expressions)} queries of the dashboard have data", flush=True)


def labels_name_what_they_count(watched):
    assert watched.labels("floodgate_denied_by_policy", "policy") == {"gold"}
    denied = watched.range("floodgate_denied_by_policy", 1)
    counts = [int(value) for _, value in denied[0]["values"]]
    assert counts[0] == 0 and counts[-1] > 0, counts
    assert watched.labels("floodgate_acquire_granted", "instance") == {watched.instance}
    told = [body["text"] for path, body in Web.heard if "slack" in path and "text" in body]
    told += [one["text"] for _, body in Web.heard for one in body.get("attachments", [])]
    assert told and all(watched.instance in text for text in told), told
    assert watched.labels("floodgate_shadow_denied_by_limit", "limit") == {"tight"}
    named = watched.labels("floodgate_breakers_open_since_ms", "breaker")
    assert named >= {"svc:0", "svc:\\xff\\x0a", "svc:\\xfe\\x0a", 'svc:\\xc3\\xa9"\\x5c'}, named
    series = watched.ask("series", **{"match[]": "floodgate_breakers_open_since_ms"})
    assert any("breaker" not in one for one in series), series
    assert watched.labels("floodgate_command_latency_us_bucket", "command") >= {"RL.METRICS"}
    assert not watched.ask("series", **{"match[]": '{__name__=~"floodgate_.+",key!=""}'})
    print("servers, policies, shadow limits, open breakers and commands are labels", flush=True)


def all_resolve(port, waiters):
    redis(port, "DEL", "line")
    for waiter in waiters:
        waiter.kill()
        waiter.wait()
    wait("all seven resolve in Slack", lambda: delivered("slack", "resolved") >= set(ALERTS), 150)
    wait("the critical ones resolve in PagerDuty", lambda: delivered("pagerduty", '"resolve"') >= CRITICAL, 30)
    print("resolved: all", flush=True)


def silence_is_told(watched):
    """Of what the alerts see by: the exporter, and the script in it."""

    def told(alert, state):
        return lambda: watched.told_of(alert, "pagerduty", state)

    redis(watched.port, "ACL", "SETUSER", "default", "-rl.metrics")
    wait("a script that fails is told", told("FloodgateScript", "trigger"), 60)
    redis(watched.port, "ACL", "SETUSER", "default", "+rl.metrics")
    wait("one that works again, too", told("FloodgateScript", '"resolve"'), 60)
    watched.stack.end("exporter")
    wait("an exporter that is gone is told", told("FloodgateExporter", "trigger"), 60)
    assert not watched.told_of("FloodgateDown", "slack", "firing"), "the server answered all the time"
    print("not silent: a script that fails, and an exporter that is gone", flush=True)


def what_lasts_is_mailed_once_a_day(watched):
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    alert = [{"labels": {"alertname": "Lasting", "instance": "elsewhere"}, "endsAt": end}]
    request = urllib.request.Request(
        f"http://{watched.stack.address('alertmanager')}/api/v2/alerts",
        method="POST",
        data=json.dumps(alert).encode(),
        headers={"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=5).close()

    def mailed():
        return [at for at, text in list(zip(Mail.times, Mail.heard, strict=False)) if "elsewhere" in text]

    wait("what lasts is mailed on four days", lambda: len(mailed()) >= 4, 60)
    apart = [later - at for at, later in itertools.pairwise(mailed())]
    assert all(DAY * 0.8 < gap < DAY * 1.5 for gap in apart), apart
    print("an alert that lasts is mailed once a day", flush=True)


main()
