"""The path of a card: segment and stage at the end of each month, up to the present."""

from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from features.events._identity import Person
from models.lifecycle import Lifecycle
from models.rfm import NO_ORDERS
from nextbest.columns import CONTACT_FEATURES, TIME_COLUMNS, TIMESTAMP
from serving.card_schemas import PathStep
from serving.past import Past

MONTHS = 36
COLUMNS = [*CONTACT_FEATURES, *TIME_COLUMNS]


def months(past: Past, who: Person, now: datetime) -> pd.DataFrame:
    """Return the month ends of a path, and one before, from which the first month's orders count."""
    return past.months(who, now, MONTHS + 1)


def path(
    history: pd.DataFrame, present: pd.DataFrame, now: datetime, rfm: Any, lifecycle: Lifecycle
) -> list[PathStep]:
    """Return the steps, oldest first.

    history: month ends and `now` as the last build saw it. present: one row of features, what happened since
    folded in, which is the last step. rfm: the model of the segments; None: no segments are told.
    """
    ends = history.iloc[:-1]
    numbers = [part.reindex(columns=COLUMNS).to_numpy(np.float64) for part in (ends, present)]
    rows = pd.DataFrame(np.concatenate(numbers), columns=COLUMNS)
    states = lifecycle.score(rows)
    segments = rfm.score(rows)["segment"].tolist() if rfm is not None else [NO_ORDERS] * len(rows)
    done = {name: _each(rows[name]) for name in ("orders_total", "spend_total")}
    steps = [
        PathStep(
            at=moment,
            segment=None if segment == NO_ORDERS else str(segment),
            stage=stage,
            index=index,
            orders=round(orders),
            spend=spend,
        )
        for moment, segment, stage, index, orders, spend in zip(
            [*ends[TIMESTAMP], now], segments, states["stage"], states["index"], *done.values(), strict=True
        )
    ]
    return steps[-(MONTHS + 1) :]


def _each(totals: "pd.Series[float]") -> list[float]:
    """Return what came with each row of a running total; spend may fall with a refund."""
    found: list[float] = np.diff(np.nan_to_num(totals.to_numpy(np.float64)), prepend=0.0).tolist()
    return found
