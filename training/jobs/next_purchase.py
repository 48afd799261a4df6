"""Next purchase: rank the items of the next order on weekly moments, measure it on the last."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from models._pyfunc import predict, shopper_text
from models._walks import Steps
from models.base import Floats
from models.basket import BasketConfig
from models.catalogue import Catalogue
from models.frequency import Frequency
from models.neighbours import NeighboursConfig
from models.next_purchase import Moment, NextPurchase, NextPurchaseConfig, RankingData
from models.popularity import Popularity
from models.sequence import SequenceConfig
from nextbest.errors import NotReady
from training import plots
from training._candidate_sources import (
    BASKET,
    NEIGHBOURS,
    PARTS,
    SEQUENCE,
    checkpoint,
    learned_basket,
    learned_sequence,
    learned_sources,
    steps_until,
)
from training._moments import Answers, K, moment, some_contacts
from training._nobody import shoppers_of_nobody
from training._numbers import whole
from training._options import configured, described
from training._purchases import bought_by, purchases
from training._snapshots import split_of
from training.base import Context, Evaluation
from training.metrics import expected_calibration_error, hit_rate_at_k, ndcg_at_k, recall_at_k
from training.split import TemporalSplit

EVERY_DAYS, MOMENTS, LEAST_MOMENTS, HOLDOUT_CONTACTS = 7, 8, 3, 20_000
SHOPPERS = 45_000
"""Shoppers learned from over all moments: more contacts mean fewer moments, then a sample of them."""
MOST_PASSED = 4
"""Moments that the probability is learned from: the latest whose horizon is over."""
RANKER = {
    "rounds": "trees that rank",
    "leaves": "leaves a tree",
    "learning_rate": "of the trees",
    "l2": "their regularisation",
}


@dataclass
class NextPurchaseData:
    """What was bought, the moments to learn from, and the hold-out: who was known at the cut."""

    split: TemporalSplit
    lines: pd.DataFrame
    steps: Steps | None
    """What contacts did between purchases; None: nothing."""
    contacts: Sequence[str]
    """Whom the moments show: all, or a sample."""
    horizon: timedelta
    cuts: Sequence[datetime]
    """Moments to learn from, the earliest first; the generators used on them know nothing later than it."""
    later: datetime
    """The moment calibration looks at."""
    sooner: Sequence[int]
    """Days of the horizons below the default one."""
    holdout: Moment
    units: npt.NDArray[np.int64]
    """Places in the hold-out of those who had ordered before and did so again."""

    _answers: list[tuple[Any, Answers]] = field(default_factory=list)

    def answers(self, model: Any) -> "Answers":
        """Return what a model says to everyone of the hold-out, asked once."""
        for known, answers in self._answers:
            if known is model:
                return answers
        found = Answers.of(model, self.holdout)
        self._answers.append((model, found))
        return found


class NextPurchaseJob:
    """The items of the next order."""

    name: ClassVar[str] = "next-purchase"
    metric: ClassVar[str] = f"ndcg@{K}"
    higher_is_better: ClassVar[bool] = True
    description: ClassVar[str] = (
        "Ranks items for a contact by whether they lie in the next order, out of the whole catalogue, and "
        "gives the probability that each is bought within the horizon. Boosted trees over what was bought "
        "before, decayed, a transformer over the purchases, association rules, paths, what sells. Measured "
        "on the first order after the cut of contacts who had ordered before; anyone new is shown what "
        "sells. What was bought because it was recommended is not told apart from what would have been "
        "anyway."
    )
    options: ClassVar[Mapping[str, str]] = {
        "cut": "where the hold-out begins, YYYY-MM-DD (its last days)",
        "every_days": f"days between the moments learned from ({EVERY_DAYS})",
        "moments": f"moments learned from at most ({MOMENTS}, fewer where there are many contacts)",
        "contacts": f"contacts a moment, a sample where there are more ({SHOPPERS} over all moments)",
        **described(NeighboursConfig, NEIGHBOURS),
        "without": f"sources left out, to see what each brings ({', '.join(PARTS)}; parted by commas)",
        **described(SequenceConfig, SEQUENCE),
        **described(NextPurchaseConfig, RANKER),
        **described(BasketConfig, BASKET),
    }

    def prepare(self, context: Context) -> NextPurchaseData:
        """Choose the moments and read the hold-out; what is known of its shoppers ends at the cut."""
        horizon = timedelta(days=context.settings.purchase_horizon_days)
        split = split_of(context, horizon.days)
        later = split.cut - (split.end - split.cut)
        lines = purchases(context.settings, split.end)
        contacts = some_contacts(context, split.cut, HOLDOUT_CONTACTS)
        count = whole(context, "moments", _moments_of(len(contacts)))
        cuts = _moments(context, split, later - horizon, float(lines["time"].min()), count)
        sooner = NextPurchaseConfig(horizon_days=horizon.days).sooner()
        holdout = moment(context, lines, split.cut, split.end, horizon, contacts, sooner=sooner)
        units = [
            place
            for place, (shopper, items) in enumerate(zip(holdout.shoppers, holdout.next_order, strict=True))
            if items and len(shopper.repeat_items)
        ]
        if not units:
            raise NotReady(
                f"no contact ordered both before and after {split.cut:%Y-%m-%d}, so there is nothing to "
                "measure on; ingest more orders"
            )
        some = some_contacts(context, split.cut, whole(context, "contacts", SHOPPERS // count))
        return NextPurchaseData(
            split,
            lines,
            steps_until(context, split.end),
            some,
            horizon,
            cuts,
            later,
            sooner,
            holdout,
            np.array(units, dtype=np.int64),
        )

    def fit(self, data: NextPurchaseData, context: Context) -> NextPurchase:
        """Learn generators on what came before the moments, the ranker on those, then generators on all."""
        before, all_of_it = bought_by(data.lines, data.cuts[0]), bought_by(data.lines, data.split.cut)
        sequence_then, basket_then = learned_sequence(before, context), learned_basket(before, context)
        config = configured(
            NextPurchaseConfig, context.options, list(RANKER), horizon_days=float(data.horizon.days)
        )
        learned = NextPurchase.learn(
            RankingData(
                self._moments(data, context),
                self._moment(data, data.later, context, passed=True),
                sequence_then,
                basket_then,
                None
                if sequence_then is None
                else sequence_then.relearned(
                    all_of_it, context.seed, context.progress, checkpoint(context, "all")
                ),
                learned_basket(all_of_it, context),
                learned_sources(all_of_it, data.steps, data.split.cut, context),
            ),
            config,
            context.seed,
            context.progress,
        )
        return learned

    def _moments(self, data: NextPurchaseData, context: Context) -> Iterator[Moment]:
        """Yield the moments one by one: all of them would not fit into memory."""
        passed = [cut for cut in data.cuts if cut + data.horizon <= data.later][-MOST_PASSED:]
        for cut in data.cuts:
            yield self._moment(data, cut, context, cut in passed)

    def _moment(self, data: NextPurchaseData, at: datetime, context: Context, passed: bool) -> Moment:
        sources = learned_sources(bought_by(data.lines, at), data.steps, at, context)
        return moment(
            context, data.lines, at, data.split.cut, data.horizon, data.contacts, passed, data.sooner, sources
        )

    def baselines(self, data: NextPurchaseData, context: Context) -> Mapping[str, Any]:
        """Return the personal decayed frequency, and what sells."""
        del data, context
        return {"frequency": Frequency(), "popularity": Popularity()}

    def evaluate(self, model: Any, data: NextPurchaseData) -> Evaluation:
        """Measure the ranking on the first order after the cut, and the probabilities on the horizon."""
        answers = data.answers(model)
        ranked = [answers.ranked[unit] for unit in data.units]
        wanted = [data.holdout.next_order[unit] for unit in data.units]
        ndcg = ndcg_at_k(ranked, wanted, K)
        metrics = {
            self.metric: float(ndcg.mean()),
            f"recall@{K}": float(recall_at_k(ranked, wanted, K).mean()),
            f"hit_rate@{K}": float(hit_rate_at_k(ranked, wanted, K).mean()),
            "items_shown": float(len({item for items in ranked for item in items})),
        }
        if np.isfinite(answers.probabilities).all():
            metrics["ece"] = expected_calibration_error(answers.bought, answers.probabilities)
            for days, told in answers.sooner.items():
                metrics[f"ece_{days}d"] = expected_calibration_error(*told)
        return Evaluation(metrics, len(data.units), lambda rows: float(ndcg[rows].mean()))

    def figures(self, model: NextPurchase, data: NextPurchaseData) -> Mapping[str, Any]:
        """Draw calibration, what the ranker rests on, and the figure by how much is known of a contact."""
        answers, weight, table = data.answers(model), model.importance(), _by_orders(model, data)
        title = f"Bought within {data.horizon.days} days, the {K} items ranked first"
        curve = model.sequence.curve if model.sequence is not None else ()
        drawn = (
            {"learning_curve.png": plots.curve(curve, "Sequence model", "epoch", "NDCG@20")} if curve else {}
        )
        return drawn | {
            "calibration.png": plots.calibration(answers.bought, answers.probabilities, title),
            "importance.png": plots.importance(weight["feature"].tolist(), weight["gain"].to_numpy()),
            "by_orders.png": plots.bars(
                table["orders_before"].tolist(),
                table[self.metric].to_numpy(),
                "By orders before",
                self.metric,
            ),
        }

    def tables(self, model: NextPurchase, data: NextPurchaseData) -> Mapping[str, pd.DataFrame]:
        """Return the figure by orders before, against the baseline, and the features' weights."""
        return {"by_orders": _by_orders(model, data), "importance": model.importance().head(20)}

    def example(self, model: NextPurchase, data: NextPurchaseData) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return shoppers as JSON, none of them anybody, and what is recommended to them."""
        shoppers = shoppers_of_nobody(data.holdout.catalogue)
        frame = pd.DataFrame({"shopper": [shopper_text(shopper) for shopper in shoppers]})
        return frame, predict(model, frame, data.holdout.catalogue)

    def catalogue(self, data: NextPurchaseData) -> Catalogue:
        """Return the shelf that goes with the registered model."""
        return data.holdout.catalogue

    def facts(self, data: NextPurchaseData) -> Mapping[str, Any]:
        """Return the dates and sizes of what was learned from and measured on."""
        return {
            **data.split.facts(),
            "horizon_days": data.horizon.days,
            "lines": len(data.lines),
            "items": len(data.holdout.catalogue),
            "first_moment": data.cuts[0].isoformat(),
            "last_moment": data.cuts[-1].isoformat(),
            "moments": len(data.cuts),
            "calibrated_at": data.later.isoformat(),
            "contacts_a_moment": len(data.contacts),
            "holdout_contacts": len(data.holdout.shoppers),
            "holdout_units": len(data.units),
            "simulated": False,
        }


def _moments_of(contacts: int) -> int:
    return int(np.clip(SHOPPERS // max(contacts, 1), LEAST_MOMENTS, MOMENTS))


def _moments(
    context: Context, split: TemporalSplit, passed: datetime, start: float, count: int
) -> list[datetime]:
    """Return the moments to learn from, the earliest first: every few days, and one at `passed`.

    None lies in the first half window of the data, where little is known of anyone. Raises NotReady where
    `passed` does: the latest moment whose horizon is over before calibration.
    """
    window = split.end - split.cut
    step = timedelta(days=min(whole(context, "every_days", EVERY_DAYS), window.days))
    earliest = datetime.fromtimestamp(start, UTC) + window / 2
    if passed < earliest:
        days, needed = (split.end - earliest + window / 2).days, (split.end - passed + window / 2).days
        raise NotReady(
            f"the orders span {days} days and {needed} are needed with windows of {window.days}; ingest "
            "more, or set NEXTBEST_HOLDOUT_DAYS and NEXTBEST_PURCHASE_HORIZON_DAYS to fewer days"
        )
    cuts = {passed, *(split.cut - (i + 1) * step for i in range(count))}
    return sorted(cut for cut in cuts if cut >= earliest)


def _by_orders(model: NextPurchase, data: NextPurchaseData) -> pd.DataFrame:
    """Return ours and the baseline's figure by how many orders a contact had placed before."""
    wanted = [data.holdout.next_order[unit] for unit in data.units]
    shoppers = [data.holdout.shoppers[unit] for unit in data.units]

    def figure(answers: Answers) -> Floats:
        return ndcg_at_k([answers.ranked[unit] for unit in data.units], wanted, K)

    orders = np.array([shopper.features.get("orders_total", 0.0) for shopper in shoppers])
    names = ["1", "2-4", "5-19", "20-49", "50 or more"]
    table = pd.DataFrame(
        {
            "orders_before": [names[i] for i in np.digitize(orders, [2, 5, 20, 50])],
            "contacts": 1.0,
            f"ndcg@{K}": figure(data.answers(model)),
            "frequency": figure(Answers.of(Frequency(), data.holdout)),
        }
    )
    grouped = table.groupby("orders_before").agg(
        {"contacts": "sum", f"ndcg@{K}": "mean", "frequency": "mean"}
    )
    return grouped.reindex([name for name in names if name in grouped.index]).reset_index()
