"""Demand outlook: how often each product and category will be bought in the coming days, by all contacts.

A product's rate is the sum of its buyers' decayed rates, which is the decayed count of its lines: counts with
one half-life add up. Two figures speak of it: the lines of the last `days`, and the decayed count with a
half-life of 30 days. How much each counts is learned by non-negative least squares from what came after the
same figures `days` ago, once for products and once for categories (whose totals include what was new then);
the products of a category are scaled to its total. docs/decisions.md says what else was measured.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import nnls

from features.events.lake import Lake
from features.items import items_at
from nextbest.columns import CATEGORY_DEPTH, EVENT, ITEM_ID, ORDER_COMPLETED, TIMESTAMP
from nextbest.errors import NotReady
from nextbest.settings import Settings

Floats = npt.NDArray[np.float64]
HALF_LIFE = 30
"""Days."""
LAST, RATE = "last", "rate"
NO_CATEGORY = "(no category)"
PRODUCT_COLUMNS = ("item_id", "title", "category", "expected", "last")
ERRORS = ("wape", "bias", "naive_wape", "naive_bias")


@dataclass(frozen=True)
class DemandReport:
    """The outlook, most expected first, and how the same forecast `days` ago turned out."""

    facts: dict[str, Any]
    """days, made_at, expected, last; before: made_at, actual, expected, and ERRORS of products and categories
    (null where the history is too short)."""
    products: pd.DataFrame
    """PRODUCT_COLUMNS."""
    categories: pd.DataFrame
    """category, expected, last, and of the forecast before: actual_before, expected_before and ERRORS over
    the category's products (NaN where nothing was bought, or the history is too short)."""


def demand_report(settings: Settings, now: datetime, days: int = 30) -> DemandReport:
    """Forecast the lines bought in (now, now + days], and the same as of `days` ago beside what came.

    Raises NotReady where the orders span less than twice `days`.
    """
    first = _first_order(settings, now)
    if first is None or first > now - timedelta(days=2 * days):
        raise NotReady(
            f"an outlook over {days} days needs orders of the last {2 * days}; nextbest ingest more of them, "
            "or ask for fewer --days"
        )
    ahead = _forecast(settings, now, days)
    facts: dict[str, Any] = {
        "days": days, "made_at": now.isoformat(), "expected": float(ahead["expected"].sum()),
        "last": float(ahead[LAST].sum()), "before": None,
    }  # fmt: skip
    categories = _by_category(ahead)
    if first <= now - timedelta(days=3 * days):
        then = now - timedelta(days=days)
        before = _with_actual(_forecast(settings, then, days), _sold(settings, then, now), settings)
        facts["before"] = {"made_at": then.isoformat(), **_overall(before)}
        categories = categories.merge(_errors_by_category(before), on="category", how="left")
    else:
        categories = categories.assign(
            **dict.fromkeys(("actual_before", "expected_before", *ERRORS), math.nan)
        )
    order = ["expected", "last"]
    return DemandReport(
        facts,
        ahead[list(PRODUCT_COLUMNS)].sort_values(order, ascending=False, ignore_index=True),
        categories.sort_values(order, ascending=False, ignore_index=True),
    )


def _forecast(settings: Settings, at: datetime, days: int) -> pd.DataFrame:
    """Return PRODUCT_COLUMNS of everything sold by `at`; nothing later enters."""
    past = at - timedelta(days=days)
    known = _known(settings, at, days)
    learned = _known(settings, past, days)
    came = _sold(settings, past, at)
    share = _weights(learned, came.reindex(learned[ITEM_ID], fill_value=0.0).to_numpy())
    expected = known[[LAST, RATE]].to_numpy() @ share
    named = _categories(settings).reindex(came.index).fillna(NO_CATEGORY)
    grouped = learned.groupby("category")[[LAST, RATE]].sum()
    total = came.groupby(named).sum().reindex(grouped.index, fill_value=0.0)
    of_category = known.groupby("category")[[LAST, RATE]].sum()
    wanted = of_category.to_numpy() @ _weights(grouped, total.to_numpy())
    given = pd.Series(expected).groupby(known["category"].to_numpy()).sum().reindex(of_category.index)
    scale = pd.Series(
        np.divide(wanted, given, out=np.ones(len(wanted)), where=given.to_numpy() > 0), of_category.index
    )
    return known.assign(expected=expected * scale.reindex(known["category"]).to_numpy())


def _known(settings: Settings, at: datetime, days: int) -> pd.DataFrame:
    """Return item_id, title, category, lines of the last `days` and the rate over as many, sold by `at`."""
    shelf = items_at(settings, at)
    shelf = shelf[shelf["sold_total"] > 0].reset_index(drop=True)
    sold = _sold(settings, at - timedelta(days=days), at)
    return pd.DataFrame(
        {
            ITEM_ID: shelf[ITEM_ID],
            "title": shelf["title"],
            "category": _depth(shelf["category"]),
            LAST: sold.reindex(shelf[ITEM_ID], fill_value=0.0).to_numpy(),
            RATE: shelf[f"sold_{HALF_LIFE}d"].to_numpy(np.float64) * math.log(2) / HALF_LIFE * days,
        }
    )


def _weights(known: pd.DataFrame, came: Floats) -> Floats:
    """Return what LAST and RATE count: least squares, each row weighed as its Poisson variance asks."""
    weight = 1.0 / np.sqrt(known[RATE].to_numpy(np.float64) + 0.5)
    found: Floats = nnls(known[[LAST, RATE]].to_numpy(np.float64) * weight[:, None], came * weight)[0]
    return found


def _sold(settings: Settings, after: datetime, until: datetime) -> pd.Series:
    """Return item_id -> lines bought with after < time <= until."""
    events = Lake(settings.lake).events(until, after)
    lines = events.filter(
        (events[EVENT] == ORDER_COMPLETED) & events[ITEM_ID].notnull() & (events[TIMESTAMP] > after)
    )
    counts: pd.DataFrame = lines.group_by(ITEM_ID).aggregate(lines=lines.count()).execute()
    return counts.set_index(ITEM_ID)["lines"].astype(np.float64).sort_index()


def _first_order(settings: Settings, now: datetime) -> datetime | None:
    events = Lake(settings.lake).events(now)
    first = events.filter(events[EVENT] == ORDER_COMPLETED).aggregate(at=events[TIMESTAMP].min()).execute()
    return None if first["at"].isna().all() else pd.Timestamp(first["at"].iloc[0]).to_pydatetime()


def _depth(paths: pd.Series) -> pd.Series:
    cut = paths.fillna("").astype(str).str.split("/").str[:CATEGORY_DEPTH].str.join("/")
    return cut.where(cut != "", NO_CATEGORY)


def _categories(settings: Settings) -> pd.Series:
    items = Lake(settings.lake).items()
    return pd.Series(_depth(items["category"]).to_numpy(), items[ITEM_ID].to_numpy())


# --- how the forecast before turned out


def _with_actual(forecast: pd.DataFrame, actual: pd.Series, settings: Settings) -> pd.DataFrame:
    """Return category, expected, last and actual of everything foreseen or bought."""
    keyed = forecast.set_index(ITEM_ID)[["category", "expected", LAST]]
    every = keyed.reindex(keyed.index.union(actual.index))
    every["actual"] = actual.reindex(every.index)
    named = _categories(settings).reindex(every.index).fillna(NO_CATEGORY)
    return every.assign(category=every["category"].fillna(named)).fillna(
        {"expected": 0.0, LAST: 0.0, "actual": 0.0}
    )


def _overall(before: pd.DataFrame) -> dict[str, Any]:
    sums = before.groupby("category")[["expected", LAST, "actual"]].sum()
    return {
        "expected": float(before["expected"].sum()),
        "actual": float(before["actual"].sum()),
        "products": _errors(before),
        "categories": _errors(sums),
    }


def _errors(rows: pd.DataFrame) -> dict[str, float | None]:
    """Return ERRORS: sum |forecast - actual| / sum actual, and the same with its sign."""
    actual = rows["actual"].to_numpy(np.float64)
    found: list[float | None] = []
    for name in ("expected", LAST):
        gap = rows[name].to_numpy(np.float64) - actual
        found += (
            [float(np.abs(gap).sum() / actual.sum()), float(gap.sum() / actual.sum())]
            if actual.sum()
            else [None] * 2
        )
    return dict(zip(ERRORS, found, strict=True))


def _errors_by_category(before: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {
            "category": name, "actual_before": float(held["actual"].sum()),
            "expected_before": float(held["expected"].sum()), **_errors(held),
        }
        for name, held in before.groupby("category")
    ]  # fmt: skip
    columns: Sequence[str] = ("category", "actual_before", "expected_before", *ERRORS)
    return pd.DataFrame(rows, columns=list(columns)).astype(dict.fromkeys(columns[1:], np.float64))


def _by_category(products: pd.DataFrame) -> pd.DataFrame:
    return products.groupby("category")[["expected", LAST]].sum().reset_index()
