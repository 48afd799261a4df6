"""RFM: cut recency, frequency and spend into classes, and see whether they rank what contacts spend next."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import rankdata

from models._pyfunc import predict
from models.rfm import CLASSES, SEGMENT_NAMES, Rfm
from training._snapshots import Snapshots, snapshots, split_of
from training.base import Context, Evaluation
from training.split import TemporalSplit

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RfmData:
    """Contacts with orders at the cut, and what they spent after it."""

    split: TemporalSplit
    contacts: Snapshots


class RecencyAlone:
    """The later a contact bought, the better: what frequency and money must add to."""

    kind: ClassVar[str] = "recency_alone"

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return rfm_score: days since the last order, negative."""
        return pd.DataFrame({"rfm_score": -frame["recency_days"].to_numpy()}, index=frame.index)

    def save(self, folder: Path) -> None:
        """Write nothing: there is nothing to keep."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the rule."""
        del folder
        return cls()


class RfmJob:
    """Quintiles and segments."""

    name: ClassVar[str] = "rfm"
    metric: ClassVar[str] = "spearman"
    higher_is_better: ClassVar[bool] = True
    tolerance: ClassVar[float] = 2.0
    """The whole range of the measure: segments describe contacts and predict nothing, so they are always
    served; the figure says how much they tell here."""
    description: ClassVar[str] = (
        "Cuts recency, frequency and spend of every contact with orders into five classes each, as near to "
        "equal size as equal values allow, and names ten segments. Measured by the rank correlation of "
        "r + f + m with what contacts spent in the days after the cut. A description, not a prediction."
    )
    options: ClassVar[Mapping[str, str]] = {"cut": "where the hold-out begins, YYYY-MM-DD (its last days)"}

    def prepare(self, context: Context) -> RfmData:
        """Read the contacts at the cut."""
        days = context.settings.purchase_horizon_days
        split = split_of(context, days)
        return RfmData(split, snapshots(context, "churn", [split.cut], days))

    def fit(self, data: RfmData, context: Context) -> Rfm:
        """Learn the class edges."""
        del context
        return Rfm.learn(data.contacts.frame)

    def baselines(self, data: RfmData, context: Context) -> Mapping[str, Any]:
        """Return recency alone."""
        del data, context
        return {"recency_alone": RecencyAlone()}

    def evaluate(self, model: Any, data: RfmData) -> Evaluation:
        """Correlate rfm_score with the spend that followed, by rank."""
        score = model.score(data.contacts.frame)["rfm_score"].to_numpy(np.float64)
        statistic = _rank_correlation(score, data.contacts.spend)
        return Evaluation({"spearman": statistic(np.arange(len(score)))}, len(score), statistic)

    def figures(self, model: Rfm, data: RfmData) -> Mapping[str, Any]:
        """Draw how many contacts each pair of classes holds."""
        return {"rfm_classes.png": _heat_map(model.score(data.contacts.frame))}

    def tables(self, model: Rfm, data: RfmData) -> Mapping[str, pd.DataFrame]:
        """Return each segment's size and what it did next."""
        scores = model.score(data.contacts.frame)
        table = pd.DataFrame(
            {"segment": scores["segment"], "spend": data.contacts.spend, "bought": 1 - data.contacts.left}
        )
        rows = table.groupby("segment").agg(
            contacts=("spend", "size"), mean_spend=("spend", "mean"), share_buying=("bought", "mean")
        )
        return {"segments": rows.reindex([s for s in SEGMENT_NAMES if s in rows.index]).reset_index()}

    def example(self, model: Rfm, data: RfmData) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return a few contacts and their classes."""
        frame = data.contacts.features(5)
        return frame, predict(model, frame)

    def facts(self, data: RfmData) -> Mapping[str, Any]:
        """Return rows and dates."""
        return {**data.split.facts(), "contacts": len(data.contacts), "simulated": False}


def _rank_correlation(
    score: npt.NDArray[np.float64], outcome: npt.NDArray[np.float64]
) -> Callable[[Rows], float]:
    def statistic(rows: Rows) -> float:
        return float(np.corrcoef(rankdata(score[rows]), rankdata(outcome[rows]))[0, 1])

    return statistic


def _heat_map(scores: pd.DataFrame) -> Figure:
    classes = range(1, CLASSES + 1)
    counts = pd.crosstab(scores["r"], scores["f"]).reindex(index=classes, columns=classes, fill_value=0)
    figure = Figure(figsize=(6, 5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(counts.to_numpy(), cmap="cividis", origin="lower")
    held = counts.to_numpy()
    middle = held.max() / 2
    for row, column in np.ndindex(CLASSES, CLASSES):
        count = int(held[row, column])
        colour = "black" if count > middle else "white"
        axes.text(column, row, str(count), ha="center", va="center", color=colour)
    axes.set_xticks(range(CLASSES), [str(c) for c in classes])
    axes.set_yticks(range(CLASSES), [str(c) for c in classes])
    axes.set(xlabel="Frequency class", ylabel="Recency class")
    axes.set_title("Contacts by recency and frequency", loc="left", fontsize=11, fontweight="bold")
    return figure
