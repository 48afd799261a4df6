"""The simulated truth of one message: the chance of an answer, of an order, of leaving, and what it is worth.

    log-odds of an answer = taste(contact, channel) + hours(channel) · hour taste(archetype, hour of the week)
        + recency(channel) · exp(-days since the last order / 21)
        - weary_any · log(1 + messages) - weary_same · log(1 + messages over the channel)

both counts decayed with a half-life of four days. The simulation draws from it and the truth is read off it,
so the two cannot drift apart.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks import _world_hours as hours
from benchmarks._world_people import People
from benchmarks._world_settings import Settings

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class State:
    """What a message finds, one place a message (arrays that broadcast together)."""

    weary_any: Floats
    """Messages to the contact, decayed to the moment of sending."""
    weary_same: Floats
    """Messages over the same channel likewise."""
    recency_days: Floats
    """Days since the last order at the moment of deciding; inf where there was none."""


@dataclass(frozen=True)
class Expected:
    """The simulated truth of sending a message, one place a message."""

    response: Floats
    """P(opened or clicked)."""
    conversion: Floats
    """P(an order that would not have come without the message)."""
    anyway: Floats
    """P(an order within seven days without any message)."""
    leaving: Floats
    """P(unsubscribes)."""
    value: Floats
    """Expected profit of the orders it brings."""
    cost: Floats
    """Price of the message and expected loss by unsubscribing."""

    @property
    def net(self) -> Floats:
        """Return expected value less cost: what a decision is judged by. Sending nothing is worth 0."""
        return self.value - self.cost


@dataclass(frozen=True)
class Outcome:
    """What happened after simulated messages, one place a message."""

    bounced: Bools
    response: Bools
    clicked: Bools
    ordered: Bools
    left: Bools
    order_value: Floats
    """0 where no order followed."""


class Nature:
    """Chances and outcomes of messages to the contacts of a simulated world."""

    def __init__(self, people: People, settings: Settings) -> None:
        self.people, self.settings = people, settings
        self._taste = people.taste
        self._hours = hours.tastes()
        channels = settings.channels
        self._of = {
            name: np.array([getattr(c, name) for c in channels], dtype=np.float64)
            for name in ("cost", "clicks", "closes", "bounces", "leaves", "hours", "recency")
        }

    def expected(self, contact: Ints, channel: Ints, week_hour: Ints, state: State) -> Expected:
        """Return the truth of messages; arrays broadcast together, channels 0 and up."""
        people, of, settings = self.people, self._of, self.settings
        logit = (
            self._taste[contact, channel]
            + of["hours"][channel] * self._hours[people.archetype[contact], week_hour]
            + of["recency"][channel] * np.exp(-state.recency_days / settings.recovery)
            - settings.weary_any * np.log1p(state.weary_any)
            - settings.weary_same * np.log1p(state.weary_same)
        )
        response = (1 - of["bounces"][channel]) / (1 + np.exp(-logit))
        conversion = response * of["clicks"][channel] * self._closing(contact, channel)
        leaving = np.minimum(of["leaves"][channel] * (1 + state.weary_any), 1 - of["bounces"][channel])
        return Expected(
            response,
            conversion,
            1 - np.exp(-7 * people.orders_a_day[contact]) + 0 * response,
            leaving,
            conversion * people.basket[contact] * settings.margin,
            of["cost"][channel] + leaving * settings.loss,
        )

    def draw(self, contact: Ints, channel: Ints, expected: Expected, random: np.random.Generator) -> Outcome:
        """Draw what happens after messages whose truth is `expected`."""
        of, chance = self._of, random.random((5, len(contact)))
        bounced = chance[0] < of["bounces"][channel]
        response = ~bounced & (chance[1] < expected.response / (1 - of["bounces"][channel]))
        clicked = response & (chance[2] < of["clicks"][channel])
        ordered = clicked & (chance[3] < self._closing(contact, channel))
        left = ~bounced & (chance[4] < expected.leaving / (1 - of["bounces"][channel]))
        worth = self.order_values(contact, random)
        return Outcome(bounced, response, clicked, ordered, left, np.where(ordered, worth, 0.0))

    def order_values(self, contact: Ints, random: np.random.Generator) -> Floats:
        """Draw the value of an order of each contact: log-normal around its mean."""
        spread = self.settings.spread
        return self.people.basket[contact] * np.exp(random.normal(-(spread**2) / 2, spread, len(contact)))

    def _closing(self, contact: Ints, channel: Ints) -> Floats:
        return np.minimum(self.people.closes[contact] * self._of["closes"][channel], 1.0)
