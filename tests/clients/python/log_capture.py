"""What the package logs while a program tries it."""

import logging


class LogCapture(logging.Handler):
    """Its lines, from the first of these on."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        logging.getLogger("floodgate_redis").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def __call__(self) -> list[str]:
        """Since it was last asked."""
        self.lines, lines = [], self.lines
        return lines
