"""How others load a registered model: mlflow.pyfunc's loader module (mlflow itself is not imported here).

The frame that goes in and out depends on what the model answers; a model with a `predict` of its own is asked
that. Columns are float64 and text only, so that a signature can be inferred and enforced:

    score            CONTACT_FEATURES -> what score returns
    rank             what rank reads -> what rank returns, over all channels
    bought_together  item_ids (joined by commas)
                     -> item_ids, antecedent, consequent, support, confidence, lift
    recommend        shopper (JSON: the attributes of models.base.Shopper; absent ones are empty)
                     -> contact_id, rank, item_id, score, probability; needs the catalogue beside the model
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from models import artifact
from models.base import Model, Shopper
from models.catalogue import Catalogue
from nextbest.columns import CHANNELS, ITEM_STATISTICS
from nextbest.errors import BadInput

CATALOGUE = "catalogue.parquet"
VALUED_AT = "valued_at"
K = 10
TEXTS = (
    "recent_items", "viewed_items", "repeat_items", "category_names", "step_names", "step_categories",
)  # fmt: skip
NUMBERS = (
    "recent_times", "viewed_times", "repeat_30d", "repeat_90d", "repeat_365d", "repeat_count", "repeat_first",
    "repeat_last", "category_90d", "step_times",
)  # fmt: skip


class Predictor:
    """A model behind the one method mlflow asks for."""

    def __init__(self, model: Model, catalogue: Catalogue | None = None) -> None:
        self.model, self.catalogue = model, catalogue

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Answer every row of the frame."""
        return predict(self.model, frame, self.catalogue)


def _load_pyfunc(path: str) -> Predictor:
    """Load the artifact folder at `path`: what mlflow calls."""
    folder = Path(path)
    return Predictor(artifact.load(folder), read_catalogue(folder / CATALOGUE))


def predict(model: Any, frame: pd.DataFrame, catalogue: Catalogue | None = None) -> pd.DataFrame:
    """Answer a frame with any model; raises BadInput for one that needs a catalogue and has none."""
    if callable(getattr(model, "predict", None)):
        return pd.DataFrame(model.predict(frame))
    if hasattr(model, "score"):
        return pd.DataFrame(model.score(frame))
    if hasattr(model, "rank"):
        return pd.DataFrame(model.rank(frame, CHANNELS))
    if hasattr(model, "bought_together"):
        return _bought_together(model, frame)
    return _recommend(model, frame, catalogue)


def _bought_together(model: Any, frame: pd.DataFrame) -> pd.DataFrame:
    rows = [
        (text, ",".join(rule.antecedent), rule.consequent, rule.support, rule.confidence, rule.lift)
        for text in frame["item_ids"]
        for rule in model.bought_together(str(text).split(","), K)
    ]
    columns = ["item_ids", "antecedent", "consequent", "support", "confidence", "lift"]
    return pd.DataFrame(rows, columns=columns)


def _recommend(model: Any, frame: pd.DataFrame, catalogue: Catalogue | None) -> pd.DataFrame:
    if catalogue is None:
        raise BadInput(f"{model.kind} ranks the items of a catalogue, and none was saved beside it")
    rows: list[tuple[str | None, float, str, float, float]] = []
    for text in frame["shopper"]:
        shopper = shopper_of(json.loads(text))
        ranking = model.recommend(shopper, catalogue, K)
        chances = np.full(len(ranking), np.nan) if ranking.probabilities is None else ranking.probabilities
        for place, item in enumerate(ranking.item_ids):
            score, chance = float(ranking.scores[place]), float(chances[place])
            rows.append((shopper.contact_id, float(place + 1), item, score, chance))
    return pd.DataFrame(rows, columns=["contact_id", "rank", "item_id", "score", "probability"])


def shopper_of(known: Mapping[str, Any]) -> Shopper:
    """Build a shopper from the attributes known; the others are empty."""
    texts = {name: list(known.get(name, ())) for name in TEXTS}
    numbers = {name: np.asarray(known.get(name, ()), dtype=np.float64) for name in NUMBERS}
    whole: Any = SimpleNamespace(
        contact_id=known.get("contact_id"),
        now=float(known.get("now", 0.0)),
        features=dict(known.get("features", {})),
        **texts,
        **numbers,
    )
    shopper: Shopper = whole
    return shopper


def shopper_text(shopper: Shopper) -> str:
    """Return the JSON `shopper_of` reads."""
    known: dict[str, Any] = {name: list(getattr(shopper, name)) for name in TEXTS}
    known |= {name: np.asarray(getattr(shopper, name)).tolist() for name in NUMBERS}
    known |= {"contact_id": shopper.contact_id, "now": shopper.now, "features": dict(shopper.features)}
    return json.dumps(known)


def write_catalogue(catalogue: Catalogue, path: Path) -> None:
    """Write the catalogue as Parquet, valued at its own moment."""
    frame = pd.DataFrame(
        {
            "item_id": catalogue.item_ids,
            "title": catalogue.titles,
            "category": catalogue.paths,
            "brand": catalogue.brands,
            "price": catalogue.prices,
            "mean_price": catalogue.statistics["mean_price"],
            "in_stock": catalogue.in_stock,
            "hidden": catalogue.hidden,
            "repeatable": catalogue.repeatable,
            **{name: catalogue.statistics[name] for name in ITEM_STATISTICS if name != "mean_price"},
            VALUED_AT: catalogue.now,
        }
    )
    frame.to_parquet(path, index=False)


def read_catalogue(path: Path) -> Catalogue | None:
    """Read what `write_catalogue` wrote; None where there is nothing."""
    if not path.is_file():
        return None
    frame = pd.read_parquet(path)
    return Catalogue.from_frame(frame, float(frame[VALUED_AT].iloc[0]) if len(frame) else 0.0)
