"""Upserts into small Parquet tables: items, contacts, identities."""

import json
from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc


def upsert(old: pa.Table, new: pa.Table, key: list[str]) -> pa.Table:
    """Return old with new laid over it, sorted by key: the last value given that is not null stands."""
    both = pa.concat_tables([old, new]).to_pandas()
    if "traits" in both:
        both["traits"] = _merged_traits(both, key)
    last = both.groupby(key, sort=True, as_index=False).last()
    values = last.astype(object).where(last.notna(), None)
    return pa.Table.from_pandas(values[old.schema.names], schema=old.schema, preserve_index=False)


def _merged_traits(rows: pd.DataFrame, key: list[str]) -> pd.Series:
    """Give every row of a contact that comes more than once the union of its traits; the last value wins."""
    traits = rows["traits"].copy()
    several = rows[rows["traits"].notna() & rows.duplicated(key, keep=False)]
    for _, group in several.groupby(key, sort=False):
        if len(group) > 1:
            merged: dict[str, object] = {}
            for text in group["traits"]:
                merged |= json.loads(text)
            traits[group.index] = json.dumps(merged, sort_keys=True)
    return traits


def without(table: pa.Table, column: str, values: Sequence[str]) -> pa.Table:
    """Return the rows whose column is none of the values."""
    return table.filter(pc.invert(pc.is_in(table[column], pa.array(list(values), pa.string()))))
