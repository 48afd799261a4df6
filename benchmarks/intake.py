"""What the intake takes: `python -m benchmarks.intake --data ROWS [--kills 100] [--url URL] [--json OUT]`.

Events a second, in batches of 100 from several connections, each batch acknowledged only when durable; and
a kill test: the service is killed (kill -9) at random moments while clients send and send again, after which
the log is to hold every acknowledged event once. `--data`: how many events to time. The service is a process
of its own: uvicorn with the intake alone.
"""

import http.client
import json
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks import _report as report
from features.events.log import EventLog

BATCH = 100
SENDERS = 4
SCRIPT = """
import sys
from datetime import UTC, datetime
import uvicorn
from nextbest.settings import Settings
from serving.intake import create_collector
home, port, url = sys.argv[1:]
settings = Settings(home=home, event_log=url or None)
app = create_collector(settings, lambda: datetime.now(UTC))
uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error", access_log=False)
"""


class Service:
    """The intake as a process, on a port of its own."""

    def __init__(self, home: Path, url: str = "") -> None:
        self.home, self.url, self.port = home, url, _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-c", SCRIPT, str(self.home), str(self.port), self.url]
        self._process = subprocess.Popen(command)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError("the intake did not start")

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()


def main() -> None:
    """Measure, kill, print, write."""
    parser = report.options(__doc__.splitlines()[0] if __doc__ else "", "how many events to time: 60000")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--url", default="", help="SQLAlchemy URL of the event log; default SQLite")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = speed(Path(folder), int(asked.data), asked.url)
    with tempfile.TemporaryDirectory() as folder:
        figures |= killed(Path(folder), asked.kills, asked.seed, asked.url)
    for name, value in figures.items():
        print(f"{name:<32}{value:>14}")
    report.write(asked.json, figures, {}, {"events": int(asked.data), "batch": BATCH}, [asked.seed])


def speed(home: Path, events: int, url: str = "") -> dict[str, Any]:
    """Return events a second and the time of a batch, `events` sent by SENDERS at once."""
    service = Service(home, url)
    service.start()
    try:
        send(service.port, batch("warm", 0))
        each = events // BATCH // SENDERS
        taken: list[float] = []

        def sender(name: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
            bodies = [json.dumps(batch(f"{name}", number)).encode() for number in range(each)]
            for body in bodies:
                begun = time.perf_counter()
                status = _post(connection, body)
                taken.append(time.perf_counter() - begun)
                if status != 200:
                    raise RuntimeError(f"the intake answered {status}")

        seconds = _at_once(sender)
    finally:
        service.stop()
    sent = each * SENDERS * BATCH
    stored = _stored(service)
    return {
        "events/s": round(sent / seconds),
        "batch_ms_p50": round(statistics.median(taken) * 1e3, 1),
        "batch_ms_p99": round(statistics.quantiles(taken, n=100)[98] * 1e3, 1),
        "events": sent,
        "stored": sum(stored.values()) - BATCH,
    }


def killed(home: Path, kills: int, seed: int, url: str = "") -> dict[str, Any]:
    """Kill the intake at random moments; return how many acknowledged events were lost or are there twice."""
    chance = random.Random(seed)
    service = Service(home, url)
    acknowledged: set[str] = set()
    sent: set[str] = set()
    for round_ in range(kills):
        service.start()
        stop = threading.Event()

        def sender(name: int, round_: int = round_, stop: threading.Event = stop) -> None:
            unsure: list[dict[str, Any]] = []  # sent, and not acknowledged: sent again, as clients do
            number = 0
            while not stop.is_set():
                messages = unsure.pop() if unsure else batch(f"{round_}-{name}", number, 20)
                number += 1
                ids = {message["messageId"] for message in messages["batch"]}
                sent.update(ids)
                try:
                    if send(service.port, messages) == 200:
                        acknowledged.update(ids)
                except (OSError, http.client.HTTPException):
                    unsure.append(messages)

        threads = [threading.Thread(target=sender, args=(name,)) for name in range(SENDERS)]
        for thread in threads:
            thread.start()
        time.sleep(chance.uniform(0.02, 0.4))
        service.kill()
        stop.set()
        for thread in threads:
            thread.join()
    stored = _stored(service)
    return {
        "kills": kills,
        "acknowledged": len(acknowledged),
        "lost": len(acknowledged - stored.keys()),
        "twice": sum(count > 1 for count in stored.values()),
        "unknown": len(stored.keys() - sent),
    }


def batch(name: str, number: int, size: int = BATCH) -> dict[str, Any]:
    """Return a batch as a shop's page would send it."""
    return {
        "sentAt": "2026-01-01T00:00:01Z",
        "batch": [
            {
                "type": "track", "event": "Product Viewed", "messageId": f"{name}-{number}-{place}",
                "userId": f"user-{number}" if place % 2 else None, "anonymousId": f"visitor-{number}",
                "timestamp": "2026-01-01T00:00:00Z",
                "properties": {"product_id": f"p{place}", "price": 9.99, "currency": "EUR", "name": "Milk"},
                "context": {"page": {"url": "https://shop.example/p"}, "library": {"name": "analytics.js"}},
            }
            for place in range(size)
        ],
    }  # fmt: skip


def send(port: int, messages: dict[str, Any]) -> int:
    """Send a batch over a connection of its own; return the status."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        return _post(connection, json.dumps(messages).encode())


def _post(connection: http.client.HTTPConnection, body: bytes) -> int:
    connection.request("POST", "/v1/batch", body, {"content-type": "application/json"})
    response = connection.getresponse()
    response.read()
    return response.status


def _at_once(work: Any) -> float:
    threads = [threading.Thread(target=work, args=(name,)) for name in range(SENDERS)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started


def _stored(service: Service) -> Counter[str]:
    url = service.url or f"sqlite:///{service.home.resolve() / 'events.db'}"
    with closing(EventLog(url)) as log:
        return Counter(str(event) for frame in log.read() for event in frame["event_id"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
