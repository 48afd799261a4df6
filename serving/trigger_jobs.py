"""What is done with triggers: sweeps of everyone, taking up dead letters, and how the webhooks stand."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import IO, Any

from features.events.deliveries import Deliveries
from features.events.log import EventLog
from features.events.triggers import BUILD, TriggerLog
from features.tables import table_path
from nextbest.errors import NotReady
from nextbest.settings import Settings
from serving._built import counted_until
from serving.dead_letters import DeadLetters
from serving.trigger_rules import TriggerRules
from serving.triggers import Everyone, TriggerSweep
from serving.webhooks import Courier


@dataclass(frozen=True)
class Swept:
    """What a sweep by hand did; `sent`: attempts to deliver, None where the service does that."""

    contacts: int
    changed: int
    fired: dict[str, int]
    sent: int | None


def sweep_everyone(settings: Settings, profiles: Everyone, now: datetime) -> Swept:
    """Look at all contacts, forget what is too old, and deliver what fired.

    Raises BadInput for a moment before that of the last sweep, NotReady while another sweep is under way and
    where there are no features.
    """
    build = built(settings)
    if build is None:
        raise NotReady("there are no features yet; run: nextbest features build")
    with _logs(settings) as (events, triggers), _sweeping(settings):
        done = sweep_of(settings, events, triggers).everyone(profiles, now, counted_until(settings))
        triggers.set_marks(**{BUILD: build})
        triggers.forget(now - timedelta(days=settings.decisions_days))
        return Swept(done.contacts, done.changed, dict(done.fired), _deliver_now(settings, triggers))


@dataclass(frozen=True)
class Redelivered:
    """What became of the dead letters."""

    again: int
    """Events that are to be delivered again."""
    gone: int
    """Lines whose event was erased or forgotten."""
    kept: int
    """Lines of webhooks that are no longer set, which stay."""
    sent: int | None
    """Attempts made at once; None where the service makes them."""


def redeliver(settings: Settings) -> Redelivered:
    """Take what was given up up again, for the webhooks that are set."""
    counts = {"again": 0, "gone": 0, "kept": 0}
    hooks = {hook.key for hook in settings.all_webhooks}

    with _logs(settings) as (_, triggers):
        deliveries = Deliveries(triggers.engine)

        def keep(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
            for hook in hooks:
                ids = {str(line.get("id")) for line in lines if line.get("endpoint") == hook}
                found = deliveries.redeliver(hook, ids)
                counts["again"] += found
                counts["gone"] += len(ids) - found
            kept = [line for line in lines if line.get("endpoint") not in hooks]
            counts["kept"] = len(kept)
            return kept

        if settings.dead_letters.exists():
            DeadLetters(settings.dead_letters).work_off(keep)
        return Redelivered(**counts, sent=_deliver_now(settings, triggers))


def sweep_of(settings: Settings, events: EventLog, triggers: TriggerLog) -> TriggerSweep:
    """Return what looks at contacts by the rules of the settings. Raises BadInput."""
    hooks = [hook.key for hook in settings.all_webhooks]
    return TriggerSweep(TriggerRules.load(settings), triggers, events, hooks)


def gauges(settings: Settings, triggers: TriggerLog, now: datetime) -> dict[str, float]:
    """Return what operations watch of the webhooks: metric name -> value."""
    deliveries = Deliveries(triggers.engine)
    waiting, oldest = deliveries.waiting([hook.key for hook in settings.all_webhooks])
    counts = {f"webhooks_{name}": float(count) for name, count in deliveries.counts().items()}
    lag = 0.0 if oldest is None else max(now.timestamp() - oldest / 1e6, 0.0)
    return {**counts, "webhooks_waiting": float(waiting), "webhooks_lag_seconds": lag}


def built(settings: Settings) -> int | None:
    """Return what changes with each build of the feature tables, not with erasures; None before the first."""
    try:
        return table_path(settings, "item").stat().st_mtime_ns
    except FileNotFoundError:
        return None


@contextmanager
def alone(settings: Settings, name: str) -> Iterator[IO[str]]:
    """Hold a lock file of the home folder. Raises BlockingIOError where another process, or we, have it."""
    home: Path = settings.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    with (home / f"{name}.lock").open("w") as lock:
        flock(lock, LOCK_EX | LOCK_NB)  # let go when the process dies
        yield lock


@contextmanager
def _sweeping(settings: Settings) -> Iterator[None]:
    try:
        with alone(settings, "sweep"):
            yield
    except BlockingIOError:
        raise NotReady("another sweep is under way; wait until it has ended") from None


@contextmanager
def _logs(settings: Settings) -> Iterator[tuple[EventLog, TriggerLog]]:
    events, triggers = EventLog(settings.event_log_url), TriggerLog(settings.event_log_url)
    try:
        yield events, triggers
    finally:
        triggers.close()
        events.close()


def _deliver_now(settings: Settings, triggers: TriggerLog) -> int | None:
    """Send everything that is due, unless the service, or another command, does."""
    try:
        with alone(settings, "triggers"):
            sent = 0
            for hook in settings.all_webhooks:
                courier = Courier(hook, Deliveries(triggers.engine), settings, time.time)
                while count := courier.once():
                    sent += count
            return sent
    except BlockingIOError:
        return None
