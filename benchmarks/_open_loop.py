"""Requests at a constant rate: `python -m benchmarks._open_loop URL PATH BODIES RATE SECONDS`, prints JSON.

The lines of BODIES are posted in turn, and from the first again after the last.

An open loop: a request is due at its moment, whether or not the ones before are answered, and its time counts
from then, so that a service that stalls is not spared the requests it would have kept waiting (coordinated
omission). Raw sockets on asyncio: a tenth of a core at 100 requests a second.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np


class Caller:
    """Connections that are free, and the milliseconds of every answer."""

    def __init__(self, url: str, path: str) -> None:
        parts = urlsplit(url)
        self._at = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._head = f"POST {path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\n"
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.milliseconds: list[float] = []
        self.failures = 0

    async def ask(self, body: bytes, due: float) -> None:
        """Post, read the whole answer, and count the time since it was due."""
        try:
            reader, writer = self._free.pop() if self._free else await asyncio.open_connection(*self._at)
            writer.write(f"{self._head}content-length: {len(body)}\r\n\r\n".encode() + body)
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().split(b"content-length:")[1].split(b"\r\n")[0]
            await reader.readexactly(int(length))
            self.failures += not head.startswith(b"HTTP/1.1 200")
            if b"connection: close" not in head.lower():
                self._free.append((reader, writer))
        except (OSError, asyncio.IncompleteReadError, IndexError):
            self.failures += 1
        self.milliseconds.append((time.perf_counter() - due) * 1000)


async def run(url: str, path: str, bodies: list[bytes], rate: float, seconds: float) -> dict[str, float]:
    """Post at the rate for so long; return percentiles, and the rate until the last answer."""
    caller = Caller(url, path)
    started, asking = time.perf_counter() + 0.1, list[asyncio.Task[None]]()
    for number in range(int(rate * seconds)):
        due = started + number / rate
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        asking.append(asyncio.create_task(caller.ask(bodies[number % len(bodies)], due)))
    await asyncio.gather(*asking)
    answered = (len(asking) - caller.failures) / max(time.perf_counter() - started, seconds)
    found = {f"p{q}_ms": round(float(np.percentile(caller.milliseconds, q)), 2) for q in (50, 95, 99)}
    of_rate = {"rate": rate, "answered_per_second": round(answered, 2), "requests": len(asking)}
    return {**of_rate, "failures": caller.failures, **found}


if __name__ == "__main__":
    url, path, file, rate, seconds = sys.argv[1:]
    lines = Path(file).read_bytes().splitlines()
    print(json.dumps(asyncio.run(run(url, path, lines, float(rate), float(seconds)))))
