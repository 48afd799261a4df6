"""Forgetting contacts: out of the feature tables and the online store."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.events._files import remove_asides, written_aside
from features.store import Store
from features.tables import table_path
from features.whole import VISITS
from nextbest.columns import ANONYMOUS_ID, CONTACT_ID
from nextbest.settings import Settings

OWNERS = (CONTACT_ID, "linked_id")
"""Columns that say whose a row is. Items keep their sums, which name nobody."""


def erase(settings: Settings, contact_ids: Sequence[str], anonymous_ids: Sequence[str] = ()) -> int:
    """Remove contacts from the feature tables and the online store, and visits; returns the rows removed.

    The events go first (Lake.erase, EventLog.erase), or the next build brings the contacts back.
    """
    remove_asides(settings.tables)
    removed = erase_rows(table_path(settings, VISITS), (ANONYMOUS_ID,), anonymous_ids)
    for path in sorted(settings.tables.glob("*.parquet")):
        removed += erase_rows(path, OWNERS, contact_ids)
    if table_path(settings, "contact").exists():
        Store(settings).erase(contact_ids)
    return removed


def erase_rows(path: Path, owners: Sequence[str], ids: Sequence[str]) -> int:
    """Write a Parquet file anew without the rows whose owner is one of the ids; returns how many went.

    A file that has none, or no column that says whose its rows are, stays as it is.
    """
    if not path.exists() or not ids:
        return 0
    with pq.ParquetFile(path) as source:
        names = [name for name in owners if name in source.schema_arrow.names]
        gone = pa.array(list(ids), pa.string())
        if not any(_owned(source, group, names, gone) for group in range(source.num_row_groups)):
            return 0
        removed = 0
        with written_aside(path) as aside, pq.ParquetWriter(aside, source.schema_arrow) as writer:
            for group in range(source.num_row_groups):
                rows = source.read_row_group(group)
                kept = rows
                for name in names:
                    kept = kept.filter(pc.invert(pc.is_in(kept[name].cast(pa.string()), gone)))
                removed += len(rows) - len(kept)
                writer.write_table(kept)
    return removed


def _owned(source: pq.ParquetFile, group: int, names: Sequence[str], gone: pa.Array) -> bool:
    if not names:
        return False
    rows = source.read_row_group(group, columns=list(names))
    return any(pc.any(pc.is_in(rows[name].cast(pa.string()), gone)).as_py() for name in names)
