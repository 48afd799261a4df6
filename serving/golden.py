"""A golden question for each task: what a model must be able to answer before it serves."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from features.state import ContactState, ContactView
from models.catalogue import Catalogue
from nextbest.columns import CHANNELS, CONTACT_FEATURES, ITEM_COLUMNS, ITEM_STATISTICS, TIME_COLUMNS
from nextbest.errors import ArtifactError

NOW = 1_700_000_000.0
DAY = 86_400.0


def shelf() -> Catalogue:
    """Return a catalogue of six items in two categories."""
    rows = [
        {"item_id": f"golden-{n}", "title": f"item {n}", "category": f"a/{n % 2}", "price": 1.0 + n,
         **{name: float(6 - n) for name in ITEM_STATISTICS}, "repurchase_rate": 0.5, "cadence_days": 10.0,
         "first_sold": NOW - 300 * DAY, "last_sold": NOW - DAY}
        for n in range(6)
    ]  # fmt: skip
    return Catalogue.from_frame(pd.DataFrame(rows, columns=[*ITEM_COLUMNS, *ITEM_STATISTICS]), NOW)


def shopper() -> ContactView:
    """Return a contact who bought two of the items, twice each, weeks ago."""
    last = NOW - 30 * DAY
    row = {
        "contact_id": "golden", "last_seen": last, "first_seen": last - 60 * DAY, "last_order": last,
        "first_order": last - 60 * DAY, "orders_total": 2.0, "lines_total": 4.0, "spend_total": 20.0,
        "orders_90d": 1.6, "lines_90d": 3.2, "spend_90d": 16.0,
        "recent_items": ["golden-0", "golden-1"], "recent_times": [last, last],
        "repeat_items": ["golden-0", "golden-1"], "repeat_30d": [1.25, 1.25], "repeat_90d": [1.6, 1.6],
        "repeat_365d": [1.9, 1.9], "repeat_count": [2.0, 2.0], "repeat_first": [last - 60 * DAY] * 2,
        "repeat_last": [last, last], "category_names": ["a/0", "a/1"], "category_90d": [1.6, 1.6],
        "category_last": [last, last],
    }  # fmt: skip
    return ContactState.from_row(row).at(NOW)


def frame() -> pd.DataFrame:
    """Return that contact and one nothing is known of, as the contact models read them."""
    columns = [*CONTACT_FEATURES, *TIME_COLUMNS]
    return pd.DataFrame([shopper().row(), {"contact_id": "nobody"}], columns=["contact_id", *columns])


def recommends(model: Any) -> None:
    """Ask for three items; an empty answer is fine, a broken one is not."""
    ranking = model.recommend(shopper(), shelf(), 3)
    _finite("scores", ranking.scores)
    if ranking.probabilities is not None:
        _within("probabilities", ranking.probabilities)


def associates(model: Any) -> None:
    """Ask what goes with two items."""
    rules = model.bought_together(["golden-0", "golden-1"], 3)
    _finite("lifts", [rule.lift for rule in rules])
    recommends(model)


def predicts_churn(model: Any) -> None:
    """Score two contacts; the one with orders must get a probability."""
    _within("probability", model.score(frame())["probability"].iloc[:1])


def predicts_value(model: Any) -> None:
    """Score two contacts; the one with orders must get orders and a probability."""
    scores = model.score(frame())
    _within("p_no_order", scores["p_no_order"].iloc[:1])
    _finite("expected_orders", scores["expected_orders"].iloc[:1])


def segments(model: Any) -> None:
    """Score two contacts; the one with orders must get classes."""
    _finite("classes", model.score(frame())[["r", "f", "m"]].iloc[0])


def stages(model: Any) -> None:
    """Place two contacts; each must get a stage and an index."""
    scores = model.score(frame())
    _finite("indices", scores["index"])
    if scores["stage"].isna().any():
        raise ArtifactError("the golden question gave a contact without a stage")


def ranks_channels(model: Any) -> None:
    """Rank every channel for two contacts."""
    ranked = model.rank(frame(), list(CHANNELS))
    _within("probability", ranked["probability"])


def replenishes(model: Any) -> None:
    """Ask for the next purchase in the first category it knows, and in one it does not."""
    names = [*model.categories["category"].head(1), "golden"]
    pairs = {"category": names, "purchases": 3.0, "log_gaps": 2 * np.log(10.0), "days_since": 5.0}
    scores = model.score(pd.DataFrame(pairs, index=range(len(names)))).head(1)
    _finite("days", scores["due_days"])
    _within("probability_30d", scores["probability_30d"])


GOLDEN: Mapping[str, Callable[[Any], None]] = {
    "next-purchase": recommends,
    "basket": associates,
    "churn": predicts_churn,
    "value": predicts_value,
    "channel": ranks_channels,
    "rfm": segments,
    "replenishment": replenishes,
    "lifecycle": stages,
}
"""Task -> what raises if a model of it should not serve."""


def _finite(what: str, values: Iterable[float]) -> None:
    found = np.asarray(values, dtype=np.float64)
    if not np.isfinite(found).all():
        raise ArtifactError(f"the golden question gave {what} that are not finite: {found.tolist()}")


def _within(what: str, values: Iterable[float]) -> None:
    _finite(what, values)
    found = np.asarray(values, dtype=np.float64)
    if ((found < 0) | (found > 1)).any():
        raise ArtifactError(f"the golden question gave {what} outside 0 … 1: {found.tolist()}")
