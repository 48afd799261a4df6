"""BG/NBD and Gamma-Gamma on CDNOW, against the figures published for it.

Fader, Hardie & Lee (2005) fit the sample of 2,357 customers on 39 weeks and hold out the 39 after them; the
file comes with the `lifetimes` package.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models._bgnbd import BgNbd
from models._gamma_gamma import GammaGamma

BEGIN, END = pd.Timestamp("1997-01-01"), pd.Timestamp("1997-09-30")
WEEK = pd.Timedelta(weeks=1)
MOST = 7
"""Customers who bought this often or more are one group, as in the paper."""


def purchases(name):
    """Days on which each customer bought, and what they paid."""
    found = find_spec("lifetimes")
    if found is None or not found.submodule_search_locations:
        pytest.skip("lifetimes, which brings CDNOW, is not installed")
    file = Path(found.submodule_search_locations[0]) / "datasets" / f"CDNOW_{name}.txt"
    if name == "sample":
        columns = ["id", "sample_id", "date", "discs", "paid"]
        table = pd.read_csv(file, sep=r"\s+", names=columns)
    else:
        table = pd.read_csv(file, sep=r"\s+", names=["id", "date", "discs", "paid"], skiprows=1)
    table["date"] = pd.to_datetime(table["date"], format="%Y%m%d")
    return table.groupby(["id", "date"], as_index=False)["paid"].sum()


@pytest.fixture(scope="module")
def customers():
    """x, t_x, T in weeks, the mean of the repeat purchases, and purchases held out."""
    every = purchases("sample")
    known = every[every["date"] <= END]
    days = known.groupby("id")["date"]
    first, last = days.min(), days.max()
    repeat = known[known["date"] > known["id"].map(first)].groupby("id")["paid"].mean()
    later = every[every["date"] > END].groupby("id").size()
    table = pd.DataFrame({"x": days.size() - 1.0, "t_x": (last - first) / WEEK, "seen": (END - first) / WEEK})
    return table.assign(mean=repeat, later=later).fillna({"later": 0.0})


@pytest.fixture(scope="module")
def seen(customers):
    return tuple(customers[name].to_numpy() for name in ("x", "t_x", "seen"))


@pytest.fixture(scope="module")
def fitted(seen):
    return BgNbd.fit(*seen)


def test_the_parameters_of_the_paper(fitted, seen, customers):
    assert len(customers) == 2357
    found = (fitted.r, fitted.alpha, fitted.a, fitted.b)
    assert found == pytest.approx((0.2426, 4.4137, 0.7930, 2.4262), rel=5e-4)
    assert fitted.log_likelihood(*seen) == pytest.approx(-9582.43, abs=0.01)


def test_the_conditional_expectation_of_the_paper(fitted):
    one = [np.array([value]) for value in (2.0, 30.43, 38.86)]
    assert fitted.expected_orders(*one, 39.0)[0] == pytest.approx(1.226, abs=1e-3)


def test_what_came_in_the_weeks_held_out_by_frequency(fitted, seen, customers):
    expected = fitted.expected_orders(*seen, 39.0)
    group = np.minimum(customers["x"], MOST)
    actual = customers["later"].groupby(group).mean()
    ours = pd.Series(expected, index=customers.index).groupby(group).mean()
    published = [0.237, 0.697, 1.393, 1.560, 2.532, 2.947, 3.862, 6.359]
    np.testing.assert_allclose(actual, published, atol=6e-4)
    theirs = [0.225, 0.523, 1.044, 1.520, 2.164, 2.654, 3.504, 6.157]
    np.testing.assert_allclose(ours, theirs, atol=1.5e-3)


def test_gamma_gamma_as_published(customers):
    held = customers[customers["x"] > 0]
    found = GammaGamma.fit(held["x"].to_numpy(), held["mean"].to_numpy())
    assert (found.p, found.q, found.v) == pytest.approx((6.25, 3.74, 15.44), abs=0.01)


def test_all_customers_are_fitted_too(fitted):
    known = purchases("master")
    days = known[known["date"] <= END].groupby("id")["date"]
    first, last = days.min(), days.max()
    whole = tuple(
        part.to_numpy(np.float64) for part in (days.size() - 1, (last - first) / WEEK, (END - first) / WEEK)
    )
    found = BgNbd.fit(*whole)
    assert len(first) == 23_570
    assert found.log_likelihood(*whole) > fitted.log_likelihood(*whole)
    # the sample is every tenth of them
    assert found.r / found.alpha == pytest.approx(fitted.r / fitted.alpha, rel=0.1)
    assert found.a / (found.a + found.b) == pytest.approx(fitted.a / (fitted.a + fitted.b), rel=0.1)
