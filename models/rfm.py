"""RFM: how recently, how often and for how much a contact bought, as classes from 1 to 5, and a segment."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from models._frame import floats, orders
from models.base import Floats
from nextbest.errors import BadInput, NotReady

CLASSES = 5
NO_ORDERS = "no_orders"
SEGMENTS = (
    # rows: recency 1 … 5; columns: mean of frequency and monetary, rounded half up, 1 … 5
    ("lost", "lost", "at_risk", "cannot_lose", "cannot_lose"),
    ("hibernating", "hibernating", "at_risk", "at_risk", "at_risk"),
    ("promising", "needs_attention", "needs_attention", "loyal", "loyal"),
    ("promising", "potential_loyal", "loyal", "champions", "champions"),
    ("new", "potential_loyal", "loyal", "champions", "champions"),
)
"""The published ranges on recency × (frequency and monetary) overlap (https://docs.churned.io, "RFM-Model":
champions 4-5 × 4-5, loyal 2-5 × 3-5, potential 3-5 × 1-3, new 4-5 × 0-1, needs attention 2-3 × 2-3, at risk
0-2 × 2-5, hibernating 1-2 × 1-2, lost 0-2 × 0-2); each cell here takes one of those that hold it. "promising"
and "cannot_lose" are of the longer maps in use: a little, not long ago; a great deal, long ago."""

SEGMENT_NAMES = tuple(dict.fromkeys(name for row in reversed(SEGMENTS) for name in reversed(row)))
"""Every segment of a contact with orders, from the best to the worst."""


@dataclass(frozen=True)
class Quintiles:
    """Classes 1-5 of a number: values up to edges[i] are in classes[i], above every edge in classes[-1]."""

    edges: tuple[float, ...]
    classes: tuple[int, ...]

    @classmethod
    def learn(cls, values: Floats) -> Self:
        """Cut values into five classes as near to equal size as equal values allow.

        Equal values are never parted, and no class is empty while there are five distinct values: walking up
        the values, each class takes its equal share of what is left, and leaves a value for every class to
        come. Fewer distinct values spread over the classes (one: 3; two: 1 and 5; three: 1, 3 and 5).
        """
        distinct, counts = np.unique(values[np.isfinite(values)], return_counts=True)
        if not len(distinct):
            raise NotReady("no values to cut into classes")
        groups = min(CLASSES, len(distinct))
        edges = [float(distinct[last]) for last in _cuts(counts, groups)]
        return cls(tuple(edges), _spread(groups))

    def of(self, values: Floats) -> Floats:
        """Return the class of each value, NaN for NaN."""
        classes = np.asarray(self.classes, dtype=np.float64)
        found = classes[np.searchsorted(np.asarray(self.edges), values, side="left")]
        return np.where(np.isnan(values), np.nan, found)


def _cuts(counts: npt.NDArray[np.int64], groups: int) -> list[int]:
    """Return the position of the last distinct value in each group but the highest."""
    reached = np.concatenate([[0], np.cumsum(counts)]).astype(np.float64)
    start, cuts = 0, []
    for left in range(groups, 1, -1):
        target = reached[start] + (reached[-1] - reached[start]) / left
        ends = np.arange(start + 1, len(counts) - left + 2)
        end = int(ends[np.argmin(np.abs(reached[ends] - target))])
        cuts.append(end - 1)
        start = end
    return cuts


def _spread(groups: int) -> tuple[int, ...]:
    if groups == 1:
        return (3,)
    return tuple(int(np.floor(1 + (CLASSES - 1) * i / (groups - 1) + 0.5)) for i in range(groups))


class Rfm:
    """Quintile classes learned on a snapshot of all contacts with orders, and the segment they name."""

    kind: ClassVar[str] = "rfm"

    def __init__(self, recency: Quintiles, frequency: Quintiles, monetary: Quintiles) -> None:
        self.recency, self.frequency, self.monetary = recency, frequency, monetary

    @classmethod
    def learn(cls, frame: pd.DataFrame) -> Self:
        """Learn the edges from recency_days, orders_total and spend_total; raises NotReady without orders."""
        bought = frame[orders(frame) > 0]
        if bought.empty:
            raise NotReady(
                "no contact has an order yet: RFM has nothing to cut; nextbest ingest orders first"
            )
        return cls(
            Quintiles.learn(-floats(bought, "recency_days")),
            Quintiles.learn(floats(bought, "orders_total")),
            Quintiles.learn(floats(bought, "spend_total")),
        )

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return r, f, m (1-5, 5 best; NaN without orders), rfm_score (3-15), segment and source."""
        bought = orders(frame) > 0
        out = pd.DataFrame(index=frame.index)
        for name, quintiles, values in (
            ("r", self.recency, -floats(frame, "recency_days")),
            ("f", self.frequency, floats(frame, "orders_total")),
            ("m", self.monetary, floats(frame, "spend_total")),
        ):
            out[name] = quintiles.of(np.where(bought, values, np.nan))
        out["rfm_score"] = out["r"] + out["f"] + out["m"]
        out["segment"] = segment(out["r"].to_numpy(), out["f"].to_numpy(), out["m"].to_numpy())
        out["source"] = self.kind
        return out

    predict = score

    def save(self, folder: Path) -> None:
        """Write quintiles.json."""
        parts = {name: asdict(getattr(self, name)) for name in ("recency", "frequency", "monetary")}
        (folder / "quintiles.json").write_text(json.dumps(parts, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what save wrote."""
        parts = json.loads((folder / "quintiles.json").read_text())
        return cls(**{name: Quintiles(tuple(p["edges"]), tuple(p["classes"])) for name, p in parts.items()})


def segment(r: Floats, f: Floats, m: Floats) -> npt.NDArray[np.object_]:
    """Return the segment's name for classes 1-5; "no_orders" where any is NaN."""
    known = ~(np.isnan(r) | np.isnan(f) | np.isnan(m))
    if known.any() and not all(1 <= part[known].min() <= part[known].max() <= CLASSES for part in (r, f, m)):
        raise BadInput(f"RFM classes lie between 1 and {CLASSES}")
    names = np.array(SEGMENTS, dtype=object)
    row = np.where(known, r, 1).astype(np.int64) - 1
    column = np.floor(np.where(known, (f + m) / 2, 1) + 0.5).astype(np.int64) - 1
    return np.where(known, names[row, column], NO_ORDERS)
