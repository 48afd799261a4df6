"""An alluvial plot: how contacts flow between states over several moments."""

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training._moves import Moves

WIDTH = 0.18
"""Of a moment's bar; the moments lie 1 apart."""
STEPS = np.linspace(0.0, 1.0, 25)
EASED = STEPS**2 * (3.0 - 2.0 * STEPS)
LEAST_LABELLED = 0.025
"""Share of all contacts from which on a bar carries its count."""


def flow_plot(moves: Moves, title: str) -> Figure:
    """Draw a stacked bar a moment, best state on top, and ribbons for contacts that go from one to the next.

    A part of a bar without a ribbon are contacts who were not seen before.
    """
    wide = max(7.0, 1.5 * len(moves.moments) + 2.5)
    figure = Figure(figsize=(wide, 6.0), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    counts = moves.counts()
    colours = colormaps["viridis"](np.linspace(0.92, 0.05, len(moves.names)))
    for later in range(1, len(moves.moments)):
        _ribbons(axes, moves.between(later)[:-1], counts[:, later - 1 : later + 1], later - 1, colours)
    for place in range(len(moves.moments)):
        _bar(axes, counts[:, place], place, colours)
    present = counts.any(axis=1)
    for name, colour in zip(np.array(moves.names)[present], colours[present], strict=True):
        axes.bar(0, 0, color=colour, label=name.replace("_", " "))
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xticks(range(len(moves.moments)), moves.labels)
    axes.set(ylabel="Contacts", xlim=(-0.2, len(moves.moments) - 0.8))
    axes.invert_yaxis()
    axes.spines[["top", "right", "bottom", "left"]].set_visible(False)
    axes.set_yticks([])
    return figure


def _bar(axes: Axes, counts: npt.NDArray[np.int64], place: int, colours: npt.NDArray[np.float64]) -> None:
    tops = np.cumsum(counts) - counts
    axes.bar(place, counts, WIDTH, bottom=tops, color=colours, edgecolor="white", linewidth=0.6, zorder=2)
    for count, top, colour in zip(counts, tops, colours, strict=True):
        if count > LEAST_LABELLED * counts.sum():
            dark = colour[:3].mean() < 0.5
            axes.text(place, top + count / 2, f"{count:,}", ha="center", va="center", fontsize=6.5, zorder=3,
                      color="white" if dark else "black")  # fmt: skip


def _ribbons(
    axes: Axes,
    matrix: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    place: int,
    colours: npt.NDArray[np.float64],
) -> None:
    """Draw the moves of one month: leaving in the order of the targets, arriving in that of the sources."""
    tops = np.cumsum(counts, axis=0) - counts
    leaving = tops[:, :1] + np.cumsum(matrix, axis=1) - matrix
    arriving = tops[:, 1][None, :] + np.cumsum(matrix, axis=0) - matrix
    across = place + WIDTH / 2 + STEPS * (1.0 - WIDTH)
    for i, j in zip(*np.nonzero(matrix), strict=True):
        top = leaving[i, j] + EASED * (arriving[i, j] - leaving[i, j])
        axes.fill_between(across, top, top + matrix[i, j], color=colours[i], alpha=0.45, linewidth=0)
