"""Triggers in the background of the service, in one worker of all: news every few seconds, everyone daily.

Whoever holds a lock file in the home folder watches and delivers; when its process ends, the next takes over.
Everyone is looked at in a process of its own, so that no request waits for it.
"""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

import psutil  # type: ignore[import-untyped]

from features.events.deliveries import Deliveries
from features.events.log import EventLog
from features.events.triggers import BUILD, SWEPT, TriggerLog
from nextbest.settings import Settings
from serving.launch import environment
from serving.trigger_jobs import alone, built, sweep_of
from serving.triggers import Live
from serving.webhooks import Courier

log = logging.getLogger("nextbest.triggers")

WATCH_SECONDS = 3.0
DELIVER_SECONDS = 1.0
DAY_SECONDS = 86_400
SWEEP = ("-c", "from nextbest.cli import app; app()", "triggers", "sweep", "--json")
NICE = 10
"""How much a sweep of everyone gives way to requests."""


class TriggerWatch:
    """Threads that watch and deliver as soon as no other worker does, until closed."""

    def __init__(
        self,
        settings: Settings,
        events: EventLog,
        triggers: TriggerLog,
        live: Live,
        now: Callable[[], datetime],
        sweep: Sequence[str] = SWEEP,
        seconds: float = WATCH_SECONDS,
    ) -> None:
        self._settings, self._triggers, self._live, self._now = settings, triggers, live, now
        self._sweep = sweep_of(settings, events, triggers)
        self._command, self._seconds = [sys.executable, *sweep], seconds
        self._child: subprocess.Popen[bytes] | None = None
        self._tried: tuple[int, int] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="triggers", daemon=True)
        self._thread.start()

    def close(self, seconds: float = 10.0) -> None:
        """Stop; what is under way is done again by the next who watches."""
        self._stop.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with alone(self._settings, "triggers"):
                    self._watch()
            except BlockingIOError:
                pass  # another worker does
            except Exception:
                log.exception("triggers cannot be watched; it is tried again")
            self._stop.wait(self._seconds)

    def _watch(self) -> None:
        """Watch and deliver for all workers, until closed."""
        deliveries = Deliveries(self._triggers.engine)
        hooks = self._settings.all_webhooks
        couriers = [Courier(hook, deliveries, self._settings, time.time) for hook in hooks]
        threads = [
            threading.Thread(target=self._deliver, args=[courier], name="webhook", daemon=True)
            for courier in couriers
        ]
        for thread in threads:
            thread.start()
        while not self._stop.wait(self._seconds):
            try:
                self._once()
            except Exception:
                log.exception("contacts with news could not be looked at; they are looked at again")
        for thread in threads:
            thread.join(self._settings.webhook_timeout_seconds + 5)
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()
            self._child.wait()

    def _deliver(self, courier: Courier) -> None:
        while not self._stop.is_set():
            sent = 0
            try:
                sent = courier.once()
            except Exception:
                log.exception("events could not be delivered; they are sent again")
            if not sent:
                self._stop.wait(DELIVER_SECONDS)

    def _once(self) -> None:
        done = self._sweep.news(self._live, self._now())
        if done.fired:
            log.info("triggers fired", extra={"contacts": done.contacts, "fired": dict(done.fired)})
        if self._child is not None and (status := self._child.poll()) is not None:
            if status:
                log.error("the sweep of everyone ended with exit code %d", status)
            self._child = None
        if self._child is None and self._is_due():
            self._child = self._begin()

    def _is_due(self) -> bool:
        """Tell whether everyone is to be looked at: after a build and once a day; tried once for each."""
        build, now = built(self._settings), self._now()
        if build is None:
            return False
        last = self._triggers.mark(SWEPT)
        day = 0 if last is None else int((now.timestamp() - last / 1e6) // DAY_SECONDS)
        if (self._triggers.mark(BUILD) == build and day < 1) or self._tried == (build, day) or day < 0:
            return False
        self._tried = build, day
        return True

    def _begin(self) -> "subprocess.Popen[bytes]":
        values = environment(self._settings)
        values.pop("PROMETHEUS_MULTIPROC_DIR", None)
        child = subprocess.Popen(  # noqa: S603 - our own interpreter
            self._command, env=values, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        with suppress(psutil.Error):
            psutil.Process(child.pid).nice(NICE)
        return child
