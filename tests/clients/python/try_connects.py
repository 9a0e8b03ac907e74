"""Tries what redis-py says while it connects, to a server far away and as a user with few rights:
python try_connects.py PORT PLAIN."""

import asyncio
import sys
import time

import floodgate_redis.limits  # noqa: F401
import limits
from floodgate_redis import FailClosed, Limiter, Server
from floodgate_redis import asyncio as aio
from limits.storage import storage_from_string
from limits.strategies import MovingWindowRateLimiter
from faulty_proxies import SlowWay
from outage import admin
from redis.exceptions import NoPermissionError

PORT = int(sys.argv[1])
# Each answer takes longer than half of the patience, and those while it connects take longer than
# all of it. On a busy machine they take longer still.
FAR, PATIENCE = 1.5, 4.0


def far(user: str, database: str) -> str:
    return SlowWay(PORT, FAR).url.replace("redis://", f"redis://{user}:secret@") + database


async def each_answer_has_its_patience() -> None:
    """AUTH, CLIENT SETINFO and SELECT, before the command."""
    for database in ("", "/1"):
        url = far("far", database)
        with Server(url, patience=PATIENCE) as server:
            assert Limiter(server, FailClosed()).acquire("far", "9/h").from_redis
        async with aio.Server(url, patience=PATIENCE) as others:
            assert (await aio.Limiter(others, FailClosed()).acquire("far", "9/h")).from_redis


def limits_take_a_timeout_for_each_answer() -> None:
    """As README says of it."""
    url = far("far", "/1").replace("redis://", "floodgate://")
    taker = MovingWindowRateLimiter(storage_from_string(url, socket_timeout=PATIENCE))
    start = time.monotonic()
    assert taker.hit(limits.parse("9/hour"), "far")
    assert time.monotonic() - start > PATIENCE


async def check_says_what_is_missing() -> None:
    """Where the user may not connect. That it may not ask RL.HELP alone is no fault."""
    for user, database, ends in (("few", "/1", True), ("most", "/1", False), ("most", "", False)):
        url = f"redis://{user}:secret@127.0.0.1:{PORT}{database}"
        told = []
        try:
            Server(url, patience=20).check()
        except NoPermissionError as error:
            told.append(str(error))
        others = aio.Server(url, patience=20)
        try:
            await others.check()
        except NoPermissionError as error:
            told.append(str(error))
        finally:
            await others.close()
        assert [("select" in error) for error in told] == [True] * 2 * ends, (user, told)


def main() -> None:
    rights = ("on", ">secret", "~*", "+rl.acquire", "+rl.quota", "+client")
    admin.execute_command("ACL", "SETUSER", "far", *rights, "+select", "+rl.help")
    admin.execute_command("ACL", "SETUSER", "few", *rights, "+rl.help")
    admin.execute_command("ACL", "SETUSER", "most", *rights, "+select")
    asyncio.run(each_answer_has_its_patience())
    limits_take_a_timeout_for_each_answer()
    asyncio.run(check_says_what_is_missing())
    print("done", flush=True)


main()
