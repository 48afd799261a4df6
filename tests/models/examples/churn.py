import numpy as np

from models._survival import Trees, Waits
from models.churn import Churn, ChurnConfig, ChurnHistory

HORIZON = 30.0


def example(world, seed):
    def waits(rows):
        days = np.where(world.left[rows] > 0, np.inf, 10.0)
        return Waits(world.contacts[rows], days, np.full(len(days), HORIZON))

    early, later = slice(0, 400), slice(400, 800)
    history = ChurnHistory(waits(early), waits(later), world.contacts[early])
    config = ChurnConfig(HORIZON, trees=Trees(rounds=20), least_rows=100)
    return Churn.learn(history, config, seed)
