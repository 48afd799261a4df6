"""Moments as the recommenders see them: who was there, what they bought next, what a model says to them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from features.items import items_at
from features.snapshots import views_at
from models._sources import Source
from models.base import Floats, Shopper
from models.catalogue import Catalogue
from models.next_purchase import Moment
from training._purchases import bought_between, first_orders
from training._snapshots import contacts_seen
from training.base import Context

K = 10


@dataclass(frozen=True)
class Answers:
    """The K items a model ranks first for each shopper, whether bought in the horizon, and how likely."""

    ranked: list[list[str]]
    bought: Floats
    probabilities: Floats
    """Both flat over shoppers and ranks; probabilities are NaN where the model has none."""
    sooner: Mapping[int, tuple[Floats, Floats]] = field(default_factory=dict)
    """Days -> the same two for a shorter horizon, where the model has them."""

    @classmethod
    def of(cls, model: Any, moment: Moment) -> "Answers":
        """Ask the model for each shopper of the moment."""
        ranked, bought, probabilities = [], [np.empty(0)], [np.empty(0)]
        sooner = {days: ([np.empty(0)], [np.empty(0)]) for days in moment.sooner}
        for place, (shopper, within) in enumerate(zip(moment.shoppers, moment.within, strict=True)):
            ranking = model.recommend(shopper, moment.catalogue, K)
            ranked.append(ranking.item_ids)
            bought.append(_among(ranking.item_ids, within))
            unknown = np.full(len(ranking), np.nan)
            probabilities.append(unknown if ranking.probabilities is None else ranking.probabilities)
            for days in set(sooner) & set(ranking.by_horizon or ()):
                sooner[days][0].append(_among(ranking.item_ids, moment.sooner[days][place]))
                sooner[days][1].append((ranking.by_horizon or {})[days])
        told = {days: (np.concatenate(b), np.concatenate(p)) for days, (b, p) in sooner.items() if len(p) > 1}
        return cls(ranked, np.concatenate(bought), np.concatenate(probabilities), told)


def _among(item_ids: Sequence[str], bought: Collection[str]) -> Floats:
    return np.array([item in bought for item in item_ids], dtype=np.float64)


def moment(
    context: Context,
    lines: pd.DataFrame,
    at: datetime,
    end: datetime,
    horizon: timedelta,
    contacts: Sequence[str],
    passed: bool = True,
    sooner: Sequence[int] = (),
    sources: Sequence[Source] = (),
) -> Moment:
    """Read everyone of `contacts` known at a moment, and what they bought in the horizon after, up to `end`.

    Where the moment has not `passed`, only those who bought anything. `sooner`: days of shorter horizons.
    """
    until = min(at + horizon, end)
    orders, within = first_orders(lines, at, until), bought_between(lines, at, until)
    if not passed:
        contacts = [contact for contact in contacts if contact in orders]
    catalogue = Catalogue.from_frame(items_at(context.settings, at), at.timestamp())
    shoppers: list[Shopper] = [
        view for view in views_at(context.settings, at, contacts, context.progress) if view.known
    ]
    ids = [str(shopper.contact_id) for shopper in shoppers]
    nothing: frozenset[str] = frozenset()
    return Moment(
        catalogue,
        shoppers,
        [orders.get(i, nothing) for i in ids],
        [within.get(i, nothing) for i in ids],
        passed,
        {days: _bought_in(lines, at, min(at + timedelta(days=days), until), ids) for days in sooner},
        sources,
    )


def _bought_in(
    lines: pd.DataFrame, after: datetime, until: datetime, ids: Sequence[str]
) -> list[frozenset[str]]:
    bought = bought_between(lines, after, until)
    return [bought.get(i, frozenset()) for i in ids]


def some_contacts(context: Context, by: datetime, most: int) -> list[str]:
    """Return the contacts seen by a moment, or a sample of them."""
    known = contacts_seen(context.settings)
    seen: pd.Series[str] = known.loc[known["first"] <= by, "contact_id"]
    if len(seen) > most:
        seen = seen.sample(most, random_state=context.seed).sort_values()
    return [str(contact) for contact in seen]
