"""Counts by month and moves between states as people see them, and their flow plot."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.events._files import written_aside
from nextbest import _screen as screen

if TYPE_CHECKING:
    from training._moves import Moves


def show_months(moves: "Moves", title: str, what: str) -> None:
    """Print how many contacts were in each state at each moment; states nobody was ever in are left out."""
    counts = moves.counts()
    rows = [
        (name, *(f"{n:,}" for n in row)) for name, row in zip(moves.names, counts, strict=True) if row.any()
    ]
    screen.table(title, (what, *moves.labels), rows)


def show_moves(moves: "Moves") -> None:
    """Print the matrix of the last move and, of several, all of them together."""
    matrices = list(moves.matrices())
    if not matrices:
        return
    if len(matrices) > 1:
        together = sum(matrix for _, _, matrix in matrices)
        _matrix(moves, f"moves of all {len(matrices)} spans together, from the row to the column", together)
    since, until, matrix = matrices[-1]
    _matrix(moves, f"moves from {since} to {until}, from the row to the column", matrix)


def _matrix(moves: "Moves", title: str, matrix: Any) -> None:
    from training._moves import NOT_SEEN

    shown = [place for place in range(len(moves.names)) if matrix[:, place].any() or matrix[place].any()]
    header = ("", *(moves.names[place].replace("_", "\n") for place in shown))
    rows = [
        (name, *(f"{n:,}" if n else "" for n in row[shown]))
        for name, row in zip((*moves.names, NOT_SEEN), matrix, strict=True)
        if row.any()
    ]
    screen.table(title, header, rows)


def write_flow(moves: "Moves", title: str, file: Path) -> None:
    """Draw the flows; the file is whole, or as it was before."""
    from training._flow_plot import flow_plot

    with written_aside(file) as aside:
        flow_plot(moves, title).savefig(aside, format="png")
