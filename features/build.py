"""From events to features: the log joins the lake, tables are written, the latest rows go online."""

import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from features._known import category_paths, known, link_rows, merge_rows
from features._tags_table import write_tags
from features.channels import channel_rows
from features.contacts import contact_rows
from features.events._identity import Graph
from features.events.lake import Lake
from features.events.log import EventLog
from features.forget import complete
from features.items import item_day_rows
from features.lists import write_lists
from features.online import basis, fingerprints, identity_rows, materialize
from features.pairs import category_rows, item_rows
from features.points import Rules
from features.steps import step_rows
from features.store import Store
from features.tables import (
    ROW_TABLES,
    SIDE_TABLES,
    Engine,
    alone,
    connected,
    read_events,
    save,
    table_path,
)
from features.whole import visits_of
from nextbest.columns import TIMESTAMP
from nextbest.errors import BadInput
from nextbest.progress import Progress, silent
from nextbest.settings import Settings

REFERENCE_YEARS = 19
"""Weights are relative to this long before now, the middle of the 38 years an event may be old."""
ENGINES = ("duckdb", "spark")


@dataclass(frozen=True)
class BuildSummary:
    """What a build did."""

    position: int
    """Of the event log, up to which everything is counted."""
    events: int
    contacts: int
    written: int
    """Contacts whose online rows were written, because something changed for them."""
    rows: dict[str, int]
    """Table -> its rows."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Stage -> how long it took."""


def build(
    settings: Settings,
    now: datetime,
    engine: Engine = "duckdb",
    progress: Progress = silent,
    online: bool = True,
) -> BuildSummary:
    """Make all feature tables from the lake and the log, and put each contact's latest row online.

    Tables are written aside and put in place together. Rows go online contact by contact, each with the
    position it has counted up to, so readers see a contact before or after, never between. One build at a
    time: another waits. Without `online` the tables alone are made, which is what training and bulk answers
    read. Raises BadInput for an unknown engine.
    """
    if engine not in ENGINES:
        raise BadInput(f"no engine {engine!r}; known: {', '.join(ENGINES)}")
    stage, store = _Stages(progress), Store(settings)
    with alone(settings), closing(EventLog(settings.event_log_url)) as log:
        complete(settings, log)
        rests_on = basis(Rules.load(settings.rules), log.log_id())
        with _staging(settings.tables) as staging:
            with connected(staging, engine) as backend:
                with stage("events"):
                    position, events = _prepare(Lake(settings.lake), log, backend, staging)
                    log.forget_decisions(now - timedelta(days=settings.decisions_days))
                rows = _write_tables(settings, backend, staging, position, now, stage)
            with stage("contact_lists"), connected(staging) as backend:
                tables = {name: backend.read_parquet(staging / f"{name}.parquet") for name in ROW_TABLES}
                rows["contact_lists"] = write_lists(
                    backend, tables, staging / "contact_lists.parquet", position, now
                )
            with stage("contact_tags"):
                lake, file = Lake(settings.lake), staging / "contact_tags.parquet"
                rows["contact_tags"] = write_tags(staging, lake.files(), lake.contacts(), now, file)
            for name in (*ROW_TABLES, *SIDE_TABLES):
                (staging / f"{name}.parquet").replace(table_path(settings, name))
        with stage("apply"):
            store.apply()
        written = 0
        if online:
            with stage("online"):
                written = materialize(settings, store, rests_on, progress).written
    return BuildSummary(position, events, rows["contact_lists"], written, rows, stage.seconds)


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    staging = folder / ".staging"
    shutil.rmtree(staging, ignore_errors=True)  # of a build that was killed
    staging.mkdir()
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _prepare(lake: Lake, log: EventLog, backend: Any, staging: Path) -> tuple[int, int]:
    """Bring the log into the lake and write the events ready for counting; nothing may come between."""
    with lake.locked():
        position = log.compact(lake)
        graph = Graph(log.links(until=position))
        pq.write_table(link_rows(graph), staging / "links.parquet")
        pq.write_table(merge_rows(graph), staging / "merges.parquet")
        pq.write_table(identity_rows(graph), staging / "people.parquet")
        pq.write_table(category_paths(lake.items()), staging / "item_paths.parquet")
        names = ("links", "merges", "item_paths")
        tables = [backend.read_parquet(staging / f"{name}.parquet") for name in names]
        events = save(backend, known(read_events(backend, lake), *tables), staging / "known.parquet")
        visits = visits_of(backend.read_parquet(staging / "known.parquet"))
        save(backend, visits.limit(0) if lake.only_from_log(events) else visits, staging / "visits.parquet")
    return position, events


def _write_tables(
    settings: Settings, backend: Any, staging: Path, position: int, now: datetime, stage: "_Stages"
) -> dict[str, int]:
    events = backend.read_parquet(staging / "known.parquet")
    people = backend.read_parquet(staging / "people.parquet")
    reference = now.timestamp() - REFERENCE_YEARS * 365.25 * 86_400
    tables = {
        "contact": contact_rows(events, Rules.load(settings.rules), position, reference),
        "contact_item": item_rows(events, reference),
        "contact_category": category_rows(events, reference),
        "contact_channel": channel_rows(events, reference),
        "contact_step": step_rows(events),
        "item": item_day_rows(events, reference),
        "fingerprints": fingerprints(events, people),
    }
    rows = {}
    for name, table in tables.items():
        with stage(name):
            ordered = table.order_by([c for c in (table.columns[0], TIMESTAMP) if c in table.columns])
            rows[name] = save(backend, ordered, staging / f"{name}.parquet")
    return rows


class _Stages:
    """Times the stages and reports them."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.progress(name, 0, 0)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
        self.progress(name, 1, 1)
