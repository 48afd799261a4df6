"""implicit's alternating least squares: Hu, Koren and Volinsky's matrix factorisation.

Its own defaults but for the iterations: 64 factors, regularisation .01, alpha 1, 30 iterations.
"""

import pandas as pd
from implicit.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks._next_item_data import Items
from benchmarks.peers._common import Arguments, next_item
from benchmarks.peers._implicit import matrix, rank


def recommend(train: pd.DataFrame, users: Items, arguments: Arguments) -> Items:
    """Learn and rank."""
    bought = matrix(train)
    model = AlternatingLeastSquares(factors=64, iterations=30, random_state=arguments["seed"])
    with threadpool_limits(1, "blas"):  # it runs threads of its own, and asks for this
        model.fit(bought, show_progress=False)
        return rank(model, bought, users, arguments["k"])


if __name__ == "__main__":
    next_item(recommend)
