import pandas as pd
import pytest

from models.rules import Rules
from nextbest.errors import BadInput

POINTS = pd.DataFrame(
    {"points_7d": [0.0, 12.5, 30.0], "points_total": [0.0, 7.5, 25.0]}, index=["a", "b", "c"]
)


def test_points_of_every_half_life_add_up_and_cross_thresholds():
    scores = Rules({"sales_ready": 50.0, "engaged": 20.0}).score(POINTS)
    assert scores["rule_score"].tolist() == [0.0, 20.0, 55.0]
    assert scores["stage"].tolist() == ["none", "engaged", "sales_ready"]
    assert scores["thresholds"].tolist() == ["", "engaged", "engaged,sales_ready"]


def test_negative_points_count_and_missing_columns_are_zero():
    scores = Rules({"any": 0.0}).score(pd.DataFrame({"points_30d": [-5.0, float("nan")]}))
    assert scores["rule_score"].tolist() == [-5.0, 0.0]
    assert scores["stage"].tolist() == ["none", "any"]


@pytest.mark.parametrize("wrong", [{"a,b": 1.0}, {"hot": float("nan")}])
def test_a_threshold_that_cannot_be_told_apart_is_refused(wrong):
    with pytest.raises(BadInput, match="threshold"):
        Rules(wrong)
