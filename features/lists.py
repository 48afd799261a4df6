"""The arrays of many contacts at a moment, from the latest row of each pair up to then."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from features.decay import DAY
from features.pairs import ITEM_PAIR_COLUMNS
from features.state import ARRAY_HALF_LIVES, LISTS_AS_OF, LISTS_AT, NAME_ARRAYS
from features.steps import latest_steps
from features.tables import PAIR_TABLES
from nextbest.columns import (
    ARRAY_COLUMNS,
    CART,
    CART_COLUMNS,
    CATEGORIES,
    CATEGORY_COLUMNS,
    CHANNEL_COLUMNS,
    CONTACT_ID,
    RECENT,
    RECENT_COLUMNS,
    REPEAT,
    REPEAT_COLUMNS,
    STEP_COLUMNS,
    STEPS,
    TIMESTAMP,
    VIEWED,
    VIEWED_COLUMNS,
)
from nextbest.errors import NotReady

CHUNK = 5_000
"""Contacts whose arrays are made at a time."""

Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Lists:
    """ARRAY_COLUMNS of the contacts, flat: contact i's part of a column is [starts[i], starts[i + 1])."""

    contact_ids: Sequence[str]
    flat: dict[str, Values]
    starts: dict[str, npt.NDArray[np.int64]]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield each contact's arrays, in the order of contact_ids."""
        for i in range(len(self.contact_ids)):
            yield {name: self._part(name, i) for name in ARRAY_COLUMNS}

    def to_arrow(self) -> dict[str, pa.Array]:
        """Return the columns as Arrow lists."""
        return {
            name: pa.ListArray.from_arrays(
                pa.array(self.starts[name], pa.int32()),
                pa.array(self.flat[name], pa.string() if name in NAME_ARRAYS else pa.float64()),
            )
            for name in ARRAY_COLUMNS
        }

    def _part(self, name: str, i: int) -> Any:
        part = self.flat[name][self.starts[name][i] : self.starts[name][i + 1]]
        return part.tolist() if name in NAME_ARRAYS else part


def lists_at(backend: Any, pairs: Mapping[str, Any], contact_ids: Sequence[str], at: datetime) -> Lists:
    """Return the arrays of contacts, in the order of contact_ids, valued at `at`; nothing after `at` enters.

    pairs: the PAIR_TABLES in `backend`, an Ibis backend. Raises NotReady where an earlier version made them.
    """
    if missing := set(ITEM_PAIR_COLUMNS) - set(pairs["contact_item"].columns):
        raise NotReady(f"the feature tables lack {', '.join(sorted(missing))}; run: nextbest features build")
    numbers = pa.array(np.arange(len(contact_ids)), pa.int64())
    asked = ibis.memtable(pa.table({CONTACT_ID: pa.array(contact_ids, pa.string()), "contact": numbers}))
    items, categories, channels = (
        _latest(pairs[f"contact_{key}"], column, asked, at)
        for key, column in (("item", "item_id"), ("category", "category"), ("channel", "channel"))
    )
    flat: dict[str, Values] = {}
    starts: dict[str, npt.NDArray[np.int64]] = {}
    for columns, rows in (
        *_item_blocks(backend, items),
        _category_block(backend, categories),
        _channel_block(backend, channels),
        _step_block(backend, latest_steps(pairs["contact_step"], asked, at)),
    ):
        bounds = np.searchsorted(rows["contact"], np.arange(len(contact_ids) + 1))
        for name in columns:
            flat[name], starts[name] = rows[name], bounds
    return Lists(contact_ids, flat, starts)


def write_lists(backend: Any, tables: Mapping[str, Any], path: Path, position: int, now: datetime) -> int:
    """Write every contact's arrays, as they are at `now` or at the last event if that is later, as Parquet.

    tables: the ROW_TABLES in `backend`, sorted by contact. Returns the contacts.
    """
    contacts = tables["contact"]
    last = backend.to_pyarrow(contacts.aggregate(last=contacts.timestamp.max()))["last"][0].as_py()
    at = max(now, last) if last else now
    ids = sorted(backend.to_pyarrow(contacts.select(CONTACT_ID).distinct())[CONTACT_ID].to_pylist())
    with ExitStack() as opened:
        writer = None
        for start in range(0, max(len(ids), 1), CHUNK):
            chunk = ids[start : start + CHUNK]
            pairs = {name: _within(tables[name], chunk) for name in PAIR_TABLES}
            block = _table(lists_at(backend, pairs, chunk, at), position, at)
            writer = writer or opened.enter_context(pq.ParquetWriter(path, block.schema))
            writer.write_table(block)
    return len(ids)


def _within(table: Any, ids: Sequence[str]) -> Any:
    """Keep the files' row groups of a span of ids."""
    return table.filter(table.contact_id.between(ids[0], ids[-1])) if ids else table


def _table(lists: Lists, position: int, at: datetime) -> pa.Table:
    count = len(lists.contact_ids)
    columns = {
        CONTACT_ID: pa.array(lists.contact_ids, pa.string()),
        TIMESTAMP: pa.array([at] * count, pa.timestamp("us", tz="UTC")),
        LISTS_AS_OF: pa.array([position] * count, pa.int64()),
        LISTS_AT: pa.array([at.timestamp()] * count, pa.float64()),
    }
    return pa.table(columns | lists.to_arrow())


def _latest(table: Any, key: str, asked: Any, at: datetime) -> Any:
    """Return each pair's last row up to `at`, valued at `at`, with the contact's number."""
    past = table.filter(table.timestamp <= ibis.literal(at)).inner_join(asked, CONTACT_ID)
    newest = ibis.window(group_by=["contact", key], order_by=past.timestamp.desc())
    latest = past.mutate(nth=ibis.row_number().over(newest)).filter(lambda rows: rows.nth == 0)
    age = ibis.literal(at).delta(latest.timestamp, unit="microsecond").cast("float64") / (1e6 * DAY)
    return latest.mutate(
        **{
            name: latest[name] * ibis.literal(2.0) ** (-age / float(half_life))
            for name, half_life in ARRAY_HALF_LIVES.items()
            if name in latest.columns
        }
    )


def _item_blocks(backend: Any, pairs: Any) -> Iterator[tuple[Sequence[str], dict[str, Values]]]:
    bought, viewed = pairs.repeat_count > 0, pairs.viewed_last.notnull()
    touched = ibis.greatest(pairs.cart_added, pairs.cart_removed)

    def rank(found: Any, weight: Any) -> Any:
        order = [found.desc(), weight.desc(), pairs.item_id]
        return ibis.row_number().over(ibis.window(group_by="contact", order_by=order))

    ranked = pairs.mutate(
        bought=bought,
        viewed=viewed,
        carted=touched.notnull(),
        repeat_rank=rank(bought, pairs.repeat_90d),
        recent_rank=rank(bought, pairs.repeat_last),
        viewed_rank=rank(viewed, pairs.viewed_last),
        cart_rank=rank(touched.notnull(), touched),
    )
    kept = ranked.filter(
        (ranked.bought & ((ranked.repeat_rank < REPEAT) | (ranked.recent_rank < RECENT)))
        | (ranked.viewed & (ranked.viewed_rank < VIEWED))
        | (ranked.carted & (ranked.cart_rank < CART))
    )
    rows = _columns(backend, kept.drop(CONTACT_ID, "timestamp", "nth"))
    renamed = rows | {"repeat_items": rows["item_id"]}
    yield REPEAT_COLUMNS, _block(renamed, rows["bought"], rows["repeat_rank"], REPEAT)
    renamed = rows | {"recent_items": rows["item_id"], "recent_times": rows["repeat_last"]}
    yield RECENT_COLUMNS, _block(renamed, rows["bought"], rows["recent_rank"], RECENT)
    renamed = rows | {"viewed_items": rows["item_id"], "viewed_times": rows["viewed_last"]}
    yield VIEWED_COLUMNS, _block(renamed, rows["viewed"], rows["viewed_rank"], VIEWED)
    renamed = rows | {"cart_items": rows["item_id"]}
    yield CART_COLUMNS, _block(renamed, rows["carted"], rows["cart_rank"], CART)


def _category_block(backend: Any, pairs: Any) -> tuple[Sequence[str], dict[str, Values]]:
    order = ibis.window(group_by="contact", order_by=[pairs.category_90d.desc(), pairs.category])
    ranked = pairs.mutate(rank=ibis.row_number().over(order)).filter(lambda rows: rows.rank < CATEGORIES)
    rows = _columns(backend, ranked.drop(CONTACT_ID, "timestamp", "nth").rename(category_names="category"))
    return CATEGORY_COLUMNS, _block(rows, np.ones(len(rows["rank"]), bool), rows["rank"], CATEGORIES)


def _channel_block(backend: Any, pairs: Any) -> tuple[Sequence[str], dict[str, Values]]:
    rows = _columns(backend, pairs.drop(CONTACT_ID, "timestamp", "nth").rename(channel_names="channel"))
    order = np.lexsort((rows["channel_names"].astype(str), rows["contact"]))
    return CHANNEL_COLUMNS, {name: values[order] for name, values in rows.items()}


def _step_block(backend: Any, steps: Any) -> tuple[Sequence[str], dict[str, Values]]:
    rows = _columns(backend, steps)
    return STEP_COLUMNS, _block(rows, np.ones(len(rows["rank"]), bool), rows["rank"], STEPS)


def _columns(backend: Any, table: Any) -> dict[str, Values]:
    """Fetch a table as arrays; null floats are NaN."""
    arrow = backend.to_pyarrow(table)
    return {name: arrow[name].to_numpy() for name in arrow.column_names}


def _block(rows: dict[str, Values], found: Values, rank: Values, size: int) -> dict[str, Values]:
    """Cut the rows to the first `size` of each contact, ordered by contact and rank."""
    held = np.flatnonzero(found & (rank < size))
    order = held[np.lexsort((rank[held], rows["contact"][held]))]
    return {name: values[order] for name, values in rows.items()}
