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


def due(
    model: Model, settings: Settings, contact_ids: Sequence[str], now: datetime, news: pd.DataFrame
) -> pd.DataFrame:
    """Return the categories contacts buy by nature as rows, the likeliest of each contact first (MOST).

    contact_id, category, purchases and what models.replenishment scores; of the feature tables, moved on by
    `news` (features.cadence.moved_on). Raises NotReady before the first build.
    """
    pairs = moved_on(cadences(bought_days(settings, now, contact_ids)), news)
    known = (pairs["purchases"] >= LEAST_PURCHASES) & pairs["category"].isin(model.categories["category"])
    pairs = pairs[known].reset_index(drop=True)
    pairs["days_since"] = np.maximum((now.timestamp() - pairs["last"]) / DAY, 0.0)
    found = pd.concat([pairs, model.score(pairs)], axis=1)
    likely = found[found["due_days"] <= MOST_DAYS]
    order = [CONTACT_ID, "probability_30d", "category"]
    ranked = likely.sort_values(order, ascending=[True, False, True], ignore_index=True)
    return ranked.groupby(CONTACT_ID, sort=False).head(MOST)


def _of(
    model: Model, settings: Settings, views: Sequence[ContactView], now: datetime
) -> list[list[Replenishment]]:
    ids = [view.contact_id for view in views]
    found = due(model, settings, [contact for contact in ids if contact is not None], now, _news(views))
    said: dict[str | None, list[Replenishment]] = {contact: [] for contact in ids}
    for row in found.to_dict("records"):
        said[str(row[CONTACT_ID])].append(_said(row, now))
    return [said[contact] for contact in ids]


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
