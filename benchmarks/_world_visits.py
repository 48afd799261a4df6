"""Visits of simulated contacts to the shop: when people are there, whether or not they are written to."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks import _world_hours as hours
from benchmarks._world_history import contact_ids
from benchmarks._world_people import People
from benchmarks._world_settings import DAY, HOUR, START, WEEK, Settings

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LATEST = 20
"""Visits that are remembered of a contact."""
AWAKE = 1.0
"""How much the hour tastes of `_world_hours` show in visits, beside the answers they were made for."""


@dataclass(frozen=True)
class Visits:
    """Visits in order of contact and time; one place a visit."""

    contact: Ints
    time: Floats
    hour: Ints
    """Local hour of the week."""
    first: Ints
    """Where each contact's visits begin, shape (contacts + 1,)."""

    @classmethod
    def of(cls, people: People, settings: Settings, random: np.random.Generator) -> Self:
        """Draw visits: oftener of those who buy oftener, at the hours at which a contact answers."""
        weeks = settings.days / 7
        count = random.poisson((settings.visits_a_day + 4 * people.orders_a_day) * settings.days)
        contact = np.repeat(np.arange(len(count)), count)
        share = np.exp(AWAKE * hours.tastes())
        share /= share.sum(axis=1, keepdims=True)
        edges = share.cumsum(axis=1)
        drawn = random.random(len(contact))
        hour = np.empty(len(contact), dtype=np.int64)
        for archetype, edge in enumerate(edges):
            rows = people.archetype[contact] == archetype
            hour[rows] = np.minimum(np.searchsorted(edge, drawn[rows], side="right"), 167)
        week = np.floor(random.random(len(contact)) * weeks)
        local = START + week * WEEK + (hour + random.random(len(contact))) * HOUR
        time = local - people.offset[contact] * HOUR
        kept = time < START + settings.days * DAY
        order = np.lexsort((time[kept], contact[kept]))
        contact, time, hour = contact[kept][order], time[kept][order], hour[kept][order]
        return cls(contact, time, hour, np.searchsorted(contact, np.arange(len(count) + 1)))

    def seen(self, contact: Ints, at: Floats) -> npt.NDArray[np.float32]:
        """Return how often each contact was there at each hour of the week: LATEST visits before `at`."""
        until = self._before(contact, at)
        out = np.zeros((len(contact), 168), dtype=np.float32)
        for back in range(1, LATEST + 1):
            place = until - back
            rows = np.flatnonzero(place >= self.first[contact])
            out[rows, self.hour[place[rows]]] += 1
        return out

    def events(self) -> pd.DataFrame:
        """Return the canonical page views."""
        ids = contact_ids(self.contact)
        return pd.DataFrame(
            {
                "event_id": [f"simulated-visit-{place}" for place in range(len(ids))],
                "event": "page_viewed",
                "timestamp": pd.to_datetime((self.time * 1e6).astype("int64"), unit="us", utc=True),
                "contact_id": ids,
            }
        )

    def _before(self, contact: Ints, at: Floats) -> Ints:
        """Return the place after the last visit before a moment, by bisection within each contact."""
        low, high = self.first[contact].copy(), self.first[contact + 1].copy()
        while (open_ := low < high).any():
            middle = (low + high) // 2
            earlier = open_ & (self.time[np.minimum(middle, len(self.time) - 1)] < at)
            low = np.where(earlier, middle + 1, low)
            high = np.where(open_ & ~earlier, middle, high)
        return low
