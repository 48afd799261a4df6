"""Taking a source in: read, move, validate, store, count."""

import importlib
import pkgutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pandas as pd

from features.events import importers
from features.events.export import export_events
from features.events.importers.base import Batch, Chunk, Importer, Request
from features.events.lake import Lake
from features.events.log import EventLog
from features.events.rejects import Rejects
from features.events.schema import (
    KNOWN_EVENTS,
    REASON,
    validate_contacts,
    validate_events,
    validate_identities,
    validate_items,
)
from nextbest.columns import EVENT, TIMESTAMP
from nextbest.errors import BadInput
from nextbest.progress import Progress, silent
from nextbest.settings import Settings

__all__ = ["IngestSummary", "export_events", "ingest"]

TABLES = ("events", "items", "contacts", "identities")
_HOPELESS = 0.99
"""Above this share of rejects something is wrong with the mapping, not with the rows."""
_WEEK = timedelta(weeks=1)
_VALIDATE = {"items": validate_items, "contacts": validate_contacts, "identities": validate_identities}


@dataclass(frozen=True)
class IngestSummary:
    """What became of a source."""

    source: str
    rows: int = 0
    """Rows read, of events or of the table asked for."""
    stored: int = 0
    duplicates: int = 0
    """Rows whose event_id was stored already, or came twice."""
    rejected: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    reject_file: Path | None = None
    items: int = 0
    contacts: int = 0
    identities: int = 0
    first: datetime | None = None
    """Time of the first event of the source, after the shift."""
    last: datetime | None = None
    shift_weeks: int = 0
    unknown_events: Mapping[str, int] = field(default_factory=dict)
    """Event names outside the specs; they are kept and may be used in rules."""
    notes: tuple[str, ...] = ()


def ingest(
    settings: Settings,
    source: str,
    *,
    now: datetime,
    mapping: Mapping[str, str] | None = None,
    table: str = "events",
    shift_to_today: bool = False,
    progress: Progress = silent,
    **options: Any,
) -> IngestSummary:
    """Take a source in; the same source again stores nothing twice.

    `source` is an importer's name or a file. `shift_to_today` moves its events by whole weeks so that the
    last is not after `now`, and by the same weeks whenever the source comes again. Raises BadInput, with
    nothing stored, for what cannot be read at all.
    """
    if table not in TABLES:
        raise BadInput(f"no table '{table}'; known: {', '.join(TABLES)}")
    lake = Lake(settings.lake)
    with lake.workspace() as folder:
        batch = _open(Request(source, folder, mapping, table, options, progress))
        with Rejects(settings.rejects, batch.source) as rejects:
            intake = _Intake(batch, lake, now, rejects, progress)
            weeks = _weeks(lake, batch, now, shift_to_today) if batch.events else 0
            written = lake.write(intake.frames(weeks), progress) if batch.events else None
            counts = {name: intake.table(name) for name in TABLES[1:]}
        if "identities" in batch.tables:
            EventLog(settings.event_log_url).write_identities(lake.identities())
    stored = written.stored if written else sum(counts.values())
    return IngestSummary(
        source=batch.source,
        rows=intake.rows,
        stored=stored,
        duplicates=written.duplicates if written else 0,
        rejected=rejects.count,
        reasons=dict(rejects.reasons.most_common()),
        reject_file=rejects.file,
        **counts,
        first=intake.first,
        last=intake.last,
        shift_weeks=weeks,
        unknown_events=dict(intake.unknown.most_common()),
        notes=(*batch.notes, *_shift_note(weeks, shift_to_today)),
    )


def importer_names() -> list[str]:
    """Return what can be taken in."""
    return [importer.NAME for importer in _importers()]


def _importers() -> Iterator[Importer]:
    for module in sorted(pkgutil.iter_modules(importers.__path__), key=lambda m: m.name):
        if not module.name.startswith("_") and module.name != "base":
            yield cast(Importer, importlib.import_module(f"{importers.__name__}.{module.name}"))


def _open(request: Request) -> Batch:
    for importer in _importers():
        if importer.accepts(request):
            if request.source != importer.NAME and not Path(request.source).is_file():
                raise BadInput(f"no file {request.source}")
            return importer.read(request)
    raise BadInput(f"no importer takes '{request.source}'; known: {'; '.join(importer_names())}")


def _weeks(lake: Lake, batch: Batch, now: datetime, wanted: bool) -> int:
    """Return the weeks to move by: what was done before, else what brings the last event up to now."""
    before = lake.manifest().get(batch.source, {}).get("shift_weeks")
    if before is not None:
        return int(before)
    return (now - batch.last) // _WEEK if wanted and batch.last else 0


def _shift_note(weeks: int, wanted: bool) -> tuple[str, ...]:
    if weeks:
        return (f"all times moved by {weeks} weeks",)
    return ("not moved: the last event is this week's, or it was taken in unmoved before",) if wanted else ()


class _Intake:
    """Validates what a batch yields and counts on the way."""

    def __init__(self, batch: Batch, lake: Lake, now: datetime, rejects: Rejects, progress: Progress) -> None:
        self.rows = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.unknown: Counter[str] = Counter()
        self._batch, self._lake, self._now, self._rejects, self._progress = (
            batch,
            lake,
            now,
            rejects,
            progress,
        )

    def frames(self, weeks: int) -> Iterator[pd.DataFrame]:
        """Yield validated frames; raises BadInput at the end when hardly a row was good."""
        if self._batch.events is None:
            return
        for chunk in self._batch.events(weeks * _WEEK):
            good = self._sorted_out(chunk)
            self._count(good, len(chunk.events))
            yield good
        self._give_up_if_hopeless()
        self._lake.note(self._batch.source, shift_weeks=weeks, rows=self.rows)

    def table(self, name: str) -> int:
        """Validate and store the batch's items, contacts or identities; returns the rows stored."""
        frame = self._batch.tables.get(name)
        if frame is None or frame.empty:
            return 0
        good, bad = _VALIDATE[name](frame)
        if self._batch.events is None:
            self.rows += len(frame)
        self._rejects.add(bad)
        self._give_up_if_hopeless()
        return int(getattr(self._lake, f"write_{name}")(good))

    def _sorted_out(self, chunk: Chunk) -> pd.DataFrame:
        events, raw = chunk.events, chunk.events if chunk.raw is None else chunk.raw
        if chunk.reasons is not None and (chunk.reasons != "").any():
            unread = chunk.reasons != ""
            self._rejects.add(raw[unread].assign(**{REASON: chunk.reasons[unread]}))
            events = events[~unread]
        good, bad = validate_events(events, self._now)
        self._rejects.add(raw.loc[bad.index].assign(**{REASON: bad[REASON]}))
        return good

    def _count(self, good: pd.DataFrame, read: int) -> None:
        self.rows += read
        self._progress("reading events", self.rows, self._batch.rows)
        if good.empty:
            return
        low, high = good[TIMESTAMP].min().to_pydatetime(), good[TIMESTAMP].max().to_pydatetime()
        self.first, self.last = min(self.first or low, low), max(self.last or high, high)
        names = good[EVENT].value_counts()
        self.unknown.update({str(name): int(n) for name, n in names.items() if name not in KNOWN_EVENTS})

    def _give_up_if_hopeless(self) -> None:
        rejects = self._rejects
        if self.rows and rejects.count > _HOPELESS * self.rows:
            examples = "; ".join(dict.fromkeys(rejects.examples))
            raise BadInput(
                f"{rejects.count} of {self.rows} rows of {self._batch.source} cannot be used, so nothing was "
                f"stored. For example: {examples}. Is --map right?"
            )
