import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure

from training import plots

random = np.random.default_rng(0)
P = random.random(200)
Y = (random.random(200) < P).astype(float)

DRAWN = {
    "calibration": lambda: plots.calibration(Y, P),
    "calibration of nothing": lambda: plots.calibration([], []),
    "calibration of a constant": lambda: plots.calibration([0.0, 0.0], [0.0, 0.0]),
    "gains": lambda: plots.gains(Y, {"ours": P, "chance": random.random(200)}),
    "gains without positives": lambda: plots.gains(np.zeros(5), {"ours": np.arange(5)}),
    "lift": lambda: plots.lift(Y, {"ours": P, "baseline": P**2}),
    "importance": lambda: plots.importance([f"feature_{i}" for i in range(30)], np.arange(30)),
    "bars": lambda: plots.bars(["a", "b"], [1, 2], "By segment", "AUC", ([0.5, 1.5], [1.5, 2.5])),
    "many bars": lambda: plots.bars(
        [f"a long segment {i}" for i in range(9)], np.ones(9), "By segment", "AUC"
    ),
    "grouped bars": lambda: plots.grouped_bars(
        ["spring", "summer"],
        {"cost": [1, 2], "caused": [3, np.nan]},
        "Money",
        "revenue",
        {"caused": ([1, np.nan], [5, np.nan])},
    ),
    "grouped bars of nothing": lambda: plots.grouped_bars(["spring"], {"a": [np.nan]}, "Money", "revenue"),
    "scatter": lambda: plots.scatter(P, Y, "Value", "predicted", "actual", diagonal=True),
    "scatter of nothing": lambda: plots.scatter([], [], "Value", "predicted", "actual", diagonal=True),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_every_figure_is_drawn_with_labels_and_without_warnings(draw, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw()
        figure.savefig(tmp_path / "figure.png")
    assert isinstance(figure, Figure)
    (axes,) = figure.axes
    assert axes.get_title(loc="left")
    assert axes.get_xlabel() or axes.get_ylabel()
    assert tuple(figure.get_size_inches()) == plots.SIZE
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_the_largest_importance_is_on_top_and_the_rest_is_cut():
    figure = plots.importance(["low", "high", "middle"], [1, 3, 2], top=2)
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["middle", "high"]


def test_pyplot_is_not_touched():
    import sys

    DRAWN["gains"]()
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()
