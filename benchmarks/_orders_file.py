"""A file of orders (who, when, how much) in a state folder of its own, as the product would hold it.

Columns are found by name, or by what they hold, or mapped by the caller; CDNOW's own text files are known.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pandas as pd

from features.build import build
from features.events.importers._numbers import decimal_mark, digits_of, values_of
from features.events.importers._times import read_times
from features.events.lake import Lake
from nextbest.columns import EVENT_COLUMNS, ORDER_COMPLETED, ORDER_REFUNDED
from nextbest.errors import BadInput
from nextbest.settings import Settings

NAMES = {
    "id": ("id", "customer_id", "customerid", "customer", "contact_id", "user_id", "userid", "client_id",
           "household_id", "household_key", "visitorid", "member_id"),
    "date": ("date", "order_date", "orderdate", "invoicedate", "timestamp", "transaction_timestamp", "day",
             "datetime", "time", "purchase_date", "order_time"),
    "amount": ("amount", "dollar_value", "spend", "value", "sales_value", "revenue", "total", "sales",
               "monetary", "price", "order_value"),
}  # fmt: skip
LATE = pd.Timedelta(hours=23, minutes=59, seconds=59)
"""An order counts as placed when its day ends: the times since are then whole days, as the papers count."""
CDNOW = {4: ("id", "date", "cds", "amount"), 5: ("master_id", "id", "date", "cds", "amount")}
"""Columns of CDNOW's master and sample files, which are parted by blanks."""


@dataclass(frozen=True)
class Orders:
    """id, day (a row a customer and day, amounts added up), and what was not usable."""

    days: pd.DataFrame
    rows: int
    dropped: int
    columns: dict[str, str]


def read(path: Path, mapping: Mapping[str, str] | None = None) -> Orders:
    """Read a file; raises BadInput naming the columns there are where one cannot be found."""
    if not path.exists():
        raise BadInput(f"no file {path}")
    frame, found = _table(path, mapping or {})
    held = pd.DataFrame(
        {
            "id": frame[found["id"]].astype("string"),
            "day": _dates(frame[found["date"]]),
            "amount": _numbers(frame[found["amount"]]),
        }
    )
    kept = held.dropna()
    if len(kept) < len(held) / 2:
        lacking = ", ".join(f"{held[name].isna().sum():,} no {name}" for name in held)
        raise BadInput(
            f"{path}: most of {len(held):,} rows cannot be used ({lacking}); columns taken: {found}"
        )
    days = kept.groupby(["id", "day"], as_index=False).agg({"amount": "sum"})
    return Orders(days, len(held), len(held) - len(kept), found)


def state(orders: Orders, home: Path) -> Settings:
    """Put the orders into a lake and make the feature tables; a day that comes to less than 0 is a refund."""
    frame = orders.days
    moments = frame["day"].dt.tz_localize("UTC").astype("datetime64[us, UTC]") + LATE
    names = [f"{who}-{day:%Y%m%d}" for who, day in zip(frame["id"], frame["day"], strict=True)]
    events = pd.DataFrame(
        {
            "event_id": names, "order_id": names, "contact_id": frame["id"].astype(str), "item_id": "order",
            "event": [ORDER_COMPLETED if amount >= 0 else ORDER_REFUNDED for amount in frame["amount"]],
            "timestamp": moments, "received_at": moments, "quantity": 1.0, "price": frame["amount"].abs(),
        }
    )  # fmt: skip
    settings = Settings(home=home)
    Lake(settings.lake).write([events.reindex(columns=list(EVENT_COLUMNS)).astype({"price": float})])
    build(settings, after(frame), online=False)
    return settings


def after(days: pd.DataFrame) -> datetime:
    """Return the moment at which the data are over."""
    moment: datetime = (days["day"].max() + pd.Timedelta(days=1)).tz_localize("UTC").to_pydatetime()
    return moment


def _table(path: Path, mapping: Mapping[str, str]) -> tuple[pd.DataFrame, dict[str, str]]:
    if path.suffix in (".parquet", ".pq"):
        frame = pd.read_parquet(path)
    elif columns := _cdnow(path):
        skip = 0 if path.read_text(errors="replace")[:40].split(maxsplit=1)[0].isdigit() else 1
        frame = pd.read_csv(path, sep=r"\s+", header=None, names=list(columns), skiprows=skip, dtype=str)
    else:
        frame = pd.read_csv(path, sep=None, engine="python", dtype=str, encoding="utf-8-sig")
    return frame, {what: _column(frame, what, mapping, path) for what in NAMES}


def _cdnow(path: Path) -> tuple[str, ...] | None:
    """Return the columns of one of CDNOW's files: four or five numbers a line, blanks between them."""
    lines = path.read_text(errors="replace").splitlines()[1:3]
    parts = [line.split() for line in lines]
    numbers = all(re.fullmatch(r"[\d.]+", part) for line in parts for part in line)
    return CDNOW.get(len(parts[0])) if parts and numbers and parts[0] else None


def _column(frame: pd.DataFrame, what: str, mapping: Mapping[str, str], path: Path) -> str:
    if what in mapping:
        if mapping[what] not in frame.columns:
            raise BadInput(f"{path} has no column {mapping[what]!r}; it has: {', '.join(map(str, frame))}")
        return mapping[what]
    plain = {re.sub(r"[^a-z0-9]+", "_", str(name).lower()).strip("_"): str(name) for name in frame.columns}
    for name in NAMES[what]:
        if name in plain:
            return plain[name]
    raise BadInput(
        f"no column of {path} is known as the {what}; it has: {', '.join(map(str, frame))}; "
        f"say which: --map {what}=COLUMN"
    )


def _numbers(column: "pd.Series[str]") -> "pd.Series[float]":
    """Read numbers as the product's importer does: decimal commas, thousands, currency signs."""
    texts = column.astype("string")
    with duckdb.connect() as connection:
        connection.register("given", pd.DataFrame({"text": texts.dropna().astype(object)}))
        digits_of(connection, "numbers", "SELECT text FROM given")
        values_of(connection, "numbers", decimal_mark(connection, ["numbers"])[0])
        found = connection.sql("SELECT text, value FROM numbers").df()
    return texts.map(dict(zip(found["text"], found["value"], strict=True))).astype(float)


def _dates(column: "pd.Series[str]") -> "pd.Series[pd.Timestamp]":
    """Read days as the product's importer does; whether the day comes first is told by the whole column."""
    texts = column.astype("string")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("given", pd.DataFrame({"text": texts.dropna().astype(object)}))
        read_times(connection, "times", "SELECT DISTINCT text FROM given")
        found = connection.sql("SELECT text, moment FROM times").df()
    moments = pd.to_datetime(found["moment"], utc=True).dt.tz_localize(None).dt.normalize()
    return texts.map(dict(zip(found["text"], moments, strict=True))).astype("datetime64[us]")
