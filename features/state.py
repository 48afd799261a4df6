"""What is known of one contact: the state a feature row holds, and its view at a moment."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan, nan
from sys import intern
from typing import Any

import numpy as np
import numpy.typing as npt

from features.contacts import derive
from features.decay import DAY, factor
from nextbest.columns import (
    ARRAY_COLUMNS,
    AS_OF,
    CHANNEL_COLUMNS,
    CONTACT_ID,
    COUNTER_COLUMNS,
    TIME_COLUMNS,
)

Floats = npt.NDArray[np.float64]

NAME_ARRAYS = (
    "recent_items", "viewed_items", "cart_items", "repeat_items", "category_names", "channel_names",
    "step_names", "step_categories",
)  # fmt: skip
"""The arrays of names; all others are floats."""
CART_DAYS = 30
"""Days after which a cart counts as left."""
LISTS_AS_OF = "lists_as_of"
"""`as_of` of the arrays, which are stored apart from the counters."""
LISTS_AT = "lists_at"
"""Epoch seconds the arrays are valued at."""

ARRAY_HALF_LIVES = {
    "repeat_30d": 30,
    "repeat_90d": 90,
    "repeat_365d": 365,
    "category_90d": 90,
    "channel_sent_7d": 7,
    "channel_sent_90d": 90,
    "channel_opened_90d": 90,
    "channel_clicked_90d": 90,
}
"""Arrays of decayed counts -> half-life in days."""
_ARRAY_HALF_LIVES = frozenset(ARRAY_HALF_LIVES.values())


class Later(Mapping[str, Any]):
    """A mapping made when it is first looked into: most answers need no more than a ranking that was kept."""

    __slots__ = ("_held", "_make")

    def __init__(self, make: Callable[[], Mapping[str, Any]]) -> None:
        self._make = make
        self._held: Mapping[str, Any] | None = None

    def __getitem__(self, name: str) -> Any:
        return self._made()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made())

    def __len__(self) -> int:
        return len(self._made())

    def __repr__(self) -> str:
        return repr(dict(self))

    def _made(self) -> Mapping[str, Any]:
        if self._held is None:
            self._held = self._make()
        return self._held


@dataclass(frozen=True, slots=True)
class ContactView:
    """A contact at `now`; satisfies models.base.Shopper.

    Arrays are ordered and cut as nextbest.columns says. `recent_items` are distinct: each item bought with
    the last time it was. `known`: a feature row existed; False for one folded from the event log alone.
    """

    contact_id: str | None
    now: float
    as_of: int
    known: bool
    features: Mapping[str, float]
    """CONTACT_FEATURES at `now`; empty for someone nothing is known of."""
    times: Mapping[str, float]
    """TIME_COLUMNS, epoch seconds, NaN where it never happened."""
    recent_items: Sequence[str]
    recent_times: Floats
    viewed_items: Sequence[str]
    viewed_times: Floats
    cart_items: Sequence[str]
    cart_added: Floats
    cart_removed: Floats
    repeat_items: Sequence[str]
    repeat_30d: Floats
    repeat_90d: Floats
    repeat_365d: Floats
    repeat_count: Floats
    repeat_first: Floats
    repeat_last: Floats
    category_names: Sequence[str]
    category_90d: Floats
    category_last: Floats
    step_names: Sequence[str]
    step_categories: Sequence[str]
    step_times: Floats
    channels: Mapping[str, Mapping[str, float]]
    """Channel -> sent_7d, sent_90d … last_response (CHANNEL_COLUMNS without "channel_")."""
    notes: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    """What was made of the state this is a view of, and is kept with it; its other views share it."""

    @property
    def cart(self) -> list[str]:
        """What lies in the cart, in the order it was put there: since the last order, CART_DAYS at most."""
        if not self.cart_items:
            return []
        since = np.fmax(self.now - CART_DAYS * DAY, self.times["last_order"])
        held = (self.cart_added > since) & ~(self.cart_removed >= self.cart_added)
        places = np.flatnonzero(held)
        order = places[np.argsort(self.cart_added[places], kind="stable")]
        return [self.cart_items[place] for place in order]

    def row(self) -> dict[str, Any]:
        """Return contact_id, CONTACT_FEATURES and TIME_COLUMNS flat, as a row for the tabular models."""
        return {CONTACT_ID: self.contact_id, **self.features, **self.times}


@dataclass(frozen=True, slots=True)
class ContactState:
    """What a contact's feature row holds, valued at the contact's last event.

    Counters are valued at `timestamp`, arrays at `lists_at`: epoch seconds, NaN while nothing happened.
    `as_of` and `lists_as_of` are positions in the event log; they differ only while a build is storing rows.
    """

    contact_id: str | None
    as_of: int = 0
    lists_as_of: int = 0
    timestamp: float = nan
    lists_at: float = nan
    counters: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(COUNTER_COLUMNS, 0.0))
    times: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(TIME_COLUMNS, nan))
    arrays: Mapping[str, Any] = field(
        default_factory=lambda: {name: _array(name, ()) for name in ARRAY_COLUMNS}
    )
    known: bool = False
    notes: dict[Any, Any] = field(default_factory=dict, init=False, compare=False, repr=False)
    """What was made of this very state, kept as long as it is. A state made from it starts without, unless
    its maker hands on a note that holds for both."""

    @classmethod
    def empty(cls, contact_id: str | None) -> "ContactState":
        """Return the state of someone nothing is known of."""
        return cls(contact_id)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "ContactState":
        """Read a row of the feature store; null counters are 0, null times NaN, missing arrays empty."""
        times = {name: _float(row.get(name), nan) for name in TIME_COLUMNS}
        as_of = int(row.get(AS_OF) or 0)
        return cls(
            contact_id=row.get(CONTACT_ID),
            as_of=as_of,
            lists_as_of=as_of if row.get(LISTS_AS_OF) is None else int(row[LISTS_AS_OF]),
            timestamp=times["last_seen"],
            lists_at=_float(row.get(LISTS_AT), times["last_seen"]),
            counters={name: _float(row.get(name), 0.0) for name in COUNTER_COLUMNS},
            times=times,
            arrays={name: _array(name, row.get(name)) for name in ARRAY_COLUMNS},
            known=True,
        )

    def at(self, now: float) -> ContactView:
        """Value the state at `now` (epoch seconds); a moment before the last event counts as that event's."""
        arrays = decayed(self.arrays, now - self.lists_at)
        features = (
            {} if isnan(self.timestamp) else Later(lambda: derive({**self.counters, **self.times}, now))
        )
        return ContactView(
            contact_id=self.contact_id,
            now=now,
            as_of=self.as_of,
            known=self.known,
            features=features,
            times=self.times,
            channels=Later(lambda: _channels(arrays)),
            notes=self.notes,
            **{name: arrays[name] for name in ARRAY_COLUMNS if name not in CHANNEL_COLUMNS},
        )

    def renamed(self, contact_id: str | None) -> "ContactState":
        """Return the state under another id."""
        return replace(self, contact_id=contact_id)


def decayed(arrays: Mapping[str, Any], age: float) -> dict[str, Any]:
    """Value a block of arrays `age` seconds later; a negative or unknown age leaves it as it is."""
    if not age > 0:
        return dict(arrays)
    factors = {half_life: factor(age, half_life) for half_life in _ARRAY_HALF_LIVES}
    found = dict(arrays)
    for name, half_life in ARRAY_HALF_LIVES.items():
        found[name] = found[name] * factors[half_life]
    return found


def _channels(arrays: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    columns = [(name.removeprefix("channel_"), arrays[name]) for name in CHANNEL_COLUMNS[1:]]
    return {
        channel: {name: float(values[i]) for name, values in columns}
        for i, channel in enumerate(arrays["channel_names"])
    }


def _array(name: str, values: Any) -> Any:
    if name in NAME_ARRAYS:
        return [] if values is None else [intern(value) for value in values]  # one text for all contacts
    return np.asarray([] if values is None else values, dtype=np.float64)


def _float(value: Any, missing: float) -> float:
    return missing if value is None or value != value else float(value)
