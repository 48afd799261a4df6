"""The business-as-usual policy of the simulated world: mostly e-mail, in business hours, by known chances."""

import numpy as np
import numpy.typing as npt

from benchmarks import _world_hours as hours
from benchmarks._world_people import People
from benchmarks._world_settings import NOTHING, Settings

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Usual:
    """Draws a channel, or nothing, and an hour; who spends more gets the dearer channels more often."""

    def __init__(self, people: People, settings: Settings) -> None:
        spend = np.log1p(people.known["spend_total"].to_numpy())
        standing = np.clip((spend - spend.mean()) / spend.std(), -2.0, 2.0)
        weights = [c.usual * np.exp(c.tilt * standing) for c in settings.channels]
        self._weights = np.stack([*weights, np.full(len(spend), settings.usual_nothing)], axis=1)
        self._hours = np.stack([hours.usual(c) for c in settings.channels])

    def shares(self, contact: Ints, permitted: Bools) -> Floats:
        """Return P(each channel) and last P(nothing), shape (contacts, channels + 1)."""
        open_to = np.column_stack([permitted, np.ones(len(contact), dtype=bool)])
        weights = open_to * self._weights[contact]
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    def channels(self, contact: Ints, permitted: Bools, random: np.random.Generator) -> tuple[Ints, Floats]:
        """Draw a channel or NOTHING for each contact; return it and its propensity."""
        shares = self.shares(contact, permitted)
        place = drawn(shares, random)
        propensity = shares[np.arange(len(contact)), place]
        return np.where(place == permitted.shape[1], NOTHING, place), propensity

    def hours(self, channel: Ints, random: np.random.Generator) -> tuple[Ints, Floats]:
        """Draw a local hour of sending for each channel; return it and its propensity."""
        shares = self._hours[channel]
        hour = drawn(shares, random)
        return hour, shares[np.arange(len(channel)), hour]


def drawn(shares: Floats, random: np.random.Generator) -> Ints:
    """Draw a column for each row of shares that sum to 1; a column of share 0 is never drawn."""
    up_to = shares.cumsum(axis=1)
    column = (random.random((len(shares), 1)) * up_to[:, -1:] >= up_to).sum(axis=1)
    return column.astype(np.int64)
