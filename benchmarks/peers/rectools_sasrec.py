"""RecTools' SASRec with sampled softmax, as its authors run it on Beauty (eSASRec) as far as minutes allow.

Theirs: width 64, 1 block, 1 head, dropout .2, learning rate .001, length 50, 256 negatives, at most 200
epochs. RecTools pads every history to the full length and draws negatives for each place, so that such an
epoch takes minutes on two cores. Hence length 20, which holds the whole history of 95 of 100 users, 64
negatives and 30 epochs, some ten minutes; the arguments `length`, `negatives` and `epochs` set others.
"""

import logging
import warnings

import pandas as pd
from pytorch_lightning import seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

from benchmarks._next_item_data import Items
from benchmarks.peers._common import Arguments, filled, next_item


def recommend(train: pd.DataFrame, users: Items, arguments: Arguments) -> Items:
    """Learn and rank."""
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    seed_everything(arguments["seed"])
    dataset = Dataset.construct(interactions(train))
    model = SASRecModel(
        n_blocks=1,
        n_heads=1,
        n_factors=64,
        dropout_rate=0.2,
        session_max_len=arguments.get("length", 20),
        loss="sampled_softmax",
        n_negatives=arguments.get("negatives", 64),
        lr=0.001,
        batch_size=128,
        epochs=arguments.get("epochs", 30),
    )
    model.fit(dataset)
    lists = model.recommend(
        users, dataset, k=arguments["k"], filter_viewed=True, on_unsupported_targets="ignore"
    )
    rows = pd.DataFrame({"user": lists["user_id"], "rank": lists["rank"] - 1, "item": lists["item_id"]})
    return filled(rows, users, arguments["k"])


def interactions(train: pd.DataFrame) -> pd.DataFrame:
    """Return the table RecTools wants; places become days, only their order counts."""
    day = pd.to_datetime(train["time"], unit="D")
    return pd.DataFrame(
        {Columns.User: train["user"], Columns.Item: train["item"], Columns.Datetime: day, Columns.Weight: 1.0}
    )


if __name__ == "__main__":
    next_item(recommend)
