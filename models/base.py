"""What a model is: the protocols for scoring and learning, and the shapes that go in and out.

A model is one file of this package. It has a `kind` (unique, the file's name), can `save` itself as
plain files into a folder and be `load`-ed from them, and satisfies the scoring protocol of its task:

    Recommender     recommend(shopper, catalogue, k) -> Ranking   popularity, sequence, next_purchase …
    ContactScorer   score(frame) -> frame                         rfm, rules, churn, value
    Associator      bought_together(item_ids, k) -> list[Rule]    basket
    ChannelScorer   rank(frame, channels) -> frame                channel

Learning is separate: a model that learns has a classmethod `learn(data, config, seed, progress)` whose
data is its own; a rule implements scoring alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.catalogue import Catalogue

Floats = npt.NDArray[np.float64]


class Shopper(Protocol):
    """A contact at a moment, as the recommenders see one; all lists valued at `now`.

    The blocks are parallel and ordered as nextbest.columns says: recent_*, viewed_* and step_* newest
    first, repeat_* by falling repeat_90d, category_* by falling category_90d. Times are epoch seconds,
    weights decayed counts at `now`.
    """

    @property
    def contact_id(self) -> str | None:
        """None for a visitor nobody knows."""

    @property
    def now(self) -> float:
        """Epoch seconds."""

    @property
    def features(self) -> Mapping[str, float]:
        """CONTACT_FEATURES at `now`; empty for someone nothing is known of."""

    @property
    def recent_items(self) -> Sequence[str]:
        """Bought last."""

    @property
    def recent_times(self) -> Floats:
        """When."""

    @property
    def viewed_items(self) -> Sequence[str]:
        """Looked at last."""

    @property
    def viewed_times(self) -> Floats:
        """When."""

    @property
    def repeat_items(self) -> Sequence[str]:
        """Everything bought."""

    @property
    def repeat_30d(self) -> Floats:
        """Purchases of each, half-life 30 days."""

    @property
    def repeat_90d(self) -> Floats:
        """Half-life 90 days."""

    @property
    def repeat_365d(self) -> Floats:
        """Half-life 365 days."""

    @property
    def repeat_count(self) -> Floats:
        """Purchases in all."""

    @property
    def repeat_first(self) -> Floats:
        """The first."""

    @property
    def repeat_last(self) -> Floats:
        """The latest."""

    @property
    def category_names(self) -> Sequence[str]:
        """Categories bought in."""

    @property
    def category_90d(self) -> Floats:
        """Purchases in each, half-life 90 days."""

    @property
    def step_names(self) -> Sequence[str]:
        """Events that were not purchases."""

    @property
    def step_categories(self) -> Sequence[str]:
        """The category of what each was about; "" where there is none."""

    @property
    def step_times(self) -> Floats:
        """When."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an item is recommended, as data: `kind` and what it rests on.

    Kinds: bought_together, due, bought_before, similar_to, because_you_viewed, walked, trending_in,
    popular_in, popular, new, grown_out_of. serving.schemas says what each holds by the time it is answered.
    """

    kind: str
    because: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Items best first; `probabilities` is None for a model that gives none."""

    item_ids: list[str]
    scores: Floats
    reasons: list[Reason]
    source: str
    probabilities: Floats | None = None
    """Of the default horizon."""
    by_horizon: Mapping[int, Floats] | None = None
    """Days -> the probability of being bought within them, rising with the days."""
    notes: dict[Any, Any] = field(default_factory=dict, init=False, compare=False, repr=False)
    """What was made of this very ranking, kept as long as it is; one made from it starts without."""

    def __len__(self) -> int:
        return len(self.item_ids)

    def take(self, keep: Sequence[int]) -> "Ranking":
        """Return the ranking with the given positions only, in the given order."""
        rows = np.asarray(keep, dtype=np.int64)
        return Ranking(
            [self.item_ids[i] for i in rows],
            self.scores[rows],
            [self.reasons[i] for i in rows],
            self.source,
            None if self.probabilities is None else self.probabilities[rows],
            None if self.by_horizon is None else {d: p[rows] for d, p in self.by_horizon.items()},
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """An association rule with its evidence: counts of baskets, and the measures that follow from them."""

    antecedent: tuple[str, ...]
    consequent: str
    baskets: int
    """Baskets with antecedent and consequent."""
    antecedent_baskets: int
    consequent_baskets: int
    total_baskets: int
    support: float
    confidence: float
    lift: float
    leverage: float
    conviction: float
    """Infinite where the confidence is 1."""
    p_value: float
    """Chance of so many baskets with both if they were independent (Fisher's exact test, one-sided)."""
    q_value: float
    """The least false discovery rate among all rules looked at at which this is one."""


@runtime_checkable
class Model(Protocol):
    """What every model has."""

    kind: ClassVar[str]

    def save(self, folder: Path) -> None:
        """Write plain files into an existing empty folder."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""


class Recommender(Model, Protocol):
    """Ranks items for a shopper."""

    def recommend(
        self, shopper: Shopper, catalogue: Catalogue, k: int, context: Sequence[str] = ()
    ) -> Ranking:
        """Return at most k items, best first.

        `context` are the items of the page or the cart. Nothing is filtered but what the model itself
        cannot score: eligibility (models.eligibility) is applied by the caller, who asks for more than it
        needs.
        """


class ContactScorer(Model, Protocol):
    """Scores contacts from their features."""

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Rows in, rows out, same index. In: CONTACT_FEATURES (missing columns count as NaN)."""


class Associator(Model, Protocol):
    """Knows what goes together in a basket."""

    def bought_together(self, item_ids: Sequence[str], k: int) -> list[Rule]:
        """Return at most k rules from within item_ids to an item outside them, best first."""


class NotFitted(RuntimeError):
    """A model was asked before it learned."""
