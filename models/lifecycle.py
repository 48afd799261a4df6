"""Engagement and lifecycle: how involved a contact is, from 0 to 100, and its stage of life.

Two halves, parted by the first order. Before it: visitor, lead, engaged, sales_ready, upwards. After it: new,
and then loyal, active, slipping, leaving, lost, downwards. The index is a weighted mean of parts
(models/_engagement.py); the stages begin at cut-offs of the index. Both come from rules
(models/lifecycle.yaml); the cut-offs may be learned from what contacts did next.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from models._calibration import Calibration
from models._engagement import engagement
from models._frame import floats, orders
from models._lifecycle_rules import (
    ACTIVE,
    AFTER,
    AFTER_LADDER,
    BEFORE,
    BEFORE_STAGES,
    HALVES,
    LOYAL,
    NEW,
    VISITOR,
    After,
    Before,
    LifecycleRules,
)
from models.base import Floats

Names = npt.NDArray[np.object_]
IDENTIFIED = "identified"
"""Column: whether the contact's own id is known; without it everybody counts as identified."""
LEAST_CONTACTS, LEAST_OF_EACH = 200, 20
"""Contacts, and contacts of either outcome, from which on cut-offs are learned."""
GRID = np.arange(1001) / 10.0


class Lifecycle:
    """The engagement index, and the stage by its cut-offs."""

    kind: ClassVar[str] = "lifecycle"

    def __init__(self, rules: LifecycleRules | None = None, origin: Mapping[str, str] | None = None) -> None:
        """Take rules (None: those of the package), and how the cut-offs of each half came about."""
        self.rules = LifecycleRules.load() if rules is None else rules
        self.origin = dict.fromkeys(HALVES, "given by the rules") if origin is None else dict(origin)

    @classmethod
    def chosen(cls, rules: LifecycleRules, champion: Any = None) -> "Lifecycle":
        """Return the champion where the rules say `cutoffs: learned` and there is one; else the rules."""
        return champion if rules.cutoffs == "learned" and isinstance(champion, Lifecycle) else cls(rules)

    @classmethod
    def learn(cls, frame: pd.DataFrame, ordered: Floats, rules: LifecycleRules | None = None) -> Self:
        """Learn the cut-offs of each half: where the odds of an order cross multiples of the half's own odds.

        `ordered`: 1 where a contact ordered in the time that followed. A half with too few contacts keeps its
        cut-offs; `origin` says so.
        """
        known = LifecycleRules.load() if rules is None else rules
        halves: dict[str, Before | After] = {}
        origin = {}
        for name, rows in (BEFORE, orders(frame) <= 0), (AFTER, orders(frame) > 0):
            half = known.half(name)
            if why := too_few(ordered[rows]):
                origin[name] = f"given by the rules: {why}"
            else:
                index = engagement(frame[rows], half)
                half = half.cut_at(_cutoffs(index, ordered[rows], np.array([*half.learned.values()])))
                origin[name] = f"learned from {int(rows.sum()):,} contacts"
            halves[name] = half
        return cls(known.model_copy(update=halves), origin)

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return stage, index (0-100), half ("before" or "after" the first order) and source.

        Beside CONTACT_FEATURES, TIME_COLUMNS and `identified` are read where they are there. Somebody nothing
        is known of is before the first order, at index 0.
        """
        after = orders(frame) > 0
        index, stage = np.zeros(len(frame)), np.full(len(frame), VISITOR, dtype=object)
        for rows, half, stages in (
            (~after, self.rules.before, self._before),
            (after, self.rules.after, self._after),
        ):
            index[rows] = engagement(frame[rows], half)
            stage[rows] = stages(frame[rows], index[rows])
        out = pd.DataFrame({"stage": stage, "index": index}, index=frame.index)
        out["half"] = np.where(after, AFTER, BEFORE).astype(object)
        out["source"] = self.kind
        return out

    predict = score

    def _before(self, frame: pd.DataFrame, index: Floats) -> Names:
        names = np.array(BEFORE_STAGES[1:], dtype=object)
        reached = names[np.searchsorted(self.rules.before.cutoffs, index, side="right")]
        return np.where(self._is_lead(frame), reached, VISITOR)

    def _is_lead(self, frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
        identified = np.ones(len(frame), dtype=bool)
        if IDENTIFIED in frame:
            identified = frame[IDENTIFIED].to_numpy(dtype=bool)
        form = np.nan_to_num(floats(frame, "forms_total")) > 0
        wanted = self.rules.before.lead
        return {
            "identified": identified, "form": form, "either": identified | form, "both": identified & form,
        }[wanted]  # fmt: skip

    def _after(self, frame: pd.DataFrame, index: Floats) -> Names:
        rules, count = self.rules.after, orders(frame)
        names = np.array(AFTER_LADDER, dtype=object)
        stage = names[np.searchsorted(rules.cutoffs, index, side="right")]
        stage = np.where((stage == LOYAL) & (count < rules.loyal_orders), ACTIVE, stage)
        first = floats(frame, "recency_days") + np.nan_to_num(floats(frame, "order_gap_days")) * (count - 1.0)
        return np.where((first <= rules.new.days) & (count <= rules.new.orders), NEW, stage)

    def save(self, folder: Path) -> None:
        """Write lifecycle.json."""
        whole = {"rules": self.rules.model_dump(mode="json"), "origin": self.origin}
        (folder / "lifecycle.json").write_text(json.dumps(whole, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what save wrote."""
        whole = json.loads((folder / "lifecycle.json").read_text())
        return cls(LifecycleRules.model_validate(whole["rules"]), whole["origin"])


def too_few(ordered: Floats) -> str | None:
    """Return why nothing is learned from the outcomes (1: ordered) of a half; None where they suffice."""
    came = int(ordered.sum())
    if len(ordered) < LEAST_CONTACTS:
        return f"learning needs {LEAST_CONTACTS} contacts, there are {len(ordered):,}"
    if min(came, len(ordered) - came) < LEAST_OF_EACH:
        return (
            f"{came:,} of {len(ordered):,} ordered, and learning needs {LEAST_OF_EACH} who do and who do not"
        )
    return None


def _cutoffs(index: Floats, ordered: Floats, times: Floats) -> list[float]:
    """Return the lowest index at which the odds of an order are so many times everyone's; 100 where none is.

    The rate rises with the index: isotonic regression (Zadrozny & Elkan 2002). Odds, not rates: twice a rate
    of 80 % there is none.
    """
    rates = Calibration.learn(index / 100.0, ordered, seed=0, method="isotonic").of(GRID / 100.0)
    everyone = ordered.mean() / (1.0 - ordered.mean())
    reached = (rates / (1.0 - rates))[None, :] >= (times * everyone)[:, None]
    return [float(GRID[row.argmax()]) if row.any() else 100.0 for row in reached]
