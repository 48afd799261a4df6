"""What goes together by category: baskets of categories, rules between them, and a category with itself."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from models._association import ANTECEDENT, COUNTS, hypotheses, measures, rules_of, tested
from models._mining import Baskets, levels


def at_level(baskets: Baskets, paths: Sequence[str], level: int) -> Baskets:
    """Return the baskets with each item as the first `level` parts of its category, once a basket.

    `paths`: of baskets.item_ids, parts joined by "/". An item whose category has fewer parts is left out; the
    baskets stay as many.
    """
    categories, code = np.unique(np.array(_parts(paths, level), dtype=str), return_inverse=True)
    item = code[baskets.item]
    keep = categories[item] != ""
    lines = np.unique(baskets.basket[keep] * len(categories) + item[keep])
    basket, item = np.divmod(lines, max(len(categories), 1))
    return Baskets(categories.astype(object), basket, item, baskets.time, len(baskets))


def category_rules(
    baskets: Baskets, paths: Sequence[str], level: int, least: int, length: int = 2, rate: float = 0.05
) -> pd.DataFrame:
    """Return the rules between categories that are not chance at a false discovery rate, highest lift first.

    Columns: antecedent (joined by " + "), consequent, the counts, their measures, p_value, q_value.
    """
    of_level = at_level(baskets, paths, level)
    found = levels(of_level, least, length)
    rules = tested(rules_of(found, (0.0,) * (length - 1)), len(of_level), hypotheses(found))
    both, of_a, of_c = (rules[name].to_numpy(dtype=np.float64) for name in COUNTS)
    support, confidence, lift, leverage, conviction = measures(both, of_a, of_c, len(of_level))
    names = np.append(of_level.item_ids.astype(str), "").astype(object)
    places = [name for name in ANTECEDENT if name in rules]
    antecedent = [" + ".join(names[n] for n in row if n >= 0) for row in rules[places].to_numpy()]
    table = pd.DataFrame(
        {
            "antecedent": np.array(antecedent, dtype=object),
            "consequent": names[rules["consequent"].to_numpy()],
            **{name: rules[name] for name in COUNTS},
            "support": support, "confidence": confidence, "lift": lift, "leverage": leverage,
            "conviction": conviction, "p_value": rules["p_value"], "q_value": rules["q_value"],
        }
    )  # fmt: skip
    table = table[(table["q_value"] <= rate) & (table["lift"] > 1)]
    return table.sort_values(
        ["lift", "antecedent", "consequent"], ascending=[False, True, True], ignore_index=True
    )


def within(baskets: Baskets, paths: Sequence[str], level: int) -> pd.DataFrame:
    """Return how much likelier a second distinct item of a category is where there is one, than by chance.

    Of n baskets n1 hold an item of the category and n2 two distinct ones or more. `confidence` is n2 / n1 and
    `lift` (n2 / n1) / (n1 / n): the rule "one of it => another of it". Large baskets alone make that exceed
    1, so `lift_given_sizes` asks line by line: given a line of the category, the chance that another line of
    the same basket is of it too, sum x (x - 1) / sum x (m - 1), over (X - 1) / (L - 1), what it would be if
    the L lines were dealt at random to baskets of their sizes m; x: lines of the category in a basket, X in
    all.
    """
    names = np.array(_parts(paths, level), dtype=object)
    lines = pd.DataFrame({"basket": baskets.basket, "item": baskets.item}).drop_duplicates()
    lines["category"] = names[lines["item"].to_numpy()]
    x = lines.groupby(["basket", "category"]).size().rename("lines").reset_index()
    size = x.groupby("basket")["lines"].sum()
    x["others"] = size.reindex(x["basket"]).to_numpy() - 1
    x["second"], x["same"], x["pairs"] = (
        x["lines"] >= 2,
        x["lines"] * (x["lines"] - 1),
        x["lines"] * x["others"],
    )
    x = x[x["category"] != ""]
    table = x.groupby("category").agg(
        baskets=("second", "size"), with_second=("second", "sum"), lines=("lines", "sum"),
        same=("same", "sum"), pairs=("pairs", "sum"),
    )  # fmt: skip
    total = int(size.sum())
    confidence = table["with_second"] / table["baskets"]
    given = table["same"] / table["pairs"].where(table["pairs"] > 0)
    by_chance = (table["lines"] - 1) / max(total - 1, 1)
    return pd.DataFrame(
        {
            "baskets": table["baskets"],
            "with_second": table["with_second"],
            "confidence": confidence,
            "lift": confidence / (table["baskets"] / len(baskets)),
            "lift_given_sizes": given / by_chance.where(by_chance > 0),
        }
    ).reset_index()


def _parts(paths: Sequence[str], level: int) -> list[str]:
    """Return the first `level` parts of each category, "" where there are fewer."""
    return ["/".join(path.split("/")[:level]) if path.count("/") >= level - 1 else "" for path in paths]
