"""How fast the service answers: `python -m benchmarks.serving --home DIR [--freshness 10000] [--json OUT]`.

On a copy of the state folder, for the load writes events. In turn: an empty route of the same app (/livez,
the peer: what is left is ours), recommendations for random known contacts in a closed loop, a constant 100
requests a second (benchmarks._open_loop), recommendations beside 3,000 events a second, events in batches of
100 as fast as they are taken, alone and beside recommendations, pairs of one event and one answer, each of
which has to reflect its event; and recommendations with no ranking kept.
The load comes from wrk where it is installed (Debian: apt-get install wrk), else from Python threads, which
take more of the processors the service could have used.
"""

import argparse
import http.client
import json
import os
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]
import pyarrow.parquet as pq

from benchmarks._load import CONNECTIONS, Load, constant_rate, start, wrk_found
from features.events.log import EventLog
from nextbest.errors import NotReady
from nextbest.settings import Settings
from serving.launch import start_background

RECOMMENDATIONS, BATCH = "/v1/recommendations", "/v1/batch"
RATE = 100.0
EVENTS_A_SECOND = 3_000
MOST_READY = 150.0
"""Seconds that workers have to make rankings ready."""
BODIES = 20_000


class Bench:
    """A running service, what is sent to it, and the figures so far."""

    def __init__(self, url: str, folder: Path, contacts: list[str], seconds: float, seed: int) -> None:
        self.url, self._seconds, self._seed = url, seconds, seed
        chance = random.Random(seed)
        self._contacts, self._bodies, self._batches = (folder / n for n in ("contacts", "bodies", "batches"))
        self._contacts.write_text("\n".join(contacts))
        asked = ({"contact_id": chance.choice(contacts), "placement": "home", "k": 10} for _ in range(BODIES))
        self._bodies.write_text("\n".join(json.dumps(body) for body in asked))

    def empty(self) -> dict[str, float]:
        """Ask the empty route."""
        return self._measured(Load("/livez"))

    def recommendations(self) -> dict[str, float]:
        """Ask for known contacts."""
        return self._measured(self._asking())

    def warm(self) -> float:
        """Let the first requests pass and the workers get ready; return the seconds until they rest."""
        begun = time.perf_counter()
        start(self.url, Load(RECOMMENDATIONS, "bodies.lua", self._bodies, self._seed - 1), 2.0).figures()
        while time.perf_counter() - begun < MOST_READY:
            before = _cpu_seconds()
            time.sleep(2.0)
            if _cpu_seconds() - before < 0.1:
                break
        return round(time.perf_counter() - begun, 1)

    def _measured(self, load: Load) -> dict[str, float]:
        before = _cpu_seconds()
        found = start(self.url, load, self._seconds).figures()
        return found | {"cpu_ms": round((_cpu_seconds() - before) * 1000 / max(found["requests"], 1), 3)}

    def constant(self) -> dict[str, float]:
        """Ask at a constant rate."""
        return constant_rate(self.url, RECOMMENDATIONS, self._bodies, RATE, self._seconds)

    def beside(self, alone: float) -> dict[str, float] | None:
        """Ask while a constant 3,000 events a second come in; None where the service takes none."""
        if not self._takes_events():
            return None
        self._write_batches(round(EVENTS_A_SECOND / 100 * self._seconds))
        asking = start(self.url, self._asking(), self._seconds)
        sent = constant_rate(self.url, BATCH, self._batches, EVENTS_A_SECOND / 100, self._seconds)
        asked = asking.figures()["requests_per_second"]
        taken = round(sent["answered_per_second"] * 100, 1)
        return {
            "recommendations_per_second": asked, "recommendations_part": round(asked / alone, 3),
            "events_per_second": taken, "events_part": round(taken / EVENTS_A_SECOND, 3),
            "events_p99_ms": sent["p99_ms"], "failures": sent["failures"],
        }  # fmt: skip

    def _write_batches(self, count: int) -> None:
        """Write so many batches of 100 looks at products by random contacts."""
        chance, contacts = random.Random(self._seed), self._contacts.read_text().splitlines()
        self._batches.write_text(
            "\n".join(
                json.dumps(
                    {"batch": [_look(chance.choice(contacts), chance.randrange(500)) for _ in range(100)]}
                )
                for _ in range(count)
            )
        )

    def events(self) -> dict[str, float] | None:
        """Send events alone; None where the service takes none."""
        if not self._takes_events():
            return None
        return _in_events(self._measured(self._sending(1)))

    def both(self, alone: float, events_alone: float) -> dict[str, float]:
        """Send events and ask at once; return the rates and their parts of those alone."""
        asking = start(self.url, self._asking(), self._seconds)
        sending = start(self.url, self._sending(2), self._seconds)
        asked = asking.figures()["requests_per_second"]
        sent = _in_events(sending.figures())["events_per_second"]
        return {
            "recommendations_per_second": asked, "events_per_second": sent,
            "recommendations_part": round(asked / alone, 3), "events_part": round(sent / events_alone, 3),
        }  # fmt: skip

    def freshness(self, log: EventLog, pairs: int) -> dict[str, float]:
        """Send one event, ask one answer, so many times, under load: count answers that do not reflect it."""
        load = start(self.url, self._asking(), 3600)
        chance, stale, times = random.Random(self._seed), 0, list[float]()
        contacts = self._contacts.read_text().splitlines()
        send = _sender(self.url, log, self._takes_events())
        asking = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        for _ in range(pairs):
            contact, event = chance.choice(contacts), uuid.uuid4().hex
            send(contact, event)
            begun = time.perf_counter()
            asking.request("POST", RECOMMENDATIONS, json.dumps({"contact_id": contact, "k": 3}))
            answer = json.loads(asking.getresponse().read())
            times.append(time.perf_counter() - begun)
            written = next(row for row in log.tail([contact], 0)[::-1] if row["event_id"].startswith(event))
            stale += answer["as_of"]["position"] < written["position"]
        asking.close()
        load.stop()
        return {"pairs": pairs, "stale": stale, "mean_ms": round(1000 * sum(times) / max(len(times), 1), 2)}

    def _asking(self) -> Load:
        return Load(RECOMMENDATIONS, "bodies.lua", self._bodies, self._seed)

    def _sending(self, run: int) -> Load:
        return Load(BATCH, "batches.lua", self._contacts, self._seed * 10 + run)

    def _takes_events(self) -> bool:
        with urllib.request.urlopen(f"{self.url}/openapi.json") as response:  # noqa: S310 - our own address
            return BATCH in json.load(response)["paths"] and wrk_found()


def _look(contact: str, product: int) -> dict[str, Any]:
    seen = {"product_id": f"viewed-{product}", "price": 3.5, "currency": "USD"}
    return {
        "type": "track", "event": "Product Viewed", "messageId": uuid.uuid4().hex, "userId": contact,
        "properties": seen,
    }  # fmt: skip


def _in_events(found: Mapping[str, float]) -> dict[str, float]:
    return {**found, "events_per_second": round(found["requests_per_second"] * 100, 1)}


def _sender(url: str, log: EventLog, over_http: bool) -> Any:
    """Return what stores one event durably: over HTTP where the service takes them, else in the log."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)

    def post(contact: str, event: str) -> None:
        said = {"type": "track", "event": "Page Viewed", "messageId": event, "userId": contact}
        connection.request("POST", BATCH, json.dumps({"batch": [said]}))
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            raise RuntimeError(f"an event was answered with {response.status}")

    def append(contact: str, event: str) -> None:
        moment = datetime.now(UTC)
        log.append([{"event_id": event, "event": "page_viewed", "timestamp": moment,
                     "received_at": moment, "contact_id": contact}])  # fmt: skip

    return post if over_http else append


def run(home: Path, seconds: float, seed: int, workers: int, port: int, pairs: int) -> dict[str, Any]:
    """Measure the service on a copy of the state folder."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "home"
        shutil.copytree(home, copy, ignore=shutil.ignore_patterns("bentoml", "checkpoints"))
        # models are read from where they were registered, which is the original
        settings = Settings(home=copy, port=port, workers=workers, mlflow=Settings(home=home).mlflow_uri)
        contacts = _contacts(settings)
        found: dict[str, Any] = {}
        begun = time.perf_counter()
        with start_background(settings, home / "benchmark-service.log") as url:
            found["start_seconds"] = round(time.perf_counter() - begun, 2)
            bench = Bench(url, Path(folder), contacts, seconds, seed)
            found["ready_seconds"] = bench.warm()
            empty = bench.empty()
            asked = found["recommendations"] = bench.recommendations()
            found["ratio"] = round(asked["requests_per_second"] / empty["requests_per_second"], 3)
            found["cpu_ratio"] = round(empty["cpu_ms"] / asked["cpu_ms"], 3)
            found["constant_rate"] = bench.constant()
            found["mb_per_worker"], found["mb_own"] = _memory()
            found["beside_3000_events"] = bench.beside(asked["requests_per_second"])
            events = found["events"] = bench.events()
            if events is not None:
                found["both"] = bench.both(asked["requests_per_second"], events["events_per_second"])
            with closing(EventLog(settings.event_log_url)) as log:
                found["freshness"] = bench.freshness(log, pairs)
        with start_background(
            settings.model_copy(update={"ranking_seconds": 0.0}), home / "bench.log"
        ) as url:
            bench = Bench(url, Path(folder), contacts, seconds, seed)
            bench.warm()
            found["nothing_kept"] = bench.recommendations()
            found["nothing_kept"]["ratio"] = round(
                found["nothing_kept"]["requests_per_second"] / bench.empty()["requests_per_second"], 3
            )
    return {
        "figures": found,
        "peers": {"empty route (/livez)": empty},
        "data": {"home": home.name, "contacts": len(contacts)},
        "seeds": [seed],
        "machine": {
            "cpus": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version(),
            "load": "wrk" if wrk_found() else "Python threads: wrk is not installed, figures are too low",
            "connections": CONNECTIONS, "seconds": seconds, "workers": workers,
        },
    }  # fmt: skip


def _workers() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "worker" in " ".join(child.cmdline())]


def _cpu_seconds() -> float:
    """Return what the service's processes have used of the processors."""
    times = [child.cpu_times() for child in _workers()]
    return float(sum(one.user + one.system for one in times))


def _memory() -> tuple[float, float]:
    """Return the megabytes of the largest worker, and those that are its alone."""
    found = [child.memory_full_info() for child in _workers()]
    return tuple(round(max(getattr(one, kind) for one in found) / 2**20, 1) for kind in ("rss", "uss"))


def _contacts(settings: Settings) -> list[str]:
    lists = settings.tables / "contact_lists.parquet"
    if not lists.exists():
        raise NotReady(f"no features in {settings.home}; run: nextbest demo, or ingest and features build")
    found: list[str] = pq.read_table(lists, columns=["contact_id"])["contact_id"].to_pylist()
    return found


def main() -> None:
    """Read the command line, print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, default=Path(".nextbest"))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--port", type=int, default=3099)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--freshness", type=int, default=200, metavar="PAIRS")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the service is stopped too
    found = run(asked.home, asked.seconds, asked.seed, asked.workers, asked.port, asked.freshness)
    figures = found["figures"]
    print(f"load from {found['machine']['load']}")
    print(f"{'':28}{'req/s':>9}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'cpu ms':>9}{'failed':>8}")
    for name, one in {
        **found["peers"], "recommendations": figures["recommendations"],
        "  nothing kept": figures["nothing_kept"],
        f"  at {RATE:.0f} a second": figures["constant_rate"], "batches of 100 events": figures["events"],
    }.items():  # fmt: skip
        if one is not None:
            keys = ("requests_per_second", "p50_ms", "p95_ms", "p99_ms", "cpu_ms", "failures")
            print(f"{name:28}" + "".join(f"{one.get(key, ''):>{8 + (key != 'failures')}}" for key in keys))
    print(f"recommendations over the empty route: {figures['ratio']} (by processor {figures['cpu_ratio']})")
    print(f"nothing kept: {figures['nothing_kept']['ratio']}; start {figures['start_seconds']} s")
    print(f"{figures['mb_per_worker']} MB a worker, of which {figures['mb_own']} its own")
    print(f"recommendations beside {EVENTS_A_SECOND} events a second: {figures['beside_3000_events']}")
    print(f"both as fast as they go: {figures.get('both', 'the service takes no events, or wrk is missing')}")
    print(f"freshness: {figures['freshness']}")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
