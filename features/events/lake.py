"""The lake: canonical events as Parquet, one file a UTC day; items, contacts and identities beside them."""

import json
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fcntl import LOCK_EX, LOCK_NB, flock
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
from features.events._files import remove_asides, written_aside
from features.events._identity import Graph, Scope
from features.events._merge import keep_fresh, stage, write_days
from features.events._tables import as_now, earliest, links_of, upsert, without
from features.events._types import SCHEMAS, to_arrow
from nextbest.columns import ALIAS, ANONYMOUS_ID, CONTACT_ID, IDENTITY_COLUMNS, TIMESTAMP
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

    def people(self) -> Graph:
        """Return who is who by the links the lake has."""
        return Graph(links_of(self._table("identities")))

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
        return as_now(pq.read_table(path), SCHEMAS[name]) if path.exists() else SCHEMAS[name].empty_table()

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
        """Add links; one said again keeps its earliest time."""
        if frame.empty:
            return 0
        with self.locked():
            table = to_arrow(frame.reindex(columns=list(IDENTITY_COLUMNS)), "identities")
            _replace(self.folder / "identities.parquet", earliest(self._table("identities"), table))
        return len(frame)

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

    def erase(self, contact_ids: Sequence[str], scope: Scope | None = None) -> int:
        """Erase people by any of their ids, their links and visits; returns the events erased.

        Only files that hold them are written anew. What goes of a shared device, and `scope`: EventLog.erase.
        """
        with self.locked():
            scope = scope or self.people().scope(contact_ids)
            remove_asides(self.folder)
            erased = sum(self._erase_events(f, scope) for f in self.files())
            links = self._table("identities")
            kept = without(links, CONTACT_ID, sorted(scope.members))
            earlier = pc.is_in(kept[ANONYMOUS_ID], pa.array(sorted(scope.members), pa.string()))
            kept = kept.filter(pc.invert(pc.and_(earlier, pc.fill_null(kept[ALIAS], False))))
            contacts = self._table("contacts")
            for name, old, new in (
                ("identities", links, kept),
                ("contacts", contacts, without(contacts, CONTACT_ID, sorted(scope.members))),
            ):
                if len(new) < len(old):
                    _replace(self.folder / f"{name}.parquet", new)
            if erased and "log" in self.manifest():
                self.note("log", rows=None)  # which of them came through the log is not known any more
        return erased

    def _erase_events(self, path: Path, scope: Scope) -> int:
        rows = pq.read_table(path, columns=[CONTACT_ID, ANONYMOUS_ID, TIMESTAMP])
        gone = pc.is_in(rows[CONTACT_ID], pa.array(sorted(scope.members), pa.string()))
        unnamed = pc.is_null(rows[CONTACT_ID])
        whole = pa.array([visit for visit, kept in scope.visits.items() if kept is None], pa.string())
        gone = pc.or_(gone, pc.and_(unnamed, pc.is_in(rows[ANONYMOUS_ID], whole)))
        for visit, kept in scope.visits.items():
            if kept is not None:
                later = pc.greater(rows[TIMESTAMP].cast(pa.int64()), kept)
                mine = pc.fill_null(pc.equal(rows[ANONYMOUS_ID], visit), False)
                gone = pc.or_(gone, pc.and_(unnamed, pc.and_(mine, later)))
        count = pc.sum(gone).as_py() or 0
        if count == len(rows):
            path.unlink()
        elif count:
            _replace(path, pq.read_table(path).filter(pc.invert(gone)))
        return count

    # --- what is known of sources

    def only_from_log(self, events: int) -> bool:
        """Tell whether all of the lake's events, so many, came through the event log, and are there too."""
        return self.manifest().get("log", {}).get("rows") == events

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
    def locked(self, wait: bool = True) -> Iterator[None]:
        """Hold the lake for writing; may be nested.

        Waits for another process or thread, or, told not to wait, raises BlockingIOError.
        """
        with self._thread:
            if self._held:
                yield
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / ".lock").open("w") as handle:
                flock(
                    handle, LOCK_EX if wait else LOCK_EX | LOCK_NB
                )  # let go when the file is closed, or the process dies
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
