"""Why work was not done."""

from .decision import Decision, retry_after


class Denied(Exception):
    """Nothing was reserved."""

    def __init__(self, decision: Decision):
        retry_after_ms = decision.retry_after_ms
        super().__init__("denied: it never fits" if retry_after_ms < 0 else f"denied, retry after {retry_after_ms} ms")
        self.decision = decision

    @property
    def retry_after(self) -> dict[str, str]:
        """The header Retry-After; none where it never fits."""
        return self.decision.retry_after


class CircuitOpen(Exception):
    """The call was not made."""

    def __init__(self, retry_after_ms: int):
        until = "with no retry time" if retry_after_ms < 0 else f"retry after {retry_after_ms} ms"
        super().__init__(f"the circuit is open, {until}")
        self.retry_after_ms = retry_after_ms

    @property
    def retry_after(self) -> dict[str, str]:
        """The header Retry-After; none where it was forced open with no end."""
        return retry_after(self.retry_after_ms)


class Spending:
    """What the work has cost so far; none when it was never said."""

    units: int | None = None

    def add(self, units: int) -> None:
        """Adds to what the work has cost."""
        self.units = (self.units or 0) + units
