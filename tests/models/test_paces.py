import numpy as np
import pandas as pd
import pytest

from models._paces import PACES, paces
from nextbest.columns import HALF_LIVES


def steady(every, days, seen_for, then_until=None):
    """Decayed counts of an order every so many days, seen for so long; stopped at a day where told."""
    at = np.arange(0.0, (seen_for if then_until is None else then_until) + 1e-9, every)
    ago = seen_for - at
    told = {f"orders_{h}d": (2.0 ** (-ago / h)).sum() for h in days}
    return {
        **told, **{f"spend_{h}d": 10 * told[f"orders_{h}d"] for h in days}, "orders_total": float(len(at)),
        "order_gap_days": every, "recency_days": float(ago[-1]),
    }  # fmt: skip


def test_a_steady_buyer_has_pace_one_however_long_it_was_seen():
    frame = pd.DataFrame([steady(2.0, HALF_LIVES, seen) for seen in (60.0, 200.0, 2000.0)])
    found = paces(frame, np.full(3, 0.5), np.full(3, 5.0))
    assert found.shape == (3, len(PACES))
    long = [PACES.index(f"{what}_pace_{h}d") for what in ("orders", "spend") for h in HALF_LIVES if h > 7]
    # the first order begins the count, and is one more than the rate has
    np.testing.assert_allclose(found[1:, long], 1.0, rtol=0.08)
    np.testing.assert_allclose(found[:, long], 1.0, rtol=0.15)


def test_who_slows_down_has_a_pace_below_one_and_the_shorter_the_lower():
    frame = pd.DataFrame([steady(2.0, HALF_LIVES, 200.0, then_until=170.0)])
    found = paces(frame, np.array([0.5]), np.array([5.0]))[0, : len(HALF_LIVES)]
    assert (found < 1).all()
    assert (np.diff(found) > 0).all()
    assert found[0] < 0.1


def test_where_nothing_is_expected_or_known_there_is_no_pace():
    frame = pd.DataFrame([steady(2.0, HALF_LIVES, 60.0)] * 3)
    found = paces(frame, np.array([0.0, np.nan, 0.5]), np.array([1.0, 1.0, np.nan]))
    assert np.isnan(found[:2, : len(HALF_LIVES)]).all()
    assert np.isfinite(found[2, : len(HALF_LIVES)]).all()
    assert np.isnan(found[2, len(HALF_LIVES) :]).all()


@pytest.mark.parametrize("recency", [0.0, np.nan, 1e-9])
def test_somebody_who_came_this_minute_counts_as_seen_for_a_week(recency):
    row = {f"orders_{h}d": 1.0 for h in HALF_LIVES} | {"orders_total": 1.0, "recency_days": recency}
    found = paces(pd.DataFrame([row]), np.array([1 / 7]), np.array([np.nan]))[0, : len(HALF_LIVES)]
    assert (found > 0.7).all()
    assert (found < 1.5).all()
