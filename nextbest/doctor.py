"""What is missing, stale or misconfigured, and the command that mends it."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from nextbest.settings import Settings

TASKS = ("next-purchase", "basket", "churn", "value", "replenishment", "rfm", "channel")
STALE = timedelta(days=7)


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    part: str
    state: Literal["ok", "stale", "missing", "broken"]
    what: str
    mend: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Look at every part; a part that cannot be looked at is itself a finding, never an exception."""
    findings: list[Finding] = []
    for part, look in _PARTS.items():
        try:
            findings.extend(look(settings))
        except Exception as error:  # whatever is wrong with a part is what is asked for
            findings.append(Finding(part, "broken", f"{type(error).__name__}: {error}", "see the message"))
    return findings


def _events(settings: Settings) -> Iterator[Finding]:
    from features.events.lake import Lake

    span = Lake(settings.lake).span() if settings.lake.exists() else None
    if span is None:
        yield Finding(
            "events", "missing", f"no events in {settings.lake}", "nextbest ingest complete-journey"
        )
        return
    first, last = span
    age = settings.present() - last
    what = f"from {first:%Y-%m-%d} to {last:%Y-%m-%d}"
    if age > STALE:
        yield Finding(
            "events",
            "stale",
            f"{what}: {age.days} days old",
            "nextbest ingest … (or --now, --shift-to-today)",
        )
    else:
        yield Finding("events", "ok", what)


def _rejects(settings: Settings) -> Iterator[Finding]:
    files = sorted(settings.rejects.glob("*")) if settings.rejects.exists() else []
    if files:
        yield Finding(
            "rejects",
            "stale",
            f"{len(files)} reject files, newest {files[-1].name}",
            f"look into {settings.rejects}",
        )


def _features(settings: Settings) -> Iterator[Finding]:
    tables = sorted(settings.tables.glob("*.parquet"))
    if not tables:
        yield Finding("features", "missing", f"no tables in {settings.tables}", "nextbest features build")
        return
    built = min(p.stat().st_mtime for p in tables)
    newest = max((p.stat().st_mtime for p in settings.lake.rglob("*.parquet")), default=0.0)
    when = f"built {datetime.fromtimestamp(built, UTC):%Y-%m-%d %H:%M}"
    if newest > built:
        yield Finding("features", "stale", f"{when}, the lake changed after that", "nextbest features build")
    else:
        yield Finding("features", "ok", when)
    online = settings.home / "online.db"
    if not online.exists():
        yield Finding("online store", "missing", f"no {online}", "nextbest features build")
        return
    with closing(sqlite3.connect(f"file:{online}?mode=ro", uri=True)) as connection:
        count = connection.execute("select count(*) from sqlite_master where type = 'table'").fetchone()[0]
    state: Literal["ok", "broken"] = "ok" if count else "broken"
    yield Finding("online store", state, f"{count} tables", "" if count else "nextbest features build")


def _models(settings: Settings) -> Iterator[Finding]:
    from training.tracking import Registry

    champions = {
        row["model"].removeprefix("nextbest-"): row
        for row in Registry(settings).list()
        if row.get("champion")
    }
    for task in TASKS:
        if task in champions:
            yield Finding(f"model {task}", "ok", f"champion: version {champions[task]['champion']}")
        else:
            yield Finding(
                f"model {task}", "missing", "no champion; its fallback answers", f"nextbest train {task}"
            )


def _rules(settings: Settings) -> Iterator[Finding]:
    from features.points import Rules

    rules = Rules.load(settings.rules)
    yield Finding("rules", "ok", f"{len(rules.rules)} rules, thresholds: {', '.join(rules.thresholds)}")
    from models._lifecycle_rules import LifecycleRules

    yield Finding("lifecycle", "ok", f"cut-offs: {LifecycleRules.load(settings.lifecycle).cutoffs}")


def _triggers(settings: Settings) -> Iterator[Finding]:
    from serving.dead_letters import DeadLetters
    from serving.trigger_rules import TriggerRules

    rules, hooks = TriggerRules.load(settings).watches, len(settings.all_webhooks)
    dead = len(DeadLetters(settings.dead_letters).lines())
    said = f"{len(rules)} rules, {hooks} webhooks"
    if dead:
        mend = "nextbest triggers redeliver"
        yield Finding("triggers", "stale", f"{said}, which never took {dead} events", mend)
    else:
        yield Finding("triggers", "ok", said)


def _keys(settings: Settings) -> Iterator[Finding]:
    local = settings.host in {"127.0.0.1", "localhost", "::1"}
    if settings.secret_key is None and not local:
        yield Finding(
            "keys",
            "broken",
            f"host {settings.host} without keys",
            "set NEXTBEST_SECRET_KEY and NEXTBEST_WRITE_KEY",
        )
    elif settings.secret_key is None:
        yield Finding("keys", "ok", "none: the service listens on this machine only")
    elif settings.alias_key == "write":
        risk = "configured; with the public key anybody can make two contacts one (docs/events.md)"
        yield Finding("keys", "ok", risk, "NEXTBEST_ALIAS_KEY=secret, where customers get identity tokens")
    else:
        yield Finding("keys", "ok", "configured")


def _channels(settings: Settings) -> Iterator[Finding]:
    if settings.default_channel not in settings.channels:
        known = ", ".join(settings.channels)
        yield Finding(
            "channels",
            "broken",
            f"default_channel '{settings.default_channel}' is not among: {known}",
            "NEXTBEST_DEFAULT_CHANNEL",
        )
    else:
        yield Finding(
            "channels",
            "ok",
            f"default {settings.default_channel}, unknown consent: {settings.unknown_consent}",
        )


def _privacy(settings: Settings) -> Iterator[Finding]:
    from features.excluded import Excluded
    from features.forget import broken_off

    if broken_off(settings):
        yield Finding(
            "privacy", "broken", "an erasure was broken off, or is going on", "nextbest features build"
        )
    if excluded := Excluded.of(settings):
        yield Finding("privacy", "ok", f"{len(excluded)} ids are left out of training")


def _home(settings: Settings) -> Iterator[Finding]:
    home: Path = settings.home
    if not home.exists():
        yield Finding("home", "missing", f"no {home}", "nextbest demo, or nextbest ingest …")
    else:
        yield Finding("home", "ok", str(home.resolve()))


_PARTS: dict[str, Callable[[Settings], Iterator[Finding]]] = {
    "home": _home, "events": _events, "rejects": _rejects, "features": _features, "models": _models,
    "rules": _rules, "triggers": _triggers, "keys": _keys, "channels": _channels, "privacy": _privacy,
}  # fmt: skip
