"""What a training job is. A job is one file of training/jobs; the runner does the rest."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.base import Model
from nextbest.progress import Progress, silent
from nextbest.settings import Settings

Data = TypeVar("Data")


@dataclass(frozen=True)
class Context:
    """What a job is given: where things are, the present, and the options of `--set key=value`."""

    settings: Settings
    now: datetime
    seed: int
    options: Mapping[str, str] = field(default_factory=dict)
    progress: Progress = silent


@dataclass(frozen=True)
class Evaluation:
    """How a model did on the hold-out.

    `statistic(rows)` is the job's primary metric on the units `rows` (indices into range(units), with
    repeats), so that two models can be compared by a paired bootstrap over the same units.
    """

    metrics: Mapping[str, float]
    units: int
    statistic: Callable[[npt.NDArray[np.int64]], float]


class Job(Protocol, Generic[Data]):
    """One thing to learn: labels, spine, default model, metrics. Stateless; everything is passed on.

    The runner calls: prepare, fit, baselines, evaluate (ours, each baseline, the champion), figures, example.
    """

    name: ClassVar[str]
    """As on the command line: next-purchase, basket, churn, value, channel, rfm."""
    metric: ClassVar[str]
    """The primary metric's name, a key of Evaluation.metrics."""
    higher_is_better: ClassVar[bool]
    """The direction of `metric`. A job may also have `tolerance` (a float, default 0): how much worse than
    the gate and the champion a model may be and still ship, for tasks with no learned competitor."""
    description: ClassVar[str]
    """For the model card: what it predicts, for whom, on which horizon, from which data, its limits."""
    options: ClassVar[Mapping[str, str]]
    """The keys `--set` takes, each with a line of what it means and its default."""

    def prepare(self, context: Context) -> Data:
        """Read features and labels and split them by time. Raises NotReady or BadInput."""

    def fit(self, data: Data, context: Context) -> Model:
        """Learn on training, choose settings on validation; never looks at the hold-out."""

    def baselines(self, data: Data, context: Context) -> Mapping[str, Model]:
        """Return the models to beat, fitted on the same training part. The first named is the gate's."""

    def evaluate(self, model: Any, data: Data) -> Evaluation:
        """Measure any model of this task on the hold-out."""

    def figures(self, model: Any, data: Data) -> Mapping[str, Any]:
        """Return file name -> matplotlib Figure for MLflow (calibration, lift, importance …)."""

    def tables(self, model: Any, data: Data) -> Mapping[str, pd.DataFrame]:
        """Return file name -> table for MLflow and the model card (metrics by segment …)."""

    def example(self, model: Any, data: Data) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return a few rows of input and what the pyfunc says to them (float64 and str columns only).

        The signature is inferred from both; `models._pyfunc.predict(model, frame)` is what the pyfunc says.
        """

    def facts(self, data: Data) -> Mapping[str, Any]:
        """Return what to record about the data: rows, contacts, dates of the split, `simulated`."""
