"""How the simulated world of `benchmarks.channel_world` is made: channels, weariness, the usual policy.

Everything here is simulated and chosen by hand, so that rates, costs and shares look like a retailer's.
Nothing of it is known to any model.
"""

from dataclasses import dataclass

HOUR, DAY, WEEK = 3_600.0, 86_400.0, 604_800.0
START = 1_736_121_600.0
"""2025-01-06 00:00 UTC, a Monday: the hour of the week is counted from it."""
NOTHING = -1
"""The decision to send nothing, in the place of a channel."""

ZONES = {
    "Atlantic/Reykjavik": 0, "Africa/Lagos": 1, "Europe/Istanbul": 3, "America/Bogota": -5,
    "America/Phoenix": -7,
}  # fmt: skip
"""Home zone -> hours east of UTC: zones without daylight saving, so that a local hour is one addition."""


@dataclass(frozen=True)
class Channel:
    """A channel of the simulated world: what it costs, what it may do, how people take it."""

    name: str
    cost: float
    """Money a message."""
    quiet_from: int
    quiet_to: int
    """Local hours from and to which nothing is sent; equal: none. May span midnight."""
    weekly_cap: int
    """Messages in any 168 hours at most."""
    consent: float
    reach: float
    """Shares of contacts that have it at the start."""
    response: float
    """Mean P(opened or clicked) of the contacts that may be sent to, fresh, at a usual hour."""
    opens: bool
    """Whether an answer shows as an open, which a click may follow; elsewhere an answer is a click."""
    clicks: float
    """P(click | answer)."""
    closes: float
    """What the contact's P(order | click) is multiplied by."""
    bounces: float
    leaves: float
    """P(unsubscribes | message) of somebody fresh; grows with weariness."""
    hours: float
    """How much an answer depends on the hour of the week."""
    recency: float
    """What having bought just now adds to the log-odds."""
    wait: float
    """Mean hours from message to answer."""
    usual: float
    """Weight under the business-as-usual policy."""
    tilt: float
    """How much that weight grows with the contact's spend (log-weight a standard deviation)."""
    taste: tuple[float, ...]
    """Weights of what is known of a contact (`_world_people.TRAITS`) in the observable part of its taste."""

    def quiet(self, hour: int) -> bool:
        """Tell whether a local hour is quiet."""
        if self.quiet_from <= self.quiet_to:
            return self.quiet_from <= hour < self.quiet_to
        return hour >= self.quiet_from or hour < self.quiet_to


CHANNELS = (
    Channel(
        name="email", cost=0.002, quiet_from=0, quiet_to=0, weekly_cap=2,
        consent=0.85, reach=0.97, response=0.14, opens=True, clicks=0.35, closes=1.0,
        bounces=0.01, leaves=0.0015, hours=0.35, recency=0.5, wait=6.0,
        usual=6.0, tilt=0.2, taste=(0.5, 0.2, 0.1, 0.2, -0.2, 0.5, 0.6, -0.5, 0.1),
    ),
    Channel(
        name="sms", cost=0.06, quiet_from=21, quiet_to=8, weekly_cap=1,
        consent=0.5, reach=0.8, response=0.11, opens=False, clicks=1.0, closes=1.0,
        bounces=0.015, leaves=0.006, hours=0.5, recency=0.2, wait=0.5,
        usual=1.2, tilt=0.5, taste=(0.4, -0.5, -0.3, 0.1, 0.7, -0.4, -0.1, 0.3, -0.4),
    ),
    Channel(
        name="web_push", cost=0.001, quiet_from=22, quiet_to=8, weekly_cap=3,
        consent=0.4, reach=0.55, response=0.065, opens=True, clicks=0.6, closes=0.8,
        bounces=0.03, leaves=0.004, hours=0.45, recency=0.3, wait=1.0,
        usual=1.2, tilt=0.0, taste=(-0.4, -0.2, 0.8, 0.3, 0.1, 0.4, -0.5, 0.5, 0.0),
    ),
    Channel(
        name="mobile_push", cost=0.001, quiet_from=22, quiet_to=8, weekly_cap=3,
        consent=0.45, reach=0.5, response=0.08, opens=True, clicks=0.6, closes=1.0,
        bounces=0.02, leaves=0.004, hours=0.55, recency=0.4, wait=0.7,
        usual=1.5, tilt=0.1, taste=(0.2, -0.3, 0.4, 0.2, 0.6, -0.7, -0.4, 0.6, 0.2),
    ),
    Channel(
        name="ads", cost=0.02, quiet_from=0, quiet_to=0, weekly_cap=7,
        consent=0.7, reach=0.75, response=0.022, opens=False, clicks=1.0, closes=0.8,
        bounces=0.0, leaves=0.0002, hours=0.15, recency=0.6, wait=8.0,
        usual=0.8, tilt=0.0, taste=(-0.6, 0.3, 0.5, 0.6, -0.1, 0.2, -0.3, 0.3, 0.5),
    ),
    Channel(
        name="phone", cost=2.5, quiet_from=19, quiet_to=9, weekly_cap=1,
        consent=0.35, reach=0.7, response=0.16, opens=True, clicks=1.0, closes=2.0,
        bounces=0.05, leaves=0.02, hours=0.45, recency=0.1, wait=0.0,
        usual=0.2, tilt=0.8, taste=(0.3, 0.8, -0.4, -0.1, 0.2, -0.3, 0.5, -0.2, 0.4),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What the simulated world is made by."""

    contacts: int = 50_000
    days: int = 90
    channels: tuple[Channel, ...] = CHANNELS
    decisions_a_day: float = 1 / 7
    """P(the usual policy considers a contact on a day)."""
    usual_nothing: float = 1.5
    """Weight of sending nothing under that policy, beside the channels' `usual`."""
    visits_a_day: float = 0.03
    """Visits to the shop's pages of somebody who never buys; buyers come oftener."""
    observable: float = 0.75
    """Standard deviation of the log-odds between contacts that follows from what is known of them."""
    latent: float = 0.75
    """Standard deviation of what only answers reveal."""
    shared: float = 0.3
    """Share of the latent variance that is the same over all channels."""
    half_life: float = 4.0
    """Days in which weariness halves."""
    weary_any: float = 0.35
    """Taken from the log-odds times log(1 + decayed messages over any channel)."""
    weary_same: float = 0.6
    """The same for messages over the channel itself."""
    recovery: float = 21.0
    """Days in which the interest of having bought falls to 1/e."""
    margin: float = 0.35
    """Profit a unit of order value."""
    spread: float = 0.5
    """Standard deviation of the log of an order's value around the contact's mean."""
    loss: float = 3.0
    """Money that losing the consent for one channel costs."""
