"""Freshness by folding: a stored state and the events since give the state now.

Sums of decayed counts do not care for order, so late events and any split between batch and log give the same
state as the batch tables (to 1e-9) as long as the arrays are not cut. A cut `repeat` or `category` block
forgets the items it dropped until the next build; `recent`, `viewed`, `cart` and `step` stay exact when cut.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from math import isnan, nan
from typing import Any

import numpy as np

from features._known import category
from features.decay import aged, factor
from features.points import Rules
from features.state import ContactState, decayed
from nextbest.columns import (
    CART,
    CART_COLUMNS,
    CART_EVENTS,
    CATEGORIES,
    CATEGORY_COLUMNS,
    CHANNEL_COLUMNS,
    COUNTERS,
    FIRST_TIMES,
    HALF_LIVES,
    LAST_TIMES,
    ORDER_COMPLETED,
    ORDER_REFUNDED,
    POINTS,
    PURCHASES,
    RECENT,
    REPEAT,
    REPEAT_COLUMNS,
    STEP_COLUMNS,
    STEPS,
    VIEWED,
)

Event = Mapping[str, Any]

VIEWS = COUNTERS["views"]
MESSAGES = {"message_sent": "sent", "message_opened": "opened", "message_clicked": "clicked"}
SPANS = (*(f"{half_life}d" for half_life in HALF_LIVES), "total")

_ONES: dict[str, list[str]] = defaultdict(list)
for _counter, _events in COUNTERS.items():
    for _event in _events:
        if _counter not in ("orders", "spend"):
            _ONES[_event].append(_counter)


def fold(
    state: ContactState, events: Iterable[Event], rules: Rules, paths: Mapping[str, str] | None = None
) -> ContactState:
    """Add events to a state and value it at the latest of them or of what it held.

    Events are canonical rows, plus `lead` (False on further lines of an order already counted; missing: True)
    and `position` (rows the state has counted by its `as_of` are skipped; missing: always counted). `paths`
    maps item_id to its category path.
    """
    paths = paths or {}
    rows = [(moment(event["timestamp"]), event) for event in events]
    counted = [row for row in rows if _since(row[1], state.as_of)]
    listed = [row for row in rows if _since(row[1], state.lists_as_of)]
    if not counted and not listed:
        return state
    position = max((int(event.get("position") or 0) for _, event in rows), default=0)
    if counted:
        state = _count(state, counted, rules, paths)
    if listed:
        state = _list(state, listed, paths)
    return replace(state, as_of=max(state.as_of, position), lists_as_of=max(state.lists_as_of, position))


def moment(value: Any) -> float:
    """Return epoch seconds of an aware datetime; a number passes."""
    return value.timestamp() if isinstance(value, datetime) else float(value)


def amount(event: Event) -> float:
    """Return price * quantity; no price counts 0, no quantity counts 1."""
    return _number(event.get("price"), 0.0) * _number(event.get("quantity"), 1.0)


def _since(event: Event, as_of: int) -> bool:
    position = event.get("position")
    return position is None or int(position) > as_of


def _count(
    state: ContactState, rows: Sequence[tuple[float, Event]], rules: Rules, paths: Mapping[str, str]
) -> ContactState:
    latest = _latest(state.timestamp, rows)
    counters = counters_at(state, latest)
    times = dict(state.times)
    for seconds, event in rows:
        weights = [factor(latest - seconds, half_life) for half_life in HALF_LIVES] + [1.0]
        for counter, value in _adds(event):
            for span, weight in zip(SPANS, weights, strict=True):
                counters[f"{counter}_{span}"] += value * weight
        given = rules.points(event, paths.get(event.get("item_id") or ""))
        for span, weight, value in zip(SPANS, weights, given, strict=True):
            counters[f"{POINTS}_{span}"] += value * weight
        _touch(times, event["event"], seconds)
    return replace(state, timestamp=latest, counters=counters, times=times)


def counters_at(state: ContactState, timestamp: float) -> dict[str, float]:
    """Return a state's counters valued at a moment that is not before the state's own."""
    return aged(state.counters, 0.0 if isnan(state.timestamp) else timestamp - state.timestamp)


def _adds(event: Event) -> Iterable[tuple[str, float]]:
    kind = event["event"]
    for counter in _ONES.get(kind, ()):
        yield counter, 1.0
    if kind == ORDER_COMPLETED:
        yield "spend", amount(event)
        if event.get("lead", True):
            yield "orders", 1.0
    elif kind == ORDER_REFUNDED:
        yield "spend", -amount(event)


def _touch(times: dict[str, float], kind: str, seconds: float) -> None:
    for name, kinds in FIRST_TIMES.items():
        if kinds is None or kind in kinds:
            times[name] = least(times[name], seconds)
    for name, kinds in LAST_TIMES.items():
        if kinds is None or kind in kinds:
            times[name] = most(times[name], seconds)


def _list(state: ContactState, rows: Sequence[tuple[float, Event]], paths: Mapping[str, str]) -> ContactState:
    latest = _latest(state.lists_at, rows)
    arrays = decayed(state.arrays, latest - state.lists_at)
    bought = [(t, e) for t, e in rows if e["event"] == ORDER_COMPLETED and e.get("item_id")]
    viewed = [(t, e) for t, e in rows if e["event"] in VIEWS and e.get("item_id")]
    carted = [(t, e) for t, e in rows if e["event"] in CART_EVENTS and e.get("item_id")]
    messages = [(t, e) for t, e in rows if e["event"] in MESSAGES and e.get("channel")]
    taken = [(t, e) for t, e in rows if e["event"] not in PURCHASES]
    if bought:
        purchases = [(t, str(e["item_id"])) for t, e in bought]
        arrays |= newest(arrays, "recent", purchases, RECENT)
        arrays |= _repeat(arrays, purchases, latest)
        arrays |= _categories(arrays, [(t, category(paths[i])) for t, i in purchases if paths.get(i)], latest)
    if viewed:
        arrays |= newest(arrays, "viewed", [(t, str(e["item_id"])) for t, e in viewed], VIEWED)
    if carted:
        arrays |= _carts(arrays, [(t, str(e["item_id"]), CART_EVENTS[e["event"]]) for t, e in carted])
    if messages:
        arrays |= _messages(arrays, messages, latest)
    if taken:
        arrays |= _steps(arrays, [(t, e["event"], _category_of(e, paths)) for t, e in taken])
    return replace(state, lists_at=latest, arrays=arrays)


def newest(
    arrays: Mapping[str, Any], block: str, seen: Iterable[tuple[float, str]], size: int
) -> dict[str, Any]:
    """Return a block of items by when they were last bought or seen, with what was `seen` (time, item)."""
    last = dict(zip(arrays[f"{block}_items"], arrays[f"{block}_times"].tolist(), strict=True))
    for seconds, item in seen:
        last[item] = most(last.get(item, nan), seconds)
    order = sorted(last, key=lambda item: (-last[item], item))[:size]
    return {f"{block}_items": order, f"{block}_times": np.array([last[item] for item in order])}


def _carts(arrays: Mapping[str, Any], touched: Iterable[tuple[float, str, str]]) -> dict[str, Any]:
    rows = rows_by_name(arrays, CART_COLUMNS)
    place = {name: i for i, name in enumerate(CART_COLUMNS[1:])}
    for seconds, item, name in touched:
        row = rows.setdefault(item, [nan, nan])
        row[place[name]] = most(row[place[name]], seconds)
    return newest_carts(rows)


def newest_carts(rows: Mapping[str, list[float]]) -> dict[str, Any]:
    """Return the block of a cart's items by name: those touched last."""
    return cut(rows, CART_COLUMNS, lambda item: (-most(*rows[item]), item), CART)


def _repeat(arrays: Mapping[str, Any], bought: Iterable[tuple[float, str]], latest: float) -> dict[str, Any]:
    rows = rows_by_name(arrays, REPEAT_COLUMNS)
    for seconds, item in bought:
        row = rows.setdefault(item, [0.0, 0.0, 0.0, 0.0, nan, nan])
        for i, half_life in enumerate((30, 90, 365)):
            row[i] += factor(latest - seconds, half_life)
        row[3] += 1.0
        row[4] = least(row[4], seconds)
        row[5] = most(row[5], seconds)
    return cut(rows, REPEAT_COLUMNS, lambda item: (-rows[item][1], item), REPEAT)


def _categories(
    arrays: Mapping[str, Any], bought: Iterable[tuple[float, str]], latest: float
) -> dict[str, Any]:
    rows = rows_by_name(arrays, CATEGORY_COLUMNS)
    for seconds, name in bought:
        row = rows.setdefault(name, [0.0, nan])
        row[0] += factor(latest - seconds, 90)
        row[1] = most(row[1], seconds)
    return cut(rows, CATEGORY_COLUMNS, lambda name: (-rows[name][0], name), CATEGORIES)


def _messages(
    arrays: Mapping[str, Any], messages: Iterable[tuple[float, Event]], latest: float
) -> dict[str, Any]:
    rows = rows_by_name(arrays, CHANNEL_COLUMNS)
    place = {name.removeprefix("channel_"): i for i, name in enumerate(CHANNEL_COLUMNS[1:])}
    for seconds, event in messages:
        row = rows.setdefault(str(event["channel"]), [0.0] * (len(place) - 2) + [nan, nan])
        kind = MESSAGES[event["event"]]
        for span, half_life in (("7d", 7), ("90d", 90)):
            if f"{kind}_{span}" in place:
                row[place[f"{kind}_{span}"]] += factor(latest - seconds, half_life)
        row[place[f"{kind}_total"]] += 1.0
        last = place["last_sent" if kind == "sent" else "last_response"]
        row[last] = most(row[last], seconds)
    return cut(rows, CHANNEL_COLUMNS, lambda name: name, len(rows))


def _steps(arrays: Mapping[str, Any], taken: Iterable[tuple[float, str, str]]) -> dict[str, Any]:
    return newest_steps([*steps_of(arrays), *taken])


def steps_of(arrays: Mapping[str, Any]) -> Iterable[tuple[float, str, str]]:
    """Return the steps of a block: time, event, category."""
    names, categories, times = (arrays[name] for name in STEP_COLUMNS)
    return zip(times.tolist(), names, categories, strict=True)


def newest_steps(taken: Iterable[tuple[float, str, str]]) -> dict[str, Any]:
    """Return the block of the newest steps, each once a moment."""
    held = sorted(set(taken), key=lambda step: (-step[0], step[1], step[2]))[:STEPS]
    times, names, categories = zip(*held, strict=True) if held else ((), (), ())
    return {
        "step_names": list(names),
        "step_categories": list(categories),
        "step_times": np.array(times, dtype=np.float64),
    }


def _category_of(event: Event, paths: Mapping[str, str]) -> str:
    path = paths.get(event.get("item_id") or "")
    return category(path) if path else ""


def rows_by_name(arrays: Mapping[str, Any], columns: Sequence[str]) -> dict[str, list[float]]:
    """Return a block's rows by the name in its first column."""
    values = np.stack([arrays[name] for name in columns[1:]], axis=1).tolist()
    return dict(zip(arrays[columns[0]], values, strict=True))


def cut(
    rows: Mapping[str, list[float]], columns: Sequence[str], key: Callable[[str], Any], size: int
) -> dict[str, Any]:
    """Return rows as a block, ordered by the key and cut."""
    order = sorted(rows, key=key)[:size]
    values = np.array([rows[name] for name in order], dtype=np.float64).reshape(len(order), len(columns) - 1)
    return {columns[0]: order} | {name: values[:, i] for i, name in enumerate(columns[1:])}


def _latest(known: float, rows: Iterable[tuple[float, Event]]) -> float:
    latest = max(seconds for seconds, _ in rows)
    return latest if isnan(known) else max(known, latest)


def least(one: float, other: float) -> float:
    """Return the earlier time; NaN is none."""
    return other if isnan(one) else one if isnan(other) else min(one, other)


def most(one: float, other: float) -> float:
    """Return the later time; NaN is none."""
    return other if isnan(one) else one if isnan(other) else max(one, other)


def _number(value: Any, missing: float) -> float:
    return missing if value is None or value != value else float(value)
