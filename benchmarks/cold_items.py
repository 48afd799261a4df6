"""New products: `python -m benchmarks.cold_items --data complete-journey [--home DIR] [--learned]`.

A tenth of the known products is taken out of what the sequence model learns from, and described by category,
brand and price alone, as a product is on the day it arrives. Asked are the contacts whose first order in the
30 days after the cut holds any of them; only these products are ranked. Beside it: the contact's own
purchases in the product's category, chance and, with `--learned`, the same model that could learn from their
purchases. Recall is a mean over contacts, where a few milks weigh much, `product_recall` one over products.
`new_` figures leave out what the contact had bought before: a new product nobody has.
"""

import tempfile
from collections import Counter
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
from nextbest.columns import RECENT, REPEAT
from nextbest.progress import Progress
from nextbest.settings import Settings
from training._candidate_sources import SEQUENCE_EPOCHS, SEQUENCE_RATE
from training._purchases import bought_by, first_orders, purchases
from training.metrics import mean_of, paired_bootstrap, recall_at_k

HELD_OUT = 0.1
FIGURES = ("recall@10", "product_recall@10", "new_recall@10", "new_product_recall@10")
OURS, CATEGORY = "described by attributes", "own purchases in its category"


@dataclass(frozen=True)
class Question:
    """Products taken out, and who went on to buy which of them."""

    cold: list[str]
    pasts: list[list[str]]
    """What each contact had bought, oldest first."""
    wanted: list[list[str]]
    new: list[list[str]]
    """Those of `wanted` that the contact had not bought before."""


def main() -> None:
    """Measure, print, write."""
    parser = report.options((__doc__ or "").splitlines()[0], JOURNEY)
    parser.add_argument("--home", type=Path, help="a state folder with the data ingested and features built")
    parser.add_argument("--learned", action="store_true", help="also the model that knows the products")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, screen.progress() as progress:
        settings = Settings(home=asked.home or Path(folder))
        if asked.home is None:
            ingest(settings, asked.data, now=NOW, progress=progress)
            build(settings, NOW, progress=progress)
        rows, facts = measured(settings, CUT, asked.seed, asked.learned, progress)
    report.show(rows, FIGURES)
    print("\nours is ahead by, 95 % interval:")
    report.show(
        {name: {f: row[f"{f}_behind"] for f in FIGURES} for name, row in rows.items() if name != OURS},
        FIGURES,
    )
    print(f"\n{facts['contacts']} contacts, {facts['contacts_new']} of them with something new")
    ours = rows.pop(OURS)
    report.write(asked.json, ours, rows, {"name": asked.data, **facts}, [asked.seed])


def measured(
    settings: Settings, cut_text: str, seed: int, learned: bool, progress: Progress
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the figures of each way to rank, and the sizes."""
    cut = moment(cut_text)
    lines = purchases(settings, cut + timedelta(days=30))
    known = bought_by(lines, cut)
    config = SequenceConfig(epochs=SEQUENCE_EPOCHS, learning_rate=SEQUENCE_RATE)
    names = vocabulary(known, config)
    random = np.random.default_rng(seed)
    cold = sorted(random.choice(names, int(len(names) * HELD_OUT), replace=False))
    question = _question(lines, known, cut, cold)
    catalogue = Catalogue.from_frame(items_at(settings, cut), cut.timestamp())
    without = known[~known["item_id"].isin(cold)]
    made = SequenceModel.learn(without, replace(config, epochs=1), seed, progress)  # newcomers ask no net
    ways = {
        OURS: _scores(made.extended(_only_new(catalogue, cold), len(cold)), question),
        CATEGORY: _by_category(catalogue, question),
        "chance": [random.random(len(cold)) for _ in question.pasts],
    }
    if learned:
        ways["learned from its purchases"] = _scores(
            SequenceModel.learn(known, config, seed, progress), question
        )
    sizes = {
        "contacts": len(question.pasts),
        "contacts_new": sum(map(bool, question.new)),
        "held_out": len(cold),
        "epochs": made.epochs,
    }
    return _compared({name: _hits(scores, question) for name, scores in ways.items()}, seed), sizes


def _question(lines: pd.DataFrame, known: pd.DataFrame, cut: Any, cold: list[str]) -> Question:
    orders = first_orders(lines, cut, cut + timedelta(days=30))
    held = known["item_id"].isin(cold)
    pasts, hidden = (
        part.groupby("contact_id", observed=True)["item_id"].agg(list) for part in (known[~held], known[held])
    )
    wanted = {c: sorted(items & set(cold)) for c, items in orders.items() if items & set(cold) and c in pasts}
    new = [sorted(set(items) - set(hidden.get(c, []))) for c, items in wanted.items()]
    return Question(cold, [[str(i) for i in pasts[c]] for c in wanted], list(wanted.values()), new)


def _only_new(catalogue: Catalogue, cold: list[str]) -> Catalogue:
    """Return the catalogue in which only the held-out products are new and may be sold."""
    out = catalogue.in_stock & np.isin(catalogue.item_ids.astype(str), cold)
    return replace(catalogue, in_stock=out)


def _scores(model: SequenceModel, question: Question) -> list[Floats]:
    """Ask the model with as much as it is told when serving."""
    places = [model.number[item] for item in question.cold]
    found = []
    for past in question.pasts:
        latest = list(dict.fromkeys(reversed(past)))[:RECENT][::-1]
        scores = model.scores(latest, dict(Counter(past).most_common(REPEAT)))
        found.append(np.zeros(len(places)) if scores is None else scores[places].astype(np.float64))
    return found


def _by_category(catalogue: Catalogue, question: Question) -> list[Floats]:
    """Score each product by the contact's purchases in its whole path, then in its category."""
    rows = np.array([catalogue.index[item] for item in question.cold])

    def share(names: npt.NDArray[np.object_], past: list[str]) -> Floats:
        count = pd.Series(names[[catalogue.index[item] for item in past]]).value_counts()
        return np.asarray(pd.Series(names[rows]).map(count).fillna(0.0), dtype=np.float64)

    return [
        share(catalogue.paths, past) + 1e-4 * share(catalogue.categories, past) for past in question.pasts
    ]


def _hits(scores: list[Floats], question: Question) -> dict[str, Floats]:
    """Return figure -> one number a contact, or a product."""
    random = np.random.default_rng(0)  # ties are broken by chance
    orders = [np.lexsort((random.random(len(s)), -s))[:10] for s in scores]
    ranked = [[question.cold[place] for place in order] for order in orders]
    new = [place for place, items in enumerate(question.new) if items]
    found = dict[str, Floats]()
    for name, rows, wanted in (("", range(len(ranked)), question.wanted), ("new_", new, question.new)):
        asked, sets = [ranked[row] for row in rows], [set(wanted[row]) for row in rows]
        found[f"{name}recall@10"] = recall_at_k(asked, sets, 10)
        found[f"{name}product_recall@10"] = _by_product(asked, sets)
    return found


def _by_product(ranked: list[list[str]], wanted: list[set[str]]) -> Floats:
    """Return for each product the share of those who went on to buy it that it was shown to."""
    pairs = pd.DataFrame(
        [
            (item, item in shown)
            for shown, items in zip(ranked, wanted, strict=True)
            for item in sorted(items)
        ],
        columns=["item", "shown"],
    )
    return pairs.groupby("item")["shown"].mean().to_numpy(np.float64)


def _compared(hits: dict[str, dict[str, Floats]], seed: int) -> dict[str, dict[str, Any]]:
    """Return means, and by how much ours is better: paired bootstrap over contacts, or over products."""
    rows: dict[str, dict[str, Any]] = {
        name: {figure: float(values.mean()) for figure, values in found.items()}
        for name, found in hits.items()
    }
    for name, found in hits.items():
        for figure, theirs in found.items() if name != OURS else ():
            ours = hits[OURS][figure]
            ahead = paired_bootstrap(mean_of(ours), mean_of(theirs), len(ours), seed)
            rows[name][f"{figure}_behind"] = [ahead.estimate, ahead.low, ahead.high]
    return rows


if __name__ == "__main__":
    main()
