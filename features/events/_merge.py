"""How staged rows become day files: rows already stored left out, sorted by time, cut by day."""

from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.events import _duck
from features.events._files import flush
from features.events._types import SCHEMAS, to_arrow
from nextbest.columns import EVENT_ID, TIMESTAMP
from nextbest.progress import Progress


def stage(frames: Iterable[pd.DataFrame], path: Path) -> int:
    rows = 0
    with pq.ParquetWriter(path, SCHEMAS["events"]) as writer:
        for frame in frames:
            if len(frame):
                writer.write_table(to_arrow(frame, "events"))
                rows += len(frame)
    return rows


def keep_fresh(connection: duckdb.DuckDBPyConnection, staged: Path, stored: list[Path], fresh: Path) -> int:
    """Write the staged rows whose event_id is new, each id once (the earliest); return how many."""
    new = _duck.parquet([staged])
    known = _duck.select(EVENT_ID, stored) if stored else f"SELECT '' AS {EVENT_ID} WHERE false"
    content = ", ".join(SCHEMAS["events"].names[1:])
    connection.execute(
        f"""
        COPY (
            WITH twice AS (SELECT event_id FROM {new} GROUP BY event_id HAVING count(*) > 1),
            single AS (SELECT * FROM {new} SEMI JOIN twice USING (event_id)
                       QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY timestamp, {content}) = 1)
            SELECT * FROM (SELECT * FROM {new} ANTI JOIN twice USING (event_id)
                           UNION ALL SELECT * FROM single)
            ANTI JOIN ({known}) USING (event_id)
        ) TO {_duck.quoted(fresh)} (FORMAT parquet)
        """  # noqa: S608  file and column names only
    )
    return pq.ParquetFile(fresh).metadata.num_rows


def write_days(reader: pa.RecordBatchReader, folder: Path, total: int, progress: Progress) -> Iterator[Path]:
    """Cut batches sorted by time into a file a day; yields each file once it is whole."""
    folder.mkdir()
    writer: pq.ParquetWriter | None = None
    current: date | None = None
    done = 0
    for batch in reader:
        for day, part in _by_day(pa.table(batch)):
            if day != current:
                if writer is not None and current is not None:
                    yield _closed(writer, folder, current)
                writer = pq.ParquetWriter(folder / f"{day}.parquet", SCHEMAS["events"], compression="zstd")
                current = day
            if writer is not None:
                writer.write_table(part.cast(SCHEMAS["events"]))
        done += batch.num_rows
        progress("writing the lake", min(done, total), total)
    if writer is not None and current is not None:
        yield _closed(writer, folder, current)


def _closed(writer: pq.ParquetWriter, folder: Path, day: date) -> Path:
    writer.close()
    path = folder / f"{day}.parquet"
    flush(path)
    return path


def _by_day(table: pa.Table) -> Iterator[tuple[date, pa.Table]]:
    runs = pc.run_end_encode(
        table[TIMESTAMP].combine_chunks().cast(pa.timestamp("us")).cast(pa.date32(), safe=False)
    )
    start = 0
    for day, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        yield day, table.slice(start, end - start)
        start = end
