"""What programs of this kind offer, each done with one or two commands through
redis-py: python quota_features.py PORT

One row an offer: its name, what is done, and what must come out. The rows build
on each other and stand in the order of a day's work."""

import sys

import redis

START = 1_795_186_800_000_000  # 2026-11-20 15:00 UTC
DAY = 86_400_000_000

client = redis.Redis(port=int(sys.argv[1]), decode_responses=True)


def run(line):
    return client.execute_command(*line.split())


def named(reply):
    """A map, which older protocols send as a flat list."""
    if isinstance(reply, dict):
        return reply
    return dict(zip(reply[::2], reply[1::2]))


def stats(key, *path):
    found = run(f"RL.STATS {key}")
    for name in path:
        found = named(found)[name]
    return found


def sources():
    cursor, found = "0", {}
    while True:
        cursor, page = run(f"RL.USAGE {cursor} MATCH source:* COUNT 10")
        found.update({key: named(figures) for key, figures in named(page).items()})
        if str(cursor) == "0":
            return found


def looked():
    """The units left before and after two looks without taking."""
    looks = [named(run("RL.QUOTA source:mail")[0])["remaining"] for _ in range(2)]
    return [int(left) for left in looks]


def work():
    taken = [run("RL.ACQUIRE source:mail TRACK")[0] for _ in range(4)]
    run("RL.RECORD source:mail OK CACHED SPEND 0.002 DUR 12ms")
    run("RL.RECORD source:mail FAIL SPEND 0.004 DUR 250ms COUNT 3")
    run("RL.RECORD source:web OK SPEND 0.1")
    return taken


def summary():
    rows = sources()
    return sorted((key, int(row["ok"]), int(row["fail"]), row["spend"]) for key, row in rows.items())


def tomorrow():
    run(f"RL.DEBUG CLOCK SET {START + DAY}")
    return stats("source:mail", "today", "spend"), stats("source:mail", "days", "2026-11-20", "spend")


def reset():
    run("RL.ACQUIRE source:mail COST 2")
    before = looked()[0]
    return before, run("RL.RESET source:mail"), looked()[0]


def clear():
    cleared = run("RL.CLEAR 0 MATCH source:* COUNT 1000")[1]
    return cleared, client.exists("source:web"), client.exists("source:mail")


run(f"RL.DEBUG CLOCK SET {START}")
TABLE = [
    ("configure per key", lambda: run("RL.PIN source:mail 3/h"), "OK"),
    ("check without taking", looked, [3, 3]),
    ("take, until it is refused", work, [1, 1, 1, 0]),
    ("the limits of a key", lambda: stats("source:mail", "limits"), "3/h"),
    ("calls of this hour", lambda: stats("source:mail", "hours", "2026-11-20T15", "requests"), 4),
    ("calls of today", lambda: stats("source:mail", "days", "2026-11-20", "requests"), 4),
    ("calls refused today", lambda: stats("source:mail", "today", "denied"), 1),
    ("cache hit rate", lambda: stats("source:mail", "today", "cache_hit_rate"), "0.25"),
    ("error rate", lambda: stats("source:mail", "today", "error_rate"), "0.75"),
    ("cost today", lambda: stats("source:mail", "today", "spend"), "0.006"),
    ("summary over sources", summary, [("source:mail", 1, 3, "0.006"), ("source:web", 1, 0, "0.1")]),
    ("cost starts anew tomorrow, history stays", tomorrow, ("0", "0.006")),
    ("reset one key, its limits stay", reset, (1, 1, 3)),
    ("clear all that is not pinned", clear, (1, 0, 1)),
]

held = 0
for offer, does, expected in TABLE:
    came = does()
    assert came == expected, f"{offer}: {came!r}, not {expected!r}"
    held += 1
print(f"{held} of {len(TABLE)}")
