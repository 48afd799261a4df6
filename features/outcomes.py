"""What contacts did after a moment: orders, spend, and how long until the next order."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from features.tables import connected, require
from features.timeline import Timeline
from nextbest.columns import CONTACT_ID, TIMESTAMP
from nextbest.settings import Settings

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
DAY = 86_400_000_000
"""Microseconds."""
TOTALS = ("orders_total", "spend_total")


@dataclass(frozen=True)
class Outcomes:
    """Each contact's running totals at the moments at which one changed, by contact, then time."""

    contacts: "pd.Index[str]"
    """Everyone with an order or a refund, sorted."""
    starts: Ints
    """Contact i's rows are [starts[i], starts[i + 1])."""
    times: Ints
    """Microseconds since 1970."""
    orders: Floats
    spend: Floats

    @classmethod
    def read(cls, settings: Settings) -> "Outcomes":
        """Read the contact table; raises NotReady before the first build."""
        import ibis

        with connected(settings.tables) as backend:
            table = backend.read_parquet(require(settings, "contact")).select(CONTACT_ID, TIMESTAMP, *TOTALS)
            before = ibis.window(group_by=CONTACT_ID, order_by=TIMESTAMP)
            held = table.mutate(
                **{f"{name}_before": table[name].lag().over(before).fill_null(0.0) for name in TOTALS}
            )
            moved = [held[name] != held[f"{name}_before"] for name in TOTALS]
            changed = held.filter(moved[0] | moved[1]).order_by([CONTACT_ID, TIMESTAMP])
            rows = backend.to_pyarrow(changed.select(CONTACT_ID, TIMESTAMP, *TOTALS))
        ids = rows[CONTACT_ID].combine_chunks().dictionary_encode()
        owner = np.asarray(ids.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
        contacts = pd.Index(ids.dictionary.to_pylist(), dtype=object)
        times = rows[TIMESTAMP].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
        starts = np.searchsorted(owner, np.arange(len(contacts) + 1))
        orders, spend = (rows[name].to_numpy().astype(np.float64) for name in TOTALS)
        return cls(contacts, starts, times, orders, spend)

    def within(
        self, contact_ids: Sequence[str], moments: "pd.Series[pd.Timestamp]", days: float
    ) -> tuple[Floats, Floats]:
        """Return orders and spend of each (contact, moment) in the `days` after; refunds count negative."""
        owner, at = self._asked(contact_ids, moments)
        before, after = self._place(owner, at), self._place(owner, at + int(days * DAY))
        return (
            self._total(self.orders, owner, after) - self._total(self.orders, owner, before),
            self._total(self.spend, owner, after) - self._total(self.spend, owner, before),
        )

    def waits(self, contact_ids: Sequence[str], moments: "pd.Series[pd.Timestamp]") -> Floats:
        """Return the days from each (contact, moment) to the next order; infinite where none is known."""
        owner, at = self._asked(contact_ids, moments)
        begun = self.orders > self._before
        when = self.times[begun]
        nth = np.concatenate([[0], np.cumsum(begun)])
        place, last = nth[self._place(owner, at)], nth[self.starts[1:]]
        there = owner >= 0
        there[there] = place[there] < last[owner[there]]
        waits = np.full(len(at), np.inf)
        waits[there] = (when[place[there]] - at[there]) / DAY
        return waits

    @cached_property
    def _line(self) -> Timeline:
        return Timeline(np.repeat(np.arange(len(self.contacts)), np.diff(self.starts)), self.times)

    @cached_property
    def _before(self) -> Floats:
        """Orders before each row."""
        shifted = np.concatenate([[0.0], self.orders[:-1]])[: len(self.orders)]
        shifted[self.starts[:-1]] = 0.0
        return shifted

    def _asked(self, contact_ids: Sequence[str], moments: "pd.Series[pd.Timestamp]") -> tuple[Ints, Ints]:
        utc = pd.to_datetime(moments, utc=True).astype("datetime64[us, UTC]")
        owner = self.contacts.get_indexer(pd.Index(list(contact_ids), dtype=object))
        return np.asarray(owner, np.int64), np.asarray(utc.astype("int64"), np.int64)

    def _place(self, owner: Ints, at: Ints) -> Ints:
        """Return the place after each owner's last row at or before a moment; 0 for an owner unknown."""
        return np.where(owner >= 0, self._line.place(np.maximum(owner, 0), at, "right"), 0)

    def _total(self, values: Floats, owner: Ints, place: Ints) -> Floats:
        """Return the running total at a place: 0 where the owner has no row before it."""
        total = np.zeros(len(owner))
        held = owner >= 0
        held[held] = place[held] > self.starts[owner[held]]
        total[held] = values[place[held] - 1]
        return total
