"""How fast the service answers: `python -m benchmarks.serving --home DIR [--clients 4] [--json OUT]`.

A closed loop of clients in threads of this process, each with a connection of its own: known contacts in
random order ask for ten recommendations; every tenth request is a product page of an unknown visitor. The
peer is an empty route of the same app (/livez), measured in the same run the same way: what is left is ours.
"""

import argparse
import http.client
import json
import os
import platform
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil  # type: ignore[import-untyped]
import pyarrow.parquet as pq

from nextbest.errors import NotReady
from nextbest.settings import Settings
from serving.launch import start_background

Request = tuple[str, str, bytes | None]
"""Method, path, body."""


@dataclass
class Measured:
    """Milliseconds of every answer, and who gave them."""

    milliseconds: list[float] = field(default_factory=list)
    sources: Counter[str] = field(default_factory=Counter)
    failures: int = 0

    def figures(self, seconds: float) -> dict[str, float]:
        """Return percentiles and throughput."""
        times = np.array(self.milliseconds or [np.nan])
        return {
            "p50_ms": round(float(np.quantile(times, 0.5)), 3),
            "p95_ms": round(float(np.quantile(times, 0.95)), 3),
            "p99_ms": round(float(np.quantile(times, 0.99)), 3),
            "requests_per_second": round(len(self.milliseconds) / seconds, 1),
            "failures": self.failures,
        }


def load(url: str, clients: int, seconds: float, requests: Callable[[int], Iterator[Request]]) -> Measured:
    """Let so many clients ask one request after the other for so long."""
    measured, lock = Measured(), threading.Lock()
    end = time.perf_counter() + seconds

    def client(number: int) -> None:
        mine = Measured()
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        for method, path, body in requests(number):
            started = time.perf_counter()
            if started >= end:
                break
            connection.request(method, path, body, {"content-type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
            mine.milliseconds.append((time.perf_counter() - started) * 1000)
            mine.failures += response.status != 200
            if body is not None and response.status == 200:
                said = json.loads(answer)
                mine.sources[f"{said['source']}/{said['fallback']}"] += 1
        connection.close()
        with lock:
            measured.milliseconds += mine.milliseconds
            measured.sources += mine.sources
            measured.failures += mine.failures

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return measured


def recommendation_requests(
    contacts: list[str], items: list[str], seed: int
) -> Callable[[int], Iterator[Request]]:
    """Return what each client asks, by its number."""

    def requests(number: int) -> Iterator[Request]:
        chance = random.Random(seed + number)
        while True:
            body: dict[str, Any] = {"contact_id": chance.choice(contacts), "placement": "home", "k": 10}
            if chance.random() < 0.1:
                body = {
                    "anonymous_id": f"visitor-{number}",
                    "placement": "product",
                    "item_ids": [chance.choice(items)],
                }
            yield "POST", "/v1/recommendations", json.dumps(body).encode()

    return requests


def empty_requests(number: int) -> Iterator[Request]:
    """Ask for nothing, for ever."""
    del number
    while True:
        yield "GET", "/livez", None


def run(settings: Settings, clients: int, seconds: float, seed: int, log_file: Path) -> dict[str, Any]:
    """Start the service on the home folder, measure, stop it."""
    contacts, items = _population(settings)
    ask = recommendation_requests(contacts, items, seed)
    with start_background(settings, log_file) as url:
        load(url, clients, min(2.0, seconds), ask)
        before = _cpu_seconds()
        ours = load(url, clients, seconds, ask)
        cpu = (_cpu_seconds() - before) * 1000 / max(len(ours.milliseconds), 1)
        alone = load(url, 1, seconds / 2, ask)
        empty = load(url, clients, seconds / 2, empty_requests)
    figures, peer = ours.figures(seconds), empty.figures(seconds / 2)
    ratio = round(figures["p50_ms"] / peer["p50_ms"], 2)
    return {
        "figures": {
            **figures, "cpu_ms_per_request": round(cpu, 2), "p50_over_empty_route": ratio,
            "one_client": alone.figures(seconds / 2),
        },
        "peers": {"empty route (/livez)": peer},
        "sources": dict(ours.sources.most_common()),
        "data": {"home": settings.home.name, "contacts": len(contacts), "items": len(items)},
        "seeds": [seed],
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform(),
                    "python": platform.python_version(),
                    "clients": clients, "seconds": seconds, "workers": settings.workers},
    }  # fmt: skip


def _cpu_seconds() -> float:
    """Return what the service's processes, our children, have used of the processors."""
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return float(sum(one.user + one.system for one in times))


def _population(settings: Settings) -> tuple[list[str], list[str]]:
    lists, shelf = settings.tables / "contact_lists.parquet", settings.lake / "items.parquet"
    if not lists.exists() or not shelf.exists():
        raise NotReady(f"no features in {settings.home}; run: nextbest demo, or ingest and features build")
    contacts = pq.read_table(lists, columns=["contact_id"])["contact_id"].to_pylist()
    return contacts, pq.read_table(shelf, columns=["item_id"])["item_id"].to_pylist()


def main() -> None:
    """Read the command line, print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, default=Path(".nextbest"))
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--port", type=int, default=3099)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    settings = Settings(home=asked.home, port=asked.port, workers=asked.workers)
    found = run(settings, asked.clients, asked.seconds, asked.seed, asked.home / "benchmark-service.log")
    print(f"{'':24}{'p50 ms':>10}{'p95 ms':>10}{'p99 ms':>10}{'req/s':>10}")
    figures = found["figures"]
    rows = {f"{asked.clients} clients": figures, "1 client": figures["one_client"], **found["peers"]}
    for name, one in rows.items():
        print(
            f"{name:24}"
            + "".join(f"{one[k]:>10}" for k in ("p50_ms", "p95_ms", "p99_ms", "requests_per_second"))
        )
    print(
        f"processor {figures['cpu_ms_per_request']} ms a request; "
        f"p50 over the empty route: {figures['p50_over_empty_route']}"
    )
    print(f"who answered: {found['sources']}")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
