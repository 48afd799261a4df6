"""Forgetting contacts everywhere: events, decisions, rejects, feature tables, online store, and the rest.

What is to go is written down first and struck out last, so that an erasure that was broken off is completed
by the next one, or by the next build, although the links that said who is who are gone by then.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from features._sweep import sweep
from features.erase import erase
from features.events import rejects
from features.events._files import written_aside
from features.events._identity import Graph, Scope
from features.events.lake import Lake
from features.events.log import EventLog
from features.excluded import ERASED, exclude
from features.tables import alone
from nextbest.settings import Settings


@dataclass(frozen=True)
class Forgotten:
    """Rows removed, by where they were."""

    log: int
    lake: int
    rejects: int
    features: int
    files: int
    """Of what else in the state folder names people: input examples, dead letters, bulk runs."""

    def __bool__(self) -> bool:
        """Tell whether there was anything."""
        return any((self.log, self.lake, self.rejects, self.features, self.files))


def forget(
    settings: Settings,
    contact_ids: Sequence[str],
    log: EventLog | None = None,
    patience: float | None = None,
) -> Forgotten:
    """Remove people by any of their ids, the events first, or the next build would bring them back.

    Training leaves them out from then on (features.excluded). `log`: one already open. Waits for a build
    under way, at most `patience` seconds where given, then raises StoreUnavailable. The same again completes
    what was broken off.
    """
    if log is None:
        with closing(EventLog(settings.event_log_url)) as opened:
            return forget(settings, contact_ids, opened, patience)
    with alone(settings, patience):
        return _forget(settings, contact_ids, log)


def complete(settings: Settings, log: EventLog) -> None:
    """Complete an erasure that was broken off, where there is one; the caller holds the tables."""
    if _journal(settings).exists():
        _forget(settings, [], log)


def broken_off(settings: Settings) -> bool:
    """Tell whether an erasure was broken off, or is going on."""
    return _journal(settings).exists()


def _forget(settings: Settings, contact_ids: Sequence[str], log: EventLog) -> Forgotten:
    lake, home = Lake(settings.lake), settings.home.resolve()
    with lake.locked():  # from the first to the last: a compaction must not put anything back
        lake.write_identities(log.identities())  # or visits linked a moment ago would stay
        log.write_identities(lake.identities())
        scope = _written_down(settings, Graph(log.links_around(contact_ids)[1]).scope(contact_ids))
        exclude(settings, scope.ids(), ERASED)
        shutil.rmtree(settings.tables / ".staging", ignore_errors=True)  # of a build that was killed
        gone = Forgotten(
            lake=lake.erase([], scope),
            log=log.erase([], scope),
            rejects=rejects.erase(settings.rejects, scope.ids()),
            features=erase(settings, sorted(scope.members), sorted(scope.visits)),
            files=sweep(home, scope.ids(), _with_erasers_of_their_own(settings, home)),
        )
        shutil.rmtree(home / "counts", ignore_errors=True)  # training counts baskets anew: days have changed
        log.erase([], scope)  # answers given before, that a worker had yet to write down
        _journal(settings).unlink()
    return gone


def _with_erasers_of_their_own(settings: Settings, home: Path) -> list[Path]:
    databases = [home / f"{name}.db{end}" for name in ("events", "online") for end in ("", "-wal", "-shm")]
    return [settings.lake, settings.tables, settings.rejects, _journal(settings), *databases]


def _written_down(settings: Settings, scope: Scope) -> Scope:
    """Write down what is to go, and return it with what is left of an erasure that was broken off."""
    path = _journal(settings)
    if path.exists():
        told = json.loads(path.read_text(encoding="utf-8"))
        scope = Scope(scope.members.union(told["members"]), _both(told["visits"], scope.visits))
    with written_aside(path) as aside:
        told = {"members": sorted(scope.members), "visits": dict(scope.visits)}
        aside.write_text(json.dumps(told), encoding="utf-8")
    return scope


def _both(one: Mapping[str, int | None], other: Mapping[str, int | None]) -> dict[str, int | None]:
    """Return whose visits go: of a device named twice, what either says goes (None: everything)."""
    kept = {visit: one[visit] if visit in one else other[visit] for visit in [*one, *other]}
    for visit in one.keys() & other.keys():
        first, second = one[visit], other[visit]
        kept[visit] = None if first is None or second is None else min(first, second)
    return kept


def _journal(settings: Settings) -> Path:
    return settings.home.resolve() / "erasing.json"
