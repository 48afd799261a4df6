"""Whether rules go on holding: what they promised against what later baskets hold.

A rule fires in a basket that holds its antecedent and hits where the consequent is there too; the realised
confidence is hits / fired. It has fallen where that is surely below the confidence it was learned with:
Fisher's exact test of the two shares, one-sided, at a false discovery rate over all rules that fired. A
fallen rule has stopped where it is no better than the consequent's own share of the later baskets either: it
is worth nothing any more and is retired.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp
from scipy.stats import hypergeom

from models._association import COUNTS, false_discovery
from models._mining import Ints
from models.base import Floats
from models.basket import RETIRED, Basket, Baskets, confidence_low
from nextbest.columns import ITEM_ID, ORDER_ID
from nextbest.errors import BadInput, NotReady
from nextbest.settings import Settings
from training._purchases import TIME, between, purchases
from training.tracking import Registry

RATE = 0.05
"""Share of the rules called fallen that may not be."""
Z = 1.96
BLOCK = 4_000_000
"""Entries of a product at once."""


@dataclass(frozen=True)
class Coverage:
    """How rules held on later baskets."""

    rules: pd.DataFrame
    """A row for each rule that fired, most often first: item_1 … consequent, promised, fired, hits, realised
    and its 95 % interval low … high, base_rate (the consequent's share of these baskets), p_value, q_value,
    state (holds, fell, stopped)."""
    figures: dict[str, float]

    @property
    def stopped(self) -> pd.DataFrame:
        """The rules to retire."""
        return self.rules[self.rules["state"] == "stopped"].reset_index(drop=True)


def coverage(model: Basket, later: Baskets, rate: float = RATE) -> Coverage:
    """Compare a model's rules with baskets bought after it learned (those of its season, if it has one)."""
    if model.config.months():
        later = later.in_months(model.config.months())
    held = _held(model, later)
    where = _where(model, held)
    fired = np.diff(where.indptr)
    hits, hit = _hits(model, where, held)
    rules = _table(model, fired, hits, np.diff(held.indptr) / max(len(later), 1), rate)
    total = max(len(later), 1)
    often = int(rules["fired"].sum())
    return Coverage(
        rules,
        {
            "baskets": float(len(later)),
            "fired": len(np.unique(where.indices)) / total,
            "coverage": float(hit.sum()) / total,
            "promised_confidence": float((rules["promised"] * rules["fired"]).sum()) / max(often, 1),
            "realised_confidence": float(rules["hits"].sum()) / max(often, 1),
            "rules": float(len(model.rules)),
            "rules_fired": float(len(rules)),
            "rules_fell": float((rules["state"] == "fell").sum()),
            "rules_stopped": float((rules["state"] == "stopped").sum()),
        },
    )


def _held(model: Basket, later: Baskets) -> sp.csr_matrix:
    """Return (items of the model, baskets): 1 where the basket holds the item."""
    number = pd.Index(model.item_ids).get_indexer(pd.Index(later.item_ids))[later.item]
    known = number >= 0
    ones = np.ones(int(known.sum()), dtype=np.int8)
    shape = (len(model.item_ids), len(later))
    held = sp.csr_matrix((ones, (number[known], later.basket[known])), shape=shape)
    held.sum_duplicates()
    held.data[:] = 1
    return held


def _where(model: Basket, held: sp.csr_matrix) -> sp.csr_matrix:
    """Return (antecedents, baskets): 1 where the basket holds the whole antecedent."""
    parts = []
    for start, stop in _blocks(np.diff(held.indptr)[model.antecedents.items[:, 0]]):
        items = model.antecedents.items[start:stop]
        part = held[items[:, 0]]
        for column in items.T[1:]:
            further = np.flatnonzero(column >= 0)
            if len(further):
                both = part[further].multiply(held[column[further]])
                alone = np.flatnonzero(column < 0)
                order = np.argsort(np.r_[alone, further], kind="stable")
                part = sp.vstack([part[alone], both], format="csr")[order]
        parts.append(part)
    return sp.vstack(parts, format="csr") if parts else sp.csr_matrix((0, held.shape[1]), dtype=np.int8)


def _hits(model: Basket, where: sp.csr_matrix, held: sp.csr_matrix) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Return each rule's hits, and which baskets any rule hit."""
    known = model.antecedents
    antecedent = np.repeat(np.arange(len(known)), known.stop - known.start)
    consequent = model.rules["consequent"].to_numpy()
    hits, hit = np.zeros(len(consequent), dtype=np.int64), np.zeros(held.shape[1], dtype=np.bool_)
    for start, stop in _blocks(np.diff(where.indptr)[antecedent] + np.diff(held.indptr)[consequent]):
        both = where[antecedent[start:stop]].multiply(held[consequent[start:stop]]).tocsr()
        hits[start:stop] = np.diff(both.indptr)
        hit[both.indices] = True
    return hits, hit


def _blocks(sizes: Ints) -> Iterator[tuple[int, int]]:
    ends = np.cumsum(sizes, dtype=np.int64)
    cuts = np.searchsorted(ends, np.arange(BLOCK, int(ends[-1]) if len(ends) else 0, BLOCK))
    edges = np.unique(np.r_[0, cuts, len(sizes)])
    yield from zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)


def _table(model: Basket, fired: Ints, hits: Ints, share: Floats, rate: float) -> pd.DataFrame:
    known = model.antecedents
    fired = np.repeat(fired, known.stop - known.start)
    rows = np.flatnonzero(fired)
    fired, hits, rules = fired[rows], hits[rows], model.rules.iloc[rows]
    together, of_antecedent = (rules[name].to_numpy() for name in COUNTS[:2])
    p = hypergeom.cdf(hits, of_antecedent + fired, together + hits, fired) if len(rows) else np.empty(0)
    q = false_discovery(p, len(p))
    realised, base = hits / fired, share[rules["consequent"].to_numpy()]
    fell = q <= rate
    table = model.named(rules).assign(
        promised=together / of_antecedent,
        fired=fired,
        hits=hits,
        realised=realised,
        low=confidence_low(hits, fired, Z),
        high=1 - confidence_low(fired - hits, fired, Z),
        base_rate=base,
        p_value=p,
        q_value=q,
        state=np.where(fell & (realised <= base), "stopped", np.where(fell, "fell", "holds")),
    )
    order = ["fired", "hits", *RETIRED]
    return table.sort_values(order, ascending=[False, False, True, True, True, True], ignore_index=True)


def baskets(lines: pd.DataFrame) -> Baskets:
    """Return lines bought as baskets with their times."""
    order, item = (
        lines[name].astype("category").cat.remove_unused_categories() for name in (ORDER_ID, ITEM_ID)
    )
    code = order.cat.codes.to_numpy(dtype=np.int64)
    time = np.full(len(order.cat.categories), -np.inf)
    np.maximum.at(time, code, lines[TIME].to_numpy(dtype=np.float64))
    item_ids = item.cat.categories.to_numpy(dtype=object)
    return Baskets(item_ids, code, item.cat.codes.to_numpy(dtype=np.int64), time)


def champion_coverage(
    settings: Settings, now: datetime, days: int | None = None
) -> tuple[dict[str, Any], Coverage]:
    """Compare the basket champion with the baskets since it learned, or of the last `days` of those.

    Returns also what was compared: version, since, until. Raises NotReady without a champion or such baskets.
    """
    registry = Registry(settings)
    found = registry.champion("basket")
    if found is None:
        raise NotReady("there is no basket champion; run `nextbest train basket` first")
    version, tags = found
    if not tags.get("validation_until"):
        raise NotReady(
            f"nextbest-basket version {version} does not say until when it learned; train it again"
        )
    model = registry.load("basket", version)
    if not isinstance(model, Basket):
        raise BadInput(f"nextbest-basket version {version} holds no rules: it is a {model.kind}")
    lines = purchases(settings, now)
    since = datetime.fromisoformat(tags["validation_until"])
    if days is not None:
        since = max(since, min(now, _end(lines)) - timedelta(days=days))
    later = between(lines, since, now)
    if later.empty:
        raise NotReady(f"nothing was bought after {since:%Y-%m-%d %H:%M}, until when the champion learned")
    about = {"version": version, "since": since, "until": min(now, _end(lines))}
    return about, coverage(model, baskets(later))


def _end(lines: pd.DataFrame) -> datetime:
    return pd.Timestamp(float(lines[TIME].max()), unit="s", tz="UTC").to_pydatetime()
