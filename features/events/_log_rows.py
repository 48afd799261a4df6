"""Rows into and out of the event log: times are microseconds inside, aware datetimes outside."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import pandas as pd
from pydantic_core import to_json

from features.events import _micros
from features.events._log_tables import DECISIONS, TIMES
from nextbest.columns import ANONYMOUS_ID, CONTACT_ID, EVENT, ORDER_ID

Row = Mapping[str, Any]
Thing = TypeVar("Thing")


def micros(value: Any) -> int | None:
    """Return microseconds since 1970; a time without a zone is UTC."""
    if value is None or value is pd.NaT:
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return _micros.micros(aware)


def moment(value: int | None) -> datetime | None:
    """Return the aware datetime of microseconds since 1970."""
    return None if value is None else _micros.moment_of(value)


def rows_of(source: pd.DataFrame | Iterable[Row], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return plain rows of the columns: nulls None, times in microseconds."""
    if isinstance(source, pd.DataFrame):
        held = source.reindex(columns=list(columns)).astype(object)
        source = cast("list[Row]", held.where(held.notna(), None).to_dict("records"))
    return [{name: _plain(name, row.get(name)) for name in columns} for row in source]


def _plain(name: str, value: Any) -> Any:
    if name in TIMES:
        return micros(value)
    if isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"), default=str)
    return None if isinstance(value, float) and value != value else value


def order_key(row: Row) -> tuple[Any, ...] | None:
    """Return whose order a line belongs to; None where it belongs to none."""
    if row[ORDER_ID] is None:
        return None
    return row[ORDER_ID], row[EVENT], row[CONTACT_ID] or ("anonymous", row[ANONYMOUS_ID])


def decision(row: Row) -> dict[str, Any]:
    """Return a decision as stored; keys without a column go into `properties`."""
    names = [column.name for column in DECISIONS.columns]
    extra = {key: value for key, value in row.items() if key not in names}
    kept = {name: row.get(name) for name in names} | {"timestamp": micros(row["timestamp"])}
    kept["shown"] = to_json(row.get("shown") or [], fallback=str).decode()
    kept["properties"] = to_json(extra, fallback=str).decode() if extra else None
    return kept


def decision_back(row: Row) -> dict[str, Any]:
    """Return a stored decision as it was recorded."""
    extra = json.loads(row["properties"]) if row["properties"] else {}
    kept = {name: value for name, value in row.items() if name != "properties"}
    return kept | {"timestamp": moment(row["timestamp"]), "shown": json.loads(row["shown"])} | extra


def pieces(values: Sequence[Thing], size: int = 500) -> Iterator[Sequence[Thing]]:
    """Cut into lists short enough for one statement's parameters."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
