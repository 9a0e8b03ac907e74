#!/usr/bin/env python3
"""Writes an access log in the combined format, to try `make replay` on:

    scripts/synthetic_log.py LINES > access.log

A week of traffic of up to 100 000 addresses, a few of them busy, the same in
every run."""

import os
import random
import re
import sys
import time

START = 1_771_804_800  # 2026-02-23 00:00 UTC
WEEK = 7 * 86_400
ADDRESSES = 100_000
PATHS = ["/", "/index.html", "/images/logo.png", "/api/v1/users?page=2", "/blog/2026/02/a-longer-title/"]
AGENTS = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (compatible; Bot/2.1; +https://bot.example.org/)",
    "curl/8.5.0",
]


def main() -> None:
    lines = int(sys.argv[1]) if len(sys.argv) == 2 and re.fullmatch("[0-9]{1,12}", sys.argv[1]) else 0
    if lines == 0:
        sys.exit("usage: scripts/synthetic_log.py LINES")
    dice = random.Random(2026)
    for line in range(lines):
        when = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(START + line * WEEK // lines))
        # The lower the number, the busier.
        who = int(ADDRESSES * dice.random() ** 4)
        address = f"10.{who >> 16}.{who >> 8 & 255}.{who & 255}"
        path, agent = PATHS[line % len(PATHS)], AGENTS[line % len(AGENTS)]
        sys.stdout.write(
            f'{address} - - [{when}] "GET {path} HTTP/1.1" 200 {line % 90_000} "https://example.org/" "{agent}"\n'
        )


if __name__ == "__main__":
    try:
        main()
        sys.stdout.flush()
    except OSError as error:
        # At its end Python would try to write once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # A reader that stops early (`| head`) is no failure.
        if not isinstance(error, BrokenPipeError):
            sys.exit(f"synthetic_log: cannot write to standard output: {error.strerror}")
