"""What goes together in a basket: association rules from exact counts, ranked by what the evidence allows.

A rule says: who buys the antecedent, one to three items, buys the consequent (its measures:
models._association). Kept are rules that chance does not explain, at a false discovery rate over all that
were looked at. They are ranked by the lower end of the confidence's Wilson interval over P(c)^lift_weight, so
that a rule seen three times does not outrank one seen three hundred.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from models._antecedents import PLACES, Antecedents, numbers_of
from models._association import COUNTS, WEIGHTS, hypotheses, rules_of, tested
from models._association import measures as measures
from models._association import mine as mine
from models._mining import Baskets as Baskets
from models._mining import Ints, levels
from models._pair_counts import PairCounts
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
    length: int = 4
    """Items of a rule at most, its consequent included: 2 to 4."""
    false_discovery: float = 0.05
    """Share of the rules kept that may be chance (Benjamini & Hochberg's rate)."""
    lift_weight: float = 0.5
    """0 ranks rules by confidence, 1 by lift; both at the lower end of their interval."""
    min_confidence: float = 0.1
    """Confidence a rule of several antecedents must have to be kept."""
    consequents: int = 200
    """Rules kept an antecedent, the best."""
    half_life_days: float = 0.0
    """Days after which a basket counts half for confidence and lift; 0: all count alike. Evidence is
    whole."""
    season: str = ""
    """Months whose baskets alone are counted, as "11,12"; empty: all."""

    def __post_init__(self) -> None:
        if self.length not in (2, 3, 4):
            raise BadInput(f"length is {self.length}; rules have 2 to 4 items")
        if self.min_baskets < 0 or self.consequents < 1:
            raise BadInput("min_baskets must be 0 or more and consequents 1 or more")
        if not (0 <= self.lift_weight <= 1 and 0 <= self.min_confidence <= 1):
            raise BadInput("lift_weight and min_confidence must lie between 0 and 1")
        if not (0 < self.false_discovery <= 1 and 0 <= self.half_life_days < np.inf):
            raise BadInput("false_discovery must lie above 0 and up to 1, half_life_days be 0 or more")
        self.months()

    def months(self) -> list[int]:
        """Return the months of the season, empty for the whole year."""
        parts = [part.strip() for part in self.season.split(",")] if self.season.strip() else []
        if not all(part.isdecimal() and 1 <= int(part) <= 12 for part in parts):
            raise BadInput(f"season is {self.season!r}; it must be months such as 11,12")
        return sorted({int(part) for part in parts})

    @property
    def confidence(self) -> tuple[float, ...]:
        """The least confidence by the antecedent's size."""
        return (0.0, *[self.min_confidence] * (self.length - 2))

    def least(self, baskets: int) -> int:
        """Return the baskets a rule must be seen in, of so many."""
        return self.min_baskets or max(2, min(10, round(10 * baskets / ENOUGH_BASKETS)))


def confidence_low(baskets: npt.ArrayLike, antecedent_baskets: npt.ArrayLike, z: float = 1.645) -> Floats:
    """Return the lower end of the confidence's Wilson interval, 95 % one-sided (Wilson 1927)."""
    n = np.asarray(antecedent_baskets, dtype=np.float64)
    p = np.asarray(baskets, dtype=np.float64) / n
    spread = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return np.maximum((p + z * z / (2 * n) - spread) / (1 + z * z / n), 0.0)


RETIRED = ("item_1", "item_2", "item_3", "consequent")
"""A rule by name: its antecedent's items, "" where there is no further one, and its consequent."""


@dataclass(frozen=True)
class Neighbours:
    """Items that others speak for, best first: numbers, sums of scores, the strongest rule of each."""

    numbers: Ints
    scores: Floats
    rules: Ints


class Basket:
    """Rules kept by antecedent, best first, in flat arrays; asks cost a slice an antecedent."""

    kind: ClassVar[str] = "basket"

    def __init__(
        self,
        config: BasketConfig,
        total: int,
        item_ids: Sequence[str],
        rules: pd.DataFrame,
        weight: float | None = None,
        retired: pd.DataFrame | None = None,
    ) -> None:
        """Take rules as `tested` gives them; those that may be chance and those retired are left out.

        `weight`: the sum of the baskets' weights where they have any. `retired`: rules by name, RETIRED.
        """
        self.config = config
        self.total = total
        self.weight = weight
        self.item_ids = np.asarray(item_ids, dtype=object)
        self._number = {str(item): number for number, item in enumerate(self.item_ids)}
        self.retired = pd.DataFrame(columns=list(RETIRED)) if retired is None else retired
        self.rules = self._kept(self._whole(rules))
        self._columns = {name: self.rules[name].to_numpy() for name in self.rules if name != "score"}
        self._consequent = self._columns["consequent"]
        self._score = self.rules["score"].to_numpy()
        _, self._confidence, self._lift, *_ = measures(*self._counted(self.rules), weight or total)
        self.antecedents = Antecedents(self.rules, len(self.item_ids))

    @classmethod
    def learn(
        cls,
        data: Baskets,
        config: BasketConfig | None = None,
        seed: int = 0,
        progress: Progress = silent,
        counted: PairCounts | None = None,
        retired: pd.DataFrame | None = None,
    ) -> Self:
        """Count. Raises NotReady where no two items lie together often enough. Nothing is random.

        `counted`: the pairs of just these baskets, where they are counted already; of no use in a season or
        with a half-life. `retired`: rules not to be offered. Times of the baskets are needed for those two.
        """
        del seed
        config = config or BasketConfig()
        if config.months():
            data, counted = data.in_months(config.months()), None
        least = config.least(len(data))
        weights = data.decayed(config.half_life_days) if config.half_life_days else None
        known = None if counted is None else counted.level(data.item_ids, least)
        progress("counting what lies together", 0, 1)
        found = levels(data, least, config.length, weights, known)
        rules = rules_of(found, config.confidence)
        progress("counting what lies together", 1, 1)
        if rules.empty:
            raise NotReady(
                f"no two items lie together in {least} of the {len(data)} baskets; "
                "ingest more orders or lower it with --set min_baskets=2"
            )
        rules = tested(rules, len(data), hypotheses(found))
        weight = None if weights is None else float(weights.sum())
        return cls(config, len(data), list(data.item_ids), rules, weight, retired)

    def _whole(self, rules: pd.DataFrame) -> pd.DataFrame:
        """Return the rules with every column, those of versions before there were tests among them."""
        rules = rules.assign(**{name: -1 for name in PLACES if name not in rules})
        if "q_value" not in rules:
            items = len(self.item_ids)
            rules = tested(rules, self.total, [items ** (size + 1) for size in (1, 2, 3)])
        return rules

    def _kept(self, rules: pd.DataFrame) -> pd.DataFrame:
        together, antecedent, consequent = self._counted(rules)
        share = consequent / (self.weight or self.total)
        low = confidence_low(together, antecedent)
        rules = rules.assign(score=low / share**self.config.lift_weight)
        surely = (rules["q_value"].to_numpy() <= self.config.false_discovery) & (
            together > share * antecedent
        )
        rules = rules[surely & ~self._gone(rules)]
        order = ["c", "b", "a", "score", "consequent"]
        rules = rules.sort_values(order, ascending=[True, True, True, False, True])
        place = rules.groupby(["c", "b", "a"]).cumcount()
        return rules[place < self.config.consequents].reset_index(drop=True)

    @staticmethod
    def _counted(rules: pd.DataFrame) -> tuple[Floats, Floats, Floats]:
        """Return baskets with both, the antecedent's, the consequent's; decayed ones where there are."""
        names = WEIGHTS if WEIGHTS[0] in rules else COUNTS
        both, antecedent, consequent = (rules[name].to_numpy(dtype=np.float64) for name in names)
        return both, antecedent, consequent

    def _gone(self, rules: pd.DataFrame) -> npt.NDArray[np.bool_]:
        """Return which rules are retired."""
        if self.retired.empty:
            return np.zeros(len(rules), dtype=np.bool_)
        names = [*PLACES, "consequent"]
        retired = pd.DataFrame(numbers_of(self.retired, self._number, RETIRED), columns=names)
        return np.asarray(pd.MultiIndex.from_frame(rules[names]).isin(pd.MultiIndex.from_frame(retired)))

    def named(self, rules: pd.DataFrame) -> pd.DataFrame:
        """Return item_1, item_2, item_3 (empty: no further item) and consequent of rules by their
        item_ids."""
        names = np.append(self.item_ids.astype(str), "").astype(object)
        columns = (*PLACES, "consequent")
        return pd.DataFrame(
            {name: names[rules[column].to_numpy()] for name, column in zip(RETIRED, columns, strict=True)}
        )

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
        known = self._numbers(item_ids)
        rows = self.antecedents.rules(self.antecedents.single(known))
        none = np.empty(0, dtype=np.int64)
        if not len(rows):
            return Neighbours(none, np.empty(0), none)
        rows = rows[np.lexsort((-self._score[rows], self._consequent[rows]))]
        consequent = self._consequent[rows]
        starts = np.flatnonzero(np.r_[True, consequent[1:] != consequent[:-1]])
        sums = np.add.reduceat(self._score[rows], starts)
        sums[np.isin(consequent[starts], known)] = -1.0
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
        because = {
            "item_id": self.antecedent(rule),
            "lift": round(float(self._lift[rule]), 2),
            "confidence": round(float(self._confidence[rule]), 4),
        }
        return Reason("bought_together", because)

    def antecedent(self, rule: int) -> str:
        """Return the (first) item a rule goes from."""
        return str(self.item_ids[self._columns["a"][rule]])

    def _numbers(self, item_ids: Sequence[str]) -> Ints:
        """Return the known ones' numbers, once each, rising."""
        return np.array(sorted({self._number[i] for i in item_ids if i in self._number}), dtype=np.int64)

    def _rows(self, item_ids: Sequence[str]) -> Ints:
        """Return the rules whose antecedent lies in item_ids and whose consequent does not."""
        numbers = self._numbers(item_ids)
        rows = self.antecedents.rules(self.antecedents.within(numbers))
        return rows[~np.isin(self._consequent[rows], numbers)]

    def _measures(self, row: int) -> tuple[float, ...]:
        """Return support, confidence, lift, leverage and conviction of a rule."""
        names = WEIGHTS if WEIGHTS[0] in self._columns else COUNTS
        both, of_a, of_c = (float(self._columns[name][row]) for name in names)
        return tuple(float(value) for value in measures(both, of_a, of_c, self.weight or self.total))

    def _rule(self, row: int) -> Rule:
        rule = {name: values[row] for name, values in self._columns.items()}
        antecedent = tuple(str(self.item_ids[rule[name]]) for name in PLACES if rule[name] >= 0)
        together, a, c = (int(rule[name]) for name in COUNTS)
        support, confidence, lift, leverage, conviction = self._measures(row)
        return Rule(
            antecedent, str(self.item_ids[rule["consequent"]]), together, a, c, self.total,
            support=support, confidence=confidence, lift=lift, leverage=leverage, conviction=conviction,
            p_value=float(rule["p_value"]), q_value=float(rule["q_value"]),
        )  # fmt: skip

    def save(self, folder: Path) -> None:
        """Write basket.json, items.parquet, rules.parquet and retired.parquet."""
        facts = {"config": asdict(self.config), "total": self.total, "weight": self.weight}
        (folder / "basket.json").write_text(json.dumps(facts, indent=1))
        pd.DataFrame({"item_id": self.item_ids.astype(str)}).to_parquet(folder / "items.parquet", index=False)
        self.rules.drop(columns="score").to_parquet(folder / "rules.parquet", index=False)
        self.retired.to_parquet(folder / "retired.parquet", index=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        facts = json.loads((folder / "basket.json").read_text())
        items = pd.read_parquet(folder / "items.parquet")["item_id"].tolist()
        rules, retired = pd.read_parquet(folder / "rules.parquet"), folder / "retired.parquet"
        return cls(
            BasketConfig(**facts["config"]), facts["total"], items, rules, facts.get("weight"),
            pd.read_parquet(retired) if retired.is_file() else None,
        )  # fmt: skip


def latest(shopper: Shopper, most: int) -> list[str]:
    """Return the items seen last and bought last, `most` of each."""
    return list(dict.fromkeys([*shopper.viewed_items[:most], *shopper.recent_items[:most]]))
