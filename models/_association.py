"""Association rules from counted sets: their counts, their measures, and which of them are no chance.

With n baskets, n_A of them with the antecedent, n_c with the consequent and n_Ac with both, a rule A => c has
support n_Ac / n, confidence n_Ac / n_A, lift confidence / (n_c / n), leverage n_Ac / n - n_A n_c / n^2 and
conviction (1 - n_c / n) / (1 - confidence), infinite at confidence 1 (Agrawal & Srikant 1994;
Piatetsky-Shapiro 1991; Brin et al. 1997; as in R's arules).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import hypergeom

from models._mining import Baskets, Floats, Ints, Level, levels
from nextbest.progress import Progress, silent

ANTECEDENT = ("a", "b", "c", "d", "e")
"""Columns of a rule's antecedent, -1 where there is no further item."""
COUNTS = ("baskets", "antecedent_baskets", "consequent_baskets")
WEIGHTS = ("weight", "antecedent_weight", "consequent_weight")


def mine(
    baskets: Baskets, least: int, confidence: Sequence[float] = (0.0, 0.0), progress: Progress = silent
) -> pd.DataFrame:
    """Return every rule seen in `least` baskets or more, with its counts.

    `confidence`: the least of rules with one antecedent, of rules with two, and so on; as many sizes are
    looked for as are given. Columns: a, b, … (numbers into baskets.item_ids, rising; -1: no further item),
    consequent, baskets, antecedent_baskets, consequent_baskets; sorted by …, b, a, consequent.
    """
    progress("counting what lies together", 0, 1)
    rules = rules_of(levels(baskets, least, len(confidence) + 1), confidence)
    progress("counting what lies together", 1, 1)
    return rules


def rules_of(found: Sequence[Level], confidence: Sequence[float]) -> pd.DataFrame:
    """Return the rules that frequent sets hold, as `mine` does; weighted counts too where there are some."""
    places = ANTECEDENT[: max(2, len(confidence))]
    parts = [
        _rules(found, size, out, least, places)
        for size, least in enumerate(confidence, start=2)
        if size <= len(found)
        for out in range(size)
    ]
    empty = _frame({name: np.empty(0, dtype=np.int64) for name in (*places, "consequent", *COUNTS)})
    rules = pd.concat(parts, ignore_index=True) if parts else empty
    return rules.sort_values([*reversed(places), "consequent"], ignore_index=True)


def _rules(found: Sequence[Level], size: int, out: int, least: float, places: Sequence[str]) -> pd.DataFrame:
    """Return the rules whose consequent is each set's item number `out`."""
    level, names = found[size - 1], found[0].items[:, 0]
    antecedent = _place(found, level, out)
    keep = level.baskets >= least * found[size - 2].baskets[antecedent]
    antecedent, consequent = antecedent[keep], level.items[keep, out]
    rest = np.delete(level.items[keep], out, axis=1)
    columns = {name: np.full(len(rest), -1) for name in places}
    columns |= {name: rest[:, place] for place, name in enumerate(places[: size - 1])}
    single = np.searchsorted(names, consequent)
    counts = (level.baskets[keep], found[size - 2].baskets[antecedent], found[0].baskets[single])
    columns |= {"consequent": consequent, **dict(zip(COUNTS, counts, strict=True))}
    frame = _frame(columns)
    if level.weights is None:
        return frame
    whole = (level.weights[keep], found[size - 2].weights[antecedent], found[0].weights[single])  # type: ignore[index]
    return frame.assign(**dict(zip(WEIGHTS, whole, strict=True)))


def _frame(columns: dict[str, Ints]) -> pd.DataFrame:
    return pd.DataFrame(columns, dtype=np.int64)


def _place(found: Sequence[Level], level: Level, out: int) -> Ints:
    """Return where each set without its item number `out` stands in the level below."""
    names, size = found[0].items[:, 0], level.items.shape[1]
    if out == size - 1:
        return level.key // len(names)
    items = np.searchsorted(names, np.delete(level.items, out, axis=1))
    place = items[:, 0]
    for depth in range(1, size - 1):
        place = np.searchsorted(found[depth].key, place * len(names) + items[:, depth])
    return place


def hypotheses(found: Sequence[Level]) -> list[int]:
    """Return how many rules were looked at, by their antecedents' size.

    All that could have reached the least count: every frequent antecedent with every other frequent item.
    Most never lay together; they count as tests that found nothing.
    """
    items = len(found[0])
    return [len(level) * (items - size) for size, level in enumerate(found, start=1)]


def tested(rules: pd.DataFrame, total: int, looked_at: Sequence[int]) -> pd.DataFrame:
    """Return the rules with p_value and q_value; rules of one length are one family of tests.

    p_value: the chance of so many baskets with both or more if antecedent and consequent were independent,
    all margins as they are (Fisher's exact test, one-sided: the hypergeometric upper tail). q_value: the
    least rate of false discoveries at which the rule is one (Benjamini & Hochberg 1995).
    """
    both, of_a, of_c = (rules[name].to_numpy(dtype=np.int64) for name in COUNTS)
    p = _chances(both, of_a, of_c, total)
    q = np.ones(len(rules))
    size = sizes(rules)
    for length in np.unique(size):
        own = size == length
        q[own] = false_discovery(p[own], looked_at[length - 1])
    return rules.assign(p_value=p, q_value=q)


def _chances(together: Ints, antecedent: Ints, consequent: Ints, total: int) -> Floats:
    """Return `chance` of each, worked out once where the counts are equal, whichever way round."""
    if total > 2_000_000:  # three counts would not fit into one number
        return chance(together, antecedent, consequent, total)
    low, high = np.minimum(antecedent, consequent), np.maximum(antecedent, consequent)
    key, where = np.unique((together * (total + 1) + low) * (total + 1) + high, return_inverse=True)
    key, high = np.divmod(key, total + 1)
    together, low = np.divmod(key, total + 1)
    return chance(together, low, high, total)[where]


def sizes(rules: pd.DataFrame) -> Ints:
    """Return how many items each rule's antecedent has."""
    places = [name for name in ANTECEDENT if name in rules]
    return np.asarray((rules[places].to_numpy() >= 0).sum(axis=1), dtype=np.int64)


def chance(
    together: npt.ArrayLike, antecedent: npt.ArrayLike, consequent: npt.ArrayLike, total: int
) -> Floats:
    """Return P(X >= together), X the baskets with both if `antecedent` of `total` were drawn blindly."""
    return np.asarray(hypergeom.sf(np.asarray(together) - 1, total, antecedent, consequent), dtype=np.float64)


def false_discovery(p: Floats, hypotheses: int) -> Floats:
    """Return Benjamini and Hochberg's q for the p of a family; those of its hypotheses not given found
    nothing."""
    order = np.argsort(p, kind="stable")
    scaled = p[order] * hypotheses / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q


def measures(
    together: npt.ArrayLike, antecedent: npt.ArrayLike, consequent: npt.ArrayLike, total: float
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Return support, confidence, lift, leverage and conviction of counts, or of weighted ones.

    `total`: baskets, or the sum of their weights.
    """
    both, of_a, of_c = (np.asarray(values, dtype=np.float64) for values in (together, antecedent, consequent))
    support, confidence, share = both / total, both / of_a, of_c / total
    with np.errstate(divide="ignore", invalid="ignore"):
        conviction = (1 - share) / (1 - confidence)
    return support, confidence, confidence / share, support - of_a / total * share, conviction
