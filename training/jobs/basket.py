"""Basket: count what goes together up to the cut, then put back what is taken out of later baskets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from features.items import items_at
from models._pyfunc import predict, shopper_of
from models.base import Floats
from models.basket import Basket, BasketConfig
from models.catalogue import Catalogue
from models.popularity import Popularity, PopularityConfig
from nextbest.columns import ITEM_ID, ORDER_ID
from nextbest.errors import NotReady
from training import plots
from training._basket_tables import category_tables, rule_table
from training._counted import counted
from training._options import configured, described
from training._purchases import between, bought_by, purchases
from training._snapshots import split_of
from training.base import Context, Evaluation
from training.coverage import Coverage, baskets, coverage
from training.metrics import hit_rate_at_k, ndcg_at_k, recall_at_k
from training.split import TemporalSplit

K = 10
MOST_BASKETS = 5_000
LIFT_WEIGHTS = (0.0, 0.2, 0.4, 0.6, 0.8)
"""lift_weight: what validation chooses from."""
OPTIONS = {
    "min_baskets": "baskets a rule must be seen in; 0: 10, fewer where there are few baskets",
    "length": "items of a rule at most, 2 to 4",
    "false_discovery": "share of the rules that may be chance",
    "lift_weight": "0 ranks rules by confidence, 1 by lift; chosen on validation unless given",
    "min_confidence": "confidence a rule of two antecedents or more must have",
    "consequents": "rules kept an antecedent",
    "half_life_days": "days after which a basket counts half for confidence and lift; 0: all alike",
    "season": "months whose baskets alone are counted, as 11,12; empty: all",
}
SHOWN = 1_000
"""Rows of a logged table at most."""


@dataclass(frozen=True)
class Puzzles:
    """Baskets with one item taken out: what is left, and that item."""

    left: list[list[str]]
    missing: list[str]

    @classmethod
    def of(cls, lines: pd.DataFrame, seed: int) -> "Puzzles":
        """Take a random item out of each basket of two items or more, of MOST_BASKETS at most."""
        random = np.random.default_rng(seed)
        pairs = lines[[ORDER_ID, ITEM_ID]].astype(object).drop_duplicates()
        baskets = pairs.groupby(ORDER_ID, sort=True)[ITEM_ID].agg(list)
        baskets = baskets[baskets.map(len) >= 2]
        if len(baskets) > MOST_BASKETS:
            baskets = baskets.iloc[np.sort(random.choice(len(baskets), MOST_BASKETS, replace=False))]
        left, missing = [], []
        for items in baskets:
            out = int(random.integers(len(items)))
            missing.append(str(items[out]))
            left.append([str(item) for item in items if item != items[out]])
        return cls(left, missing)

    def answered(self, model: Any, catalogue: Catalogue) -> list[list[str]]:
        """Return what a model would put in, K items for each basket, none that lies in it."""
        nobody = shopper_of({"now": catalogue.now})
        ranked = []
        for left in self.left:
            items = model.recommend(nobody, catalogue, K + len(left), left).item_ids
            ranked.append([item for item in items if item not in left][:K])
        return ranked

    def ndcg(self, ranked: Sequence[Sequence[str]]) -> Floats:
        """Return NDCG@K of each basket."""
        return ndcg_at_k(ranked, [[item] for item in self.missing], K)


@dataclass
class BasketData:
    """Lines bought, by window, and the puzzles of the hold-out."""

    split: TemporalSplit
    lines: pd.DataFrame
    catalogue: Catalogue
    holdout: Puzzles
    _answers: list[tuple[Any, list[list[str]]]] = field(default_factory=list)
    _coverages: list[tuple[Basket, Coverage]] = field(default_factory=list)

    def answers(self, model: Any) -> list[list[str]]:
        """Return what a model puts into the hold-out's baskets, asked once."""
        for known, ranked in self._answers:
            if known is model:
                return ranked
        ranked = self.holdout.answered(model, self.catalogue)
        self._answers.append((model, ranked))
        return ranked

    def coverage(self, model: Basket) -> Coverage:
        """Return how a model's rules hold on the hold-out, compared once."""
        for known, found in self._coverages:
            if known is model:
                return found
        found = coverage(model, baskets(between(self.lines, self.split.cut, self.split.end)))
        self._coverages.append((model, found))
        return found


class BasketJob:
    """What goes together."""

    name: ClassVar[str] = "basket"
    metric: ClassVar[str] = f"ndcg@{K}"
    higher_is_better: ClassVar[bool] = True
    description: ClassVar[str] = (
        "Association rules from exact counts of what lay together in a basket, of one to three antecedents, "
        "kept where chance does not explain them (Fisher's exact test, false discoveries controlled over all "
        "rules looked at). Measured by taking one item out of each later basket and putting it back from "
        "what is left; `coverage`: later baskets some rule foretold, a share. A rule learned before the "
        "validation window that stopped holding in it is retired. Says what goes together, not what causes "
        "what; a rule seen in few baskets ranks by the lower end of what its evidence allows."
    )
    options: ClassVar[Mapping[str, str]] = {
        "cut": "where the hold-out begins, YYYY-MM-DD (its last days)",
        **described(BasketConfig, OPTIONS),
    }

    def prepare(self, context: Context) -> BasketData:
        """Read the lines and take an item out of each basket of the hold-out."""
        split = split_of(context, 1)
        lines = purchases(context.settings, split.end)
        holdout = Puzzles.of(between(lines, split.cut, split.end), context.seed)
        if not holdout.missing:
            raise NotReady(
                f"no basket after {split.cut:%Y-%m-%d} holds two items, so there is nothing to measure on; "
                "ingest orders with more than one line"
            )
        return BasketData(split, lines, shelf(context, split.cut), holdout)

    def fit(self, data: BasketData, context: Context) -> Basket:
        """Choose the weight of lift and what to retire on validation, then count everything up to the cut."""
        config = configured(BasketConfig, context.options, list(OPTIONS))
        retired = None
        if (before := _before(config, data, context)) is not None:
            if "lift_weight" not in context.options:
                config = replace(config, lift_weight=_weight(before, data, context))
            window = between(data.lines, data.split.train_until, data.split.cut)
            retired = coverage(before, baskets(window)).stopped
        lines = bought_by(data.lines, data.split.cut)
        whole = baskets(lines)
        plain = not (config.season or config.half_life_days)
        pairs = counted(context.settings, lines, whole) if plain else None
        return Basket.learn(whole, config, context.seed, context.progress, pairs, retired)

    def baselines(self, data: BasketData, context: Context) -> Mapping[str, Any]:
        """Return what sells, and what sells in the categories of the basket."""
        del data, context
        return {"popularity": Popularity(), "popularity_category": Popularity(PopularityConfig("category"))}

    def evaluate(self, model: Any, data: BasketData) -> Evaluation:
        """Measure how high the item taken out is ranked."""
        ranked = data.answers(model)
        missing = [[item] for item in data.holdout.missing]
        ndcg = data.holdout.ndcg(ranked)
        metrics = {
            self.metric: float(ndcg.mean()),
            f"recall@{K}": float(recall_at_k(ranked, missing, K).mean()),
            "hit_rate@1": float(hit_rate_at_k(ranked, missing, 1).mean()),
            "answered": float(np.mean([len(items) > 0 for items in ranked])),
        }
        if isinstance(model, Basket):
            metrics |= data.coverage(model).figures
        return Evaluation(metrics, len(missing), lambda rows: float(ndcg[rows].mean()))

    def figures(self, model: Basket, data: BasketData) -> Mapping[str, Any]:
        """Draw lift against support, and the figure by size of the basket."""
        rules, table = rule_table(model), self._by_size(model, data)
        return {
            "lift_support.png": plots.scatter(
                np.log10(rules["support"]), np.log10(rules["lift"]), "Rules", "log10 support", "log10 lift"
            ),
            "by_size.png": plots.bars(
                table["items_left"].tolist(), table[self.metric].to_numpy(), "By items left", self.metric
            ),
        }

    def tables(self, model: Basket, data: BasketData) -> Mapping[str, pd.DataFrame]:
        """Return figure and rules by what is left in a basket, rules, how they hold, and categories."""
        held = data.coverage(model).rules
        before = baskets(bought_by(data.lines, data.split.cut))
        found = {"by_size": self._by_size(model, data), "rules": rule_table(model).head(20)}
        found |= {"coverage": held.head(SHOWN), "stopped": held[held["state"] == "stopped"]}
        found |= {"retired": model.retired, **category_tables(before, data.catalogue, model.config, SHOWN)}
        return {name: table for name, table in found.items() if len(table)}

    def _by_size(self, model: Basket, data: BasketData) -> pd.DataFrame:
        names = ["1", "2-4", "5-9", "10 or more"]
        left = np.array([len(items) for items in data.holdout.left])
        table = pd.DataFrame(
            {
                "items_left": [names[i] for i in np.digitize(left, [2, 5, 10])],
                "baskets": 1.0,
                self.metric: data.holdout.ndcg(data.answers(model)),
                "with_rules": [float(bool(model.bought_together(items, 1))) for items in data.holdout.left],
            }
        )
        grouped = table.groupby("items_left").agg(
            {"baskets": "sum", self.metric: "mean", "with_rules": "mean"}
        )
        return grouped.reindex([name for name in names if name in grouped.index]).reset_index()

    def example(self, model: Basket, data: BasketData) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return a few baskets and the rules that go from them."""
        known = [items for items in data.holdout.left if model.bought_together(items, 1)][:3]
        frame = pd.DataFrame({"item_ids": [",".join(items) for items in known or data.holdout.left[:3]]})
        return frame, predict(model, frame)

    def catalogue(self, data: BasketData) -> Catalogue:
        """Return the shelf that goes with the registered model."""
        return data.catalogue

    def facts(self, data: BasketData) -> Mapping[str, Any]:
        """Return the dates and sizes of what was counted and measured on."""
        before = bought_by(data.lines, data.split.cut)
        return {
            **data.split.facts(),
            "lines": len(before),
            "baskets": int(before[ORDER_ID].nunique()),
            "items": int(before[ITEM_ID].nunique()),
            "holdout_units": len(data.holdout.missing),
            "simulated": False,
        }


def shelf(context: Context, at: datetime) -> Catalogue:
    """Return every item as of a moment."""
    return Catalogue.from_frame(items_at(context.settings, at), at.timestamp())


def _before(config: BasketConfig, data: BasketData, context: Context) -> Basket | None:
    """Return what would have been learned before validation; None where that was too little."""
    lines = bought_by(data.lines, data.split.train_until)
    try:
        return Basket.learn(baskets(lines), replace(config, lift_weight=0.0), context.seed)
    except NotReady:
        return None


def _weight(before: Basket, data: BasketData, context: Context) -> float:
    """Return the weight of lift that puts back most on validation; single antecedents decide what it is."""
    split, config = data.split, BasketConfig()
    puzzles = Puzzles.of(between(data.lines, split.train_until, split.cut), context.seed)
    if not puzzles.missing:
        return config.lift_weight
    singles = before.rules[before.rules["b"] < 0]
    found = {}
    for weight in LIFT_WEIGHTS:
        weighed = replace(before.config, lift_weight=weight)
        model = Basket(weighed, before.total, list(before.item_ids), singles, before.weight)
        found[weight] = float(puzzles.ndcg(puzzles.answered(model, data.catalogue)).mean())
        context.progress("weight of lift", len(found), len(LIFT_WEIGHTS))
    return max(found, key=lambda weight: (found[weight], weight))
