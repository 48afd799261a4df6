"""What a business has seen of its simulated contacts by a moment: counts, times and features."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks._world_log import Log, Orders
from benchmarks._world_people import People
from benchmarks._world_settings import DAY, START
from benchmarks._world_timeline import Timeline

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
HALF_LIVES = {"7d": 7.0, "30d": 30.0, "90d": 90.0, "365d": 365.0, "total": None}
COUNTERS = ("sent", "opens", "clicks")
ID_PREFIX = "simulated-"


class History:
    """The visible past of a simulated world; a moment sees only what lies strictly before it.

    Visits are known up to START: pages, views, carts, searches and forms do not grow in the log.
    """

    def __init__(self, people: People, log: Log, orders: Orders, opens: npt.NDArray[np.bool_]) -> None:
        contacts, self.channels = people.consent.shape
        self._people = people
        sent = log.take(log.sent)
        opened = sent.take(sent.response & opens[sent.channel])
        clicked = sent.take(np.isfinite(sent.clicked_at))
        self._counted = {
            "sent": Timeline.of(contacts, sent.contact, sent.time, sent.channel),
            "opens": Timeline.of(contacts, opened.contact, opened.answered_at, opened.channel),
            "clicks": Timeline.of(contacts, clicked.contact, clicked.clicked_at, clicked.channel),
        }
        one = np.zeros(len(orders.contact), dtype=np.int64)
        self._orders = Timeline.of(contacts, orders.contact, orders.time, one)
        self._spend = Timeline.of(contacts, orders.contact, orders.time, one, orders.value)

    def sent(
        self, contact: Ints, at: Floats, half_life: float | None = None, since: float = np.inf
    ) -> Floats:
        """Return messages sent, shape (contacts, channels): decayed (days), or of the last seconds."""
        return self._counted["sent"].sums(contact, at, self.channels, half_life, since)

    def counts(self, contact: Ints, at: Floats, half_life: float | None = None) -> Floats:
        """Return messages sent, opened and clicked, shape (contacts, channels, 3); half_life in days."""
        kinds = [self._counted[kind].sums(contact, at, self.channels, half_life) for kind in COUNTERS]
        return np.stack(kinds, axis=2)

    def days_since(self, contact: Ints, at: Floats) -> Floats:
        """Return days since the last message and the last answer, NaN: never; (contacts, channels, 2)."""
        sent, opened, clicked = (self._counted[kind].last(contact, at, self.channels) for kind in COUNTERS)
        last = np.stack([sent, np.maximum(opened, clicked)], axis=2)
        days = (at[:, None, None] - last) / DAY
        return np.where(np.isfinite(days), days, np.nan)

    def last_order(self, contact: Ints, at: Floats) -> Floats:
        """Return when each contact last ordered (epoch seconds), -inf: never."""
        return np.maximum(self._orders.last(contact, at, 1)[:, 0], self._people.last_order[contact])

    def features(self, contact: Ints, at: Floats) -> pd.DataFrame:
        """Return contact_id and features at each moment, one row a place, float64, NaN where unknown."""
        known = self._people.known.iloc[contact].reset_index(drop=True)
        orders = known["orders_total"] + self._orders.sums(contact, at, 1)[:, 0]
        spend = known["spend_total"] + self._spend.sums(contact, at, 1)[:, 0]
        since = (at - self.last_order(contact, at)) / DAY
        changed: dict[str, Any] = {
            "recency_days": np.where(np.isfinite(since), since, np.nan),
            "tenure_days": known["tenure_days"] + (at - START) / DAY,
            "orders_total": orders,
            "spend_total": spend,
            "average_order": (spend / orders.where(orders > 0)).astype(np.float64),
        }
        whole = known.assign(**changed, **self._counters(contact, at))
        return whole.assign(contact_id=contact_ids(contact))

    def _counters(self, contact: Ints, at: Floats) -> dict[str, Floats]:
        out: dict[str, Floats] = {}
        for span, half_life in HALF_LIVES.items():
            counted = self.counts(contact, at, half_life).sum(axis=1)
            out |= {f"{kind}_{span}": counted[:, place] for place, kind in enumerate(COUNTERS)}
        messages = np.where(out["sent_90d"] > 0, out["sent_90d"], np.nan)
        return out | {
            "open_rate_90d": out["opens_90d"] / messages,
            "click_rate_90d": out["clicks_90d"] / messages,
        }


def contact_ids(contact: Ints) -> npt.NDArray[np.object_]:
    """Return the contacts' ids as events and features name them."""
    return np.array([f"{ID_PREFIX}{row}" for row in contact.tolist()], dtype=object)
