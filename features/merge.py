"""Two states of one person become one: of a contact and its earlier id, or of what came before a login."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from features.fold import (
    counters_at,
    cut,
    least,
    most,
    newest,
    newest_carts,
    newest_steps,
    rows_by_name,
    steps_of,
)
from features.state import ContactState, decayed
from nextbest.columns import (
    CART_COLUMNS,
    CATEGORIES,
    CATEGORY_COLUMNS,
    CHANNEL_COLUMNS,
    FIRST_TIMES,
    LAST_TIMES,
    RECENT,
    REPEAT,
    REPEAT_COLUMNS,
    VIEWED,
)


def merge(one: ContactState, other: ContactState) -> ContactState:
    """Return the state of everything that either has counted; nothing may be counted in both.

    Exact as `features.fold.fold` is. The id is the first one's.
    """
    timestamp, lists_at = most(one.timestamp, other.timestamp), most(one.lists_at, other.lists_at)
    firsts = {name: least(one.times[name], other.times[name]) for name in FIRST_TIMES}
    lasts = {name: most(one.times[name], other.times[name]) for name in LAST_TIMES}
    counters = [counters_at(state, timestamp) for state in (one, other)]
    arrays = [decayed(state.arrays, lists_at - state.lists_at) for state in (one, other)]
    return replace(
        one,
        as_of=max(one.as_of, other.as_of),
        lists_as_of=max(one.lists_as_of, other.lists_as_of),
        timestamp=timestamp,
        lists_at=lists_at,
        counters={name: value + counters[1][name] for name, value in counters[0].items()},
        times=firsts | lasts,
        arrays=_arrays(*arrays),
        known=one.known or other.known,
    )


def _arrays(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    repeat = _added(one, other, REPEAT_COLUMNS, firsts=("repeat_first",), lasts=("repeat_last",))
    category = _added(one, other, CATEGORY_COLUMNS, lasts=("category_last",))
    channel = _added(one, other, CHANNEL_COLUMNS, lasts=("channel_last_sent", "channel_last_response"))
    return {
        **newest(one, "recent", _last(other, "recent"), RECENT),
        **newest(one, "viewed", _last(other, "viewed"), VIEWED),
        **newest_carts(_added(one, other, CART_COLUMNS, lasts=CART_COLUMNS[1:])),
        **cut(repeat, REPEAT_COLUMNS, lambda item: (-repeat[item][1], item), REPEAT),
        **cut(category, CATEGORY_COLUMNS, lambda name: (-category[name][0], name), CATEGORIES),
        **cut(channel, CHANNEL_COLUMNS, lambda name: name, len(channel)),
        **newest_steps([*steps_of(one), *steps_of(other)]),
    }


def _last(arrays: Mapping[str, Any], block: str) -> Iterator[tuple[float, str]]:
    return zip(arrays[f"{block}_times"].tolist(), arrays[f"{block}_items"], strict=True)


def _added(
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    columns: tuple[str, ...],
    firsts: tuple[str, ...] = (),
    lasts: tuple[str, ...] = (),
) -> dict[str, list[float]]:
    """Add two blocks up by name; times are the first and the last of both."""
    rows = rows_by_name(one, columns)
    joins = [least if name in firsts else most if name in lasts else _sum for name in columns[1:]]
    for name, values in rows_by_name(other, columns).items():
        held = rows.get(name)
        rows[name] = (
            values if held is None else [j(a, b) for j, a, b in zip(joins, held, values, strict=True)]
        )
    return rows


def _sum(one: float, other: float) -> float:
    return one + other
