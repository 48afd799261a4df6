"""RFM as a living map: segments month by month, the moves between them, who falls, dimensions crossed freely.

The class edges are those of the RFM champion at every moment, so that contacts move and edges do not.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.history import contacts_at, known_until, last_months
from models.rfm import CLASSES, NO_ORDERS, SEGMENT_NAMES, Rfm
from nextbest.columns import CONTACT_ID
from nextbest.errors import NotReady
from nextbest.progress import Progress, silent
from nextbest.settings import Settings
from training._moves import Moves, moves
from training.tracking import Registry

STATES = (*SEGMENT_NAMES, NO_ORDERS)
"""Best first."""
Cross = Literal["recency,frequency", "recency,monetary", "frequency,monetary"]
CROSSES: tuple[Cross, ...] = get_args(Cross)
CLASS_OF = {"recency": "r", "frequency": "f", "monetary": "m"}
NO_VALUE = "no expected spend: no value champion; nextbest train value"
FALLING = ["contact_id", "before", "now", "orders", "recency_days", "spend", "expected_spend"]


@dataclass(frozen=True)
class RfmReport:
    """Segments over the months, and the contacts who fell in the last one."""

    facts: dict[str, Any]
    moves: Moves
    segments: pd.DataFrame
    """segment, contacts, share, mean_orders, mean_spend, spend: now, best first."""
    falling: pd.DataFrame
    """FALLING of those in a worse segment than a month ago, the dearest first, cut to what was asked for."""
    crossed: pd.DataFrame
    """A row for each pair of classes: the two dimensions (1-5), contacts, share, spend."""


def rfm_report(
    settings: Settings,
    now: datetime,
    months: int = 6,
    cross: Cross = CROSSES[0],
    falling: int = 20,
    progress: Progress = silent,
) -> RfmReport:
    """Score everyone at the ends of the last months, and now. Raises NotReady without an RFM champion.

    "Now" is the last event where the data end before: days without data would make everybody look as if
    falling.
    """
    now = known_until(settings, now)
    registry = Registry(settings)
    champion = registry.champion("rfm")
    model = registry.load("rfm", champion[0]) if champion else None
    if champion is None or not isinstance(model, Rfm):
        raise NotReady("there is no RFM champion: no classes to put contacts into; run: nextbest train rfm")

    def segment_of(frame: pd.DataFrame) -> Any:
        return model.score(frame)["segment"].to_numpy()

    found, last = moves(settings, last_months(now, months), STATES, segment_of, progress)
    month_ago = (pd.Timestamp(now) - pd.DateOffset(months=1)).to_pydatetime()
    fell = _fallen(last, segment_of(last), contacts_at(settings, month_ago), segment_of)
    fell["expected_spend"], told = _expected(registry, last.loc[fell.index])
    ranked = fell.sort_values(["expected_spend", "spend"], ascending=False, na_position="last", kind="stable")
    facts = {
        "now": now, "months": months, "contacts": len(last), "model_version": champion[0], "cross": cross,
        "month_ago": month_ago, "fell": len(fell), "past_spend_of_fallen": float(fell["spend"].sum()),
        "expected_spend_of_fallen": float(fell["expected_spend"].sum()) if told["value_version"] else None,
        **told,
    }  # fmt: skip
    top = ranked[FALLING].head(falling).reset_index(drop=True)
    return RfmReport(facts, found, _segments(last, segment_of(last)), top, crossed(model, last, cross))


def plain(report: RfmReport) -> dict[str, Any]:
    """Return a report as JSON has it."""
    counts = pd.DataFrame(report.moves.counts().T, columns=list(STATES))
    by_month = [
        {"at": moment, "label": label, "contacts": {name: int(n) for name, n in row.items() if n}}
        for moment, label, (_, row) in zip(
            report.moves.moments, report.moves.labels, counts.iterrows(), strict=True
        )
    ]
    return {
        **report.facts,
        "segments": records(report.segments),
        "by_month": by_month,
        "moves": report.moves.plain(),
        "falling": records(report.falling),
        "crossed": records(report.crossed),
    }


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as JSON has them; NaN as null."""
    return [
        {
            str(name): None if isinstance(value, float) and np.isnan(value) else value
            for name, value in row.items()
        }
        for row in frame.to_dict("records")
    ]


def crossed(model: Rfm, frame: pd.DataFrame, cross: Cross) -> pd.DataFrame:
    """Return contacts, their share and their spend for each pair of classes of two dimensions, 1-5 each.

    Contacts without an order have no classes and are left out.
    """
    scores = model.score(frame)
    one, other = cross.split(",")
    held = scores["r"].notna().to_numpy()
    rows = pd.DataFrame(
        {
            one: scores.loc[held, CLASS_OF[one]].astype(int),
            other: scores.loc[held, CLASS_OF[other]].astype(int),
            "spend": frame.loc[held, "spend_total"],
        }
    )
    cells = rows.groupby([one, other])["spend"].agg(contacts="size", spend="sum")
    every = pd.MultiIndex.from_product([range(1, CLASSES + 1)] * 2, names=[one, other])
    table = cells.reindex(every, fill_value=0).reset_index()
    table["share"] = table["contacts"] / max(len(rows), 1)
    return table[[one, other, "contacts", "share", "spend"]]


def _segments(frame: pd.DataFrame, segments: npt.NDArray[Any]) -> pd.DataFrame:
    told = pd.DataFrame(
        {"segment": segments, "orders": frame["orders_total"].array, "spend": frame["spend_total"].array}
    )
    table = told.groupby("segment").agg(
        contacts=("spend", "size"), mean_orders=("orders", "mean"), mean_spend=("spend", "mean"),
        spend=("spend", "sum"),
    )  # fmt: skip
    table = table.reindex([name for name in STATES if name in table.index]).reset_index()
    table.insert(2, "share", table["contacts"] / len(frame))
    return table


def _fallen(
    last: pd.DataFrame, segments: npt.NDArray[Any], before: pd.DataFrame, segment_of: Any
) -> pd.DataFrame:
    """Return FALLING but for what is expected, of those now in a worse segment; index that of `last`."""
    earlier = pd.Series(segment_of(before), index=pd.Index(before[CONTACT_ID], dtype=object), dtype=object)
    table = pd.DataFrame(
        {
            "contact_id": last[CONTACT_ID],
            "before": last[CONTACT_ID].map(earlier),
            "now": segments,
            "orders": last["orders_total"],
            "recency_days": last["recency_days"],
            "spend": last["spend_total"],
        }
    )
    rank = {name: place for place, name in enumerate(SEGMENT_NAMES)}
    return table[table["now"].map(rank) > table["before"].map(rank)].copy()


def _expected(registry: Registry, frame: pd.DataFrame) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
    """Return what the value champion expects each to spend, NaN where it cannot, and what to know of it."""
    nothing = np.full(len(frame), np.nan)
    champion = registry.champion("value")
    if champion is None:
        return nothing, {"value_version": None, "value_horizon_days": None, "value_why_none": NO_VALUE}
    model: Any = registry.load("value", champion[0])
    horizon = getattr(getattr(model, "config", None), "horizon_days", None)
    told = {"value_version": champion[0], "value_horizon_days": horizon, "value_why_none": None}
    return (model.score(frame)["expected_spend"].to_numpy(np.float64) if len(frame) else nothing), told
