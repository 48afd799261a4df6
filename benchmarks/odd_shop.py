"""A simulated shop's export as it really comes: other names, cp1252, decimal commas, refunds, gaps, junk.

python -m benchmarks.odd_shop --lines 500000 --out shop.csv
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

MAPPING = (
    "contact_id=Kunde,order_id=Beleg,item_id=Artikel,title=Bezeichnung,category=Warengruppe,"
    "timestamp=Datum,quantity=Menge,price=Einzelpreis"
)
"""What `--map` takes for this file."""

DAYS = 730
_GROUPS = ("Tee & Kaffee", "Gebäck", "Käse", "Getränke", "Süßes", "Haushalt", "Körperpflege")


def simulated_lines(lines: int, seed: int = 7) -> pd.DataFrame:
    """Return `lines` simulated order lines with the faults real exports have.

    Contacts have tastes, an activity and a lifetime of their own, so that there is something to learn.
    About 2 % of lines are refunds, 8 % lack a customer, 1 % are exact duplicates, .2 % are junk.
    """
    rng = np.random.default_rng(seed)
    per_order = 3
    orders, contacts, items = (
        max(lines // per_order, 1),
        max(lines // 60, 20),
        min(2000, max(lines // 100, 40)),
    )
    popularity = 1 / np.arange(1, items + 1) ** 0.8
    group = rng.integers(0, len(_GROUPS), items)
    taste = rng.dirichlet(np.full(len(_GROUPS), 0.35), contacts)
    cumulative = [np.cumsum(popularity * (group == g)) for g in range(len(_GROUPS))]

    activity = rng.gamma(1.2, 1.0, contacts)
    who = rng.choice(contacts, orders, p=activity / activity.sum())
    start = rng.uniform(0, 600, contacts)
    end = np.minimum(start + rng.exponential(400, contacts), DAYS)
    day = start[who] + rng.uniform(size=orders) * (end - start)[who]
    order_of = np.repeat(np.arange(orders), per_order)[:lines]
    buyer = who[order_of]
    chosen_group = (rng.uniform(size=len(buyer))[:, None] > np.cumsum(taste[buyer], axis=1)).sum(axis=1)
    chosen_group = np.minimum(chosen_group, len(_GROUPS) - 1)
    draw = rng.uniform(size=len(buyer))
    item = np.empty(len(buyer), dtype=np.int64)
    for g, totals in enumerate(cumulative):
        mine = chosen_group == g
        item[mine] = np.minimum(np.searchsorted(totals, draw[mine] * totals[-1]), items - 1)

    times = pd.Timestamp("2023-01-02") + pd.to_timedelta((day[order_of] * 86400).astype(np.int64), unit="s")
    price = np.round(rng.lognormal(1.6, 0.7, items), 2)[item]
    quantity = rng.integers(1, 4, len(item))
    refund = rng.uniform(size=len(item)) < 0.02
    text = pd.Series(price).map(lambda value: f"{value:,.2f}".translate(str.maketrans(",.", ".,")) + " €")
    frame = pd.DataFrame(
        {
            "Beleg": [f"R-{n:07d}" for n in order_of],
            "Kunde": pd.Series(buyer).map(lambda n: f"{10000 + n}.0"),
            "Artikel": [f"A{n:05d}" for n in item],
            "Bezeichnung": [f"{_GROUPS[group[n]]} Nº {n}" for n in item],
            "Warengruppe": [_GROUPS[g] for g in group[item]],
            "Datum": times.strftime("%d.%m.%Y %H:%M"),
            "Menge": np.where(refund, -quantity, quantity),
            "Einzelpreis": text,
            "Filiale": rng.choice(["Köln", "Münster", "Zürich"], len(item)),
        }
    )
    frame.loc[rng.uniform(size=len(frame)) < 0.08, "Kunde"] = ""
    junk = rng.uniform(size=len(frame)) < 0.002
    frame["Datum"] = frame["Datum"].where(~junk, "gestern")
    duplicated = frame[rng.uniform(size=len(frame)) < 0.01]
    return pd.concat([frame, duplicated], ignore_index=True)


def write(path: Path, lines: int, seed: int = 7) -> int:
    """Write the export as semicolon-separated cp1252; return the number of lines."""
    frame = simulated_lines(lines, seed)
    frame.to_csv(path, sep=";", index=False, encoding="cp1252")
    return len(frame)


def main() -> None:
    """Write the file and say how to take it in."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    print(f"{write(options.out, options.lines, options.seed)} simulated lines in {options.out}")
    print(f"nextbest ingest {options.out} --map {MAPPING}")


if __name__ == "__main__":
    main()
