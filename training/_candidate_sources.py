"""The sources of candidates that the next purchase learns from lines and steps, and their options."""

from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pandas as pd

from models._candidates import SOURCES
from models._sources import Source
from models._walks import Steps
from models.basket import Basket, BasketConfig, Baskets
from models.following import Following
from models.neighbours import Neighbours, NeighboursConfig
from models.paths import Paths, PathsConfig
from models.sequence import SequenceConfig, SequenceModel
from nextbest.errors import BadInput, NotReady
from training._options import configured
from training._walked import walked
from training.base import Context

PARTS = ("sequence", "basket", *(source.kind for source in SOURCES))
"""The sources of candidates that learn."""
SEQUENCE_EPOCHS, SEQUENCE_RATE = 8, 0.003
"""The sequence is one source among many here: a short fit, with larger steps."""
SEQUENCE = {
    "width": "numbers an item is described by in the sequence model",
    "blocks": "its transformer blocks",
    "length": "last purchases it looks at",
    "epochs": "passes over the purchases at most",
    "negatives": "items drawn a batch",
    "min_count": "purchases an item must have to be known to it",
    "threads": "threads it learns with",
}
NEIGHBOURS = {"neighbours": "contacts alike that are listened to"}
BASKET = {
    "false_discovery": "share of the rules kept that may be chance",
    "min_baskets": "baskets a rule must be seen in; 0: 10, fewer where there are few baskets",
}


def _left_out(context: Context) -> set[str]:
    chosen = {part for part in context.options.get("without", "").split(",") if part}
    if unknown := chosen - {*PARTS}:
        raise BadInput(f"without is {', '.join(sorted(unknown))!r}; known: {', '.join(PARTS)}")
    return chosen


def learned_sequence(lines: pd.DataFrame, context: Context) -> SequenceModel | None:
    """Return what follows in the sequence of purchases; None where it is left out or cannot be learned."""
    if "sequence" in _left_out(context):
        return None
    told = {"epochs": str(SEQUENCE_EPOCHS), **context.options}
    config = configured(SequenceConfig, told, list(SEQUENCE), learning_rate=SEQUENCE_RATE)
    try:
        return SequenceModel.learn(
            lines, config, context.seed, context.progress, checkpoint(context, "before")
        )
    except NotReady as error:
        context.progress(f"next-purchase without sequences: {error}", 0, 0)
        return None


def checkpoint(context: Context, part: str) -> Path:
    """Return where a fit that was killed goes on from."""
    return context.settings.home.resolve() / "checkpoints" / f"next-purchase-{part}.safetensors"


def learned_basket(lines: pd.DataFrame, context: Context) -> Basket | None:
    """Return the rules of pairs; None where they are left out or there are none."""
    if "basket" in _left_out(context):
        return None
    config = configured(BasketConfig, context.options, list(BASKET), length=2)
    try:
        return Basket.learn(
            Baskets.of(lines["order_id"].tolist(), lines["item_id"].tolist()),
            config,
            context.seed,
            context.progress,
        )
    except NotReady as error:
        context.progress(f"next-purchase without rules: {error}", 0, 0)
        return None


def steps_until(context: Context, until: datetime) -> Steps | None:
    """Return what contacts did between purchases until a moment; None: nothing."""
    config = PathsConfig()
    try:
        return Steps.of(walked(context.settings, until), config.idle_days, config.ignored)
    except NotReady:
        return None


def learned_sources(lines: pd.DataFrame, steps: Steps | None, at: datetime, context: Context) -> list[Source]:
    """Learn the further sources, those that there is enough for: quick enough to do at every moment."""
    config = configured(NeighboursConfig, context.options, list(NEIGHBOURS))
    learned = list[Source]()
    for learn in (lambda: Neighbours.learn(lines, config, context.seed), lambda: Following.learn(lines)):
        with suppress(NotReady):
            learned.append(learn())
    if steps is not None:
        with suppress(NotReady):
            learned.append(Paths.counted(steps, PathsConfig(), at.timestamp()))
    return [source for source in learned if source.kind not in _left_out(context)]
