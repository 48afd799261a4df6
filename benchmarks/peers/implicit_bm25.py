"""implicit's item-item neighbours on BM25 weights, with its own defaults: K1 1.2, B .75; 100 neighbours."""

import pandas as pd
from implicit.nearest_neighbours import BM25Recommender

from benchmarks._next_item_data import Items
from benchmarks.peers._common import Arguments, next_item
from benchmarks.peers._implicit import matrix, rank


def recommend(train: pd.DataFrame, users: Items, arguments: Arguments) -> Items:
    """Learn and rank."""
    bought = matrix(train)
    model = BM25Recommender(K=100)
    model.fit(bought, show_progress=False)
    return rank(model, bought, users, arguments["k"])


if __name__ == "__main__":
    next_item(recommend)
