"""Input examples that are nobody's: they are kept with every version of a model, where no erasure looks."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from features.decay import DAY
from models._pyfunc import shopper_of
from models.base import Shopper
from models.catalogue import Catalogue

BOUGHT = 5
"""Items that the shopper of an example has bought."""


def rows_of_nobody(frame: pd.DataFrame, columns: Sequence[str], rows: int) -> pd.DataFrame:
    """Return each column's own quantiles as float64: values as they occur, rows that no contact has."""
    shares = np.linspace(0.1, 0.9, rows)
    return (
        frame[list(columns)]
        .astype(np.float64)
        .quantile(shares, interpolation="linear")
        .reset_index(drop=True)
    )


def shoppers_of_nobody(catalogue: Catalogue) -> list[Shopper]:
    """Return a stranger, and somebody who bought what sells most, once a week."""
    best = np.argsort(-catalogue.statistics["sold_90d"], kind="stable")[:BOUGHT]
    items = [str(item) for item in catalogue.item_ids[best]]
    times = [catalogue.now - 7 * DAY * (place + 1) for place in range(len(items))]
    once = dict.fromkeys(("repeat_30d", "repeat_90d", "repeat_365d", "repeat_count"), [1.0] * len(items))
    bought = {"recent_items": items, "recent_times": times, "repeat_items": items, **once}
    known = {
        "contact_id": "somebody",
        "now": catalogue.now,
        "repeat_first": times,
        "repeat_last": times,
        **bought,
    }
    return [shopper_of({"contact_id": "stranger", "now": catalogue.now}), shopper_of(known)]
