"""What the ranker learns from - moments, and the rows made of them - and how its boosters are trained."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from models._candidates import FEATURES, Amounts, Generators, matrix
from models._shelf import Rows
from models._sources import Source, columns_of
from models.base import Floats, Shopper
from models.basket import Basket
from models.catalogue import Catalogue
from models.paths import Paths
from models.sequence import SequenceModel
from nextbest.errors import BadInput
from nextbest.progress import Progress


@dataclass(frozen=True)
class NextPurchaseConfig:
    """Sizes of the two boosters and of the candidate lists."""

    rounds: int = 150
    """Trees that rank."""
    leaves: int = 15
    learning_rate: float = 0.1
    least_rows: int = 100
    """Rows a leaf must hold; fewer where there is little data."""
    l2: float = 10.0
    negatives: int = 40
    """Candidates not bought, drawn for each shopper and moment."""
    carts: float = 0.2
    """Share of the orders shown with a part of them in the cart, so that a cart is made use of."""
    chance_rounds: int = 100
    """Trees that give the probability."""
    horizon_days: float = 30.0
    """"Buys within" of the probability."""
    horizons: tuple[int, ...] = (7, 14)
    """Days of further probabilities; those not below `horizon_days` are left out."""
    seed: int = 7
    amounts: Amounts = field(default_factory=Amounts)

    def __post_init__(self) -> None:
        for name in ("rounds", "leaves", "least_rows", "negatives", "chance_rounds"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} is {getattr(self, name)}; it must be 1 or more")
        if any(days < 1 for days in self.horizons):
            raise BadInput(f"horizons are {self.horizons}; each must be 1 day or more")
        if self.leaves < 2 or self.learning_rate <= 0 or self.l2 < 0 or not 0 <= self.carts < 1:
            raise BadInput("leaves must be 2 or more, learning_rate above 0, l2 0 or more, carts in [0, 1)")

    def sooner(self) -> list[int]:
        """Return the horizons below the default one, rising."""
        return sorted({days for days in self.horizons if days < self.horizon_days})


@dataclass(frozen=True)
class Moment:
    """Shoppers at one moment and what they bought after it; parallel lists."""

    catalogue: Catalogue
    shoppers: Sequence[Shopper]
    next_order: Sequence[Collection[str]]
    """Items of the first order after the moment; empty where none came in time."""
    within: Sequence[Collection[str]]
    """Items bought within the horizon."""
    passed: bool = False
    """Whether the horizon is over before calibration looks; shoppers who bought nothing are there then."""
    sooner: Mapping[int, Sequence[Collection[str]]] = field(default_factory=dict)
    """Days -> items bought within them, for the horizons below the default one."""
    sources: Sequence[Source] = ()
    """Further sources that know nothing of what comes after the moment."""


@dataclass(frozen=True)
class RankingData:
    """What next_purchase learns from; `then` generators know nothing of what comes after the moments."""

    moments: Iterable[Moment]
    """Moments whose next orders are ranked; the probability is learned from those that are `passed`."""
    later: Moment
    """The moment calibration looks at."""
    sequence_then: SequenceModel | None
    basket_then: Basket | None
    sequence: SequenceModel | None
    """Generators on all there is, to serve with."""
    basket: Basket | None
    sources: Sequence[Source] = ()
    """Further sources on all there is; a moment brings its own."""


@dataclass(frozen=True)
class Sample:
    """Rows to learn from: (rows, FEATURES), labels, and how many rows each shopper and moment has."""

    features: npt.NDArray[np.float32]
    labels: Floats
    groups: Rows


class RowMaker:
    """Makes rows of moments, by the generators that know nothing of what came after."""

    def __init__(
        self, data: RankingData, config: NextPurchaseConfig, random: np.random.Generator, progress: Progress
    ) -> None:
        self._data, self._config, self._random, self._progress = data, config, random, progress

    def ranked_and_bought(self) -> tuple[Sample, Sample]:
        """Return the rows to rank (next orders that can be foretold) and those to say how likely each is.

        Both hold all candidates bought and a sample of the others; the latter everyone of the moments passed.
        """
        ranked, bought = list[_Part](), list[_Part]()
        for done, moment in enumerate(self._data.moments):
            generators = self._generators(moment)
            for shopper, order, within in zip(moment.shoppers, moment.next_order, moment.within, strict=True):
                plain = self._look(generators, shopper, ()) if moment.passed else None
                if plain is not None:
                    bought.append(self._some(plain, within))
                if order:
                    cart = self._cart(order)
                    seen = plain if plain is not None and not cart else self._look(generators, shopper, cart)
                    ranked.append(self._some(seen, [item for item in order if item not in cart]))
            self._progress("candidates: moments", done + 1, 0)
        return _joined([part for part in ranked if part.labels.any()]), _joined(bought)

    def checked(self) -> tuple[Sample, dict[int, Floats]]:
        """Return every candidate of everyone when calibration looks, and the labels of shorter horizons."""
        later, days = self._data.later, self._config.sooner()
        generators = self._generators(later)
        parts, sooner = list[_Part](), {horizon: [np.empty(0)] for horizon in days if horizon in later.sooner}
        for place, shopper in enumerate(later.shoppers):
            seen = self._look(generators, shopper, ())
            parts.append(seen.labelled(later.within[place]))
            for horizon, labels in sooner.items():
                labels.append(seen.bought(later.sooner[horizon][place]).astype(np.float64))
        return _joined(parts), {horizon: np.concatenate(labels) for horizon, labels in sooner.items()}

    def _generators(self, moment: Moment) -> Generators:
        then = self._data
        return Generators(
            moment.catalogue, then.sequence_then, then.basket_then, self._config.amounts, moment.sources
        )

    @staticmethod
    def _look(generators: Generators, shopper: Shopper, cart: Sequence[str]) -> "_Seen":
        found = generators.candidates(shopper, cart)
        features = matrix(shopper, generators.catalogue, found).astype(np.float32)
        return _Seen(generators, found.rows, features)

    def _some(self, seen: "_Seen", bought: Collection[str]) -> "_Part":
        whole = seen.labelled(bought)
        drawn = self._random.random(len(whole.labels)) < self._config.negatives / max(len(whole.labels), 1)
        keep = whole.labels | drawn
        return _Part(whole.features[keep], whole.labels[keep])

    def _cart(self, items: Collection[str]) -> list[str]:
        """Put up to three items of the order into a cart, in the configured share of the orders."""
        if len(items) < 2 or self._random.random() >= self._config.carts:
            return []
        size = int(self._random.integers(1, min(3, len(items) - 1) + 1))
        return [str(item) for item in self._random.choice(sorted(items), size, replace=False)]


@dataclass(frozen=True)
class _Part:
    """A shopper's rows: features and which were bought."""

    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Seen:
    """A shopper's candidates: catalogue rows and features."""

    generators: Generators
    rows: Rows
    features: npt.NDArray[np.float32]

    def labelled(self, bought: Collection[str]) -> _Part:
        """Tell which of them were bought."""
        return _Part(self.features, self.bought(bought))

    def bought(self, bought: Collection[str]) -> npt.NDArray[np.bool_]:
        """Return which of them were."""
        return np.isin(self.rows, self.generators.shelf.rows_of(list(bought)))


def _joined(parts: Sequence[_Part]) -> Sample:
    features = [part.features for part in parts] or [np.empty((0, len(FEATURES)), dtype=np.float32)]
    labels = np.concatenate([np.empty(0), *(part.labels for part in parts)])
    groups = np.array([len(part.labels) for part in parts], dtype=np.int64)
    return Sample(np.concatenate(features), labels, groups)


UNSTEADY = [float(name not in columns_of(Paths)) for name in FEATURES]
"""Weight of each feature in the probability: none for paths. Campaigns come at dates, so who is on a path
differs from one moment to the next, and with it the level (docs/decisions.md)."""


def boost(rows: Sample, config: NextPurchaseConfig, seed: int, objective: str, rounds: int) -> lgb.Booster:
    """Train small, strongly regularised trees: on all candidates large ones learn the shoppers by heart."""
    ranks = objective == "lambdarank"
    parameters = {
        "objective": objective, "learning_rate": config.learning_rate, "num_leaves": config.leaves,
        "min_data_in_leaf": int(np.clip(len(rows.labels) // 200, 3, config.least_rows)),
        "lambda_l2": config.l2, "feature_fraction": 0.5, "bagging_fraction": 0.7, "bagging_freq": 1,
        "num_threads": 1, "verbose": -1, "seed": seed, "deterministic": True, "force_row_wise": True,
        **({"lambdarank_truncation_level": 10} if ranks else {"feature_contri": UNSTEADY}),
    }  # fmt: skip
    data = lgb.Dataset(
        rows.features, rows.labels, group=rows.groups if ranks else None, feature_name=list(FEATURES)
    )
    return lgb.train(parameters, data, rounds)
