"""Figures for runs and model cards: matplotlib without pyplot, readable without telling red from green."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.metrics import calibration_table, gains_curve, lift_at

SIZE = (7.0, 4.5)
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
"""Okabe & Ito's palette for the colour-blind (https://jfly.uni-koeln.de/color), blue first."""
STYLES = ("-", "--", "-.", ":")
HATCHES = ("", "//", "..")
GREY = "#767676"


def calibration(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, title: str = "Calibration", bins: int = 10
) -> Figure:
    """Draw observed against predicted rates in bins of equal mass, with Wilson 95 % intervals."""
    figure, axes = _canvas(title, "Predicted probability (mean of the bin)", "Observed share")
    table = calibration_table(labels, probabilities, bins)
    top = float(max(table[["predicted", "high"]].max().max(), 0.01)) * 1.05 if len(table) else 1.0
    axes.plot([0, top], [0, top], color=GREY, linestyle="--", linewidth=1, label="Perfect")
    spread = np.abs(np.stack([table["observed"] - table["low"], table["high"] - table["observed"]]))
    axes.errorbar(
        table["predicted"],
        table["observed"],
        yerr=spread,
        color=COLOURS[0],
        marker="o",
        capsize=3,
        label="Model",
    )
    axes.set(xlim=(0, top), ylim=(0, top))
    axes.legend(frameon=False, loc="upper left")
    return figure


def gains(
    labels: npt.ArrayLike, scores: Mapping[str, npt.ArrayLike], title: str = "Cumulative gains"
) -> Figure:
    """Draw the share of positives caught against the share of rows taken from the top, a line a model."""
    figure, axes = _canvas(title, "Share of contacts, highest score first", "Share of positives among them")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, label="At random")
    for position, (name, values) in enumerate(scores.items()):
        taken, caught = gains_curve(labels, values)
        axes.plot(taken, caught, label=name, **_look(position))
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(frameon=False, loc="lower right")
    return figure


def lift(labels: npt.ArrayLike, scores: Mapping[str, npt.ArrayLike], title: str = "Lift") -> Figure:
    """Draw the lift in the top share of rows, from the top 5 % to all, a line a model."""
    figure, axes = _canvas(title, "Share of contacts, highest score first", "Times the overall rate")
    shares = np.linspace(0.05, 1.0, 20)
    axes.axhline(1.0, color=GREY, linewidth=1, label="At random")
    for position, (name, values) in enumerate(scores.items()):
        axes.plot(shares, [lift_at(labels, values, s) for s in shares], label=name, **_look(position))
    axes.set(xlim=(0, 1), ylim=(0, None))
    axes.legend(frameon=False, loc="upper right")
    return figure


def importance(
    names: Sequence[str], values: npt.ArrayLike, title: str = "Feature importance", top: int = 20
) -> Figure:
    """Draw the largest values as horizontal bars, the largest on top."""
    heights = np.asarray(values, dtype=np.float64)
    order = np.argsort(-heights, kind="stable")[:top][::-1]
    figure, axes = _canvas(title, "Importance", "")
    axes.barh([str(names[i]) for i in order], heights[order], color=COLOURS[0])
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(visible=False, axis="y")
    return figure


def bars(
    names: Sequence[str],
    values: npt.ArrayLike,
    title: str,
    label: str,
    intervals: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
) -> Figure:
    """Draw a bar a name (a segment, a channel, a model); `intervals` are the low and high ends."""
    heights = np.asarray(values, dtype=np.float64)
    figure, axes = _canvas(title, "", label)
    spread = None
    if intervals is not None:
        low, high = (np.asarray(end, dtype=np.float64) for end in intervals)
        spread = np.maximum(np.stack([heights - low, high - heights]), 0.0)
    axes.bar(
        [str(name) for name in names], heights, color=COLOURS[0], yerr=spread, capsize=3, ecolor="#333333"
    )
    axes.grid(visible=False, axis="x")
    if sum(len(str(name)) for name in names) > 45:
        axes.tick_params(axis="x", labelrotation=40, labelsize=8)
        for tick in axes.get_xticklabels():
            tick.set_horizontalalignment("right")
    return figure


def grouped_bars(
    names: Sequence[str],
    series: Mapping[str, npt.ArrayLike],
    title: str,
    label: str,
    intervals: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]] | None = None,
) -> Figure:
    """Draw a bar a name for each series, NaN: none. `intervals`: series -> its low and high ends."""
    figure, axes = _canvas(title, label, "")
    height = 0.8 / max(len(series), 1)
    rows = np.arange(len(names), dtype=np.float64)
    for position, (what, values) in enumerate(series.items()):
        lengths = np.asarray(values, dtype=np.float64)
        drawn = np.isfinite(lengths)
        spread = None
        if intervals and what in intervals:
            low, high = (np.asarray(end, dtype=np.float64)[drawn] for end in intervals[what])
            spread = np.maximum(np.stack([lengths[drawn] - low, high - lengths[drawn]]), 0.0)
        axes.barh(
            rows[drawn] + height * (position - (len(series) - 1) / 2),
            lengths[drawn],
            height,
            color=COLOURS[position % len(COLOURS)],
            hatch=HATCHES[position % len(HATCHES)],
            edgecolor="white",
            label=what,
            xerr=spread,
            capsize=3,
            ecolor="#333333",
        )
    axes.axvline(0.0, color=GREY, linewidth=1)
    axes.set_yticks(rows, [str(name) for name in names])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.legend(frameon=False)
    return figure


def scatter(
    x: npt.ArrayLike, y: npt.ArrayLike, title: str, x_label: str, y_label: str, diagonal: bool = False
) -> Figure:
    """Draw points; `diagonal` adds the line of equality (predicted against actual)."""
    figure, axes = _canvas(title, x_label, y_label)
    across, up = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    axes.scatter(across, up, s=12, alpha=0.4, color=COLOURS[0], edgecolors="none", rasterized=True)
    if diagonal and len(across):
        ends = [float(np.nanmin([across, up])), float(np.nanmax([across, up]))]
        axes.plot(ends, ends, color=GREY, linestyle="--", linewidth=1, label="Equal")
        axes.legend(frameon=False)
    return figure


def curve(values: Sequence[float], title: str, x_label: str, y_label: str) -> Figure:
    """Draw a figure epoch by epoch, the best one marked."""
    figure, axes = _canvas(title, x_label, y_label)
    epochs, heights = np.arange(1, len(values) + 1), np.asarray(values, dtype=np.float64)
    best = int(heights.argmax())
    axes.plot(epochs, heights, color=COLOURS[0], marker="o", markersize=3)
    axes.plot(epochs[best], heights[best], color=COLOURS[5], marker="o", label=f"best: {epochs[best]}")
    axes.legend(frameon=False, loc="lower right")
    return figure


def _canvas(title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _look(position: int) -> dict[str, Any]:
    """Tell lines apart by colour and by dashes."""
    return {
        "color": COLOURS[position % len(COLOURS)],
        "linestyle": STYLES[position % len(STYLES)],
        "linewidth": 2,
    }
