"""New products: `python -m benchmarks.cold_items --data complete-journey [--home DIR] [--json OUT]`.

A tenth of the known products is taken out of what the sequence model learns from, and described by category,
brand and price alone, as a product is on the day it arrives. Asked are the contacts whose first order in the
30 days after the cut holds any of them; only these products are ranked. Beside it: the contact's own
purchases in the product's category, chance, and the same model that could learn from their purchases.
"""

import tempfile
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks import _report as report
from benchmarks.next_basket import CUT, JOURNEY, NOW
from features.build import build
from features.events.ingest import ingest
from features.items import items_at
from models.base import Floats
from models.catalogue import Catalogue
from models.sequence import SequenceConfig, SequenceModel, vocabulary
from nextbest import _screen as screen
from nextbest.cli import moment
from nextbest.progress import Progress
from nextbest.settings import Settings
from training._purchases import bought_by, first_orders, purchases
from training.metrics import ndcg_at_k, recall_at_k

HELD_OUT = 0.1
COLUMNS = ("recall@10", "ndcg@10", "better_than_chance")
EPOCHS = 8


@dataclass(frozen=True)
class Question:
    """Products nobody has bought, and who went on to buy which of them."""

    cold: list[str]
    pasts: list[list[str]]
    """What each contact had bought, oldest first."""
    wanted: list[list[str]]


def main() -> None:
    """Measure, print, write."""
    parser = report.options((__doc__ or "").splitlines()[0], JOURNEY)
    parser.add_argument("--home", type=Path, help="a state folder with the data ingested and features built")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, screen.progress() as progress:
        settings = Settings(home=asked.home or Path(folder))
        if asked.home is None:
            ingest(settings, asked.data, now=NOW, progress=progress)
            build(settings, NOW, progress=progress)
        rows, facts = measured(settings, CUT, asked.seed, progress)
    report.show(rows, COLUMNS)
    print(f"\n{facts['contacts']} contacts, {facts['held_out']} products held out")
    ours = rows.pop("described by attributes")
    report.write(asked.json, ours, rows, {"name": asked.data, **facts}, [asked.seed])


def measured(
    settings: Settings, cut_text: str, seed: int, progress: Progress
) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """Return the figures of each way to rank, and the sizes."""
    cut = moment(cut_text)
    lines = purchases(settings, cut + timedelta(days=30))
    known = bought_by(lines, cut)
    config = SequenceConfig(epochs=EPOCHS)
    names = vocabulary(known, config)
    random = np.random.default_rng(seed)
    cold = sorted(random.choice(names, int(len(names) * HELD_OUT), replace=False))
    question = _question(lines, known, cut, cold)
    catalogue = Catalogue.from_frame(items_at(settings, cut), cut.timestamp())
    without = known[~known["item_id"].isin(cold)]
    made = SequenceModel.learn(without, config, seed, progress).extended(
        _only_new(catalogue, cold), len(cold)
    )
    learned = SequenceModel.learn(known, config, seed, progress)
    ways = {
        "described by attributes": _scores(made, question),
        "own purchases in its category": _by_category(catalogue, question),
        "chance": [random.random(len(cold)) for _ in question.pasts],
        "learned from its purchases": _scores(learned, question),
    }
    rows = {name: _figures(scores, question) for name, scores in ways.items()}
    for row in rows.values():
        row["better_than_chance"] = row["recall@10"] / max(rows["chance"]["recall@10"], 1e-9)
    return rows, {"contacts": len(question.pasts), "held_out": len(cold), "epochs": EPOCHS}


def _question(lines: pd.DataFrame, known: pd.DataFrame, cut: Any, cold: list[str]) -> Question:
    orders = first_orders(lines, cut, cut + timedelta(days=30))
    pasts = known[~known["item_id"].isin(cold)].groupby("contact_id", observed=True)["item_id"].agg(list)
    asked = {c: sorted(items & set(cold)) for c, items in orders.items() if items & set(cold) and c in pasts}
    return Question(cold, [[str(i) for i in pasts[c]] for c in asked], list(asked.values()))


def _only_new(catalogue: Catalogue, cold: list[str]) -> Catalogue:
    """Return the catalogue in which only the held-out products are new and may be sold."""
    out = catalogue.in_stock & np.isin(catalogue.item_ids.astype(str), cold)
    return replace(catalogue, in_stock=out)


def _scores(model: SequenceModel, question: Question) -> list[Floats]:
    places = [model.number[item] for item in question.cold]
    found = (model.scores(past) for past in question.pasts)
    return [np.asarray(np.zeros(len(places)) if s is None else s[places], np.float64) for s in found]


def _by_category(catalogue: Catalogue, question: Question) -> list[Floats]:
    """Score each product by the contact's purchases in its whole path, then in its category."""
    rows = np.array([catalogue.index[item] for item in question.cold])

    def share(names: npt.NDArray[np.object_], past: list[str]) -> Floats:
        count = pd.Series(names[[catalogue.index[item] for item in past]]).value_counts()
        return np.asarray(pd.Series(names[rows]).map(count).fillna(0.0), dtype=np.float64)

    return [
        share(catalogue.paths, past) + 1e-4 * share(catalogue.categories, past) for past in question.pasts
    ]


def _figures(scores: list[Floats], question: Question) -> dict[str, float]:
    random = np.random.default_rng(0)  # ties are broken by chance
    orders = [np.lexsort((random.random(len(s)), -s))[:10] for s in scores]
    ranked = [[question.cold[place] for place in order] for order in orders]
    wanted = [set(items) for items in question.wanted]
    return {
        "recall@10": float(recall_at_k(ranked, wanted, 10).mean()),
        "ndcg@10": float(ndcg_at_k(ranked, wanted, 10).mean()),
    }


if __name__ == "__main__":
    main()
