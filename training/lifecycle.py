"""The lifecycle over the months: stages, the moves between them, and how long a first order takes."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from features.decay import DAY
from features.history import first_touches, known_until, last_months
from models._lifecycle_rules import BEST_FIRST, HALVES, LifecycleRules
from models.lifecycle import Lifecycle
from nextbest.columns import CONTACT_ID
from nextbest.progress import Progress, silent
from nextbest.settings import Settings
from training._moves import Moves, moves
from training._survival import Survival
from training.tracking import Registry

EVERYONE = "everyone"


@dataclass(frozen=True)
class Cycle:
    """Days from the first touch to the first order, of everyone or of those first touched in one way.

    Quartiles are of all, those who have not ordered yet included (Kaplan & Meier 1958); None where so many
    had not ordered within the time seen.
    """

    touch: str
    contacts: int
    ordered: int
    quarter_days: float | None
    median_days: float | None
    median_interval: tuple[float | None, float | None]
    """95 %."""
    three_quarters_days: float | None


@dataclass(frozen=True)
class LifecycleReport:
    """Stages over the months, and the length of the cycle."""

    facts: dict[str, Any]
    moves: Moves
    stages: pd.DataFrame
    """stage, contacts, share, mean_index, mean_orders, spend: now, each half from its best stage down."""
    cycles: list[Cycle]
    """Everyone first, then by what somebody was first seen by."""


def lifecycle_report(
    settings: Settings, now: datetime, months: int = 6, progress: Progress = silent
) -> LifecycleReport:
    """Score everyone at the ends of the last months, and now: the last event, where the data end before.

    Raises NotReady before the first build.
    """
    now = known_until(settings, now)
    model, version = lifecycle_model(settings)

    def stage_of(frame: pd.DataFrame) -> Any:
        return model.score(frame)["stage"].to_numpy()

    found, last = moves(settings, last_months(now, months), BEST_FIRST, stage_of, progress)
    scores = model.score(last)
    halves = {f"contacts_{half}_first_order": int((scores["half"] == half).sum()) for half in HALVES}
    facts = {
        "now": now, "months": months, "contacts": len(last), **halves,
        "cutoffs_wanted": LifecycleRules.load(settings.lifecycle).cutoffs, "model_version": version,
        "cutoffs": {half: dict(model.rules.half(half).stages) for half in HALVES}, "origin": model.origin,
    }  # fmt: skip
    return LifecycleReport(
        facts, found, _stages(last, scores), cycles(last, first_touches(settings, now), now)
    )


def lifecycle_model(settings: Settings) -> tuple[Lifecycle, str | None]:
    """Return the model that answers and, where it is the champion with its learned cut-offs, the version."""
    rules = LifecycleRules.load(settings.lifecycle)
    registry = Registry(settings)
    champion = registry.champion("lifecycle") if rules.cutoffs == "learned" else None
    model = Lifecycle.chosen(rules, registry.load("lifecycle", champion[0]) if champion else None)
    return model, champion[0] if champion else None


def plain(report: LifecycleReport) -> dict[str, Any]:
    """Return a report as JSON has it."""
    counts = report.moves.counts()
    by_month = [
        {
            "at": moment,
            "label": label,
            "contacts": dict(zip(report.moves.names, map(int, column), strict=True)),
        }
        for moment, label, column in zip(report.moves.moments, report.moves.labels, counts.T, strict=True)
    ]
    return {
        **report.facts,
        "stages": report.stages.to_dict("records"),
        "by_month": by_month,
        "moves": report.moves.plain(),
        "cycles": [vars(cycle) for cycle in report.cycles],
    }


def cycles(frame: pd.DataFrame, touches: "pd.Series[str]", now: datetime) -> list[Cycle]:
    """Return the cycle of everyone, and by touch, the most frequent first; `frame` as it was at `now`."""
    first_order = frame["first_order"].to_numpy(np.float64)
    ordered = np.isfinite(first_order)
    days = (np.where(ordered, first_order, now.timestamp()) - frame["first_seen"].to_numpy(np.float64)) / DAY
    kinds = frame[CONTACT_ID].map(touches).to_numpy(object)
    names = pd.Series(kinds).value_counts().index
    parts = [(EVERYONE, np.ones(len(frame), dtype=bool)), *((str(name), kinds == name) for name in names)]
    return [_cycle(name, days[rows], ordered[rows]) for name, rows in parts]


def _cycle(touch: str, days: Any, ordered: Any) -> Cycle:
    waiting = Survival.learn(days, ordered)
    quarter, median, three = (_number(waiting.quantile(part)) for part in (0.25, 0.5, 0.75))
    low, high = waiting.quantile_interval(0.5)
    ends = (_number(low), _number(high))
    return Cycle(touch, len(days), int(ordered.sum()), quarter, median, ends, three)


def _stages(frame: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    told = pd.DataFrame(
        {
            "stage": scores["stage"],
            "index": scores["index"],
            "orders": frame["orders_total"],
            "spend": frame["spend_total"],
        }
    )
    table = told.groupby("stage").agg(
        contacts=("index", "size"), mean_index=("index", "mean"), mean_orders=("orders", "mean"),
        spend=("spend", "sum"),
    )  # fmt: skip
    table = table.reindex([name for name in BEST_FIRST if name in table.index]).reset_index()
    table.insert(2, "share", table["contacts"] / len(frame))
    return table


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
