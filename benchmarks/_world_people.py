"""Simulated contacts: what is known of them, what is not, and what they have agreed to."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks import _world_hours as hours
from benchmarks._world_settings import DAY, START, ZONES, Settings

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

TRAITS = (
    "orders", "basket", "pages", "carts", "mobile", "searches", "tenure", "new_and_keen",
    "big_basket_searcher",
)  # fmt: skip
"""What the observable part of a taste is made of; each follows from the columns of `People.known`."""
EASTERN = 0.25
"""Days: no order of the past is younger at START, which comes earliest in the east."""


@dataclass(frozen=True)
class People:
    """Contacts as arrays, one place a contact; channels as in the settings."""

    known: pd.DataFrame
    """Contact features at START, named as tabular models read them; NaN where unknown."""
    offset: Ints
    """Hours east of UTC."""
    zone: npt.NDArray[np.object_]
    archetype: Ints
    """Which of `_world_hours.ARCHETYPES`: latent."""
    observable: Floats
    """Log-odds that follow from `known`, shape (contacts, channels), mean zero."""
    latent: Floats
    """Log-odds that follow from nothing known, shape (contacts, channels)."""
    base: Floats
    """Log-odds of the average contact, shape (channels,)."""
    consent: Bools
    reach: Bools
    """At START, shape (contacts, channels)."""
    orders_a_day: Floats
    """Orders that come without any message."""
    basket: Floats
    """Mean value of an order."""
    closes: Floats
    """P(an order follows | click)."""
    last_order: Floats
    """Epoch seconds; -inf where there was none before START."""

    @property
    def taste(self) -> Floats:
        """Return each contact's log-odds over each channel, fresh and at an average hour."""
        return self.base + self.observable + self.latent


def draw(settings: Settings, random: np.random.Generator) -> People:
    """Draw the contacts of a simulated world."""
    n = settings.contacts
    orders_a_day = np.maximum(random.gamma(0.9, 1 / 70, n), 1 / 500)
    basket = np.exp(random.normal(np.log(45.0), 0.7, n))
    known = _history(orders_a_day, basket, random)
    traits = _traits(known)
    observable = _observable(traits, settings)
    latent = _latent(settings, random)
    consent, reach = (
        random.random((n, len(settings.channels))) < [getattr(c, what) for c in settings.channels]
        for what in ("consent", "reach")
    )
    # frequent buyers would mostly have bought anyway: they answer more, yet a message brings less
    eager = (np.log(orders_a_day) - np.log(orders_a_day).mean()) / np.log(orders_a_day).std()
    zone = random.choice(len(ZONES), n, p=[0.2, 0.2, 0.25, 0.2, 0.15])
    return People(
        known=known,
        offset=np.array(list(ZONES.values()))[zone],
        zone=np.array(list(ZONES), dtype=object)[zone],
        archetype=random.choice(len(hours.ARCHETYPES), n, p=[0.35, 0.35, 0.3]),
        observable=observable,
        latent=latent,
        base=_intercepts(observable + latent, consent & reach, settings),
        consent=consent,
        reach=reach,
        orders_a_day=orders_a_day,
        basket=basket,
        closes=_sigmoid(-2.3 - 0.4 * eager + random.normal(0, 0.4, n)),
        last_order=np.where(
            known["orders_total"] > 0, START - known["recency_days"].fillna(0.0) * DAY, -np.inf
        ),
    )


def _history(orders_a_day: Floats, basket: Floats, random: np.random.Generator) -> pd.DataFrame:
    """Draw what each contact did before START."""
    n = len(orders_a_day)
    tenure = np.minimum(20 + random.gamma(2.0, 180.0, n), 1500.0)
    orders = random.poisson(orders_a_day * tenure)
    bought = orders > 0
    spend = orders * basket * random.gamma(16.0, 1 / 16.0, n)
    pages = random.poisson(orders_a_day * tenure * 10 * random.gamma(1.2, 1.0, n) + 3)
    views = random.binomial(pages, 0.5)
    mobile = random.beta(1.5, 1.5, n)
    recency = np.minimum(EASTERN + random.exponential(1 / orders_a_day), tenure)
    return pd.DataFrame(
        {
            "recency_days": np.where(bought, recency, np.nan),
            "tenure_days": tenure,
            "orders_total": orders.astype(np.float64),
            "spend_total": spend,
            "average_order": np.where(bought, spend / np.maximum(orders, 1), np.nan),
            "pages_total": pages.astype(np.float64),
            "views_total": views.astype(np.float64),
            "carts_total": random.binomial(views, random.beta(2.0, 6.0, n)).astype(np.float64),
            "searches_total": random.binomial(pages, 0.3 * random.beta(1.2, 1.8, n)).astype(np.float64),
            # people on the telephone fill in forms in the app: what is seen of their device
            "forms_total": random.poisson(6.0 * mobile).astype(np.float64),
        }
    )


def _traits(known: pd.DataFrame) -> Floats:
    """Return TRAITS of what is known, standardised, shape (contacts, TRAITS)."""
    log = {name: _standard(np.log1p(known[name].to_numpy())) for name in known.columns}
    keen = (known["tenure_days"] < 150) & (known["pages_total"] > known["pages_total"].median())
    columns = [
        log["orders_total"], log["average_order"], log["pages_total"], log["carts_total"], log["forms_total"],
        log["searches_total"], log["tenure_days"], _standard(keen.to_numpy().astype(np.float64)),
        _standard(log["searches_total"] * log["average_order"]),
    ]  # fmt: skip
    return np.stack(columns, axis=1)


def _observable(traits: Floats, settings: Settings) -> Floats:
    raw = traits @ np.array([c.taste for c in settings.channels]).T
    return np.stack([_standard(column) for column in raw.T], axis=1) * settings.observable


def _latent(settings: Settings, random: np.random.Generator) -> Floats:
    both = random.normal(size=(settings.contacts, 1))
    own = random.normal(size=(settings.contacts, len(settings.channels)))
    return settings.latent * (np.sqrt(settings.shared) * both + np.sqrt(1 - settings.shared) * own)


def _intercepts(taste: Floats, sent_to: Bools, settings: Settings) -> Floats:
    """Return the log-odds at which those who may be sent to answer at the mean rates, by bisection."""
    targets = np.array([c.response for c in settings.channels])
    low, high = np.full(len(targets), -12.0), np.full(len(targets), 6.0)
    counted = np.maximum(sent_to.sum(axis=0), 1)
    for _ in range(40):
        middle = (low + high) / 2
        over = (_sigmoid(middle + taste) * sent_to).sum(axis=0) / counted > targets
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    return (low + high) / 2


def _standard(values: Floats) -> Floats:
    """Return values with mean 0 and standard deviation 1; unknown ones at the mean."""
    spread = np.nanstd(values)
    return np.nan_to_num((values - np.nanmean(values)) / (spread if spread > 0 else 1.0))


def _sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))
