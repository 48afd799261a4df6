"""The feature tables of the state folder, and the engines that make and read them."""

from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from importlib import import_module
from pathlib import Path
from time import monotonic, sleep
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import StoreUnavailable
from features.events.lake import Lake
from nextbest.errors import NotReady
from nextbest.settings import Settings

Engine = Literal["duckdb", "spark"]

ROW_TABLES = ("contact", "contact_item", "contact_category", "contact_channel", "contact_step", "item")
"""Point-in-time rows, made from events."""
PAIR_TABLES = ("contact_item", "contact_category", "contact_channel", "contact_step")
"""What a contact's arrays are read from."""
SIDE_TABLES = ("contact_lists", "contact_tags", "item_paths", "links", "visits", "fingerprints")
"""Each contact's arrays at the build, and tags; the items' categories; whose visits were counted;
features.whole's and features.online's."""

MEMORY = "2GB"
"""What DuckDB may use before it spills to the state folder."""


def table_path(settings: Settings, name: str) -> Path:
    """Return where a table lies."""
    return settings.tables / f"{name}.parquet"


def require(settings: Settings, name: str) -> Path:
    """Return where a table lies. Raises NotReady where it was never built."""
    path = table_path(settings, name)
    if not path.exists():
        raise NotReady(f"no feature table {name!r} in {settings.tables}; run: nextbest features build")
    return path


@contextmanager
def alone(settings: Settings, patience: float | None = None) -> Iterator[None]:
    """Hold the feature tables for writing.

    Waits for another process or thread, at most `patience` seconds where given, then raises StoreUnavailable.
    """
    settings.tables.mkdir(parents=True, exist_ok=True)
    with (settings.tables / ".lock").open("w") as handle:  # let go when closed, or the process dies
        if patience is None:
            flock(handle, LOCK_EX)
        else:
            _locked_within(handle, patience)
        yield


def _locked_within(handle: IO[str], patience: float) -> None:
    last = monotonic() + patience
    while True:
        try:
            return flock(handle, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            if monotonic() >= last:
                raise StoreUnavailable(
                    "a build of the feature tables is under way; ask again after it"
                ) from None
            sleep(0.1)


@contextmanager
def connected(spill: Path, engine: Engine = "duckdb") -> Iterator[Any]:
    """Yield an Ibis backend, closed at the end; DuckDB spills into the folder `spill`."""
    import ibis

    if engine == "spark":
        session = import_module("pyspark.sql").SparkSession.builder.appName("nextbest")
        session = session.config("spark.sql.session.timeZone", "UTC").getOrCreate()
        yield ibis.pyspark.connect(session)
        return
    backend = ibis.duckdb.connect(
        memory_limit=MEMORY, temp_directory=str(spill), preserve_insertion_order=False
    )
    try:
        yield backend
    finally:
        backend.disconnect()


def read_events(backend: Any, lake: Lake) -> Any:
    """Return all events of the lake as a table of the backend."""
    if backend.name == "duckdb" or not lake.files():
        return lake.events(backend=backend)
    return backend.read_parquet(str(lake.folder / "events"))  # Ibis gives Spark one path only


def save(backend: Any, table: Any, path: Path) -> int:
    """Write an Ibis table as one Parquet file, times in UTC; returns its rows."""
    if backend.name == "duckdb":
        backend.to_parquet(table, path)
    else:
        batches = backend.to_pyarrow_batches(table)
        schema = pa.schema([_in_utc(column) for column in batches.schema])
        with pq.ParquetWriter(path, schema) as writer:
            for batch in batches:
                writer.write_batch(batch.cast(schema))
    return int(pq.read_metadata(path).num_rows)


def _in_utc(column: pa.Field) -> pa.Field:
    return column.with_type(pa.timestamp("us", "UTC")) if pa.types.is_timestamp(column.type) else column
