"""What the two peers from `implicit` share: the matrix, and the ranking of all items but the user's own."""

import numpy as np
import pandas as pd
from implicit.recommender_base import RecommenderBase
from scipy.sparse import csr_matrix

from benchmarks._next_item_data import Items


def matrix(train: pd.DataFrame) -> csr_matrix:
    """Return (users, items) with a 1 for each interaction."""
    ones = np.ones(len(train), dtype=np.float32)
    return csr_matrix((ones, (train["user"], train["item"])))


def rank(model: RecommenderBase, bought: csr_matrix, users: Items, k: int) -> Items:
    """Return the k best items of each user, (users, k); -1 where the model knows fewer."""
    return model.recommend(users, bought[users], N=k, filter_already_liked_items=True)[0].astype(np.int64)
