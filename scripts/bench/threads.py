"""Throughput of servers that read and write with two threads, beside SET's: the server and
the load share all cores, as they come."""

import dataclasses
import shutil
import statistics

from cases import BASE
from latency import FEWEST, RUN, WAYS, commands, once

from server import ALLOWED, Server

SETTINGS = ("--io-threads", "2")


@dataclasses.dataclass
class Throughput:
    """Requests a second of one command, by round, and beside SET's of the same round."""

    way: object
    name: str
    rates: list = dataclasses.field(default_factory=list)
    ratios: list = dataclasses.field(default_factory=list)

    def rate(self):
        return statistics.median(self.rates)

    def ratio(self):
        return statistics.median(self.ratios)


def measure(program, keys, rounds):
    """The server's version, and a row for each way and command. `rounds` is asked once for
    each way."""
    if not shutil.which("redis-benchmark"):
        return None, []
    rows = []
    with Server(*SETTINGS, program=program, on_cores=ALLOWED) as server:
        version = server.version()
        for way in WAYS:
            tried = commands(hot=False)
            server("FLUSHALL", "SYNC")
            pace = once(server.port, way, tried[BASE.name], keys, FEWEST, ALLOWED).rate
            requests = max(FEWEST, int(RUN * pace))
            of_way = {name: Throughput(way, name) for name in tried}
            for round_ in rounds(way.name):
                turn = round_ % len(tried)
                for name in [*tried][turn:] + [*tried][:turn]:
                    of_way[name].rates.append(once(server.port, way, tried[name], keys, requests, ALLOWED).rate)
                for row in of_way.values():
                    row.ratios.append(row.rates[-1] / of_way[BASE.name].rates[-1])
            rows += of_way.values()
    return version, rows
