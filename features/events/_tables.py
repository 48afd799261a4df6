"""Upserts into small Parquet tables: items, contacts, identities."""

import json
from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.events._identity import Link
from nextbest.columns import ALIAS, ANONYMOUS_ID, CONTACT_ID, TIMESTAMP


def upsert(old: pa.Table, new: pa.Table, key: list[str]) -> pa.Table:
    """Return old with new laid over it, sorted by key: the last value given that is not null stands."""
    both = pa.concat_tables([old, new]).to_pandas()
    if "traits" in both:
        both["traits"] = _merged_traits(both, key)
    last = both.groupby(key, sort=True, as_index=False).last()
    values = last.astype(object).where(last.notna(), None)
    return pa.Table.from_pandas(values[old.schema.names], schema=old.schema, preserve_index=False)


def earliest(old: pa.Table, new: pa.Table) -> pa.Table:
    """Return links with others added: the earliest time each was said of, an alias if it ever was one."""
    both = pa.concat_tables([old, new])
    both = both.set_column(
        both.schema.names.index(ALIAS), ALIAS, pc.fill_null(both[ALIAS], False).combine_chunks()
    )
    pairs = both.group_by([ANONYMOUS_ID, CONTACT_ID])
    least = pairs.aggregate([(TIMESTAMP, "min"), (ALIAS, "any")]).rename_columns(
        {f"{TIMESTAMP}_min": TIMESTAMP, f"{ALIAS}_any": ALIAS}
    )
    ordered = least.sort_by([(ANONYMOUS_ID, "ascending"), (CONTACT_ID, "ascending")])
    return ordered.select(old.schema.names).cast(old.schema)


def links_of(table: pa.Table) -> list[Link]:
    """Return rows of the table identities as links; one without a time was said before all others."""
    times = pc.fill_null(table[TIMESTAMP].cast(pa.int64()), 0).to_pylist()
    aliases = pc.fill_null(table[ALIAS], False).to_pylist()
    columns = (table[ANONYMOUS_ID].to_pylist(), table[CONTACT_ID].to_pylist(), times, aliases)
    return [Link(*row, position) for position, row in enumerate(zip(*columns, strict=True))]


def as_now(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table of an earlier version with the columns it lacks, null."""
    for field in schema:
        if field.name not in table.schema.names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    return table.select(schema.names).cast(schema)


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
