"""When contacts buy again in the categories they buy by nature: what the card and predictions show."""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from features.cadence import bought_days, cadences, moved_on
from features.decay import DAY
from features.state import ContactView
from models.replenishment import Replenishment as Model
from nextbest.columns import CONTACT_ID
from nextbest.errors import NotReady
from nextbest.settings import Settings
from serving.budget import Deadline, Skipped
from serving.parts import Parts
from serving.schemas import Replenishment

log = logging.getLogger("nextbest.answers")

TASK = "replenishment"
LEAST_PURCHASES = 2.0
"""Days bought on from which a contact counts as buying a category again."""
MOST_DAYS = 365.0
"""Days ahead beyond which a category counts as given up, and the end of an interval as unknown."""
MOST = 20
"""Categories of a contact at most."""


def replenishments(
    parts: Parts, views: Sequence[ContactView], now: datetime, deadline: Deadline
) -> list[list[Replenishment]]:
    """Return each contact's categories, the likeliest to be bought within 30 days first.

    Empty lists without a champion or feature tables, or where they take too long; never raises for those.
    """
    try:
        loaded = parts.champion(TASK)
        return deadline.run(TASK, lambda: _of(loaded.model, parts.settings, views, now))
    except (Skipped, NotReady):
        return [[] for _ in views]
    except Exception:
        log.exception("the categories to replenish cannot be told")
        return [[] for _ in views]


def _of(
    model: Model, settings: Settings, views: Sequence[ContactView], now: datetime
) -> list[list[Replenishment]]:
    ids = [view.contact_id for view in views]
    known = [contact for contact in ids if contact is not None]
    pairs = moved_on(cadences(bought_days(settings, now, known)), _news(views))
    pairs["days_since"] = np.maximum((now.timestamp() - pairs["last"]) / DAY, 0.0)
    found = pd.concat([pairs, model.score(pairs)], axis=1)
    likely = found[(found["due_days"] <= MOST_DAYS) & (found["purchases"] >= LEAST_PURCHASES)]
    ranked = likely.sort_values(["probability_30d", "category"], ascending=[False, True])
    best = ranked.groupby(CONTACT_ID, sort=False).head(MOST)
    rows = {str(contact): held for contact, held in best.groupby(CONTACT_ID, sort=False)}
    return [
        [_said(row, now) for row in rows[contact].to_dict("records")] if contact in rows else []
        for contact in ids
    ]


def _news(views: Sequence[ContactView]) -> pd.DataFrame:
    rows = [
        (view.contact_id, name, float(last))
        for view in views
        for name, last in zip(view.category_names, view.category_last, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=[CONTACT_ID, "category", "last"])
    return frame.astype({CONTACT_ID: object, "category": object, "last": np.float64})


def _said(row: Mapping[Any, Any], now: datetime) -> Replenishment:
    due, low = (_date(now, row[f"{name}_days"]) for name in ("due", "low"))
    return Replenishment(
        category=str(row["category"]),
        due=due,
        low=low,
        high=_date(now, row["high_days"]) if row["high_days"] <= MOST_DAYS else None,
        probability_30d=float(row["probability_30d"]),
        usual_days=round(float(row["usual_days"]), 1),
        purchases=int(row["purchases"]),
    )


def _date(now: datetime, days: float) -> date:
    return (now.astimezone(UTC) + timedelta(days=float(days))).date()
