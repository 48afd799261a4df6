"""What the basket job shows of its rules, as tables."""

from typing import Any

import numpy as np
import pandas as pd

from models._association import COUNTS, WEIGHTS
from models._categories import category_rules, within
from models.basket import Basket, BasketConfig, Baskets, measures
from models.catalogue import Catalogue
from nextbest.columns import CATEGORY_DEPTH


def rule_table(model: Basket) -> pd.DataFrame:
    """Return the rules with their measures, the highest score first."""
    rules = model.rules.sort_values("score", ascending=False, kind="stable")
    names = WEIGHTS if model.weight is not None else COUNTS
    both, of_a, of_c = (rules[name].to_numpy(dtype=np.float64) for name in names)
    support, confidence, lift, leverage, conviction = measures(both, of_a, of_c, model.weight or model.total)
    measured: dict[str, Any] = {
        "baskets": rules["baskets"].to_numpy(dtype=np.float64), "support": support, "confidence": confidence,
        "lift": lift, "leverage": leverage, "conviction": conviction,
        "p_value": rules["p_value"].to_numpy(), "q_value": rules["q_value"].to_numpy(),
    }  # fmt: skip
    return model.named(rules).assign(**measured).reset_index(drop=True)


def category_tables(
    baskets: Baskets, catalogue: Catalogue, config: BasketConfig, most: int
) -> dict[str, pd.DataFrame]:
    """Return the rules between categories, `most` a level, and how categories go with themselves."""
    rows = [catalogue.index.get(str(item), -1) for item in baskets.item_ids]
    paths = [str(catalogue.paths[row]) if row >= 0 else "" for row in rows]
    least = config.least(len(baskets))
    between, within_one = [], []
    for level in range(1, CATEGORY_DEPTH + 1):
        rules = category_rules(baskets, paths, level, least, rate=config.false_discovery)
        between.append(rules.head(most).assign(level=level))
        within_one.append(within(baskets, paths, level).assign(level=level))
    return {
        "category_rules": pd.concat(between, ignore_index=True),
        "within_category": pd.concat(within_one, ignore_index=True),
    }
