# Made from asyncio/limiter.py by scripts/twins.py: change that one.
"""Limits that all processes share."""

from collections.abc import Sequence

from . import arguments, words
from .decision import Decision, Quota, Source, pairs
from .denials import Denials
from .fallback import Fallback
from .outage import Away
from .server import Server
from .telemetry import decisions
from .words import BatchItem


class Limiter:
    """Takes units from limits that all processes share.

    It remembers a denial until its retry time, for at most 1 s (`remember_denials`), and
    denies the same again without asking Redis. So for up to 1 s it may deny what an
    operator or a refund has freed, and RL.TOP, RL.STATS and alerts do not count these
    denials.
    """

    def __init__(self, server: Server, fallback: Fallback, *, remember_denials: bool = True):
        arguments.without_asyncio(server=server)
        self.server = server
        self.fallback = fallback
        self._denials = Denials() if remember_denials else None

    def without_memory(self) -> "Limiter":
        """A limiter on the same server that remembers no denial: for plug-ins, whose hosts count
        denials."""
        return Limiter(self.server, self.fallback, remember_denials=False)

    def acquire(
        self,
        key: str,
        limits: str | None = None,
        cost: int = 1,
        *,
        wait: float = 0.0,
        critical: bool = False,
        track: bool = False,
    ) -> Decision:
        """Takes `cost` units from every limit, or from none. Without `limits` it uses those
        that the server has for the key (a policy). With `wait` it stands in line for so many
        seconds; Redis refuses a wait that is longer than its `wait-max` (30 s). A `critical`
        request may use what `keep=` holds back. `track` counts the key for RL.STATS."""
        if wait:
            arguments.wait(wait)
        if self._denials and not (critical or wait or track):
            known = self._denials.recall(key, limits, cost)
            if known is not None:
                decisions("remembered")
                return known
        command = words.acquire(key, limits, cost, critical, track)
        try:
            answer = (self.server.wait(wait, *command) if wait else self.server.ask(*command))
        except Away:
            return self._alone(key, cost)
        decision = Decision(*answer)
        if self._denials and not critical:
            self._denials.learn(key, limits, cost, decision)
        decisions("granted" if decision.granted else "denied")
        return decision

    def acquire_with_headers(self, key: str, limits: str | None = None) -> tuple[Decision, dict[str, str]]:
        """Takes one unit. Gives the decision, and the headers for the HTTP response: RateLimit, RateLimit-Policy,
        X-RateLimit-* and, where it was denied, Retry-After."""
        try:
            six, flat = self.server.ask_at_once(
                words.acquire(key, limits, 1), (*words.quota(key, limits), "HEADERS")
            )
        except Away:
            decision = self._alone(key, 1)
            return decision, decision.retry_after
        decision, headers = Decision(*six), pairs(flat)
        headers.pop("Retry-After", None)  # RL.QUOTA speaks of the next request
        decisions("granted" if decision.granted else "denied")
        return decision, headers | decision.retry_after

    def batch(self, items: Sequence[BatchItem], *, together: bool = False) -> list[Decision]:
        """Decides on many requests in one atomic step, at most 1,000: each on its own, or
        `together` all or none. On a cluster with keys of one slot."""
        if not items:
            return []
        try:
            answers = self.server.ask(*words.batch(items, together))
        except Away:
            alone = [self._alone(item.key, item.cost) for item in items]
            if together and not all(decision.granted for decision in alone):
                return [decision if not decision.granted else _taken_back(decision) for decision in alone]
            return alone
        told = [Decision(*six) for six in answers]
        for decision in told:
            decisions("granted" if decision.granted else "denied")
        return told

    def charge(self, key: str, cost: int, limits: str | None = None, *, track: bool = False) -> Decision:
        """Charges `cost` units whatever is left: what was really used, or a penalty. Usage
        goes beyond the limit by at most one capacity. The decision tells how a request for
        one unit more would be answered now. While Redis is away the fallback takes the
        units, if it has so many."""
        try:
            answer = self.server.ask(*words.charge(key, limits, cost, track))
        except Away:
            return self._alone(key, cost)
        decisions("charged")
        return Decision(*answer)

    def refund(self, key: str, units: int, limits: str | None = None) -> int:
        """Gives back what was not used after all, the newest first, whoever took it: on
        `limits`, or on those of the key's last grant. Says how much; nothing while Redis
        is away."""
        if self._denials:
            self._denials.forget(key)
        try:
            return int(self.server.ask(*words.refund(key, units, limits)))
        except Away:
            return 0

    def quota(self, key: str, limits: str | None = None, cost: int = 1) -> Quota:
        """How the key stands, limit by limit, and whether an operator blocks it. Nothing is
        taken. Raises Away."""
        return Quota.read(self.server.ask(*words.quota(key, limits, cost)))

    def _alone(self, key: str, cost: int) -> Decision:
        decisions("fallback")
        return self.fallback.acquire(key, cost)


def _taken_back(decision: Decision) -> Decision:
    return Decision(0, decision.limit, decision.remaining, 1000, 0, -3, source=Source.FALLBACK)
