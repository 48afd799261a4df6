"""Paths: which steps between orders lead to one, of which category, measured on the steps after the cut."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from models._pyfunc import predict
from models._walks import DAY, Rows, Steps
from models.base import Floats
from models.paths import Paths, PathsConfig
from nextbest.errors import NotReady
from training import plots
from training._options import configured, described
from training._snapshots import split_of
from training._walked import walked
from training.base import Context, Evaluation
from training.metrics import log_loss, roc_auc
from training.split import TemporalSplit

OPTIONS = {
    "horizon_days": "days after a step within which an order is what it led to",
    "idle_days": "a pause so long ends a path",
    "length": "last steps looked at",
    "least": "paths a sequence must have been walked on",
    "prior": "paths that the shorter sequence weighs as much as",
}
MOST_ROWS = 20_000
"""Steps measured on; more are sampled."""
CLIP = 1e-6
"""Probabilities are kept so far from 0 and 1."""
SIGNIFICANT = 0.05
SHOWN = 15


@dataclass(frozen=True)
class PathsData:
    """Steps before the cut to learn from, and those after it whose horizon is over."""

    split: TemporalSplit
    frame: pd.DataFrame
    """models._walks.COLUMNS up to the cut."""
    config: PathsConfig
    steps: Steps
    """All of them, the hold-out's included."""
    rows: Rows
    """The hold-out: places in `steps`."""

    @property
    def ordered(self) -> Floats:
        """1 where an order came within the horizon of a step of the hold-out."""
        return (self.steps.wait[self.rows] <= self.config.horizon_days * DAY).astype(np.float64)


class RecencyAlone:
    """How long ago the last order was, and nothing of the steps since: a rate for each tenth of that."""

    kind: ClassVar[str] = "recency_alone"

    def __init__(self, edges: Floats, orders: Floats, categories: Floats) -> None:
        """`edges` in seconds; rates by class, the last that of contacts without an order."""
        self.edges, self.orders, self.rates = edges, orders, categories

    @classmethod
    def learn(cls, steps: Steps, rows: Rows, config: PathsConfig) -> Self:
        """Count what followed the steps at `rows`, shrunk to the rate of all."""
        ordered = steps.wait[rows] <= config.horizon_days * DAY
        since = steps.since[rows]
        known = since[np.isfinite(since)]
        edges = np.unique(np.quantile(known, np.linspace(0.1, 0.9, 9))) if len(known) else np.empty(0)
        place, size = _class(since, edges), len(edges) + 2
        count = np.bincount(place, minlength=size).astype(np.float64)
        bought = _bought(steps, rows, ordered.astype(np.float64))
        categories = np.zeros((size, bought.shape[1]))
        np.add.at(categories, place, bought)

        def shrunk(totals: Floats) -> Floats:
            weight = (count + config.prior).reshape(-1, *[1] * (totals.ndim - 1))
            return np.asarray((totals + config.prior * totals.sum(axis=0) / len(rows)) / weight)

        return cls(edges, shrunk(np.bincount(place, ordered, size).astype(np.float64)), shrunk(categories))

    def foretell(self, steps: Steps, rows: Rows) -> tuple[Floats, Floats]:
        """Return P(order) and P(order of each category) at steps."""
        place = _class(steps.since[rows], self.edges)
        return self.orders[place], self.rates[place]


class PathsJob:
    """Steps that lead to orders."""

    name: ClassVar[str] = "paths"
    metric: ClassVar[str] = "log_loss"
    higher_is_better: ClassVar[bool] = False
    description: ClassVar[str] = (
        "P(an order within the horizon), any and of each category, of a contact who has just walked a path: "
        "the last steps (views, searches, carts, messages) since the last order. A Markov chain of variable "
        "order, counted, and shrunk from longer to shorter paths. Measured at the steps after the cut; "
        "log_loss is summed over an order at all and each category. It says what paths are followed by, not "
        "what they cause."
    )
    options: ClassVar[Mapping[str, str]] = {
        "cut": "where the hold-out begins, YYYY-MM-DD (its last days)",
        **described(PathsConfig, OPTIONS),
    }

    def prepare(self, context: Context) -> PathsData:
        """Read the steps and split them at the cut; nothing later is learned from."""
        config = configured(PathsConfig, context.options, list(OPTIONS))
        split = split_of(context, int(np.ceil(2 * config.horizon_days)))
        frame = walked(context.settings, split.end)
        steps = Steps.of(frame, config.idle_days, config.ignored)
        over = split.end.timestamp() - config.horizon_days * DAY
        rows = _turns(steps, split.cut.timestamp(), over)
        if not len(rows):
            last = datetime.fromtimestamp(over, UTC)
            raise NotReady(
                f"no step between {split.cut:%Y-%m-%d} and {last:%Y-%m-%d} to measure paths on; ingest more "
                "events than orders (views, searches, carts, messages) with nextbest ingest"
            )
        if len(rows) > MOST_ROWS:
            rows = np.sort(np.random.default_rng(context.seed).choice(rows, MOST_ROWS, replace=False))
        before = frame[frame["time"] <= split.cut.timestamp()]
        return PathsData(split, before, config, steps, rows)

    def fit(self, data: PathsData, context: Context) -> Paths:
        """Count the paths whose horizon was over at the cut."""
        until = data.split.cut.timestamp()
        return Paths.learn(data.frame, data.config, context.seed, context.progress, until)

    def baselines(self, data: PathsData, context: Context) -> Mapping[str, Any]:
        """Return the base rate of any path, and the time since the last order."""
        until = data.split.cut.timestamp()
        base = Paths.learn(data.frame, _replaced(data.config), context.seed, until=until)
        early = _turns(data.steps, -np.inf, until - data.config.horizon_days * DAY)
        return {"base_rate": base, "recency_alone": RecencyAlone.learn(data.steps, early, data.config)}

    def evaluate(self, model: Any, data: PathsData) -> Evaluation:
        """Measure the probabilities; a contact's steps are one unit."""
        orders, categories = model.foretell(data.steps, data.rows)
        ordered = data.ordered
        bought = _bought(data.steps, data.rows, ordered)
        names = getattr(model, "categories", data.steps.categories.names)
        loss = _losses(ordered, orders)
        loss += _losses(bought, _aligned(categories, names, data.steps.categories.names)).sum(axis=1)
        owner = np.unique(data.steps.contacts[data.rows], return_inverse=True)[1]
        sums, counts = np.bincount(owner, loss), np.bincount(owner).astype(np.float64)
        metrics = {
            self.metric: float(loss.mean()),
            "order_log_loss": log_loss(ordered, orders),
            "auc": roc_auc(ordered, orders),
        }
        return Evaluation(metrics, len(counts), lambda rows: float(sums[rows].sum() / counts[rows].sum()))

    def figures(self, model: Paths, data: PathsData) -> Mapping[str, Any]:
        """Draw calibration and lift of P(an order)."""
        orders, _ = model.foretell(data.steps, data.rows)
        title = f"An order within {data.config.horizon_days:g} days of a step"
        return {
            "calibration.png": plots.calibration(data.ordered, orders, title),
            "lift.png": plots.lift(data.ordered, {"paths": orders}),
        }

    def tables(self, model: Paths, data: PathsData) -> Mapping[str, pd.DataFrame]:
        """Return the paths whose conversion is not chance: those most above the base rate, and below it."""
        del data
        found = model.table()
        found = found[found["q_value"] <= SIGNIFICANT].sort_values("lift", ascending=False, kind="stable")
        above, below = found[found["lift"] > 1], found[found["lift"] < 1]
        return {"best": above.head(SHOWN), "worst": below.tail(SHOWN)[::-1]}

    def example(self, model: Paths, data: PathsData) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return a few paths and what the model says to them."""
        del data
        paths = model.table()["path"].drop_duplicates().head(3).tolist() or ["product_viewed"]
        frame = pd.DataFrame({"path": paths})
        return frame, predict(model, frame)

    def facts(self, data: PathsData) -> Mapping[str, Any]:
        """Return rows, dates and the base rate."""
        contacts = data.steps.contacts[data.rows]
        return {
            **data.split.facts(),
            "horizon_days": data.config.horizon_days,
            "steps": len(data.steps),
            "holdout_steps": len(data.rows),
            "holdout_contacts": len(np.unique(contacts)),
            "holdout_rate": float(data.ordered.mean()),
            "simulated": False,
        }


def _replaced(config: PathsConfig) -> PathsConfig:
    return PathsConfig(config.horizon_days, config.idle_days, 0, config.least, config.prior, config.items)


def _turns(steps: Steps, after: float, until: float) -> Rows:
    """Return the steps of a span that are no repeat of the step before."""
    again = np.r_[False, (np.diff(steps.paths) == 0) & (np.diff(steps.labels) == 0)][: len(steps)]
    return np.flatnonzero(~again & (steps.times > after) & (steps.times <= until))


def _class(since: Floats, edges: Floats) -> Rows:
    place = np.searchsorted(edges, since)
    return np.where(np.isfinite(since), place, len(edges) + 1)


def _bought(steps: Steps, rows: Rows, ordered: Floats) -> Floats:
    """Return (rows, categories): 1 where the order that came in time held the category."""
    out = np.zeros((len(rows), len(steps.categories.names)))
    came = np.flatnonzero(ordered > 0)
    values, owner = steps.categories.of(steps.purchases[rows[came]])
    out[came[owner], values] = 1.0
    return out


def _aligned(chances: Floats, names: Any, wanted: Any) -> Floats:
    """Return the columns in another order; a category the model does not know has no chance."""
    place = {name: number for number, name in enumerate(names)}
    columns = np.array([place.get(name, -1) for name in wanted], dtype=np.int64)
    return np.where(columns >= 0, np.c_[chances, np.zeros(len(chances))][:, columns], 0.0)


def _losses(labels: Floats, chances: Floats) -> Floats:
    kept = np.clip(chances, CLIP, 1 - CLIP)
    return np.asarray(-np.where(labels > 0, np.log(kept), np.log1p(-kept)))
