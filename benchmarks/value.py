"""Value on CDNOW: `python -m benchmarks.value --data PATH [--json OUT]`, the sample or the master file.

39 weeks to learn from, 39 held out, as Fader, Hardie & Lee (2005) did; days with an order count once. On the
sample their estimates are printed beside ours. The peer is each customer's past rate going on.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks import _report as report
from models._bgnbd import BgNbd
from models._gamma_gamma import GammaGamma
from nextbest.errors import BadInput

START, CUT, END = pd.Timestamp("1997-01-01"), pd.Timestamp("1997-09-30"), pd.Timestamp("1998-06-30")
WEEKS = 39.0
PUBLISHED = {
    "r": 0.2426, "alpha": 4.4137, "a": 0.7930, "b": 2.4262, "log_likelihood": -9582.43,
    "p": 6.25, "q": 3.74, "v": 15.44,
}  # fmt: skip
COLUMNS = {5: ("customer", "sample", "day", "cds", "spend"), 4: ("customer", "day", "cds", "spend")}
Floats = npt.NDArray[np.float64]


def main() -> None:
    """Measure, print, write."""
    asked = report.options((__doc__ or "").splitlines()[0], "path of a CDNOW file").parse_args()
    days = read(Path(asked.data))
    watch = report.Stopwatch()
    fitted, ours, peer, table = measured(days)
    ours |= {"seconds": watch.seconds, "peak_mb": report.peak_mb()}
    print("estimates (weeks, dollars); published ones are of the sample")
    report.show({"nextbest": fitted, "published": PUBLISHED}, tuple(PUBLISHED))
    print("\norders in the 39 weeks held out")
    report.show({"nextbest value": ours, "past rate": peer}, ("mae", "total_error", "rmse"))
    print("\nby repeat orders in the 39 weeks before\n" + table.round(3).to_string(index=False))
    by_repeat = table.to_dict("records")
    data = {"name": Path(asked.data).name, "customers": int(days["customer"].nunique())}
    report.write(
        asked.json, ours, {"past rate": peer}, data, [asked.seed], estimates=fitted, by_repeat=by_repeat
    )


def read(path: Path) -> pd.DataFrame:
    """Return customer, day, spend: one row a customer and day with an order."""
    head = path.read_text().split(maxsplit=1)[0]
    rows = pd.read_csv(path, sep=r"[\s,]+", header=None, skiprows=int(not head[0].isdigit()), engine="python")
    if rows.shape[1] not in COLUMNS:
        raise BadInput(f"{path} has {rows.shape[1]} columns; CDNOW's files have 4 or 5")
    rows.columns = pd.Index(COLUMNS[rows.shape[1]])
    rows["day"] = pd.to_datetime(rows["day"].astype(str), format="%Y%m%d")
    return rows.groupby(["customer", "day"]).agg({"spend": "sum"}).reset_index()


def measured(days: pd.DataFrame) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], pd.DataFrame]:
    """Return the estimates, our figures, the peer's, and actual against expected by repeat orders."""
    before = days[days["day"] <= CUT]
    grouped = before.groupby("customer")
    first = grouped["day"].min()
    x: Floats = (grouped.size() - 1).to_numpy().astype(np.float64)
    t_x: Floats = ((grouped["day"].max() - first).dt.days / 7).to_numpy().astype(np.float64)
    seen: Floats = ((CUT - first).dt.days / 7).to_numpy().astype(np.float64)
    model = BgNbd.fit(x, t_x, seen)
    worth = _worth(before, first)
    held_out = days[(days["day"] > CUT) & (days["day"] <= END)].groupby("customer").size()
    actual: Floats = held_out.reindex(first.index, fill_value=0).to_numpy().astype(np.float64)
    expected = model.expected_orders(x, t_x, seen, WEEKS)
    table = pd.DataFrame({"repeat_orders": np.minimum(x, 7), "actual": actual, "expected": expected})
    by_repeat = table.groupby("repeat_orders").agg(
        customers=("actual", "size"), actual=("actual", "mean"), expected=("expected", "mean")
    )
    fitted = {**vars(model), "log_likelihood": model.log_likelihood(x, t_x, seen), **vars(worth)}
    rate = (x + 1) / np.maximum(seen, 1.0) * WEEKS
    return fitted, _figures(actual, expected), _figures(actual, rate), by_repeat.reset_index()


def _worth(before: pd.DataFrame, first: "pd.Series[pd.Timestamp]") -> GammaGamma:
    """Fit Gamma-Gamma on repeat orders alone, as its paper does."""
    repeat = before[before["day"] > before["customer"].map(first)]
    spend = repeat.groupby("customer")["spend"].agg(["size", "mean"]).to_numpy(np.float64)
    paid = spend[spend[:, 1] > 0]
    return GammaGamma.fit(paid[:, 0], paid[:, 1])


def _figures(actual: Floats, expected: Floats) -> dict[str, Any]:
    wrong = expected - actual
    return {
        "mae": float(np.abs(wrong).mean()),
        "rmse": float(np.sqrt((wrong**2).mean())),
        "total_error": float(expected.sum() / actual.sum() - 1),
    }


if __name__ == "__main__":
    main()
