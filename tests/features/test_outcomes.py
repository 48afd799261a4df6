"""What contacts did after a moment, against counting by hand."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.outcomes import Outcomes

START = datetime(2026, 1, 1, tzinfo=UTC)
MOMENTS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20), st.booleans()), max_size=25)
"""Whose, on which day, and whether an order or a refund."""


def outcomes(happened):
    """Running totals as the contact table has them, a row a contact and moment."""
    rows = sorted({(who, day) for who, day, _ in happened})
    kept = []
    for who, day in rows:
        until = [one for one in happened if one[0] == who and one[1] <= day]
        orders, refunds = sum(order for *_, order in until), sum(not order for *_, order in until)
        kept.append((who, day, float(orders), 10.0 * orders - 4.0 * refunds))
    contacts = sorted({who for who, *_ in kept})
    starts = np.searchsorted([who for who, *_ in kept], [*contacts, "~"]) if kept else np.zeros(1, int)
    micros = [int((START + timedelta(days=day)).timestamp() * 1e6) for _, day, *_ in kept]
    orders, spend = (np.array([row[place] for row in kept], dtype=float) for place in (2, 3))
    return Outcomes(
        pd.Index(contacts, dtype=object), np.asarray(starts), np.array(micros, dtype=np.int64), orders, spend
    )


@settings(max_examples=150, deadline=None)
@given(MOMENTS, st.lists(st.tuples(st.sampled_from("abcd"), st.integers(-1, 21)), max_size=10))
def test_it_is_what_counting_by_hand_gives(happened, asked):
    found = outcomes(happened)
    ids = [who for who, _ in asked]
    moments = pd.Series([pd.Timestamp(START + timedelta(days=day)) for _, day in asked], dtype="object")
    orders, spend = found.within(ids, moments, 5)
    waits = found.waits(ids, moments)
    for place, (who, day) in enumerate(asked):
        later = [(at, order) for one, at, order in happened if one == who and at > day]
        near = [order for at, order in later if at <= day + 5]
        assert orders[place] == sum(near)
        assert spend[place] == pytest.approx(sum(10.0 if order else -4.0 for order in near))
        ordered = [at - day for at, order in later if order]
        assert waits[place] == (min(ordered) if ordered else np.inf)
