"""Contacts in bulk: the rows of the last build as arrays, for those of whom the log knows nothing newer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from features.contacts import derive
from features.decay import DAY
from features.state import ARRAY_HALF_LIVES, LISTS_AT
from features.tables import connected, require
from nextbest.columns import CHANNEL_COLUMNS, CONTACT_ID, COUNTER_COLUMNS, STEP_COLUMNS, TIME_COLUMNS
from nextbest.settings import Settings

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Everyone:
    """Contacts at a moment; arrays of features have an entry each, the others one a channel or step."""

    contact_ids: list[str]
    features: dict[str, Floats]
    """CONTACT_FEATURES; NaN of whom nothing is known."""
    channel_owner: Ints
    channel_names: npt.NDArray[np.object_]
    channels: dict[str, Floats]
    """CHANNEL_COLUMNS without "channel_": counters at the moment, times in epoch seconds."""
    step_owner: Ints
    step_names: npt.NDArray[np.object_]
    step_times: Floats


def everyone(settings: Settings, contact_ids: Sequence[str], now: float, size: int) -> Iterator[Everyone]:
    """Yield contacts of the last build, `size` at a time, as they are at `now` (epoch seconds).

    contact_ids: sorted. Of one who is not in the build nothing is known.
    """
    rows, lists = (require(settings, name) for name in ("contact", "contact_lists"))
    with connected(settings.tables) as backend:
        for start in range(0, len(contact_ids), size):
            ids = list(contact_ids[start : start + size])
            latest = _in_order(_latest(backend, rows, ids), ids)
            yield _valued(ids, latest, _in_order(_lists(lists, ids), ids), now)


def counted(settings: Settings, contact_ids: Sequence[str], now: float, size: int) -> Iterator[pd.DataFrame]:
    """Yield contacts of the last build, `size` at a time, as the tabular models read them at `now`.

    contact_id, CONTACT_FEATURES, TIME_COLUMNS and top_category (where they buy most; None: nowhere); index
    0 … n-1. contact_ids: sorted. Of one who is not in the build everything is NaN.
    """
    rows, lists = (require(settings, name) for name in ("contact", "contact_lists"))
    with connected(settings.tables) as backend:
        for start in range(0, len(contact_ids), size):
            ids = list(contact_ids[start : start + size])
            latest = _in_order(_latest(backend, rows, ids), ids)
            times = {name: _floats(latest[name], np.nan) for name in TIME_COLUMNS}
            frame = pd.DataFrame({CONTACT_ID: ids, **_features(latest, times, now), **times})
            yield frame.assign(top_category=_top_categories(lists, ids))


def _top_categories(lists: Path, ids: list[str]) -> npt.NDArray[np.object_]:
    within = (ds.field(CONTACT_ID) >= ids[0]) & (ds.field(CONTACT_ID) <= ids[-1])
    table = ds.dataset(lists).to_table(columns=[CONTACT_ID, "category_names"], filter=within)
    names = _in_order(table, ids)["category_names"].combine_chunks()
    some = pc.greater(pc.fill_null(pc.list_value_length(names), 0), 0)
    first = pc.list_element(pc.if_else(some, names, pa.scalar([None], names.type)), 0)
    return np.asarray(first.to_numpy(zero_copy_only=False), dtype=object)


def _latest(backend: Any, path: Path, ids: list[str]) -> pa.Table:
    """Return each contact's last row."""
    import ibis

    asked = ibis.memtable(pa.table({CONTACT_ID: pa.array(ids, pa.string())}))
    table = backend.read_parquet(path)
    within = table.filter(table.contact_id.between(ids[0], ids[-1])).semi_join(asked, CONTACT_ID)
    newest = ibis.window(group_by=CONTACT_ID, order_by=within.timestamp.desc())
    last = within.mutate(nth=ibis.row_number().over(newest)).filter(lambda found: found.nth == 0)
    return backend.to_pyarrow(last.select(CONTACT_ID, *COUNTER_COLUMNS, *TIME_COLUMNS))


def _lists(path: Path, ids: list[str]) -> pa.Table:
    within = (ds.field(CONTACT_ID) >= ids[0]) & (ds.field(CONTACT_ID) <= ids[-1])
    columns = [CONTACT_ID, LISTS_AT, *CHANNEL_COLUMNS, "step_names", "step_times"]
    return ds.dataset(path).to_table(columns=columns, filter=within)


def _in_order(table: pa.Table, ids: list[str]) -> pa.Table:
    return table.take(pc.index_in(pa.array(ids, pa.string()), table[CONTACT_ID].combine_chunks()))


def _valued(ids: list[str], row: pa.Table, lists: pa.Table, now: float) -> Everyone:
    times = {name: _floats(row[name], np.nan) for name in TIME_COLUMNS}
    age = np.fmax(now - _floats(lists[LISTS_AT], np.nan), 0.0) / DAY
    owner, names = _flat(lists["channel_names"])
    channels = {}
    for name in CHANNEL_COLUMNS[1:]:
        values = _flat(lists[name])[1].astype(np.float64)
        if name in ARRAY_HALF_LIVES:
            values = values * 2.0 ** (-age[owner] / ARRAY_HALF_LIVES[name])
        channels[name.removeprefix("channel_")] = values
    step_owner, step_names = _flat(lists[STEP_COLUMNS[0]])
    step_times = _flat(lists[STEP_COLUMNS[2]])[1].astype(np.float64)
    features = _features(row, times, now)
    return Everyone(ids, features, owner, names, channels, step_owner, step_names, step_times)


def _features(row: pa.Table, times: Mapping[str, Floats], now: float) -> dict[str, Floats]:
    """Return CONTACT_FEATURES at `now`; NaN of whom nothing is known."""
    counters = {name: _floats(row[name], 0.0) for name in COUNTER_COLUMNS}
    features = derive({**counters, **times}, np.full(len(row), now))
    known = np.isfinite(times["last_seen"])
    return {name: np.where(known, values, np.nan) for name, values in features.items()}


def _floats(column: pa.ChunkedArray, missing: float) -> Floats:
    return np.asarray(column.fill_null(missing).to_numpy(), dtype=np.float64)


def _flat(column: pa.ChunkedArray) -> tuple[Ints, npt.NDArray[Any]]:
    """Return whose each entry of the lists is, and the entries; null entries are NaN."""
    lists = column.combine_chunks()
    owner = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    values = pc.list_flatten(lists)
    if pa.types.is_floating(values.type):
        values = values.fill_null(np.nan)
    return owner, values.to_numpy(zero_copy_only=False)
