"""What a shopper buys next: candidates from several generators, ranked by boosted trees, with probabilities.

Generators offer items: what was bought before, what follows in the sequence, what goes with the cart or the
last purchases, what those who walked the same path bought, what sells. LambdaRank (Burges 2010) orders them
by whether they lie in the next order. A second, pointwise model says how probable it is that an item is
bought within the horizon, calibrated later.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import lightgbm as lgb
import numpy as np
import pandas as pd

from models._calibration import Calibration
from models._candidates import FEATURES, SOURCES, Amounts, Candidates, Generators, matrix
from models._path_source import AskedPaths
from models._ranker import Moment as Moment
from models._ranker import NextPurchaseConfig as NextPurchaseConfig
from models._ranker import RankingData as RankingData
from models._ranker import RowMaker, boost
from models._sources import Source, columns_of
from models.base import Floats, Ranking, Reason, Shopper
from models.basket import Basket, latest
from models.catalogue import Catalogue
from models.frequency import personal_reason
from models.paths import Paths
from models.popularity import popular_reason
from models.sequence import SequenceModel
from nextbest.columns import LOOKS
from nextbest.errors import ArtifactError, NotReady
from nextbest.progress import Progress, silent

LEAST_GROUPS = 20
"""Shoppers whose next order holds a candidate, that there must be to learn a ranking."""
RISING = 1.5
"""Trend from which an item is shown for it."""


class NextPurchase:
    """Generators, a ranker, a calibrated chance."""

    kind: ClassVar[str] = "next_purchase"

    def __init__(
        self,
        config: NextPurchaseConfig,
        ranker: lgb.Booster,
        chance: lgb.Booster,
        calibration: Calibration,
        sequence: SequenceModel | None,
        basket: Basket | None,
        sources: Sequence[Source] = (),
        sooner: Mapping[int, Calibration] | None = None,
    ) -> None:
        self.config, self.calibration = config, calibration
        self.sources, self.sooner = tuple(sources), dict(sorted((sooner or {}).items()))
        self.ranker, self.chance = ranker, chance
        self.sequence, self.basket = sequence, basket
        self._tied: Generators | None = None

    @classmethod
    def learn(
        cls,
        data: RankingData,
        config: NextPurchaseConfig | None = None,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Learn ranker, chance and calibration. Raises NotReady where too few next orders can be foretold."""
        config = config or NextPurchaseConfig()
        rows = RowMaker(data, config, np.random.default_rng(seed), progress)
        ranked, bought = rows.ranked_and_bought()
        if len(ranked.groups) < LEAST_GROUPS:
            raise NotReady(
                f"only {len(ranked.groups)} next orders hold an item that could have been foretold, and "
                f"{LEAST_GROUPS} are needed; ingest more orders"
            )
        if not bought.labels.any():
            raise NotReady("no candidate was bought within the horizon at any moment; ingest more orders")
        ranker = boost(ranked, config, seed, "lambdarank", config.rounds)
        progress("ranker", 1, 3)
        chance = boost(bought, config, seed, "binary", config.chance_rounds)
        progress("ranker", 2, 3)
        checked, sooner = rows.checked()
        scores = np.asarray(chance.predict(checked.features, num_threads=1))
        calibration = Calibration.learn(scores, checked.labels, seed)
        curves = {
            days: Calibration.learn(scores, labels, seed) for days, labels in sooner.items() if labels.any()
        }
        progress("ranker", 3, 3)
        return cls(config, ranker, chance, calibration, data.sequence, data.basket, data.sources, curves)

    def recommend(
        self, shopper: Shopper, catalogue: Catalogue, k: int, context: Sequence[str] = ()
    ) -> Ranking:
        """Return the k candidates ranked highest, with the probability that each is bought in the horizon."""
        generators = self._generators(catalogue)
        found = generators.candidates(shopper, context)
        if not len(found.rows):
            return Ranking([], np.empty(0), [], self.kind, np.empty(0))
        features = matrix(shopper, catalogue, found)
        scores = np.asarray(self.ranker.predict(features, num_threads=1))
        best = np.lexsort((generators.shelf.name_order[found.rows], -scores))[:k]
        chances = self._chances(np.asarray(self.chance.predict(features[best], num_threads=1)))
        because = _Because(self, generators, shopper, found, context)
        return Ranking(
            [str(item) for item in catalogue.item_ids[found.rows[best]]],
            scores[best],
            [because.of(int(place)) for place in best],
            self.kind,
            chances[round(self.config.horizon_days)],
            chances,
        )

    def _chances(self, scores: Floats) -> dict[int, Floats]:
        """Return the calibrated probabilities by days: none above that of a longer horizon."""
        curves = [*self.sooner.items(), (round(self.config.horizon_days), self.calibration)]
        found, ceiling = dict[int, Floats](), np.ones(len(scores))
        for days, curve in reversed(curves):
            ceiling = np.minimum(np.clip(curve.of(scores), 0.0, 1.0), ceiling)
            found[days] = ceiling
        return dict(sorted(found.items()))

    def _generators(self, catalogue: Catalogue) -> Generators:
        """Return the generators tied to this catalogue; the last one's are kept."""
        tied = self._tied
        if tied is None or tied.catalogue is not catalogue:
            tied = Generators(catalogue, self.sequence, self.basket, self.config.amounts, self.sources)
            self._tied = tied
        return tied

    @cached_property
    def knows_views(self) -> bool:
        """Whether the ranker learned from what was looked at; else it is asked as if nothing had been."""
        columns = ["viewed_days"]
        for source in self.sources:
            if isinstance(source, Paths) and any(step.partition(":")[0] in LOOKS for step in source.steps):
                columns += columns_of(Paths)
        splits = self.ranker.feature_importance("split")
        return any(splits[FEATURES.index(column)] > 0 for column in columns)

    def importance(self) -> pd.DataFrame:
        """Return `feature` and `gain` (its share of the ranker's), the heaviest first."""
        gain = self.ranker.feature_importance("gain")
        table = pd.DataFrame({"feature": FEATURES, "gain": gain / max(gain.sum(), 1e-12)})
        return table.sort_values(["gain", "feature"], ascending=[False, True], ignore_index=True)

    def save(self, folder: Path) -> None:
        """Write next_purchase.json, the two boosters as text, and the generators in folders of their own."""
        facts = {
            "config": asdict(self.config),
            "calibration": self.calibration.to_json(),
            "sooner": {str(days): curve.to_json() for days, curve in self.sooner.items()},
            "features": FEATURES,
        }
        (folder / "next_purchase.json").write_text(json.dumps(facts, indent=1))
        (folder / "ranker.txt").write_text(self.ranker.model_to_string())
        (folder / "chance.txt").write_text(self.chance.model_to_string())
        for model in (self.sequence, self.basket, *self.sources):
            if model is not None:
                (folder / model.kind).mkdir()
                model.save(folder / model.kind)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        facts = json.loads((folder / "next_purchase.json").read_text())
        if tuple(facts["features"]) != FEATURES:
            raise ArtifactError(f"{folder} ranks by other features than this version has: train it again")
        amounts = Amounts(**facts["config"].pop("amounts"))
        horizons = tuple(facts["config"].pop("horizons"))
        sequence, basket = folder / "sequence", folder / "basket"
        return cls(
            NextPurchaseConfig(**facts["config"], amounts=amounts, horizons=horizons),
            lgb.Booster(model_str=(folder / "ranker.txt").read_text()),
            lgb.Booster(model_str=(folder / "chance.txt").read_text()),
            Calibration.from_json(facts["calibration"]),
            SequenceModel.load(sequence) if sequence.is_dir() else None,
            Basket.load(basket) if basket.is_dir() else None,
            [source.load(folder / source.kind) for source in SOURCES if (folder / source.kind).is_dir()],
            {int(days): Calibration.from_json(parts) for days, parts in facts["sooner"].items()},
        )


@dataclass(frozen=True)
class _Because:
    """Why a candidate is shown: the strongest of what speaks for it."""

    model: NextPurchase
    generators: Generators
    shopper: Shopper
    found: Candidates
    context: Sequence[str]

    def of(self, place: int) -> Reason:
        """Return the reason of the candidate at `place`."""
        found, basket = self.found, self.model.basket
        rule, own = int(found.rule[place]), int(found.place[place])
        if basket is not None and rule >= 0 and found.in_context:
            return basket.reason(rule)
        if own >= 0:
            return personal_reason(self.shopper, own)
        if basket is not None and rule >= 0:
            return self._from_past(basket, rule)
        return self._from_shop(place)

    def _from_past(self, basket: Basket, rule: int) -> Reason:
        item = basket.antecedent(rule)
        if item in self.shopper.viewed_items[: self.model.config.amounts.recent]:
            return Reason("because_you_viewed", {"item_id": item})
        return basket.reason(rule)

    def _from_shop(self, place: int) -> Reason:
        shelf, row = self.generators.shelf, self.found.rows[place]
        category = str(shelf.catalogue.categories[row])
        walked = self.found.asked.get(Paths.kind)
        if isinstance(walked, AskedPaths) and (reason := walked.reason(int(row))) is not None:
            return reason
        if shelf.trend[row] >= RISING:
            return popular_reason("trending_in", category)
        recent = latest(self.shopper, 1)
        if recent and category not in self.shopper.category_names and shelf.alike(row, recent[0]):
            return Reason("similar_to", {"item_id": recent[0]})
        return popular_reason("popular_in", category)
