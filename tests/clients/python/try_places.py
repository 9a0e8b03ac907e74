"""Tries a `Server` and the storages for `limits` where the server is several: python
try_places.py NODES SENTINELS, each as host:port,host:port."""

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import floodgate_redis.limits  # noqa: F401
import limits
import redis
from floodgate_redis import BatchItem, Breaker, Cache, Denied, FailClosed, Limiter, Misconfigured, Server, guarded, reserve
from floodgate_redis import asyncio as aio
from floodgate_redis import places
from floodgate_redis.asyncio.cluster import Cluster as AsyncCluster
from floodgate_redis.cluster import Cluster
from floodgate_redis.node import Node
from floodgate_redis.outage import Health
from floodgate_redis.slots import slot_of
from limits.aio.strategies import MovingWindowRateLimiter as AsyncMovingWindow
from limits.errors import ConfigurationError
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter
from faulty_proxies import SlowWay
from log_capture import LogCapture

PLACES = [f"floodgate+cluster://{sys.argv[1]}", f"floodgate+sentinel://{sys.argv[2]}/floodgate"]
KEYS = [f"key-{i}" for i in range(20)]
MINUTE = limits.parse("3/minute")
# Tests run on busy machines, where a server that is well may take seconds to answer.
PATIENCE = 20.0
NODES: list[Any] = [
    redis.Redis(port=int(node.rpartition(":")[2]), decode_responses=True, protocol=2) for node in sys.argv[1].split(",")
]


def urls_as_they_are_read() -> None:
    read = places.several("floodgates+sentinel://ann:p%40ss@a:1,[::1]:2/main?ssl_cert_reqs=none&health_check_interval=5&sentinel_password=")
    assert read.hosts == [("a", 1), ("::1", 2)] and read.service() == "main", read
    tls = {"ssl": True, "ssl_cert_reqs": "none"}
    assert read.options == {"username": "ann", "password": "p@ss", "health_check_interval": 5, **tls}, read
    assert read.sentinel == {"password": None, **tls}, read
    assert places.several("floodgate+cluster://a:1").options == {}
    assert places.redis_url("floodgates://:b@a:1/2?x=y") == "rediss://:b@a:1/2?x=y"
    assert places.redis_url("floodgate+unix:///a/b?db=1") == places.redis_url("unix:///a/b?db=1") == "unix:///a/b?db=1"
    for wrong in ("floodgate+cluster://a", "floodgate+sentinel://a:1"):
        for server in (Server, aio.Server):
            try:
                server(wrong)
                raise AssertionError(wrong)
            except ValueError:
                pass


def eventually(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def everything(url: str) -> None:
    """Whatever node has the key."""
    with Server(url, patience=PATIENCE) as server:
        limiter, cache = Limiter(server, FailClosed(), remember_denials=False), Cache(server, "sync")
        for key in KEYS:
            assert [limiter.acquire(key, "2/h").granted for _ in range(3)] == [1, 1, 0], key
            decision, headers = limiter.acquire_with_headers(key, "5/h:name=x")
            assert decision.granted and headers["RateLimit"].startswith('"x";r=4'), headers
            assert [it.granted for it in limiter.batch([BatchItem(key, "9/h:name=b", 2), BatchItem(key, "1/h:name=c", 2)])] == [2, 0]
            assert limiter.charge(key, 3, "7/h:name=d").remaining == 4 and limiter.refund(key, 3, "7/h:name=d") == 3
            for wait in (0, 1):
                with reserve(limiter, {key: "10/h:name=y,concurrent:1"}, 2, wait=wait) as spending:
                    spending.add(3)
            assert limiter.quota(key, "10/h:name=y").limits[0].used == 6
            assert limiter.acquire(key, "3/h:name=z", wait=1).granted
            paid = guarded(limiter, Breaker(server, f"{{{key}}}api", "1"), key=f"{{{key}}}", limits="1/h")(lambda: key)
            assert paid() == key and cache.once(key, lambda key=key: key) == key  # type: ignore[misc]
            try:
                paid()
                raise AssertionError("it is denied")
            except Denied:
                pass
        assert cache.delete(*KEYS[:3]) == 3 and cache.clear() == len(KEYS) - 3, "keys of all nodes"


async def everything_in_asyncio(url: str) -> None:
    async with aio.Server(url, patience=PATIENCE) as server:
        limiter, cache = aio.Limiter(server, FailClosed(), remember_denials=False), aio.Cache(server, "aio")
        for key in [f"aio:{key}" for key in KEYS]:
            assert [(await limiter.acquire(key, "2/h")).granted for _ in range(3)] == [1, 1, 0], key
            decision, headers = await limiter.acquire_with_headers(key, "5/h:name=x")
            assert decision.granted and headers["RateLimit"].startswith('"x";r=4'), headers
            for wait in (0, 1):
                async with aio.reserve(limiter, {key: "10/h:name=y,concurrent:1"}, 2, wait=wait) as spending:
                    spending.add(3)
            assert (await limiter.quota(key, "10/h:name=y")).limits[0].used == 6
            async with aio.Breaker(server, key + "!api", "1").guard():
                await cache.set(key, key)
        assert await cache.delete("aio:key-1", "aio:key-2") == 2 and await cache.clear() == len(KEYS) - 2


def a_plain_server_says_the_way_out() -> None:
    url = f"redis://{sys.argv[1].split(',')[0]}"
    with Server(url, patience=PATIENCE) as server:
        limiter, said = Limiter(server, FailClosed()), set[str]()
        for asks in (limiter.acquire, limiter.acquire_with_headers):
            for key in KEYS:
                try:
                    assert asks(key, "1000/h")
                except Misconfigured as error:
                    said.add(str(error))
        assert len(said) == 1 and "floodgate+cluster://" in said.pop()
    try:
        Server("floodgate+cluster://" + sys.argv[2].split(",")[0], patience=PATIENCE).check()
        raise AssertionError("a Sentinel is no node")
    except (Misconfigured, redis.ResponseError):
        pass


def a_cluster_without_floodgate() -> None:
    """Is found out, though its nodes answer what concerns the cluster."""

    class Client:
        connection_pool = SimpleNamespace(max_connections=1)

        def execute_command(self, *command: str) -> object:
            if command == ("CLUSTER", "SLOTS"):
                return [[0, 16383, ["127.0.0.1", 1, "id"]]]
            raise redis.ResponseError(f"unknown command '{command[0]}', with args beginning with:")

    health = Health(60)
    nodes = Cluster([("127.0.0.1", 1)], lambda address: Node(lambda **_: Client(), 1, health, address))
    for node in nodes.all():
        try:
            node.ask(("RL.HELP",))
            raise AssertionError("it has no Floodgate")
        except Misconfigured as error:
            assert "has no Floodgate" in str(error), error


async def its_rights_suffice(url: str) -> None:
    """Those that README says."""
    rights = ["+multi", "+exec", "+cluster|slots", "+asking"]
    rights += [f"+rl.{name}" for name in ("acquire", "quota", "reserve", "commit", "help")]
    for node in NODES:
        node.execute_command("ACL", "SETUSER", "web", "reset", "on", ">secret", "~*", *rights)
    web = url.replace("//", "//web:secret@")
    with Server(web, patience=PATIENCE) as server:
        limiter = Limiter(server, FailClosed())
        assert all(limiter.acquire_with_headers(key, "9/h:name=w")[0].from_redis for key in KEYS)
    async with (
        aio.Server(web, patience=PATIENCE) as others,
        aio.reserve(aio.Limiter(others, FailClosed()), {"key-1": "9/h:name=v"}),
    ):
        pass


async def keys_on_their_way(url: str) -> None:
    """While a slot moves (ASK) and after it has (MOVED)."""
    key = "on its way"
    slot = slot_of(key)
    ids = [node.execute_command("CLUSTER", "MYID") for node in NODES]
    owner = next(i for i, node in enumerate(NODES) if node.cluster("COUNTKEYSINSLOT", slot) == 0 and owns(node, key))
    other = (owner + 1) % len(NODES)
    with Server(url, patience=PATIENCE) as server:
        limiter = Limiter(server, FailClosed())
        async with aio.Server(url, patience=PATIENCE) as others:
            asking = aio.Limiter(others, FailClosed())

            async def takes() -> None:
                assert limiter.acquire(key, "1000/h").from_redis and (await asking.acquire(key, "1000/h")).from_redis
                assert limiter.acquire(key, "1000/h", wait=1).from_redis
                assert (await asking.acquire(key, "1000/h", wait=1)).from_redis
                assert limiter.acquire_with_headers(key, "1000/h")[1]
                assert (await asking.acquire_with_headers(key, "1000/h"))[1]
                with reserve(limiter, {key: "1000/h"}):
                    pass
                async with aio.reserve(asking, {key: "1000/h"}):
                    pass

            await takes()
            NODES[owner].execute_command("DEL", key)
            NODES[other].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[owner])
            NODES[owner].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[other])
            await takes()
            for node in (other, owner):
                NODES[node].execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[other])
            await takes()
            assert limiter.quota(key, "1000/h").limits[0].used == 16, "it is one key"


def owns(node: Any, key: str) -> bool:
    try:
        node.execute_command("EXISTS", key)
        return True
    except redis.ResponseError:  # it is moved
        return False


def a_node_that_is_away(url: str) -> None:
    """Only its keys fall back."""
    said = LogCapture()
    of_first = [owns(NODES[0], key) for key in KEYS]
    assert {True, False} == set(of_first)
    with Server(url, patience=3, rest=0.2) as server:
        limiter = Limiter(server, FailClosed())
        assert all(limiter.acquire(key, "1000/h:name=away").from_redis for key in KEYS)
        NODES[0].execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        for _ in range(3):
            got = [limiter.acquire(key, "1000/h:name=away").from_redis for key in KEYS]
            assert got == [not first for first in of_first], got
        NODES[0].execute_command("CLIENT", "UNPAUSE")
        first = KEYS[of_first.index(True)]
        eventually("it is back", lambda: limiter.acquire(first, "1000/h:name=away").from_redis)
    port = NODES[0].connection_pool.connection_kwargs["port"]
    lines = said()
    assert lines[0].startswith(f"Redis at 127.0.0.1:{port} is away, the fallback decides: "), lines
    assert lines[1:] == [f"Redis at 127.0.0.1:{port} is back"], lines


def a_node_that_cannot_write(url: str) -> None:
    """What is kept in its place stands, whatever other nodes answer."""
    with Server(url, patience=PATIENCE, rest=0.05) as server:
        cache = Cache(server, "full")
        NODES[0].config_set("maxmemory", 1)
        for key in KEYS:
            cache.set(key, key)
        of_first = [owns(NODES[0], f"full:{key}") for key in KEYS]
        assert {True, False} == set(of_first)
        for _ in range(3):
            assert [cache.get(key) for key in KEYS] == KEYS
            time.sleep(0.1)
        NODES[0].config_set("maxmemory", 0)
        first = KEYS[of_first.index(True)]

        def is_set() -> bool:
            cache.set(first, 1)
            return bool(NODES[0].get(f"full:{first}") == "1")

        eventually("it is back", is_set)
        kept = [cache.get(key) for key in KEYS]
        assert kept == [1 if key == first else None if of else key for key, of in zip(KEYS, of_first)], kept
        cache.clear()


async def no_time_of_redis_py_holds(url: str) -> None:
    """Nor one that is said for Sentinels."""
    names = [f"{of}{name}" for of in ("", "sentinel_") for name in ("socket_timeout", "socket_connect_timeout")]
    url += "?" + "&".join(f"{name}=0.000001" for name in names)
    assert places.without_times(url.replace("?", "?db=0&") + "&retry_on_timeout=1").endswith("?db=0")
    with Server(url, patience=PATIENCE) as server:
        limiter = Limiter(server, FailClosed())
        waited = [limiter.acquire("times", "1/1s", wait=20) for _ in range(2)]
    async with aio.Server(url, patience=PATIENCE) as others:
        asking = aio.Limiter(others, FailClosed())
        waited += [await asking.acquire("times", "1/1s", wait=20) for _ in range(2)]
    assert all(decision.granted and decision.from_redis for decision in waited), waited


async def by_asyncio(uri: str) -> None:
    storage: Any = storage_from_string(f"async+{uri}", socket_timeout=20)
    limiter = AsyncMovingWindow(storage)
    assert await storage.check()
    for key in KEYS:
        assert [await limiter.hit(MINUTE, key) for _ in range(4)] == [True, True, True, False]
    await limiter.clear(MINUTE, KEYS[0])
    assert (await limiter.get_window_stats(MINUTE, KEYS[0])).remaining == 3
    assert await storage.reset() == len(KEYS) - 1, "keys of all nodes"
    await storage.client.aclose()


async def as_many_as_the_url_says(url: str) -> None:
    async def lanes(server: aio.Server) -> int:
        return (await server._nodes.of("a"))._own()[1]._value

    for query, most in (("", 50), ("?max_connections=2", 2)):
        with Server(url + query, patience=PATIENCE) as server:
            assert server._nodes.of("a")._lanes._most == most
            assert Limiter(server, FailClosed()).acquire("most", "1000/h", wait=1).from_redis
        async with aio.Server(url + query, patience=PATIENCE) as other:
            assert await lanes(other) == most
            assert (await aio.Limiter(other, FailClosed()).acquire("most", "1000/h", wait=1)).from_redis


def several_event_loops(url: str) -> None:
    """Each with connections of its own, to Sentinels, too; many at once look what the cluster is like."""
    server = aio.Server(url, patience=PATIENCE)
    limiter = aio.Limiter(server, FailClosed())

    async def crowd() -> int:
        if isinstance(server._nodes, AsyncCluster):
            server._nodes._slots.are_stale = True
        decisions = await asyncio.gather(*(limiter.acquire(f"loops:{key}", "1000/h") for key in KEYS))
        return sum(decision.granted for decision in decisions)

    assert [asyncio.run(crowd()) for _ in range(3)] == [len(KEYS)] * 3
    asyncio.run(server.close())


def of_first_node() -> str:
    return next(key for key in KEYS if owns(NODES[0], f"LIMITS:{key}"))


async def a_storage_waits_once_for_a_node(uri: str) -> None:
    """That hangs: a second, or as long as it is told, and sends nothing again, for both would count."""
    for prefix in ("", "async+"):
        usual: Any = storage_from_string(f"{prefix}{uri}")
        storage: Any = storage_from_string(f"{prefix}{uri}", socket_timeout=3)
        asks: Any = {"": asyncio.to_thread, "async+": lambda does, *words: does(*words)}[prefix]
        assert await asks(usual.incr, of_first_node(), 60) and await asks(storage.incr, of_first_node(), 60)
        nodes = usual.client.get_nodes()
        options = [(node.redis_connection.connection_pool if not prefix else node).connection_kwargs for node in nodes]
        assert {(it["socket_timeout"], it["socket_connect_timeout"]) for it in options} == {(1.0, 1.0)}, options
        NODES[0].execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        start = time.monotonic()
        try:
            await asks(storage.incr, of_first_node(), 60)
            raise AssertionError("it hangs")
        except redis.TimeoutError:
            assert time.monotonic() - start < 9, "again and again"
        NODES[0].execute_command("CLIENT", "UNPAUSE")
        await asks(usual.clear, of_first_node())
        for one in (usual, storage) if prefix else ():
            await one.client.aclose()


async def found_out(url: str, *, patience: float = PATIENCE) -> str:
    """What is misconfigured, with and without asyncio; empty where both are granted."""
    said = []
    try:
        with Server(url, patience=patience) as server:
            assert Limiter(server, FailClosed()).acquire("sentinels", "1000/h").granted
        said.append("")
    except Misconfigured as error:
        said.append(str(error))
    try:
        async with aio.Server(url, patience=patience) as other:
            assert (await aio.Limiter(other, FailClosed()).acquire("sentinels", "1000/h")).granted
        said.append("")
    except Misconfigured as error:
        said.append(str(error))
    assert said[0] == said[1], said
    return said[0]


async def sentinels_with_a_password(hosts: str) -> None:
    sentinel: Any = redis.Redis(port=int(hosts.rpartition(":")[2]))
    master: Any = redis.Redis(port=sentinel.sentinel_masters()["floodgate"]["port"])
    master.execute_command("ACL", "SETUSER", "web", "reset", "on", ">secret", "~*", "+rl.acquire", "+rl.help")
    sentinel.execute_command("ACL", "SETUSER", "default", "resetpass", ">theirs")
    try:
        for user in ("", "web:secret@"):
            url = f"floodgate+sentinel://{user}{hosts}/floodgate?sentinel_password="
            assert await found_out(f"{url}theirs") == "", "the user is of the servers alone"
            for wrong in (f"{url}wrong", url, f"floodgate+sentinel://{user}127.0.0.1:1,{hosts}/floodgate"):
                assert (await found_out(wrong)).startswith("Redis refuses the credentials: "), wrong
            storage: Any = storage_from_string(f"{url}theirs", socket_timeout=20)
            assert storage.incr(f"sentinels:{user}", 60) == 1
            master.delete(f"LIMITS:sentinels:{user}")
        unknown = await found_out(f"floodgate+sentinel://{hosts}/nobody?sentinel_password=theirs")
        assert unknown == "no Sentinel knows the service 'nobody'", unknown
    finally:
        sentinel = redis.Redis(port=int(hosts.rpartition(":")[2]), password="theirs")
        sentinel.execute_command("ACL", "SETUSER", "default", "nopass")
    # One that is away is no misconfiguration.
    with Server("floodgate+sentinel://127.0.0.1:1/floodgate", patience=1) as away:
        assert not Limiter(away, FailClosed()).acquire("sentinels", "1000/h").from_redis


async def a_sentinel_that_hangs(hosts: str) -> None:
    """Another is asked soon: a third of the time each, and of the server."""
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        url = f"floodgate+sentinel://127.0.0.1:{hangs.getsockname()[1]},{hosts}/floodgate"
        start = time.monotonic()
        assert await found_out(url, patience=6) == ""
        storages: list[Any] = [storage_from_string(f"{prefix}{url}", socket_timeout=6) for prefix in ("", "async+")]
        assert storages[0].incr("hangs", 60) == 1 and await storages[1].incr("hangs", 60) == 2
        assert time.monotonic() - start < 30
        storages[0].clear("hangs")
        await storages[1].client.aclose()
    # None is asked twice.
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        url = f"floodgate+sentinel://127.0.0.1:{hangs.getsockname()[1]}/floodgate"
        hangs.setblocking(False)
        alone: list[Any] = [storage_from_string(f"{prefix}{url}", socket_timeout=1) for prefix in ("", "async+")]
        async with aio.Server(url, patience=1):  # which asks
            assert connections(hangs) == 1
        with Server(url, patience=1):
            assert connections(hangs) == 1
        for asks in (lambda: asyncio.to_thread(alone[0].incr, "hangs", 60), lambda: alone[1].incr("hangs", 60)):
            try:
                await asks()
                raise AssertionError("it hangs")
            except redis.TimeoutError:
                assert connections(hangs) == 1
        await alone[1].client.aclose()


async def a_sentinel_that_is_slow(hosts: str) -> None:
    """Is heard as long as there is patience, and others are asked meanwhile."""
    slow = SlowWay(int(hosts.rpartition(":")[2]), 1.3).url.removeprefix("redis://")
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        stuck = [f"127.0.0.1:{hangs.getsockname()[1]}"] * 4
        for asked in (",".join([slow, *stuck]), ",".join([*stuck, slow])):
            async with aio.Server(f"floodgate+sentinel://{asked}/floodgate", patience=6) as other:
                assert (await aio.Limiter(other, FailClosed()).acquire("slow", "1000/h")).from_redis, asked
    # Where none is heard in time, the log says which service it was.
    said = LogCapture()
    async with aio.Server(f"floodgate+sentinel://{slow}/floodgate", patience=1) as other:
        assert not (await aio.Limiter(other, FailClosed()).acquire("slow", "1000/h")).from_redis
    lines = said()
    assert len(lines) == 1 and "no Sentinel names a master of 'floodgate'; no answer within 0.9 s" in lines[0], lines


def a_late_answer_goes_to_nobody_else(hosts: str) -> None:
    """A request falls back while the master hangs. The next one does not get the answer to it."""
    url = f"floodgate+sentinel://{hosts}/floodgate"
    sentinel: Any = redis.Redis(port=int(hosts.rpartition(":")[2]))
    master: Any = redis.Redis(port=sentinel.sentinel_masters()["floodgate"]["port"])
    goes_on = partial(master.execute_command, "CLIENT", "UNPAUSE")
    with Server(url, patience=2, rest=0) as server:
        limiter = Limiter(server, FailClosed())
        assert limiter.acquire("late:other", "1000/h").from_redis
        master.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        assert not limiter.acquire("late", "1/h").from_redis
        threading.Timer(0.5, goes_on).start()
        decision = limiter.acquire("late:other", "1000/h")
        assert (decision.from_redis, decision.limit, decision.remaining) == (True, 1000, 998), decision
    storage: Any = storage_from_string(url, socket_timeout=2)
    assert storage.incr("late:other", 60) == 1
    master.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
    try:
        storage.incr("late", 60, 5)
        raise AssertionError("it hangs")
    except redis.TimeoutError:
        pass
    threading.Timer(0.5, goes_on).start()
    assert storage.incr("late:other", 60) == 2
    storage.reset()


def connections(listener: socket.socket) -> int:
    """How many were made since it was last asked."""
    made = 0
    try:
        while True:
            listener.accept()[0].close()
            made += 1
    except BlockingIOError:
        return made


def each_strategy_of_limits(uri: str) -> None:
    storage: Any = storage_from_string(uri, socket_timeout=20)
    assert storage.check()
    for strategy in (FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter):
        limiter = strategy(storage)
        for key in KEYS:
            assert [limiter.hit(MINUTE, key) for _ in range(4)] == [True, True, True, False], (uri, strategy)
            assert limiter.get_window_stats(MINUTE, key).remaining == 0
        limiter.clear(MINUTE, KEYS[0])
        assert limiter.get_window_stats(MINUTE, KEYS[0]).remaining == 3
        assert storage.reset() == len(KEYS) - 1, "keys of all nodes"


def uris_that_no_storage_takes(sentinels: str) -> None:
    pool: Any = redis.ConnectionPool()
    for wrong, options in (
        ("floodgate+cluster://nobody", {}),
        (f"floodgate+sentinel://{sentinels}", {}),
        *((place, {"connection_pool": pool}) for place in PLACES),
    ):
        try:
            storage_from_string(wrong, **options)
            raise AssertionError(wrong)
        except ConfigurationError:
            pass


def main() -> None:
    (cluster, _), sentinels = PLACES, sys.argv[2]
    urls_as_they_are_read()
    for place in PLACES:
        everything(place)
        asyncio.run(everything_in_asyncio(place))
        several_event_loops(place)
        asyncio.run(as_many_as_the_url_says(place))
        asyncio.run(no_time_of_redis_py_holds(place))
    a_plain_server_says_the_way_out()
    a_cluster_without_floodgate()
    asyncio.run(its_rights_suffice(cluster))
    asyncio.run(keys_on_their_way(cluster))
    a_node_that_is_away(cluster)
    a_node_that_cannot_write(cluster)
    asyncio.run(a_storage_waits_once_for_a_node(cluster))
    asyncio.run(sentinels_with_a_password(sentinels))
    asyncio.run(a_sentinel_that_hangs(sentinels))
    asyncio.run(a_sentinel_that_is_slow(sentinels))
    a_late_answer_goes_to_nobody_else(sentinels)
    for place in PLACES:
        each_strategy_of_limits(place)
        asyncio.run(by_asyncio(place))
    uris_that_no_storage_takes(sentinels)


main()
