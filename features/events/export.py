"""Every stored event in one file."""

from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq

from features.events import _duck
from features.events._files import written_aside
from features.events._types import SCHEMAS, to_arrow
from features.events.lake import Lake
from features.events.log import EventLog
from nextbest.settings import Settings

_ROWS = 100_000


def export_events(settings: Settings, out: Path, since: datetime | None = None) -> int:
    """Write log and lake together to a Parquet file, sorted by time, each event_id once; returns the rows."""
    lake, log = Lake(settings.lake), EventLog(settings.event_log_url)
    schema = SCHEMAS["events"]
    with lake.workspace() as folder:
        tail = folder / "log.parquet"
        with pq.ParquetWriter(tail, schema) as writer:
            for frame in log.read():
                writer.write_table(to_arrow(frame, "events"))
        query = _everything([tail], lake.files(since))
        with _duck.connect(folder) as connection, written_aside(out.resolve()) as aside:
            reader = connection.sql(query, params={"since": since}).to_arrow_reader(_ROWS)
            with pq.ParquetWriter(aside, schema, compression="zstd") as writer:
                for batch in reader:
                    writer.write_batch(batch.cast(schema))
            return int(pq.read_metadata(aside).num_rows)


def _everything(log: list[Path], lake: list[Path]) -> str:
    stored = _duck.select("*", lake) if lake else _duck.select("*", log) + " WHERE false"
    return f"""
        WITH lake AS ({stored})
        SELECT * FROM (
            SELECT * FROM lake UNION ALL {_duck.select("*", log)} AS log ANTI JOIN lake USING (event_id)
        ) WHERE $since IS NULL OR timestamp >= $since
        ORDER BY timestamp, event_id
        """  # noqa: S608  quoted file names
