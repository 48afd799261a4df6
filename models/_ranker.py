"""What the ranker learns from - moments, and the rows made of them - and how its boosters are trained."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from models._candidates import FEATURES, Amounts, Generators, matrix
from models._shelf import Rows
from models.base import Floats, Shopper
from models.basket import Basket
from models.catalogue import Catalogue
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
    seed: int = 7
    amounts: Amounts = field(default_factory=Amounts)

    def __post_init__(self) -> None:
        for name in ("rounds", "leaves", "least_rows", "negatives", "chance_rounds"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} is {getattr(self, name)}; it must be 1 or more")
        if self.leaves < 2 or self.learning_rate <= 0 or self.l2 < 0 or not 0 <= self.carts < 1:
            raise BadInput("leaves must be 2 or more, learning_rate above 0, l2 0 or more, carts in [0, 1)")


@dataclass(frozen=True)
class Moment:
    """Shoppers at one moment and what they bought after it; parallel lists."""

    catalogue: Catalogue
    shoppers: Sequence[Shopper]
    next_order: Sequence[Collection[str]]
    """Items of the first order after the moment; empty where none came in time."""
    within: Sequence[Collection[str]]
    """Items bought within the horizon."""


@dataclass(frozen=True)
class RankingData:
    """What next_purchase learns from; `then` generators know nothing of what comes after the moments."""

    ranking: Iterable[Moment]
    """Moments whose next orders are ranked."""
    chances: Iterable[Moment]
    """Moments whose horizons have passed before `later`."""
    later: Moment
    """The moment calibration looks at."""
    sequence_then: SequenceModel | None
    basket_then: Basket | None
    sequence: SequenceModel | None
    """Generators on all there is, to serve with."""
    basket: Basket | None


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

    def of(
        self,
        moments: Iterable[Moment],
        wanted: Callable[[Moment], Sequence[Collection[str]]],
        carts: float,
        every: bool = False,
        whole: bool = False,
    ) -> Sample:
        """Return all candidates bought and a sample of the others (`whole`: all of them).

        Shoppers without a bought candidate are left out, unless `every`.
        """
        parts: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]] = []
        for done, moment in enumerate(moments):
            generators = Generators(
                moment.catalogue, self._data.sequence_then, self._data.basket_then, self._config.amounts
            )
            for shopper, items in zip(moment.shoppers, wanted(moment), strict=True):
                part = self._one(generators, shopper, items, carts, whole) if items or every else None
                if part is not None and len(part[1]) and (every or part[1].any()):
                    parts.append(part)
            self._progress("candidates: moments", done + 1, 0)
        features = [part[0] for part in parts] or [np.empty((0, len(FEATURES)), dtype=np.float32)]
        labels = np.concatenate([np.empty(0), *(part[1] for part in parts)])
        groups = np.array([len(part[1]) for part in parts], dtype=np.int64)
        return Sample(np.concatenate(features), labels.astype(np.float64), groups)

    def _one(
        self, generators: Generators, shopper: Shopper, items: Collection[str], carts: float, whole: bool
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        cart = self._cart(items, carts)
        found = generators.candidates(shopper, cart)
        rows = generators.shelf.rows_of([item for item in items if item not in cart])
        bought = np.isin(found.rows, rows)
        keep = np.ones(len(bought), dtype=np.bool_)
        if not whole:
            keep = bought | (self._random.random(len(bought)) < self._config.negatives / max(len(bought), 1))
        features = matrix(shopper, generators.catalogue, found)[keep]
        return features.astype(np.float32), bought[keep]

    def _cart(self, items: Collection[str], carts: float) -> list[str]:
        """Put up to three items of the order into a cart, in the given share of the orders."""
        if len(items) < 2 or self._random.random() >= carts:
            return []
        size = int(self._random.integers(1, min(3, len(items) - 1) + 1))
        return [str(item) for item in self._random.choice(sorted(items), size, replace=False)]


def boost(rows: Sample, config: NextPurchaseConfig, seed: int, objective: str, rounds: int) -> lgb.Booster:
    """Train small, strongly regularised trees: on all candidates large ones learn the shoppers by heart."""
    ranks = objective == "lambdarank"
    parameters = {
        "objective": objective, "learning_rate": config.learning_rate, "num_leaves": config.leaves,
        "min_data_in_leaf": int(np.clip(len(rows.labels) // 200, 3, config.least_rows)),
        "lambda_l2": config.l2, "feature_fraction": 0.5, "bagging_fraction": 0.7, "bagging_freq": 1,
        "num_threads": 1, "verbose": -1, "seed": seed, "deterministic": True, "force_row_wise": True,
        **({"lambdarank_truncation_level": 10} if ranks else {}),
    }  # fmt: skip
    data = lgb.Dataset(
        rows.features, rows.labels, group=rows.groups if ranks else None, feature_name=list(FEATURES)
    )
    return lgb.train(parameters, data, rounds)
