"""Forgetting contacts: out of the feature tables and the online store."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.events._files import written_aside
from features.store import Store
from features.tables import PAIR_TABLES, table_path
from features.whole import VISITS
from nextbest.columns import ANONYMOUS_ID, CONTACT_ID
from nextbest.settings import Settings

OWNED = {
    "fingerprints": CONTACT_ID,
    "online": CONTACT_ID,
    "contact": CONTACT_ID,
    "contact_lists": CONTACT_ID,
    **dict.fromkeys(PAIR_TABLES, CONTACT_ID),
    "links": "linked_id",
}
"""Table -> the column that says whose a row is. Items keep their sums, which name nobody."""


def erase(settings: Settings, contact_ids: Sequence[str], anonymous_ids: Sequence[str] = ()) -> int:
    """Remove contacts from the feature tables and the online store, and visits; returns the rows removed.

    The events go first (Lake.erase, EventLog.erase), or the next build brings the contacts back.
    """
    gone = pa.array(list(contact_ids), pa.string())
    removed = sum(_erase_rows(settings, name, column, gone) for name, column in OWNED.items())
    removed += _erase_rows(settings, VISITS, ANONYMOUS_ID, pa.array(list(anonymous_ids), pa.string()))
    if table_path(settings, "contact").exists():
        Store(settings).erase(contact_ids)
    return removed


def _erase_rows(settings: Settings, name: str, column: str, gone: pa.Array) -> int:
    path = table_path(settings, name)
    if not path.exists():
        return 0
    source = pq.ParquetFile(path)
    removed = 0
    with written_aside(path) as aside, pq.ParquetWriter(aside, source.schema_arrow) as writer:
        for group in range(source.num_row_groups):
            rows = source.read_row_group(group)
            kept = rows.filter(pc.invert(pc.is_in(rows[column], gone)))
            removed += len(rows) - len(kept)
            writer.write_table(kept)
    return removed
