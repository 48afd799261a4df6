"""Rankings fused by rank."""

import numpy as np
import pytest

from models.base import Ranking, Reason
from models.fusion import FLAT, fused


def ranking(items: str, source: str, chances: list[float] | None = None) -> Ranking:
    given = None if chances is None else np.array(chances)
    reasons = [Reason(source, {"item_id": item}) for item in items]
    by = None if given is None else {7: given / 2}
    return Ranking(list(items), np.arange(len(items), 0.0, -1.0), reasons, source, given, by)


def test_two_that_agree_beat_one_and_each_item_is_of_the_one_that_speaks_most_for_it() -> None:
    found, origin = fused([ranking("abc", "one", [0.3, 0.2, 0.1]), ranking("cd", "two")], [1.5, 1.0], 4)
    assert found.item_ids == ["c", "a", "b", "d"]
    assert found.scores[0] == pytest.approx(1.5 / (FLAT + 2) + 1.0 / FLAT)
    assert origin == [0, 0, 0, 1]
    assert [reason.kind for reason in found.reasons] == ["one", "one", "one", "two"]
    assert found.source == "one"
    assert found.probabilities == pytest.approx([0.1, 0.3, 0.2, np.nan], nan_ok=True)
    assert found.by_horizon is not None
    assert found.by_horizon[7] == pytest.approx([0.05, 0.15, 0.1, np.nan], nan_ok=True)
    late = ranking("zyxwvutsrqpc", "one", [0.5] * 12)
    found, origin = fused([late, ranking("c", "two")], [1.5, 1.0], 1)
    assert (found.item_ids, origin) == (["c"], [1]), "the reason of whoever says more"
    assert found.probabilities == pytest.approx([0.5]), "and the chance of whoever knows one"


def test_rankings_without_probabilities_have_none_together() -> None:
    found, _ = fused([ranking("a", "one"), ranking("", "two")], [1.0, 1.0], 3)
    assert (found.item_ids, found.probabilities) == (["a"], None)
