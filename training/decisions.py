"""What the service's answers led to: views, clicks, orders and money by placement, source and fallback."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import duckdb
import numpy as np
import pandas as pd

from models.base import Floats
from nextbest.errors import BadInput
from nextbest.settings import Settings
from training._attribution import joined
from training._happened import Span
from training.metrics import wilson

By = Literal["placement", "source", "fallback", "model_version", "position"]
OVERVIEW: tuple[By, ...] = ("placement", "source", "fallback")
WINDOW_DAYS = 7.0
DRAWS = 1000
"""Bootstrap draws behind the interval of a revenue."""
EXPLORATION = "exploration"
Interval = tuple[float, float]


@dataclass(frozen=True)
class Outcome:
    """What answers of one kind led to; rates are None where nothing can be said."""

    name: str
    answers: int
    """Answers with at least one such item; of placements, fallbacks and versions empty ones too."""
    shown: int
    """Items shown in them."""
    viewed: int
    """Items reported as seen, or clicked."""
    clicked: int
    click_rate: float | None
    """Of those viewed; None where no view is ever reported."""
    click_interval: Interval | None
    converted: int
    """Items clicked and bought within the window after the click."""
    conversion_rate: float | None
    """Of those clicked."""
    conversion_interval: Interval | None
    revenue: float
    revenue_interval: Interval
    """95 %, bootstrap over persons."""
    assisted: int
    """Items seen and bought within the window, where no click can claim the order line."""
    assisted_revenue: float


@dataclass(frozen=True)
class DecisionReport:
    """Outcomes of everything and by group, largest first, and what there is to know about the data."""

    facts: dict[str, object]
    total: Outcome
    groups: dict[By, list[Outcome]]


def decision_report(
    settings: Settings,
    now: datetime,
    since: datetime | None = None,
    until: datetime | None = None,
    window_days: float = WINDOW_DAYS,
    by: Sequence[By] = OVERVIEW,
) -> DecisionReport:
    """Join the answers given in since <= moment < until with what happened up to now.

    Money is price x quantity of completed order lines of the item clicked, by the same person: the contact,
    or the visitor, who is the contact once linked. Raises BadInput for a span that ends before it begins.
    """
    if since is not None and until is not None and since >= until:
        raise BadInput(f"--since {since:%Y-%m-%d %H:%M} is not before --until {until:%Y-%m-%d %H:%M}")
    with joined(settings, Span(since, until, now, window_days)) as connection:
        counts = _counts(connection)
        results = connection.execute("FROM results").df()
        unmatched = _unmatched(connection)
    random = np.random.default_rng(settings.seed)
    groups = {name: _outcomes(name, counts, results, random) for name in by}
    total = _outcomes(None, counts, results, random)
    facts = _facts(counts, results) | unmatched
    facts |= {"since": since, "until": until, "window_days": window_days}
    return DecisionReport(facts, total[0], groups)


def plain(report: DecisionReport) -> dict[str, object]:
    """Return a report as JSON has it."""
    groups = {f"by_{name}": [asdict(o) for o in outcomes] for name, outcomes in report.groups.items()}
    return {**report.facts, "total": asdict(report.total), **groups}


@dataclass(frozen=True)
class _Counts:
    """Answers and items shown, before anything is known of what came of them."""

    answers: pd.DataFrame
    """A row for each kind of answer: placement, fallback, model_version, explore, n."""
    by_source: pd.DataFrame
    """Answers by the sources they hold; an empty answer's is its own: source, n."""
    items: pd.DataFrame
    """Items shown: placement, fallback, model_version, source, position, n."""


def _counts(connection: duckdb.DuckDBPyConnection) -> _Counts:
    answers = connection.execute(
        "SELECT placement, fallback, model_version, explore, sum(n)::BIGINT AS n FROM counts GROUP BY ALL"
    ).df()
    by_source = connection.execute("""
        SELECT source, sum(n)::BIGINT AS n FROM (
            SELECT unnest(if(len(sources) = 0, [source], list_distinct(sources))) AS source, n FROM counts
        ) GROUP BY ALL
        """).df()
    items = connection.execute("""
        SELECT placement, fallback, model_version, source, position, sum(n)::BIGINT AS n FROM (
            SELECT * EXCLUDE (source, sources), unnest(sources) AS source,
                generate_subscripts(sources, 1) AS position
            FROM counts
        ) GROUP BY ALL
        """).df()
    return _Counts(answers, by_source, items)


def _unmatched(connection: duckdb.DuckDBPyConnection) -> dict[str, object]:
    """Count the views and clicks that name no answer here, or no item of it."""
    row = connection.execute("""
        SELECT count(DISTINCT event_id) FILTER (NOT click), count(DISTINCT event_id) FILTER (click)
        FROM touches ANTI JOIN matched USING (event_id)
        """).fetchone()
    views, clicks = row or (0, 0)
    return {"views_of_no_answer": int(views), "clicks_of_no_answer": int(clicks)}


def _facts(counts: _Counts, results: pd.DataFrame) -> dict[str, object]:
    answers = counts.answers
    every, items = max(int(answers["n"].sum()), 1), max(int(counts.items["n"].sum()), 1)
    fell = answers[answers["fallback"] != ""].groupby("fallback")["n"].sum().sort_values(ascending=False)
    explored = counts.items.loc[counts.items["source"] == EXPLORATION, "n"].sum()
    return {
        "fallback_share": float(fell.sum()) / every,
        "fallback_why": {str(why): float(n) / every for why, n in fell.items()},
        "explored_answers_share": float(answers.loc[answers["explore"], "n"].sum()) / every,
        "explored_items_share": float(explored) / items,
        "clicks_with_open_window": int(results["open"].fillna(False).sum()),
    }


def _outcomes(
    by: By | None, counts: _Counts, results: pd.DataFrame, random: np.random.Generator
) -> list[Outcome]:
    """Return one outcome a group: positions in their order, others by answers given, most first."""
    shown, answers = _by(counts.items, by), _answers(by, counts)
    keys: pd.Series[Any] = results[by] if by is not None else pd.Series("all", index=results.index)
    seen = results["view_reported"] | results["clicked"]
    flags = pd.DataFrame(
        {
            "viewed": seen,
            "reported": results["view_reported"],
            "clicked": results["clicked"],
            "converted": results["converted"],
            "assisted": results["assisted"],
            "revenue": results["revenue"],
            "assisted_revenue": results["assisted_revenue"],
        }
    ).astype(float)
    sums = flags.groupby(keys).sum()
    names = sorted(answers.index, key=lambda name: name if by == "position" else (-answers[name], name))
    spread = _intervals(keys, results, names, random)
    empty = pd.Series(0.0, index=flags.columns)
    return [
        _outcome(name, int(answers[name]), int(shown.get(name, 0)), sums.loc[name] if name in sums.index else
                 empty, spread[place])
        for place, name in enumerate(names)
    ]  # fmt: skip


def _answers(by: By | None, counts: _Counts) -> "pd.Series[int]":
    if by == "position":  # every answer that is long enough has the position once
        return _by(counts.items, by)
    return _by(counts.by_source if by == "source" else counts.answers, by)


def _by(table: pd.DataFrame, by: By | None) -> "pd.Series[int]":
    if by is None:
        return pd.Series({"all": int(table["n"].sum())})
    return table.groupby(by)["n"].sum()


def _outcome(name: object, answers: int, shown: int, sums: "pd.Series[float]", spread: Interval) -> Outcome:
    viewed, clicked, converted = (int(sums[column]) for column in ("viewed", "clicked", "converted"))
    click_rate = clicked / viewed if sums["reported"] else None
    conversion_rate = converted / clicked if clicked else None
    return Outcome(
        name=str(name),
        answers=answers,
        shown=shown,
        viewed=viewed,
        clicked=clicked,
        click_rate=click_rate,
        click_interval=_wilson(click_rate, viewed),
        converted=converted,
        conversion_rate=conversion_rate,
        conversion_interval=_wilson(conversion_rate, clicked),
        revenue=float(sums["revenue"]),
        revenue_interval=spread,
        assisted=int(sums["assisted"]),
        assisted_revenue=float(sums["assisted_revenue"]),
    )


def _wilson(rate: float | None, count: int) -> Interval | None:
    if rate is None:
        return None
    low, high = wilson(np.array([rate]), np.array([float(count)]))
    return float(low[0]), float(high[0])


def _intervals(
    keys: "pd.Series[Any]", results: pd.DataFrame, names: Sequence[Any], random: np.random.Generator
) -> list[Interval]:
    """Return the 95 % interval of each group's revenue: Poisson bootstrap over the persons who brought any.

    Every person is drawn Poisson(1) times, the limit of drawing as many persons as there are with replacement
    (Hanley and MacGibbon 2006); those who brought nothing change no sum.
    """
    paid = results["revenue"] != 0
    money = results[paid].groupby([results.loc[paid, "person"], keys[paid]])["revenue"].sum()
    persons, who = np.unique(money.index.get_level_values(0), return_inverse=True)
    group = pd.Index(names).get_indexer(money.index.get_level_values(1))
    sums: Floats = np.empty((DRAWS, len(names)))
    for draw in sums:
        times = random.poisson(1.0, len(persons))
        draw[:] = np.bincount(group, weights=times[who] * money.to_numpy(), minlength=len(names))
    low, high = np.percentile(sums, (2.5, 97.5), axis=0) if len(persons) else np.zeros((2, len(names)))
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
