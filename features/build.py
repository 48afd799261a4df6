"""From events to features: the log joins the lake, tables are written, the latest rows go online."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq

from features._known import category_paths, known, links
from features.channels import channel_rows
from features.contacts import contact_rows
from features.events.lake import Lake
from features.events.log import EventLog
from features.items import item_day_rows
from features.lists import lists_at
from features.pairs import category_rows, item_rows
from features.points import Rules
from features.state import LISTS_AS_OF, LISTS_AT
from features.store import Store
from features.tables import PAIR_TABLES, ROW_TABLES, SIDE_TABLES, Engine, connected, save, table_path
from nextbest.columns import CONTACT_ID, TIMESTAMP
from nextbest.errors import BadInput
from nextbest.progress import Progress, silent
from nextbest.settings import Settings

REFERENCE_YEARS = 19
"""Weights are relative to this long before now, the middle of the 38 years an event may be old."""
CHUNK = 5_000
"""Contacts whose arrays are made at a time."""
ENGINES = ("duckdb", "spark")


@dataclass(frozen=True)
class BuildSummary:
    """What a build did."""

    position: int
    """Of the event log, up to which everything is counted."""
    events: int
    contacts: int
    rows: dict[str, int]
    """Table -> its rows."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Stage -> how long it took."""


def build(
    settings: Settings, now: datetime, engine: Engine = "duckdb", progress: Progress = silent
) -> BuildSummary:
    """Make all feature tables from the lake and the log, and put each contact's latest row online.

    Tables are written aside and put in place together. Rows go online contact by contact, each with the
    position it has counted up to, so readers see a contact before or after, never between. Raises BadInput
    for an unknown engine.
    """
    if engine not in ENGINES:
        raise BadInput(f"no engine {engine!r}; known: {', '.join(ENGINES)}")
    stage = _Stages(progress)
    staging = settings.tables / ".staging"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        with connected(staging, engine) as backend:
            with stage("events"):
                position, events = _prepare(settings, backend, staging)
            rows = _write_tables(settings, backend, staging, position, now, stage)
            with stage("contact_lists"):
                rows["contact_lists"] = _write_lists(backend, staging, position, now)
        for name in (*ROW_TABLES, *SIDE_TABLES):
            (staging / f"{name}.parquet").replace(table_path(settings, name))
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    with stage("apply"):
        store = Store(settings)
        store.apply()
    with stage("online"):
        contacts = materialize(settings, store, progress)
    return BuildSummary(position, events, contacts, rows, stage.seconds)


def materialize(settings: Settings, store: Store, progress: Progress = silent) -> int:
    """Put the latest row of every contact online; returns the contacts."""
    with connected(settings.tables) as backend:
        rows = backend.read_parquet(table_path(settings, "contact"))
        newest = ibis.window(group_by=CONTACT_ID, order_by=rows.timestamp.desc())
        latest = rows.mutate(nth=ibis.row_number().over(newest)).filter(lambda r: r.nth == 0).drop("nth")
        frame = backend.to_pyarrow(latest).to_pandas()
    store.write("contact", frame, progress)
    for batch in pq.ParquetFile(table_path(settings, "contact_lists")).iter_batches(CHUNK):
        store.write("contact_lists", batch.to_pandas(), progress)
    return len(frame)


def _prepare(settings: Settings, backend: Any, staging: Path) -> tuple[int, int]:
    """Bring the log into the lake and write the events ready for counting; nothing may come between."""
    lake, log = Lake(settings.lake), EventLog(settings.event_log_url)
    with lake.locked():
        position = log.compact(lake)
        pq.write_table(links(lake.identities()), staging / "links.parquet")
        pq.write_table(category_paths(lake.items()), staging / "item_paths.parquet")
        tables = [backend.read_parquet(staging / f"{name}.parquet") for name in ("links", "item_paths")]
        events = save(backend, known(lake.events(backend=backend), *tables), staging / "known.parquet")
    return position, events


def _write_tables(
    settings: Settings, backend: Any, staging: Path, position: int, now: datetime, stage: "_Stages"
) -> dict[str, int]:
    events = backend.read_parquet(staging / "known.parquet")
    reference = now.timestamp() - REFERENCE_YEARS * 365.25 * 86_400
    tables = {
        "contact": contact_rows(events, Rules.load(settings.rules), position, reference),
        "contact_item": item_rows(events, reference),
        "contact_category": category_rows(events, reference),
        "contact_channel": channel_rows(events, reference),
        "item": item_day_rows(events, reference),
    }
    rows = {}
    for name, table in tables.items():
        with stage(name):
            rows[name] = save(
                backend, table.order_by([table.columns[0], TIMESTAMP]), staging / f"{name}.parquet"
            )
    return rows


def _write_lists(backend: Any, staging: Path, position: int, now: datetime) -> int:
    """Write each contact's arrays as they are at `now`, or at the last event where that is later."""
    tables = {name: backend.read_parquet(staging / f"{name}.parquet") for name in ROW_TABLES}
    contacts = tables["contact"]
    last = backend.to_pyarrow(contacts.aggregate(last=contacts.timestamp.max()))["last"][0].as_py()
    at = max(now, last) if last else now
    ids = sorted(backend.to_pyarrow(contacts.select(CONTACT_ID).distinct())[CONTACT_ID].to_pylist())
    path = staging / "contact_lists.parquet"
    writer = None
    for start in range(0, max(len(ids), 1), CHUNK):
        chunk = ids[start : start + CHUNK]
        pairs = {name: _within(tables[name], chunk) for name in PAIR_TABLES}
        block = _lists_table(lists_at(backend, pairs, chunk, at).to_arrow(), chunk, position, at)
        writer = writer or pq.ParquetWriter(path, block.schema)
        writer.write_table(block)
    if writer is not None:
        writer.close()
    return len(ids)


def _within(table: Any, ids: list[str]) -> Any:
    """Keep the files' row groups of a span of ids: the tables are sorted by contact."""
    return table.filter(table.contact_id.between(ids[0], ids[-1])) if ids else table


def _lists_table(arrays: dict[str, pa.Array], ids: list[str], position: int, at: datetime) -> pa.Table:
    count = len(ids)
    return pa.table(
        {
            CONTACT_ID: pa.array(ids, pa.string()),
            TIMESTAMP: pa.array([at] * count, pa.timestamp("us", tz="UTC")),
            LISTS_AS_OF: pa.array([position] * count, pa.int64()),
            LISTS_AT: pa.array([at.timestamp()] * count, pa.float64()),
            **arrays,
        }
    )


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
