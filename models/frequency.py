"""What the shopper buys most, decayed, topped up with what is popular: the baseline of next baskets."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from models._shelf import shelf_of
from models.base import Ranking, Reason, Shopper
from models.catalogue import Catalogue
from models.popularity import Popularity, PopularityConfig, joined
from nextbest.errors import BadInput

DAY = 86_400.0
WEIGHTS = ("repeat_30d", "repeat_90d", "repeat_365d", "repeat_count")


@dataclass(frozen=True)
class FrequencyConfig:
    """What counts as often, and what tops the personal list up."""

    weight: str = "repeat_90d"
    """The shopper's weights that order the list: repeat_30d, repeat_90d, repeat_365d or repeat_count."""
    statistic: str = "sold_90d"
    """The item statistic that is popularity."""

    def __post_init__(self) -> None:
        if self.weight not in WEIGHTS:
            raise BadInput(f"no weight {self.weight!r}; known: {', '.join(WEIGHTS)}")


class Frequency:
    """Ranks by the shopper's own purchases, each counting 2^-(days / 90); then by popularity."""

    kind: ClassVar[str] = "frequency"

    def __init__(self, config: FrequencyConfig | None = None) -> None:
        self.config = config or FrequencyConfig()
        self._popular = Popularity(PopularityConfig(statistic=self.config.statistic))

    def recommend(
        self, shopper: Shopper, catalogue: Catalogue, k: int, context: Sequence[str] = ()
    ) -> Ranking:
        """Return at most k items; the context changes nothing."""
        del context
        rows = shelf_of(catalogue).rows_of(shopper.repeat_items)
        weights = np.asarray(getattr(shopper, self.config.weight), dtype=np.float64)
        known = np.flatnonzero(rows >= 0)
        places = known[np.argsort(-weights[known], kind="stable")][:k]
        own = Ranking(
            [shopper.repeat_items[place] for place in places],
            weights[places],
            [personal_reason(shopper, int(place)) for place in places],
            self.kind,
        )
        if len(own) == k:
            return own
        return joined(own, self._top_up(own, shopper, catalogue, k))

    def _top_up(self, own: Ranking, shopper: Shopper, catalogue: Catalogue, k: int) -> Ranking:
        popular = self._popular.recommend(shopper, catalogue, k + len(own), ())
        taken = set(own.item_ids)
        rest = popular.take(
            [i for i, item in enumerate(popular.item_ids) if item not in taken][: k - len(own)]
        )
        ceiling = float(own.scores.min()) if len(own) else 1.0
        return Ranking(rest.item_ids, rest.scores * ceiling * 0.5, rest.reasons, self.kind)

    def save(self, folder: Path) -> None:
        """Write the configuration: there is nothing else."""
        (folder / "frequency.json").write_text(json.dumps(asdict(self.config), indent=1))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        return cls(FrequencyConfig(**json.loads((folder / "frequency.json").read_text())))


def own_gap_days(shopper: Shopper, place: int) -> float:
    """Return the mean days between the shopper's purchases of the item at `place`; NaN below two of them."""
    count = float(shopper.repeat_count[place])
    span = float(shopper.repeat_last[place] - shopper.repeat_first[place]) / DAY
    return span / (count - 1.0) if count >= 2.0 and span > 0 else float("nan")


def personal_reason(shopper: Shopper, place: int) -> Reason:
    """Say that an item bought three times or more is due, or that it was bought before."""
    ago = max((shopper.now - float(shopper.repeat_last[place])) / DAY, 0.0)
    gap = own_gap_days(shopper, place)
    times = float(shopper.repeat_count[place])
    if times >= 3 and ago >= 0.5 * gap:
        return Reason("due", {"usual_days": round(gap, 1), "last_days_ago": round(ago, 1)})
    return Reason("bought_before", {"times": int(times), "last_days_ago": round(ago, 1)})
