"""The lake: canonical events as Parquet, one file a UTC day; items, contacts and identities beside them."""

import json
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fcntl import LOCK_EX, flock
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import ibis
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.events import _duck
from features.events._files import written_aside
from features.events._merge import keep_fresh, stage, write_days
from features.events._tables import upsert, without
from features.events._types import SCHEMAS, to_arrow
from nextbest.columns import CONTACT_ID, TIMESTAMP
from nextbest.progress import Progress, silent

_ROWS = 100_000
"""Rows a batch of the merge."""


@dataclass(frozen=True)
class LakeSummary:
    """What a write did: rows stored, rows left out because their event_id was there, day files written."""

    stored: int
    duplicates: int
    days: int


class Lake:
    """A folder of Parquet. One writer at a time (a lock file sees to it), any number of readers."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._held = False
        self._thread = threading.RLock()
        self._backend: Any = None

    # --- reading

    def files(self, since: datetime | None = None, until: datetime | None = None) -> list[Path]:
        """Return the day files that may hold events of the span, oldest first."""
        low, high = (
            moment.astimezone(UTC).date().isoformat() if moment else None for moment in (since, until)
        )
        days = sorted((self.folder / "events").glob("*.parquet"))
        return [f for f in days if (low is None or f.stem >= low) and (high is None or f.stem <= high)]

    def events(
        self, until: datetime | None = None, since: datetime | None = None, backend: Any = None
    ) -> Any:
        """Return the events with since <= timestamp <= until as an Ibis table, in a DuckDB backend."""
        backend = backend or self._own_backend()
        files = self.files(since, until)
        if files:
            table = backend.read_parquet([str(f) for f in files])
        else:
            backend.raw_sql(f"CREATE OR REPLACE TEMP VIEW no_events AS {_duck.nothing(SCHEMAS['events'])}")
            table = backend.table("no_events")
        if until is not None:
            table = table.filter(table[TIMESTAMP] <= ibis.literal(until.astimezone(UTC)))
        if since is not None:
            table = table.filter(table[TIMESTAMP] >= ibis.literal(since.astimezone(UTC)))
        return table

    def items(self) -> pd.DataFrame:
        """Return every known item, ITEM_COLUMNS."""
        return self._table("items").to_pandas()

    def contacts(self) -> pd.DataFrame:
        """Return every known contact, CONTACT_COLUMNS."""
        return self._table("contacts").to_pandas()

    def identities(self) -> pd.DataFrame:
        """Return which anonymous_id belongs to which contact_id, IDENTITY_COLUMNS."""
        return self._table("identities").to_pandas()

    def span(self) -> tuple[datetime, datetime] | None:
        """Return the times of the first and the last event; None while there are none."""
        files = self.files()
        if not files:
            return None
        first = pc.min(pq.read_table(files[0], columns=[TIMESTAMP])[TIMESTAMP]).as_py()
        last = pc.max(pq.read_table(files[-1], columns=[TIMESTAMP])[TIMESTAMP]).as_py()
        return first, last

    def _own_backend(self) -> Any:
        if self._backend is None:
            self._backend = ibis.duckdb.connect()
        return self._backend

    def _table(self, name: str) -> pa.Table:
        path = self.folder / f"{name}.parquet"
        return pq.read_table(path) if path.exists() else SCHEMAS[name].empty_table()

    # --- writing

    def write(self, frames: Iterable[pd.DataFrame], progress: Progress = silent) -> LakeSummary:
        """Store validated events; a row whose event_id is stored already is left out.

        Frames are staged aside first: an error while they come leaves the lake as it was. If the process is
        killed while day files are put in place, the lake stays readable and the same write completes it.
        """
        with self.workspace() as folder:
            staged = folder / "staged.parquet"
            rows = stage(frames, staged)
            if not rows:
                return LakeSummary(0, 0, 0)
            with _duck.connect(folder) as connection:
                fresh = folder / "fresh.parquet"
                stored = keep_fresh(connection, staged, self.files(), fresh)
                staged.unlink()
                days = self._merge(connection, fresh, folder, stored, progress) if stored else 0
            return LakeSummary(stored, rows - stored, days)

    def write_items(self, frame: pd.DataFrame) -> int:
        """Add or update items by item_id: a value replaces, a null leaves what is known. Returns rows."""
        return self._upsert("items", ["item_id"], frame)

    def write_contacts(self, frame: pd.DataFrame) -> int:
        """Add or update contacts by contact_id, as `write_items`; traits are merged key by key."""
        return self._upsert("contacts", [CONTACT_ID], frame)

    def write_identities(self, frame: pd.DataFrame) -> int:
        """Add or update links by anonymous_id."""
        return self._upsert("identities", ["anonymous_id"], frame)

    def _upsert(self, name: str, key: list[str], frame: pd.DataFrame) -> int:
        if frame.empty:
            return 0
        with self.locked():
            merged = upsert(self._table(name), to_arrow(frame, name), key)
            _replace(self.folder / f"{name}.parquet", merged)
        return len(frame)

    def _merge(
        self,
        connection: duckdb.DuckDBPyConnection,
        fresh: Path,
        folder: Path,
        stored: int,
        progress: Progress,
    ) -> int:
        """Write the days that get fresh rows anew, aside, then put them in place."""
        days = connection.execute(_duck.select("DISTINCT CAST(timestamp AS DATE)", [fresh])).fetchall()
        old = [f for f in (self._day(day) for (day,) in days) if f.exists()]
        query = _duck.select("*", [fresh, *old]) + " ORDER BY timestamp, event_id"
        reader = connection.sql(query).to_arrow_reader(_ROWS)
        written = list(write_days(reader, folder / "days", stored, progress))
        for aside in written:
            target = self._day(date.fromisoformat(aside.stem))
            target.parent.mkdir(parents=True, exist_ok=True)
            aside.replace(target)
        return len(written)

    def _day(self, day: date) -> Path:
        return self.folder / "events" / f"{day.isoformat()}.parquet"

    # --- forgetting

    def erase(self, contact_ids: Sequence[str]) -> int:
        """Erase contacts, the anonymous ids linked to them, and their events; returns the events erased.

        Only files that hold them are written anew.
        """
        with self.locked():
            identities = self.identities()
            linked = identities.loc[identities[CONTACT_ID].isin(contact_ids), "anonymous_id"].tolist()
            erased = sum(self._erase_events(f, list(contact_ids), linked) for f in self.files())
            for name in ("contacts", "identities"):
                table = self._table(name)
                kept = without(table, CONTACT_ID, contact_ids)
                if len(kept) < len(table):
                    _replace(self.folder / f"{name}.parquet", kept)
        return erased

    def _erase_events(self, path: Path, contact_ids: list[str], linked: list[str]) -> int:
        ids = pq.read_table(path, columns=[CONTACT_ID, "anonymous_id"])
        theirs = pc.is_in(ids[CONTACT_ID], pa.array(contact_ids, pa.string()))
        unnamed = pc.is_in(ids["anonymous_id"], pa.array(linked, pa.string()))
        gone = pc.or_(theirs, pc.and_(pc.is_null(ids[CONTACT_ID]), unnamed))
        count = pc.sum(gone).as_py() or 0
        if count == len(ids):
            path.unlink()
        elif count:
            _replace(path, pq.read_table(path).filter(pc.invert(gone)))
        return count

    # --- what is known of sources

    def manifest(self) -> dict[str, Any]:
        """Return what was noted of each source (shift_weeks, rows, …)."""
        path = self.folder / "manifest.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def note(self, source: str, **facts: Any) -> None:
        """Add to what is known of a source."""
        with self.locked():
            known = self.manifest()
            known[source] = known.get(source, {}) | facts
            with written_aside(self.folder / "manifest.json") as aside:
                aside.write_text(json.dumps(known, indent=2, sort_keys=True))

    # --- one writer at a time

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lake for writing; waits for another process or thread, may be nested."""
        with self._thread:
            if self._held:
                yield
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / ".lock").open("w") as handle:
                flock(handle, LOCK_EX)  # let go when the file is closed, or the process dies
                shutil.rmtree(self.folder / ".staging", ignore_errors=True)  # of someone who was killed
                self._held = True
                try:
                    yield
                finally:
                    self._held = False

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Hold the lake and yield an empty folder on its disk; may be nested."""
        with self.locked():
            base = self.folder / ".staging"
            base.mkdir(exist_ok=True)
            with TemporaryDirectory(dir=base) as name:
                yield Path(name)


def _replace(path: Path, table: pa.Table) -> None:
    with written_aside(path) as aside:
        pq.write_table(table, aside, compression="zstd")
