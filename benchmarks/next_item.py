"""Next item: `python -m benchmarks.next_item --data FILE [--seed N] [--peers] [--json OUT]`.

FILE: a user a line, `user item item …`, oldest first. Last item: test; the one before: validation; all items
are ranked, the user's own left out. Settings follow from the sizes of the data; the number of epochs from
validation; then the model learns anew on training and validation, as before deploying, and is tested.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import _peers
from benchmarks import _report as report
from benchmarks._next_item_data import DEPTHS, Items, NextItemFile, figures
from models.nearest import top
from models.sequence import SequenceConfig, SequenceModel
from nextbest import _screen as screen
from nextbest.progress import Progress

COLUMNS = ("ndcg@10", "recall@10", "ndcg@5", "recall@5", "seconds", "peak_mb")
K = max(DEPTHS)


def main() -> None:
    """Measure, print, write."""
    parser = report.options((__doc__ or "").splitlines()[0], "a next-item file")
    parser.add_argument("--peers", action="store_true", help="also what one would pick instead; make peers")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="SequenceConfig's")
    asked = parser.parse_args()
    file = NextItemFile.read(asked.data)
    config = configured(dict(text.split("=", 1) for text in asked.set))
    with screen.progress() as progress:
        model, ours = measured(file, config, asked.seed, progress)
    peers = {peer: _peers.next_item(peer, file, seed=asked.seed) for peer in _peers.NEXT_ITEM if asked.peers}
    report.show({"nextbest sequence": ours, **peers}, COLUMNS)
    said = {"epochs": model.epochs, "width": model.config.width, "dropout": model.config.dropout}
    print("\n" + ", ".join(f"{name} {value}" for name, value in said.items()))
    data = {
        "name": asked.data, "users": len(file.user_ids), "items": len(file.item_ids),
        "interactions": file.interactions, "users_not_asked": file.short,
        "learned_on": "training + validation", "epochs_chosen_on": "validation",
    }  # fmt: skip
    report.write(asked.json, ours | said, peers, data, [asked.seed])


def configured(told: Mapping[str, str]) -> SequenceConfig:
    """Return the defaults, with every item of the file known, and what was set by hand."""
    from training._options import configured as typed

    given = {"threads": "2", **told}
    return typed(SequenceConfig, given, list(given), min_count=1, max_items=10**9, refit=True)


def measured(
    file: NextItemFile, config: SequenceConfig, seed: int, progress: Progress
) -> tuple[SequenceModel, dict[str, Any]]:
    """Learn and test; return the model and its figures."""
    watch = report.Stopwatch()
    model = SequenceModel.learn(lines(file), config, seed, progress)
    seconds = watch.seconds
    ranked = np.array([_best(model, history) for history in file.before_test()])
    asked = {"seconds": seconds, "answer_ms": (watch.seconds - seconds) * 1000 / len(ranked)}
    return model, figures(ranked, file.test()) | asked | {"peak_mb": report.peak_mb()}


def lines(file: NextItemFile) -> pd.DataFrame:
    """Return all but the test items as purchases, each an order of its own."""
    histories = file.before_test()
    sizes = [len(history) for history in histories]
    user = np.repeat(np.arange(len(histories)), sizes)
    item = np.concatenate(histories)
    return pd.DataFrame(
        {
            "contact_id": user,
            "order_id": np.arange(len(item)),
            "item_id": pd.Categorical(item.astype(str)),
            "time": np.concatenate([np.arange(size, dtype=float) for size in sizes]),
        }
    )


def _best(model: SequenceModel, history: Items) -> Items:
    scores = model.scores([str(item) for item in history])
    if scores is None:
        return np.full(K, -1)
    own = [model.number[str(item)] for item in history if str(item) in model.number]
    scores[own] = -np.inf
    return np.array([int(model.item_ids[place]) for place in top(scores, K)])


if __name__ == "__main__":
    main()
