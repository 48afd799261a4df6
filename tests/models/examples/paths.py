import numpy as np
import pandas as pd

from models.paths import Paths, PathsConfig


def example(world, seed):
    """Whoever looks at a category and puts something of it into the cart buys an item of it."""
    rows = []
    for number in range(90):
        contact, start, place = f"c{number:03d}", 1e9 + number * 3600.0, number % 12
        category = f"shop/{place % 3}"
        steps = ["product_viewed", "product_added"] if number % 2 else ["product_viewed", "products_searched"]
        for later, event in enumerate(steps):
            about = category if event != "products_searched" else ""
            rows.append((contact, start + later * 60, event, about, None, None))
        if number % 2:
            rows.append((contact, start + 900, "order_completed", category, world.items[place], f"o{number}"))
    columns = ["contact_id", "time", "event", "category", "item_id", "order_id"]
    frame = pd.DataFrame(rows, columns=columns).replace({np.nan: None})
    return Paths.learn(frame, PathsConfig(least=5, prior=5.0), seed, until=2e9)
