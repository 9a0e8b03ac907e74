"""Where Redis is, by its URL."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis import connection

_connection: Any = connection  # redis-py does not type it

Address = tuple[str, int]

SINGLE = {"floodgate": "redis", "floodgates": "rediss", "floodgate+unix": "unix"}
"""Schemes of one server, and redis-py's names of them."""

SENTINEL = "sentinel_"
"""Before the options of a URL that are for Sentinels."""

TIMES = ("socket_timeout", "socket_connect_timeout", "retry_on_timeout")
"""Options of a URL in whose place a `Server` has its patience."""


@dataclass(frozen=True)
class Several:
    """What a URL of several servers says. `options` and `sentinel` are redis-py's: of the servers,
    and of Sentinels."""

    hosts: list[Address]
    path: str
    options: dict[str, Any]
    sentinel: dict[str, Any]

    def most(self) -> dict[str, Any]:
        """The connections that the URL allows, where it says so."""
        return {name: value for name, value in self.options.items() if name == "max_connections"}

    def service(self) -> str:
        """What Sentinels are asked for."""
        if not self.path:
            raise ValueError("the URL names no service: write floodgate+sentinel://host:port/service")
        return self.path


def soon(timeout: float | None, place: Several) -> dict[str, float | None]:
    """For Sentinels: so that all of them and the master are asked within this time."""
    part = timeout and timeout / (len(place.hosts) + 1)
    return {"socket_timeout": part, "socket_connect_timeout": part}


def kind(url: str) -> str:
    """`cluster` or `sentinel`; empty where it is one server."""
    _, _, after = urlsplit(url).scheme.partition("+")
    return after if after in ("cluster", "sentinel") else ""


def without_times(url: str) -> str:
    """Without the options that say how long redis-py waits."""
    place, mark, query = url.partition("?")
    options = [it for it in query.split("&") if unquote(it.partition("=")[0]).removeprefix(SENTINEL) not in TIMES]
    return place + mark + "&".join(options)


def redis_url(url: str) -> str:
    """Of one server, as redis-py writes it."""
    scheme, slashes, rest = url.partition("://")
    return SINGLE.get(scheme.lower(), scheme) + slashes + rest


def several(url: str) -> Several:
    """Reads `scheme://user:password@host:port,host:port/service?option=value`."""
    parts = urlsplit(url)
    hosts = []
    for location in parts.netloc.rpartition("@")[2].split(","):
        host, _, port = location.strip().rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"'{location}' is no host:port: write {parts.scheme}://host:port,host:port")
        hosts.append((host.strip("[]"), int(port)))
    auth = {"username": parts.username, "password": parts.password}
    said = parse_qsl(parts.query, keep_blank_values=True)
    query = urlencode([pair for pair in said if not pair[0].startswith(SENTINEL)])
    options: dict[str, Any] = {name: unquote(value) for name, value in auth.items() if value}
    options |= _connection.parse_url(f"redis://?{query}")
    options |= {"ssl": True} if parts.scheme.startswith("floodgates+") else {}
    own = {name.removeprefix(SENTINEL): value or None for name, value in said if name.startswith(SENTINEL)}
    # A password of their own is not that of the user of the servers.
    both = ("ssl",) if "password" in own else ("ssl", *auth)
    shared = {name: value for name, value in options.items() if name.startswith(both)}
    return Several(hosts, parts.path.strip("/"), options, shared | own)
