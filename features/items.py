"""Items: a row for each (item, day) with sales or views, and the shelf at a moment."""

from datetime import datetime
from typing import Any

import ibis
import pandas as pd

from features._known import SPANS, growth, running, span_name
from features.decay import DAY, factor
from features.events.lake import Lake
from features.pairs import item_moments
from features.tables import connected, require
from nextbest.columns import COUNTERS, ITEM_COLUMNS, ITEM_STATISTICS, ORDER_COMPLETED
from nextbest.settings import Settings

VIEW_SPANS = (7, 30)
ITEM_ROW_COLUMNS = (
    *(name for name in ITEM_STATISTICS if name not in ("repurchase_rate", "cadence_days", "mean_price")),
    "gap_days", "gaps", "price_sum", "priced",
)  # fmt: skip
"""Sums, from which the rates of ITEM_STATISTICS follow."""


def item_day_rows(events: Any, reference: float) -> Any:
    """Return (item_id, timestamp) rows with ITEM_ROW_COLUMNS, cumulative up to the day's last event.

    `sold` and `viewed` count lines and views, anonymous ones included. A buyer is a contact, or a visitor who
    is not linked to one; who bought an item at two moments is a repeat buyer, and the time between is a gap.
    """
    held = events.filter(events.item_id.notnull() & events.event.isin((ORDER_COMPLETED, *COUNTERS["views"])))
    held = held.mutate(day=(held.seconds / DAY).floor().cast("int64"))
    days = _days(held, reference).left_join(_buying(held), ["item_id", "day"], rname="{name}_buying")
    days = days.mutate(
        **{name: days[name].fill_null(0.0) for name in ("buyers", "repeat_buyers", "gap_days", "gaps")}
    )
    window = running(["item_id"])
    columns = {f"sold_{span_name(h)}": _decayed(days, "sold", h, reference, window) for h in SPANS}
    columns |= {f"viewed_{h}d": _decayed(days, "viewed", h, reference, window) for h in VIEW_SPANS}
    sums = ("buyers", "repeat_buyers", "gap_days", "gaps", "price_sum", "priced")
    columns |= {name: days[name].sum().over(window) for name in sums}
    columns |= {
        "first_sold": days.sold_first.min().over(window),
        "last_sold": days.sold_last.max().over(window),
    }
    return days.mutate(**columns).select("item_id", "timestamp", *ITEM_ROW_COLUMNS)


def items_at(settings: Settings, at: datetime) -> pd.DataFrame:
    """Return ITEM_COLUMNS and ITEM_STATISTICS of every item as of `at`, nothing later entering, by item_id.

    The latest row of an item is that of the last day that was over for it by then. Items the lake describes
    but nobody touched have zero counts and NaN rates. Raises NotReady before the first build.
    """
    with connected(settings.tables) as backend:
        rows = backend.read_parquet(require(settings, "item"))
        past = rows.filter(rows.timestamp <= ibis.literal(at))
        newest = ibis.window(group_by="item_id", order_by=past.timestamp.desc())
        latest = past.mutate(nth=ibis.row_number().over(newest)).filter(lambda r: r.nth == 0).drop("nth")
        statistics = statistics_at(backend.to_pyarrow(latest).to_pandas(), at)
    items = Lake(settings.lake).items()[list(ITEM_COLUMNS)]
    shelf = items.merge(statistics, on="item_id", how="outer", sort=True)
    counts = [
        n for n in ITEM_STATISTICS if n.startswith(("sold_", "viewed_")) or n in ("buyers", "repeat_buyers")
    ]
    return shelf.assign(**{name: shelf[name].fillna(0.0) for name in counts})


def statistics_at(rows: pd.DataFrame, at: datetime) -> pd.DataFrame:
    """Return item_id and ITEM_STATISTICS at `at` from each item's latest row; NaN without evidence."""
    seconds = at.timestamp()
    valued = rows["timestamp"].astype("datetime64[us, UTC]").astype("int64").to_numpy(dtype=float) / 1e6
    age = seconds - valued
    result = rows[["item_id", *(c for c in rows.columns if c in ITEM_STATISTICS)]].copy()
    for name in (c for c in result.columns if c.startswith(("sold_", "viewed_")) and c.endswith("d")):
        result[name] = result[name].to_numpy() * factor(age, float(name.rpartition("_")[2][:-1]))
    result["repurchase_rate"] = _ratio(rows["repeat_buyers"], rows["buyers"])
    result["cadence_days"] = _ratio(rows["gap_days"], rows["gaps"])
    result["mean_price"] = _ratio(rows["price_sum"], rows["priced"])
    return result[["item_id", *ITEM_STATISTICS]]


def _ratio(top: pd.Series, bottom: pd.Series) -> pd.Series:
    return top / bottom.where(bottom > 0)


def _days(held: Any, reference: float) -> Any:
    sold, viewed = held.event == ORDER_COMPLETED, held.event.isin(COUNTERS["views"])
    never = ibis.null("float64")
    priced = sold & held.price.notnull()

    def grown(found: Any, half_life: int | None) -> Any:
        one = found.cast("float64")
        return (one if half_life is None else one * growth(held.seconds, half_life, reference)).sum()

    return held.group_by(["item_id", "day"]).aggregate(
        timestamp=held.timestamp.max(),
        seconds=held.seconds.max(),
        sold_first=sold.ifelse(held.seconds, never).min(),
        sold_last=sold.ifelse(held.seconds, never).max(),
        price_sum=priced.ifelse(held.price, 0.0).sum(),
        priced=priced.cast("float64").sum(),
        **{f"grown_sold_{span_name(h)}": grown(sold, h) for h in SPANS},
        **{f"grown_viewed_{h}d": grown(viewed, h) for h in VIEW_SPANS},
    )


def _decayed(days: Any, counter: str, half_life: int | None, reference: float, window: Any) -> Any:
    total = days[f"grown_{counter}_{span_name(half_life)}"].sum().over(window)
    return total if half_life is None else total / growth(days.seconds, half_life, reference)


def _buying(held: Any) -> Any:
    """Sum for each (item, day): new buyers, buyers who came back for the first time, and the gaps between."""
    owned = held.mutate(buyer=ibis.coalesce(held.contact_id, held.anonymous_id))
    moments = item_moments(owned.filter(owned.event == ORDER_COMPLETED), "buyer")
    order = ibis.window(group_by=["buyer", "item_id"], order_by=moments.seconds)
    steps = moments.mutate(nth=ibis.row_number().over(order), before=moments.seconds.lag().over(order))
    steps = steps.mutate(day=(steps.seconds / DAY).floor().cast("int64"))
    return steps.group_by(["item_id", "day"]).aggregate(
        buyers=(steps.nth == 0).cast("float64").sum(),
        repeat_buyers=(steps.nth == 1).cast("float64").sum(),
        gap_days=((steps.seconds - steps.before) / DAY).fill_null(0.0).sum(),
        gaps=steps.before.notnull().cast("float64").sum(),
    )
