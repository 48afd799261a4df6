"""What training found: our model, what it was measured against, and what became of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from training.base import Evaluation
from training.metrics import bootstrap, percentile_interval

Status = Literal["champion", "registered", "skipped", "failed"]
"""champion: took the alias; registered: did not earn it; skipped: data not ready; failed: `why` says."""


@dataclass(frozen=True)
class Measured:
    """A model on the hold-out; `None` stands for what is undefined, so that the report is plain JSON."""

    name: str
    metrics: dict[str, float | None]
    low: float | None
    """Bootstrap interval of the primary metric."""
    high: float | None
    improvement: float | None = None
    """How much better ours is on the primary metric (positive: ours), with its paired bootstrap interval."""
    improvement_low: float | None = None
    improvement_high: float | None = None


@dataclass(frozen=True)
class TrainingReport:
    """One job's outcome."""

    job: str
    status: Status
    why: str
    metric: str
    higher_is_better: bool
    ours: Measured | None = None
    baselines: list[Measured] = field(default_factory=list)
    """The first is the gate's."""
    champion: Measured | None = None
    """The champion before this run; None where there was none or it could not be measured."""
    model: str | None = None
    version: str | None = None
    run_id: str | None = None
    won: bool = False
    simulated: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def measure(
    evaluations: Sequence[tuple[str, Evaluation]], metric: str, higher_is_better: bool, seed: int
) -> list[Measured]:
    """Measure models over the same resamples of the same units; the first is ours, compared with the rest."""
    units = evaluations[0][1].units
    if any(evaluation.units != units for _, evaluation in evaluations):
        counts = ", ".join(f"{name} {evaluation.units}" for name, evaluation in evaluations)
        raise ValueError(f"models must be measured on the same units, got {counts}")
    for name, evaluation in evaluations:
        _agrees(name, evaluation, metric)
    samples = bootstrap([evaluation.statistic for _, evaluation in evaluations], units, seed)
    sign = 1.0 if higher_is_better else -1.0
    ours = evaluations[0][1].metrics[metric]
    measured = []
    for column, (name, evaluation) in enumerate(evaluations):
        gap = sign * (samples[:, 0] - samples[:, column])
        compared = (sign * (ours - evaluation.metrics[metric]), *percentile_interval(gap)) if column else ()
        own = percentile_interval(samples[:, column])
        measured.append(Measured(name, plain(evaluation.metrics), *map(_number, (*own, *compared))))
    return measured


def _agrees(name: str, evaluation: Evaluation, metric: str) -> None:
    whole, stated = evaluation.statistic(np.arange(evaluation.units)), evaluation.metrics[metric]
    if not np.isclose(whole, stated, rtol=1e-6, atol=1e-9, equal_nan=True):
        raise ValueError(
            f"{name}: the statistic over all units is {whole}, but {metric} is given as {stated}"
        )


def plain(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Return the metrics with None for what is undefined."""
    return {name: _number(value) for name, value in metrics.items()}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
