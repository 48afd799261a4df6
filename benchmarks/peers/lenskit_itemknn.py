"""LensKit's item-item neighbours (cosine) on implicit feedback, with its own defaults: 20 neighbours."""

import pandas as pd
from lenskit.batch import recommend as recommend_all
from lenskit.data import from_interactions_df
from lenskit.knn import ItemKNNScorer
from lenskit.pipeline import topn_pipeline

from benchmarks._next_item_data import Items
from benchmarks.peers._common import Arguments, filled, next_item


def recommend(train: pd.DataFrame, users: Items, arguments: Arguments) -> Items:
    """Learn and rank; the pipeline leaves the items of a user's own history out by itself."""
    data = from_interactions_df(train[["user", "item"]], user_col="user", item_col="item")
    pipeline = topn_pipeline(ItemKNNScorer, {"feedback": "implicit"}, n=arguments["k"])
    pipeline.train(data)
    lists = recommend_all(pipeline, users).to_df()
    rows = pd.DataFrame({"user": lists["user_id"], "rank": lists["rank"] - 1, "item": lists["item_id"]})
    return filled(rows, users, arguments["k"])


if __name__ == "__main__":
    next_item(recommend)
