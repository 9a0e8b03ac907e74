"""Tries the page of the service in headless Chromium, on a real server under traffic:
python try_page.py PORT PLAIN, with CHROMIUM=program in the environment. Talks as
try_recipes.py does. PICTURE=file.png takes the picture in OPERATIONS.md."""

import asyncio
import base64
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis
import websockets
from outage import please
from uvicorned import Uvicorn

CHROMIUM = os.environ["CHROMIUM"]
PICTURE = os.environ.get("PICTURE")
TOKEN = "t0ken-" + "x" * 20
admin: Any = redis.Redis(port=int(sys.argv[1]), decode_responses=True, protocol=2)


class Traffic:
    """Callers of all sorts, until it is over."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._waiters = [threading.Thread(target=self._wait, daemon=True) for _ in range(3)]
        self._caller = threading.Thread(target=self._call, daemon=True)

    def __enter__(self) -> None:
        admin.execute_command("RL.POLICY", "SET", "free", "5/s,100/h", "PREFIX", "free:")
        admin.execute_command("RL.POLICY", "SET", "paid", "1000/s", "PREFIX", "paid:")
        admin.execute_command("CB.REPORT", "payments", "FAIL", "BREAKER", "1:open=10m")
        admin.execute_command("CB.FORCE", "search", "OPEN")
        admin.execute_command("RL.ACQUIRE", "report", "1/h")
        admin.execute_command("RL.BLOCK", "free:<img src=x onerror=alert(1)>", "FOR", "1h")
        for thread in (*self._waiters, self._caller):
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._caller.join()

    def _call(self) -> None:
        client: Any = redis.Redis(port=int(sys.argv[1]), protocol=2)
        while not self._over.is_set():
            try:
                for _ in range(4):
                    client.execute_command("RL.ACQUIRE", "free:ann")
                    client.execute_command("RL.ACQUIRE", "paid:bob")
                client.execute_command("RL.ACQUIRE", "free:<img src=x onerror=alert(1)>")
                client.execute_command("RL.RECORD", "job", "FAIL", "COUNT", 5)
            except redis.RedisError:
                pass  # it is away
            time.sleep(0.02)

    def _wait(self) -> None:
        own: Any = redis.Redis(port=int(sys.argv[1]), protocol=2, socket_timeout=None)
        while not self._over.is_set():
            try:
                own.execute_command("RL.ACQUIRE", "report", "1/h", "WAIT", "30s")
            except redis.RedisError:
                time.sleep(0.1)


class Browser:
    """A page of Chromium, by its debugging protocol."""

    def __init__(self, socket: Any):
        self._socket = socket
        self._number = 0
        self.said: list[str] = []

    async def send(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        await self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            told = json.loads(await asyncio.wait_for(self._socket.recv(), 60))
            entry = told.get("params", {}).get("entry", {})
            if told.get("method") == "Runtime.exceptionThrown" or entry.get("level") in ("warning", "error"):
                self.said.append(json.dumps(told["params"]))
            if told.get("id") == self._number:
                assert "error" not in told, told
                return told["result"]

    async def run(self, script: str) -> Any:
        result = await self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def text(self, id: str) -> str:
        return str(await self.run(f"document.getElementById('{id}').innerText"))

    async def eventually(self, what: str, script: str) -> None:
        deadline = time.monotonic() + 60
        while not await self.run(script):
            assert time.monotonic() < deadline, (what, await self.run("document.body.innerText"))
            await asyncio.sleep(0.1)

    async def key(self, key: str, code: int, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            extra = {"text": text} if text and kind == "keyDown" else {}
            await self.send("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **extra)

    async def tab(self) -> str:
        await self.key("Tab", 9)
        return str(await self.run("document.activeElement.id || document.activeElement.className"))

    async def types(self, text: str) -> None:
        await self.send("Input.insertText", text=text)
        await self.key("Enter", 13, "\r")

    async def scheme(self, name: str) -> None:
        await self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Browser]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = ["setpriv", "--pdeathsig", "KILL", "--", CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu"]
        command += ["--remote-debugging-port=0", f"--user-data-dir={profile}", "--window-size=1280,1000", "about:blank"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            port_file = f"{profile}/DevToolsActivePort"
            deadline = time.monotonic() + 60
            while not os.path.exists(port_file) or not open(port_file).read().count("\n"):  # noqa: SIM115
                assert process.poll() is None and time.monotonic() < deadline, "Chromium does not start"
                await asyncio.sleep(0.1)
            port, path = open(port_file).read().split("\n")[:2]  # noqa: SIM115
            async with websockets.connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as whole:
                root = Browser(whole)
                target = (await root.send("Target.createTarget", url="about:blank"))["targetId"]
                socket = f"ws://127.0.0.1:{port}/devtools/page/{target}"
                async with websockets.connect(socket, max_size=None) as page:
                    browser = Browser(page)
                    for domain in ("Runtime", "Log", "Page"):
                        await browser.send(f"{domain}.enable")
                    await browser.send("Page.navigate", url=url)
                    await browser.eventually("it loads", "document.readyState === 'complete' && !!document.getElementById('token')")
                    yield browser
        finally:
            process.kill()
            process.wait()


async def looked_at(service: Uvicorn) -> None:
    async with opened(f"http://127.0.0.1:{service.port}/page") as browser:
        # By the keyboard alone: a wrong token, and the right one.
        assert await browser.run("document.activeElement.id") == "token"
        await browser.types("wrong")
        await browser.eventually("it is refused", "document.getElementById('refused').innerText === 'This is not the token.'")
        assert await browser.run("document.getElementById('now').hidden && document.activeElement.id === 'token'")
        await browser.types(TOKEN)
        await browser.eventually("it is live", "document.getElementById('state').innerText === 'live'")
        # What happens, and why.
        await browser.eventually("ann is denied", "document.getElementById('denied').innerText.includes('free:ann')")
        await browser.eventually("why", "/free:ann\\s+\\d+\\s+(granted again|5\\/s|100\\/h)/.test(document.getElementById('denied').innerText)")
        await browser.eventually("by its hour", "document.getElementById('denied').innerText.includes('100 of 100')")
        assert "(policy)" in await browser.text("denied"), await browser.text("denied")
        assert "free:<img src=x onerror=alert(1)>" in await browser.text("denied"), "a key is text"
        assert "blocked" in await browser.text("denied") and await browser.run("document.images.length") == 0
        breakers = await browser.text("breakers")
        assert "payments" in breakers and "search" in breakers and "forced-open" in breakers and "for ever" in breakers
        assert "min" in breakers.split("payments")[1].split("\n")[0], breakers
        await browser.eventually("three wait", "/report\\s+3\\s/.test(document.getElementById('lines').innerText)")
        policies = await browser.text("policies")
        assert "free" in policies and "5/s,100/h" in policies and "paid:" in policies, policies
        assert await browser.run("document.querySelectorAll('#policies svg rect.share').length") == 2
        await browser.eventually("an alert", "document.getElementById('alerts').innerText.includes('(now)')")
        # It is live: the chart grows, and is drawn by the page itself.
        count = "document.querySelector('#chart polyline.granted').getAttribute('points').split(' ').length"
        before = await browser.run(count)
        await browser.eventually("it grows", f"{count} >= {before} + 2")
        assert await browser.run("performance.getEntriesByType('resource').every(one => one.name.endsWith('/page/data'))")
        rates = await browser.text("rates")
        assert float(rates.split(" granted")[0]) > 1, rates
        # The keyboard reaches everything, and p pauses.
        await browser.run("document.activeElement.blur()")
        reached = [await browser.tab() for _ in range(2)]
        assert reached == ["skip", "pause"], reached
        await browser.run("document.activeElement.blur()")
        await browser.key("p", 80, "p")
        assert await browser.text("state") == "paused" and "Go on" in await browser.text("pause")
        assert await browser.run("document.getElementById('pause').getAttribute('aria-pressed')") == "true"
        await asyncio.sleep(3)  # what it had asked for before has come
        still = await browser.run(count)
        await asyncio.sleep(1.5)
        assert await browser.run(count) == still, "it is paused"
        await browser.key("p", 80, "p")
        await browser.eventually("it goes on", f"{count} > {still}")
        # Dark and light: the words stand out from the paper in both.
        contrast = """(() => {
          const light = (rgb) => rgb.match(/[\\d.]+/g).slice(0, 3).map(Number).map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0)
          const of = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05) }
          const card = getComputedStyle(document.querySelector('section')).backgroundColor
          return Math.min(...['.granted', '.denied', '.faint', '.warn', 'td'].map(name => document.querySelector('section ' + name))
            .filter(Boolean).map(node => of(getComputedStyle(node).color, card)))
        })()"""
        papers = set()
        for scheme in ("dark", "light"):
            await browser.scheme(scheme)
            papers.add(await browser.run("getComputedStyle(document.body).backgroundColor"))
            assert await browser.run(contrast) >= 4.5, (scheme, await browser.run(contrast))
        assert len(papers) == 2, papers
        if PICTURE:
            await asyncio.sleep(20)  # a chart with something on it
            taken = await browser.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
            with open(PICTURE, "wb") as file:
                file.write(base64.b64decode(taken["data"]))
        # A phone's width: nothing is wider than the screen.
        await browser.send("Emulation.setDeviceMetricsOverride", width=380, height=800, deviceScaleFactor=1, mobile=True)
        assert await browser.run("document.documentElement.scrollWidth") <= 380
        assert not [said for said in browser.said if "401" not in said], browser.said

        # The server goes, and comes back.
        please("down")
        await browser.eventually("it says so", "document.getElementById('state').innerText === 'no answer: Redis is away'")
        please("up")
        await browser.eventually("it is live again", "document.getElementById('state').innerText === 'live'")


def main() -> None:
    environment: Any = {"REDIS_URL": f"redis://127.0.0.1:{sys.argv[1]}", "REDIS_PATIENCE": "20"}
    closed = Uvicorn("floodgate_redis.service:app", **environment, FLOODGATE_TOKEN="")
    assert closed.get("/page").status == closed.get("/page/data").status == 404, "there is no page without a token"
    assert closed.get("/page/data", Authorization="Bearer ").status == 404
    closed.stop()
    service = Uvicorn("floodgate_redis.service:app", **environment, FLOODGATE_TOKEN=TOKEN)
    assert TOKEN not in service.get("/page").body.decode() and "script-src 'sha256-" in service.get("/page").headers["Content-Security-Policy"]
    for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        assert service.get("/page/data", **wrong).status == 401, wrong
    before = admin.info("persistence")["rdb_changes_since_last_save"]
    assert service.get("/page/data", Authorization=f"Bearer {TOKEN}").status == 200
    assert admin.info("persistence")["rdb_changes_since_last_save"] == before, "it only reads"
    for method in ("POST", "PUT", "DELETE"):
        assert service.request(method, "/page/data", Authorization=f"Bearer {TOKEN}").status == 405
    with Traffic():
        asyncio.run(looked_at(service))
    service.stop()
    print("done", flush=True)


main()
