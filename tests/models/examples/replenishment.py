import numpy as np
import pandas as pd

from models.replenishment import Replenishment

START = 20_000


def example(world, seed):
    """Soap every ten days or so, sweets on any trip: one category to replenish, one not."""
    random = np.random.default_rng(seed)
    rows = []
    for contact in range(60):
        trips = START + np.sort(random.choice(200, 100, replace=False))
        due = 0.0
        for day in trips:
            if day >= due:
                rows.append((f"c{contact:03d}", "home/soap", day))
                due = day + 8 + random.integers(0, 5)
            if random.random() < 0.4:
                rows.append((f"c{contact:03d}", "food/sweets", day))
    frame = pd.DataFrame(rows, columns=["contact_id", "category", "day"])
    frame = frame.sort_values(["contact_id", "category", "day"], ignore_index=True)
    frame = frame.astype({"contact_id": "category", "category": "category"})
    return Replenishment.learn(frame, (START + 200) * 86_400.0)
