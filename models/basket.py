"""What goes together in a basket: association rules from exact counts, ranked by what the evidence allows.

A rule {a} => c or {a, b} => c has support P(a, c), confidence P(c | a), lift P(c | a) / P(c) and leverage
P(a, c) - P(a) P(c) (Agrawal & Srikant 1994; Brin et al. 1997; Piatetsky-Shapiro 1991). Rules are ranked by
the lower end of the confidence's Wilson interval over P(c)^lift_weight, so that a rule seen three times does
not outrank one seen three hundred.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from models._mining import Baskets as Baskets
from models._mining import Ints
from models._association import mine as mine
from models._shelf import shelf_of
from models.base import Floats, Ranking, Reason, Rule, Shopper
from models.catalogue import Catalogue
from nextbest.errors import BadInput, NotReady
from nextbest.progress import Progress, silent

ENOUGH_BASKETS = 5_000
"""Baskets from which a rule must be seen in ten of them; below, in proportion, but in two at least."""
RECENT = 10
"""Recent items of a shopper that stand in for a page or a cart."""


@dataclass(frozen=True)
class BasketConfig:
    """What is counted and what is kept."""

    min_baskets: int = 0
    """Baskets a rule must be seen in; 0: 10, or in proportion where there are fewer than 5,000 baskets."""
    length: int = 3
    """Items of a rule, its consequent included: 2 or 3."""
    lift_weight: float = 0.5
    """0 ranks rules by confidence, 1 by lift; both at the lower end of their interval."""
    min_confidence: float = 0.1
    """Confidence a rule of two antecedents must have to be kept."""
    consequents: int = 200
    """Rules kept an antecedent, the best."""

    def __post_init__(self) -> None:
        if self.length not in (2, 3):
            raise BadInput(f"length is {self.length}; rules have 2 or 3 items")
        if self.min_baskets < 0 or self.consequents < 1:
            raise BadInput("min_baskets must be 0 or more and consequents 1 or more")
        if not (0 <= self.lift_weight <= 1 and 0 <= self.min_confidence <= 1):
            raise BadInput("lift_weight and min_confidence must lie between 0 and 1")

    def least(self, baskets: int) -> int:
        """Return the baskets a rule must be seen in, of so many."""
        return self.min_baskets or max(2, min(10, round(10 * baskets / ENOUGH_BASKETS)))


def confidence_low(baskets: npt.ArrayLike, antecedent_baskets: npt.ArrayLike, z: float = 1.645) -> Floats:
    """Return the lower end of the confidence's Wilson interval, 95 % one-sided (Wilson 1927)."""
    n = np.asarray(antecedent_baskets, dtype=np.float64)
    p = np.asarray(baskets, dtype=np.float64) / n
    spread = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return np.asarray((p + z * z / (2 * n) - spread) / (1 + z * z / n), dtype=np.float64)


@dataclass(frozen=True)
class Neighbours:
    """Items that others speak for, best first: numbers, sums of scores, the strongest rule of each."""

    numbers: Ints
    scores: Floats
    rules: Ints


_COUNTS = ("baskets", "antecedent_baskets", "consequent_baskets")


class Basket:
    """Rules kept by antecedent, best first, in flat arrays; asks cost a slice an antecedent."""

    kind: ClassVar[str] = "basket"

    def __init__(
        self, config: BasketConfig, total: int, item_ids: Sequence[str], rules: pd.DataFrame
    ) -> None:
        """Take rules as `mine` gives them; those whose lift is not above 1 by evidence are left out."""
        self.config = config
        self.total = total
        self.item_ids = np.asarray(item_ids, dtype=object)
        self._number = {str(item): number for number, item in enumerate(self.item_ids)}
        self.rules = self._kept(rules)
        self._columns = {name: self.rules[name].to_numpy() for name in self.rules if name != "score"}
        self._consequent = self._columns["consequent"]
        self._score = self.rules["score"].to_numpy()
        self._span = _spans(self.rules["a"].to_numpy(), self.rules["b"].to_numpy())

    @classmethod
    def learn(
        cls, data: Baskets, config: BasketConfig | None = None, seed: int = 0, progress: Progress = silent
    ) -> Self:
        """Count. Raises NotReady where no two items lie together often enough. Nothing is random."""
        del seed
        config = config or BasketConfig()
        least = config.least(len(data))
        rules = mine(data, least, (0.0, config.min_confidence)[: config.length - 1], progress)
        if rules.empty:
            raise NotReady(
                f"no two items lie together in {least} of the {len(data)} baskets; "
                "ingest more orders or lower it with --set min_baskets=2"
            )
        return cls(config, len(data), list(data.item_ids), rules)

    def _kept(self, rules: pd.DataFrame) -> pd.DataFrame:
        low = confidence_low(rules["baskets"], rules["antecedent_baskets"])
        share = rules["consequent_baskets"].to_numpy() / self.total
        rules = rules.assign(score=low / share**self.config.lift_weight)
        rules = rules[low > share]
        rules = rules.sort_values(["b", "a", "score", "consequent"], ascending=[True, True, False, True])
        place = rules.groupby(["b", "a"]).cumcount()
        return rules[place < self.config.consequents].reset_index(drop=True)

    def bought_together(self, item_ids: Sequence[str], k: int) -> list[Rule]:
        """Return at most k rules, the best one for each consequent."""
        rows = self._rows(item_ids)
        best: dict[int, int] = {}  # consequent -> rule
        for row in rows[np.lexsort((self._consequent[rows], -self._score[rows]))].tolist():
            best.setdefault(int(self._consequent[row]), row)
            if len(best) == k:
                break
        return [self._rule(row) for row in best.values()]

    def neighbours(self, item_ids: Sequence[str], k: int) -> tuple[list[str], Floats]:
        """Return the k items that the given ones speak for most, and how much."""
        found = self.gather(item_ids, k)
        return [str(item) for item in self.item_ids[found.numbers]], found.scores

    def gather(self, item_ids: Sequence[str], k: int) -> "Neighbours":
        """Return the same as numbers into `item_ids`, each with the rule that speaks for it most."""
        known = {self._number.get(item, -1) for item in item_ids}
        spans = [self._span[number, -1] for number in sorted(known) if (number, -1) in self._span]
        none = np.empty(0, dtype=np.int64)
        if not spans:
            return Neighbours(none, np.empty(0), none)
        rows = np.concatenate([np.arange(*span) for span in spans])
        rows = rows[np.lexsort((-self._score[rows], self._consequent[rows]))]
        consequent = self._consequent[rows]
        starts = np.flatnonzero(np.r_[True, consequent[1:] != consequent[:-1]])
        sums = np.add.reduceat(self._score[rows], starts)
        sums[np.isin(consequent[starts], list(known))] = -1.0
        first = np.lexsort((consequent[starts], -sums))[:k]
        first = first[sums[first] > 0]
        return Neighbours(consequent[starts[first]], sums[first], rows[starts[first]])

    def recommend(
        self, shopper: Shopper, catalogue: Catalogue, k: int, context: Sequence[str] = ()
    ) -> Ranking:
        """Return what goes with the context; without one, with what the shopper saw and bought last."""
        found = self.gather(context or latest(shopper, RECENT), 2 * k)
        items = [str(item) for item in self.item_ids[found.numbers]]
        keep = np.flatnonzero(shelf_of(catalogue).rows_of(items) >= 0)[:k]
        reasons = [self.reason(int(found.rules[place])) for place in keep]
        return Ranking([items[place] for place in keep], found.scores[keep], reasons, self.kind)

    def reason(self, rule: int) -> Reason:
        """Say what the rule of that number (as in `Neighbours.rules`) rests on."""
        together, of_a, of_c = (int(self._columns[name][rule]) for name in _COUNTS)
        lift = together * self.total / (of_a * of_c)
        return Reason("bought_together", {"item_id": self.antecedent(rule), "lift": round(lift, 2)})

    def antecedent(self, rule: int) -> str:
        """Return the (first) item a rule goes from."""
        return str(self.item_ids[self._columns["a"][rule]])

    def _rows(self, item_ids: Sequence[str]) -> Ints:
        """Return the rules whose antecedent lies in item_ids and whose consequent does not."""
        numbers = sorted({self._number[item] for item in item_ids if item in self._number})
        antecedents = [(a, -1) for a in numbers] + [(a, b) for a in numbers for b in numbers if a < b]
        spans = [self._span[antecedent] for antecedent in antecedents if antecedent in self._span]
        if not spans:
            return np.empty(0, dtype=np.int64)
        rows = np.concatenate([np.arange(*span, dtype=np.int64) for span in spans])
        return rows[~np.isin(self._consequent[rows], numbers)]

    def _rule(self, row: int) -> Rule:
        rule = {name: int(values[row]) for name, values in self._columns.items()}
        antecedent = tuple(str(self.item_ids[rule[name]]) for name in ("a", "b") if rule[name] >= 0)
        together, a, c = (rule[name] for name in _COUNTS)
        n, confidence = self.total, together / a
        return Rule(
            antecedent, str(self.item_ids[rule["consequent"]]), together, a, c, n,
            support=together / n, confidence=confidence, lift=confidence / (c / n),
            leverage=together / n - a / n * c / n,
        )  # fmt: skip

    def save(self, folder: Path) -> None:
        """Write basket.json, items.parquet and rules.parquet."""
        facts = {"config": asdict(self.config), "total": self.total}
        (folder / "basket.json").write_text(json.dumps(facts, indent=1))
        pd.DataFrame({"item_id": self.item_ids.astype(str)}).to_parquet(folder / "items.parquet", index=False)
        self.rules.drop(columns="score").to_parquet(folder / "rules.parquet", index=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        facts = json.loads((folder / "basket.json").read_text())
        items = pd.read_parquet(folder / "items.parquet")["item_id"].tolist()
        return cls(
            BasketConfig(**facts["config"]), facts["total"], items, pd.read_parquet(folder / "rules.parquet")
        )


def _spans(a: Ints, b: Ints) -> dict[tuple[int, int], tuple[int, int]]:
    """Map antecedent (a, b) to where its rules begin and end; rules of one antecedent lie together."""
    if not len(a):
        return {}
    first = np.flatnonzero(np.r_[True, (a[1:] != a[:-1]) | (b[1:] != b[:-1])])
    stop = np.r_[first[1:], len(a)]
    return {
        (int(x), int(y)): (int(s), int(e)) for x, y, s, e in zip(a[first], b[first], first, stop, strict=True)
    }


def latest(shopper: Shopper, most: int) -> list[str]:
    """Return the items seen last and bought last, `most` of each."""
    return list(dict.fromkeys([*shopper.viewed_items[:most], *shopper.recent_items[:most]]))
