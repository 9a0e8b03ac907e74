"""`python -m floodgate_redis.service`: serves with uvicorn."""

import argparse

import uvicorn


def main() -> None:
    parser = argparse.ArgumentParser(prog="floodgate_redis.service", description="A rate limiter over HTTP.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    uvicorn.run("floodgate_redis.service:app", host=asked.host, port=asked.port, workers=asked.workers)


if __name__ == "__main__":
    main()
