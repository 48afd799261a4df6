"""Taking a source in: read, move, validate, store, count."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from features.events import importers
from features.events._intake import Intake
from features.events.export import export_events
from features.events.importers.base import Batch, Importer, Request
from features.events.lake import Lake
from features.events.log import EventLog
from features.events.rejects import Rejects
from nextbest.errors import BadInput
from nextbest.progress import Progress, silent
from nextbest.settings import Settings

__all__ = ["IngestSummary", "export_events", "ingest"]

TABLES = ("events", "items", "contacts", "identities")


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
            intake = Intake(batch, lake, now, rejects, progress)
            weeks = intake.weeks(shift_to_today)
            written = lake.write(intake.frames(weeks, mapping), progress) if batch.events else None
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
        notes=(*batch.notes, *intake.notes(weeks, shift_to_today, mapping)),
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
