"""A page to look at: what is denied and why, breakers, lines, policies, alerts.

It only reads. It is there when FLOODGATE_TOKEN is set, and shows nothing to who has not
that token. `/page` is one file that draws its charts itself; it asks `/page/data` once a
second, with `Authorization: Bearer TOKEN`.
"""

import base64
import hashlib
import hmac
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse
from redis.exceptions import ResponseError

from ..decision import pairs

Ask = Callable[..., Awaitable[Any]]

SHOWN = 10
"""Rows of each list."""

COUNTERS = ("acquire", "batch", "reservations", "throttle")
GAUGES = (
    "waiting_now",
    "waiting_oldest_ms",
    "reservations_held",
    "breakers_open",
    "breakers_half_open",
    "breakers_forced_open",
    "breakers_closed",
    "tracked_keys",
    "alerts_active",
    "command_latency_us_p50",
    "command_latency_us_p99",
)

HTML = files(__package__).joinpath("page.html").read_text("utf-8")


def _own(tag: str) -> str:
    """The one script, or style, of the page, as its policy names it."""
    text = HTML.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# Nothing from elsewhere, nothing but the page's own script, and no frame round it.
SAFE = {
    "Content-Security-Policy": f"default-src 'none'; script-src {_own('script')}; style-src {_own('style')}; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def page(ask: Ask) -> APIRouter:
    """The routes, over the server that `ask` asks."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/page")
    async def shown() -> HTMLResponse:
        _token()
        return HTMLResponse(HTML, headers=SAFE)

    @routes.get("/page/data")
    async def data(request: Request) -> dict[str, Any]:
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {_token()}".encode()):
            raise HTTPException(401, "not the token", {"WWW-Authenticate": "Bearer"})
        return await look(ask)

    return routes


def _token() -> str:
    token = os.environ.get("FLOODGATE_TOKEN", "")
    if not token:
        raise HTTPException(404, "there is no page without a token: set FLOODGATE_TOKEN")
    return token


async def look(ask: Ask) -> dict[str, Any]:
    """All that the page shows. Nothing is taken, changed or created."""
    metrics = pairs(await ask("RL.METRICS"))
    denied = [_denied(*row) for row in await ask("RL.TOP", "DENIED", SHOWN, "NOW")]
    granted = await ask("RL.TOP", "GRANTED", SHOWN, "NOW")
    names = dict.fromkeys([row["key"] for row in denied] + [row[0] for row in granted])
    return {
        "now_ms": round(time.time() * 1000),
        "version": metrics["version"],
        "granted": sum(int(metrics.get(f"{name}_granted", 0)) for name in COUNTERS),
        "denied": sum(int(metrics.get(f"{name}_denied", 0)) for name in COUNTERS),
        "gauges": {name: int(metrics.get(name, 0)) for name in GAUGES},
        "top_denied": [row | {"limits": await _limits(ask, row["key"])} for row in denied],
        "breakers": [await _breaker(ask, row) for row in await ask("RL.TOP", "OPEN", SHOWN)],
        "lines": [line for name in names if (line := await _line(ask, name))],
        "policies": _policies(metrics, pairs(await ask("RL.POLICY", "LIST"))),
        "alerts": [pairs(row) for row in await ask("RL.ALERTS", SHOWN)],
    }


def _denied(key: str, count: int, since_ms: int, by: str | None) -> dict[str, Any]:
    return {"key": key, "count": count, "since_ms": since_ms, "by": by}


async def _limits(ask: Ask, key: str) -> list[dict[str, Any]]:
    try:
        rows = [pairs(row) for row in await ask("RL.QUOTA", key) or []]
    except ResponseError:  # a breaker's key, or one that this user may not read
        return []
    shown = ("name", "limit", "used", "remaining", "retry_after_ms", "source")
    return [{name: row[name] for name in shown} for row in rows if "name" in row]


async def _breaker(ask: Ask, row: Sequence[Any]) -> dict[str, Any]:
    key, state, since_ms, left_ms = row
    try:
        known = pairs(await ask("CB.STATE", key) or [])
    except ResponseError:  # in another database
        known = {}
    told = {name: known.get(name) for name in ("failure_rate", "calls", "failures", "openings", "breaker")}
    return {"key": key, "state": state, "since_ms": since_ms, "left_ms": left_ms, **told}


async def _line(ask: Ask, key: str) -> dict[str, Any] | None:
    try:
        length, oldest_ms, head_cost = await ask("RL.QUEUE", key)
    except ResponseError:
        return None
    return {"key": key, "length": length, "oldest_ms": oldest_ms, "head_cost": head_cost} if length else None


def _policies(metrics: dict[str, Any], listed: dict[str, Any]) -> list[dict[str, Any]]:
    granted, denied = (pairs(metrics.get(f"{what}_by_policy") or []) for what in ("granted", "denied"))
    rows = [pairs(row) for row in listed["policies"]]
    return [
        {name: row.get(name) for name in ("name", "limits", "prefix")}
        | {"granted": int(granted.get(row["name"], 0)), "denied": int(denied.get(row["name"], 0))}
        for row in rows
    ]
