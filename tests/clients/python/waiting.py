"""Waiting lines and reservations through redis-py's ordinary commands.

    python waiting.py PORT

Ends with "done"; anything unexpected is an AssertionError.
"""

import asyncio
import sys
import threading
import time

import redis
import redis.asyncio

Reply = list[int]


def until(holds, what: str) -> None:
    """Waits a moment for something that another connection does."""
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.005)


def in_line(client: redis.Redis, key: str) -> int:
    return client.execute_command("RL.QUEUE", key)[0]


def waits(client: redis.Redis) -> None:
    """Three threads stand in line and are served in their order."""
    limit = "10/h"
    assert client.execute_command("RL.ACQUIRE", "w:1", limit, "COST", 10)[0] == 10
    served: list[int] = []

    def wait(number: int) -> None:
        six: Reply = client.execute_command("RL.ACQUIRE", "w:1", limit, "COST", number, "WAIT", "20s")
        assert six[0] == number and six[3] == 0, six
        served.append(number)

    threads = []
    for number in (3, 1, 2):
        threads.append(threading.Thread(target=wait, args=(number,)))
        threads[-1].start()
        until(lambda: in_line(client, "w:1") == len(threads), "it stands in line")
    # Whoever does not wait is denied meanwhile, and told of the line.
    six = client.execute_command("RL.ACQUIRE", "w:1", limit)
    assert six[0] == 0 and six[5] == -2 and six[3] > 0, six
    for back, expected in ((2, []), (1, [3]), (1, [3, 1]), (2, [3, 1, 2])):
        client.execute_command("RL.REFUND", "w:1", back)
        until(lambda: served == expected, f"{served} are served, not {expected}")
    for thread in threads:
        thread.join()


def time_is_up(client: redis.Redis) -> None:
    client.execute_command("RL.ACQUIRE", "w:2", "1/h")
    start = time.monotonic()
    six = client.execute_command("RL.ACQUIRE", "w:2", "1/h", "WAIT", "150ms")
    assert six[0] == 0 and six[3] > 3_000_000 and six[5] == 0, six
    assert time.monotonic() - start >= 0.15
    # The connection goes on as ever.
    assert client.ping()


def no_wait_in_a_transaction(client: redis.Redis) -> None:
    with client.pipeline(transaction=True) as pipe:
        pipe.execute_command("RL.ACQUIRE", "w:3", "1/h", "WAIT", "20s")
        pipe.execute_command("RL.ACQUIRE", "w:3", "1/h", "WAIT", "20s")
        first, second = pipe.execute()
    assert (first[0], second[0]) == (1, 0), (first, second)


def unblocked(client: redis.Redis, port: int) -> None:
    """CLIENT UNBLOCK ends a wait, as a denial or as an error."""
    client.execute_command("RL.ACQUIRE", "w:4", "1/h")
    for how in ([], ["ERROR"]):
        ended: list[object] = []
        own = redis.Redis(port=port, decode_responses=True, single_connection_client=True)
        number = own.client_id()

        def wait() -> None:
            try:
                ended.append(own.execute_command("RL.ACQUIRE", "w:4", "1/h", "WAIT", "20s")[0])
            except redis.ResponseError as error:
                ended.append(str(error))

        thread = threading.Thread(target=wait)
        thread.start()
        until(lambda: in_line(client, "w:4") == 1, "it stands in line")
        assert client.execute_command("CLIENT", "UNBLOCK", number, *how) == 1
        thread.join()
        own.close()
        if how:
            assert str(ended[0]).startswith("UNBLOCKED"), ended
        else:
            assert ended == [0], ended


def reserves(client: redis.Redis) -> None:
    limits = "100000/h,concurrent:2"

    def used() -> list[int]:
        rows = client.execute_command("RL.QUOTA", "llm", limits)
        return [dict(zip(row[::2], row[1::2]))["used"] if isinstance(row, list) else row["used"] for row in rows]

    name, sixes = client.execute_command("RL.RESERVE", 1, "llm", limits, "COST", 1500, "TTL", "1m")
    assert len(name) == 32 and sixes[0][0] == 1500, (name, sixes)
    assert used() == [1500, 1]
    again, _ = client.execute_command("RL.RESERVE", 1, "llm", limits, "COST", 1500, "TTL", "1m", "ID", name)
    assert again == name and used() == [1500, 1]
    second, _ = client.execute_command("RL.RESERVE", 1, "llm", limits, "COST", 1500, "TTL", "1m", "ID", "mine")
    assert second == "mine"
    denied, sixes = client.execute_command("RL.RESERVE", 1, "llm", limits, "TTL", "1m")
    assert denied is None and sixes[0][0] == 0, (denied, sixes)
    # The next waits for a place; settling gives it one.
    waited: list[object] = []

    def wait() -> None:
        waited.extend(client.execute_command("RL.RESERVE", 1, "llm", limits, "TTL", "1m", "ID", "late", "WAIT", "20s"))

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: in_line(client, "llm") == 1, "it stands in line")
    assert client.execute_command("RL.COMMIT", name, 1, "llm", "COST", 900) == 1
    thread.join()
    assert waited[0] == "late", waited
    assert used() == [900 + 1500 + 1, 2]
    assert client.execute_command("RL.COMMIT", "mine", 1, "llm", "COST", 2300) == 1
    assert client.execute_command("RL.COMMIT", "mine", 1, "llm", "COST", 2300) == 0
    assert client.execute_command("RL.RENEW", "late", "TTL", "2m", 1, "llm") == 1
    ((listed, cost, _age, left),) = client.execute_command("RL.RESERVATIONS", "llm")
    assert (listed, cost) == ("late", 1) and 60_000 < left <= 120_000
    assert client.execute_command("RL.RELEASE", "late", 1, "llm") == 1
    assert used() == [900 + 2300, 0]


async def waits_in_asyncio(port: int, protocol: int) -> None:
    """Twenty tasks on one key, each with a connection of the pool."""
    key = f"w:async:{protocol}"
    async with redis.asyncio.Redis(port=port, protocol=protocol, decode_responses=True) as client:
        tasks = [client.execute_command("RL.ACQUIRE", key, "5/200ms", "WAIT", "20s") for _ in range(20)]
        start = time.monotonic()
        replies = await asyncio.gather(*tasks)
        assert all(six[0] == 1 for six in replies), replies
        assert time.monotonic() - start >= 0.6, "four windows of five"
        # A task that is cancelled leaves the line.
        task = asyncio.create_task(client.execute_command("RL.ACQUIRE", key, "5/200ms", "COST", 5, "WAIT", "20s"))
        await client.execute_command("RL.BLOCK", key, "FOR", "10s")
        while (await client.execute_command("RL.QUEUE", key))[0] == 0 and not task.done():
            await asyncio.sleep(0.005)
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            while (await client.execute_command("RL.QUEUE", key))[0] > 0:
                await asyncio.sleep(0.005)


def main() -> None:
    port = int(sys.argv[1])
    for protocol in (2, 3):
        client = redis.Redis(port=port, protocol=protocol, decode_responses=True)
        client.flushall()
        waits(client)
        time_is_up(client)
        no_wait_in_a_transaction(client)
        unblocked(client, port)
        reserves(client)
        client.close()
        asyncio.run(waits_in_asyncio(port, protocol))
    print("done")


if __name__ == "__main__":
    main()
