"""Time for libraries that keep their state in Redis and for the module beside
them, on one server: nobody waits."""

import datetime
import time

import redis


class Clock:
    """Stands still, and goes on for all of them at once: for the module, for
    Python's time and for what Redis is to expire."""

    def __init__(self, port: int) -> None:
        self.redis = redis.Redis(port=port, decode_responses=True)
        self.redis.flushall()
        self.now = float(int(time.time()))
        self.redis.execute_command("RL.DEBUG", "CLOCK", "SET", int(self.now * 1_000_000))
        time.time = lambda: self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
        passed = int(seconds * 1000)
        for key in self.redis.scan_iter():
            left = self.redis.pttl(key)
            if left > passed:
                self.redis.pexpire(key, left - passed)
            elif left >= 0:
                self.redis.delete(key)
        self.redis.execute_command("RL.DEBUG", "CLOCK", "ADVANCE", passed * 1000)

    def quota(self, key: str, limits: str) -> list[dict]:
        """RL.QUOTA, a dictionary each; older protocols send maps as flat lists."""
        reply = self.redis.execute_command("RL.QUOTA", key, limits)
        return [row if isinstance(row, dict) else dict(zip(row[::2], row[1::2])) for row in reply]

    def datetime(self) -> type:
        """What a library is to use as `datetime.datetime`."""
        clock = self

        class Standing(datetime.datetime):
            @classmethod
            def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
                return cls.fromtimestamp(clock.now, tz)

        return Standing


def tried(there: str, token: str = "") -> None:
    """Says which row of the table has been compared: its first cell, and its
    token where it has one."""
    print(f"{there}\t{token}", flush=True)


def expect(found: object, expected: object, what: str) -> None:
    assert found == expected, f"{what}: {found}, not {expected}"
