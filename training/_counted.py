"""Pair counts kept between trainings: where the lake only grew, only its new days are counted.

Each counted day is remembered by its number of lines and a sum of their hashes. If every one of them is still
what it was, and no order has lines on a counted and on a new day, the new days are added; else all are
counted again: a line that was erased, came late or was mended changes its day.
"""

import logging
import shutil
import uuid
from pathlib import Path

import numpy as np
import pandas as pd

from models._mining import Ints
from models._pair_counts import PairCounts
from models.basket import Baskets
from nextbest.columns import ITEM_ID, ORDER_ID
from nextbest.settings import Settings
from training._purchases import TIME
from training.coverage import baskets

log = logging.getLogger(__name__)
FORMAT = 1
MOST = 60_000_000
"""Pairs of lines up to which all pair counts are kept (some GB while they are counted)."""
DAY = 86_400
Days = dict[str, list[int]]


def counted(settings: Settings, lines: pd.DataFrame, whole: Baskets) -> PairCounts | None:
    """Return the pair counts of `lines`, which `whole` holds as baskets, from the kept ones where they serve.

    None where there are too many pairs to keep all.
    """
    size = np.bincount(whole.basket)
    if int((size * (size - 1) // 2).sum()) > MOST:
        return None
    folder = settings.home.resolve() / "counts"
    day = (lines[TIME].to_numpy() // DAY).astype(np.int64)
    days = fingerprints(lines, day)
    kept = _kept(folder, lines, day, days)
    if kept is None:
        counts = PairCounts.of(whole)
    elif len(kept[1]):
        counts = kept[0].updated(baskets(lines.iloc[kept[1]]))
    else:
        return kept[0]
    _keep(counts, folder, days)
    return counts


def fingerprints(lines: pd.DataFrame, day: Ints) -> Days:
    """Return day -> number of lines and a sum of their hashes, whatever their order."""
    order, item = (_hashes(lines[name]) for name in (ORDER_ID, ITEM_ID))
    mixed = (order * np.uint64(0x9E3779B97F4A7C15)) ^ item
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    names, code = np.unique(day, return_inverse=True)
    sums = np.zeros(len(names), dtype=np.uint64)
    np.add.at(sums, code, mixed)
    count = np.bincount(code, minlength=len(names))
    return {str(n): [int(c), int(s)] for n, c, s in zip(names, count, sums, strict=True)}


def _hashes(values: pd.Series) -> Ints:
    column = values.astype("category")
    hashed = pd.util.hash_array(column.cat.categories.to_numpy(dtype=object))
    return np.asarray(hashed[column.cat.codes.to_numpy()], dtype=np.uint64)


def _kept(
    folder: Path,
    lines: pd.DataFrame,
    day: Ints,
    days: Days,
) -> tuple[PairCounts, Ints] | None:
    """Return the kept counts and the lines that are not in them; None where there is any doubt."""
    try:
        counts, about = PairCounts.load(folder)
        before: Days = about["days"]
        sound = about["format"] == FORMAT and about["sum"] == int(counts.counts.sum(dtype=np.int64))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        log.warning("the pair counts in %s cannot be read and are counted again", folder)
        return None
    if not sound or any(days.get(name) != told for name, told in before.items()):
        return None
    new = ~np.isin(day, np.array(list(before), dtype=np.int64))
    order = lines[ORDER_ID].astype("category").cat.codes.to_numpy()
    if np.intersect1d(order[new], order[~new]).size:
        return None
    return counts, np.flatnonzero(new)


def _keep(counts: PairCounts, folder: Path, days: Days) -> None:
    """Write the counts in the place of those that were there; readers see old or new, or nothing."""
    aside = folder.parent / f".{folder.name}.{uuid.uuid4().hex}"
    aside.mkdir(parents=True)
    try:
        total = int(counts.counts.sum(dtype=np.int64))
        counts.save(aside, {"format": FORMAT, "days": days, "sum": total})
        if folder.exists():
            old = aside.with_name(f"{aside.name}.old")
            folder.replace(old)
            shutil.rmtree(old, ignore_errors=True)
        aside.replace(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
