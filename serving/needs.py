"""Needs that grow, live: what a contact needs now, what is offered for it, how likely it is bought.

The background compiles the rules against the catalogue, reads the refunds of the items they speak of, and
learns from past windows how often the next size was bought in time; a request only looks.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.bought import TIME, bought, refunded
from features.decay import DAY
from features.state import ContactView
from models.base import Reason
from models.catalogue import Catalogue
from models.needs import GrownNeeds, NeedRules, Needs, Purchases
from nextbest.columns import CONTACT_ID, ITEM_ID
from nextbest.settings import Settings

log = logging.getLogger("nextbest.needs")

MOST_OFFERS = 100
LEAST_WINDOWS = 30
"""Windows that must have closed before their share of purchases is believed."""
COLUMNS = ("needs.due", "needs.next_days")
Refunds = Mapping[tuple[str, str], float]
"""(contact, item) -> the last refund, epoch seconds."""


@dataclass(frozen=True)
class OpenNeed:
    """Something a contact needs now."""

    rule: str
    size: str
    item_id: str
    """What was bought, and is grown out of."""
    bought: float
    opens: float
    closes: float
    offers: Sequence[str]
    """Items of the size on sale, of the same category path first, then the most sold."""
    shares: npt.NDArray[np.float64]
    """Each offer's part of what these items sell."""
    rate: float | None
    """Share of past windows of the rule in which the size was bought; None: too few to tell."""

    def reason(self, now: float) -> Reason:
        """Say it as data."""
        days = round((now - self.bought) / DAY, 1)
        because = {"item_id": self.item_id, "bought_days_ago": days, "rule": self.rule, "size": self.size}
        return Reason("grown_out_of", because)

    def chances(self, now: float, days: float) -> npt.NDArray[np.float64]:
        """Return P(bought within so many days) of each offer; NaN where nothing tells.

        Purchases fall evenly into the window, with the past share in all: of what is left of it, given that
        none has come so far.
        """
        if self.rate is None:
            return np.full(len(self.offers), np.nan)
        window = max(self.closes - self.opens, DAY)
        passed = min(max(now - self.opens, 0.0) / window, 1.0)
        ahead = min(days * DAY / window, 1.0 - passed)
        return self.shares * (self.rate * ahead / max(1.0 - self.rate * passed, 1e-9))


@dataclass(frozen=True)
class _Read:
    """All that was made of one catalogue."""

    catalogue: Catalogue
    grown: GrownNeeds
    refunds: Refunds = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)


class NeedBook:
    """Knows the rules' needs; `refresh` is called by a background thread, `open` by requests."""

    def __init__(
        self,
        rules: NeedRules,
        load: Callable[[Sequence[str], datetime], tuple[pd.DataFrame, pd.DataFrame]],
        live_refunds: Callable[[str], Mapping[str, float]] = lambda _: {},
    ) -> None:
        """`load(items, now)` returns purchases and refunds (features.bought) of items; `live_refunds` those a
        contact has in the event log, item -> epoch seconds."""
        self._rules, self._load, self._live_refunds = rules, load, live_refunds
        self._read: _Read | None = None

    @classmethod
    def of(
        cls, settings: Settings, live_refunds: Callable[[str], Mapping[str, float]] = lambda _: {}
    ) -> "NeedBook":
        """Open the rules of the settings over a state folder. Raises BadInput for wrong rules."""

        def load(items: Sequence[str], now: datetime) -> tuple[pd.DataFrame, pd.DataFrame]:
            return bought(settings, items, now), refunded(settings, items, now)

        return cls(NeedRules.load(settings.needs), load, live_refunds)

    def refresh(self, catalogue: Catalogue | None, now: datetime) -> None:
        """Compile the rules against a new catalogue; keeps what it has if that fails."""
        held = self._read
        if not self._rules.needs or catalogue is None or (held is not None and held.catalogue is catalogue):
            return
        try:
            grown = GrownNeeds(self._rules.needs, catalogue)
            rows, refunds = self._load(sorted(grown.groups_of), now)
            self._read = _Read(catalogue, grown, _keyed(refunds), rates(grown, rows, now.timestamp()))
        except Exception:
            log.exception("the needs could not be read; those before stay")

    def open(self, view: ContactView) -> list[OpenNeed]:
        """Return what a contact needs now, first due first; refunded purchases do not count."""
        read = self._read
        if read is None:
            return []
        times = dict(zip(view.recent_items, view.recent_times, strict=True))
        times |= dict(zip(view.repeat_items, view.repeat_last, strict=True))
        items = [item for item in times if item in read.grown.groups_of]
        if not items or not len(_needs(read.grown, items, times, view.now)):
            return []
        contact = view.contact_id or ""
        live = self._live_refunds(contact) if contact else {}
        back = {
            item: max(read.refunds.get((contact, item), -np.inf), live.get(item, -np.inf)) for item in items
        }
        kept = [item for item in items if back[item] < times[item]]
        needs = _needs(read.grown, kept, times, view.now)
        return [_open(read, needs, kept, place) for place in range(len(needs))]


def _needs(grown: GrownNeeds, items: Sequence[str], times: Mapping[str, float], now: float) -> Needs:
    pairs = [(place, group) for place, item in enumerate(items) for group in grown.groups_of[item]]
    place = np.array([one for one, _ in pairs], dtype=np.int64)
    purchases = Purchases(
        np.zeros(len(pairs), np.int64),
        np.array([group for _, group in pairs], dtype=np.int64),
        place,
        np.array([float(times[items[one]]) for one in place]),
    )
    return grown.of(purchases, now).open(now)


def _open(read: _Read, needs: Needs, items: Sequence[str], place: int) -> OpenNeed:
    target, item = int(needs.target[place]), items[int(needs.item[place])]
    catalogue, rows = read.catalogue, read.grown.rows[target]
    rows = rows[catalogue.in_stock[rows] & ~catalogue.hidden[rows]]
    sold = np.nan_to_num(catalogue.statistics["sold_90d"][rows])
    away = catalogue.paths[rows] != catalogue.paths[catalogue.index[item]]
    order = np.lexsort((rows, -sold, away))[:MOST_OFFERS]
    rule = read.grown.rule(target)
    return OpenNeed(
        rule.name, read.grown.label(target), item, float(needs.bought[place]), float(needs.opens[place]),
        float(needs.closes[place]), [str(catalogue.item_ids[row]) for row in rows[order]],
        (sold[order] + 1.0) / (sold + 1.0).sum(), read.rates.get(rule.name),
    )  # fmt: skip


def needs_frame(
    settings: Settings, contact_ids: Sequence[str], now: datetime, catalogue: Catalogue
) -> pd.DataFrame:
    """Return COLUMNS by contact_id, for triggers and segments, of the feature tables and the lake alone.

    needs.due: needs whose window is open; needs.next_days: days until the next opens, 0 while one is open,
    NaN where none will.
    """
    frame = pd.DataFrame({"needs.due": 0.0, "needs.next_days": np.nan}, index=pd.Index(contact_ids))
    grown = GrownNeeds(NeedRules.load(settings.needs).needs, catalogue)
    items = sorted(grown.groups_of)
    if not items:
        return frame
    rows = _unreturned(bought(settings, items, now, contact_ids), _keyed(refunded(settings, items, now)))
    places = frame.index.get_indexer(pd.Index(rows[CONTACT_ID]))
    moment = now.timestamp()
    needs = grown.of(_purchases(grown, rows[places >= 0], places[places >= 0]), moment)
    due = np.bincount(needs.contact[needs.opens <= moment], minlength=len(frame))
    soonest = np.full(len(frame), np.inf)
    np.minimum.at(soonest, needs.contact, np.maximum(needs.opens - moment, 0.0) / DAY)
    days = np.where(np.isfinite(soonest), soonest, np.nan)
    return frame.assign(**{"needs.due": due.astype(np.float64), "needs.next_days": days})


def rates(grown: GrownNeeds, rows: pd.DataFrame, now: float) -> dict[str, float]:
    """Return rule -> share of its first windows, closed by now, in which the next size was bought.

    A window a contact and size, the latest; rules with fewer than LEAST_WINDOWS are left out.
    """
    codes = pd.factorize(rows[CONTACT_ID])[0].astype(np.int64)
    all_ = _purchases(grown, rows, codes)
    if not len(all_.time) or not grown.following.shape[1]:
        return {}
    frame = pd.DataFrame({"contact": all_.contact, "group": all_.group, "time": all_.time})
    after, _, early, late = grown.spans[:, all_.group]
    base = frame.assign(
        target=grown.following[all_.group, 0], opens=all_.time + after - early,
        closes=all_.time + after + late,
    )  # fmt: skip
    base = base[(base["target"] >= 0) & (base["closes"] <= now)]
    base = base.sort_values("time").drop_duplicates(["contact", "group"], keep="last")
    base = base.reset_index(drop=True).reset_index(names="window")
    came = frame.rename(columns={"group": "target", "time": "came"})
    both = base.merge(came, on=["contact", "target"])
    hit = both.loc[(both["came"] >= both["opens"]) & (both["came"] <= both["closes"]), "window"].unique()
    names = np.array([grown.rule(int(group)).name for group in base["group"]], dtype=object)
    told = pd.DataFrame({"rule": names, "met": base["window"].isin(hit)})
    shares = told.groupby("rule")["met"].agg(["size", "mean"])
    known = shares[shares["size"] >= LEAST_WINDOWS]["mean"]
    return {str(name): float(share) for name, share in known.items()}


def _purchases(grown: GrownNeeds, rows: pd.DataFrame, contacts: npt.NDArray[np.int64]) -> Purchases:
    """Return the rows as purchases of sizes; an item two rules speak of is two."""
    groups = [grown.groups_of.get(item, []) for item in rows[ITEM_ID]]
    count = np.array([len(held) for held in groups], dtype=np.int64)
    place = np.repeat(np.arange(len(rows)), count)
    flat = np.array([group for held in groups for group in held], dtype=np.int64)
    return Purchases(contacts[place].astype(np.int64), flat, place, rows[TIME].to_numpy(np.float64)[place])


def _unreturned(rows: pd.DataFrame, refunds: Refunds) -> pd.DataFrame:
    """Return the purchases that no later refund of the item takes back."""
    pairs = zip(rows[CONTACT_ID], rows[ITEM_ID], strict=True)
    back = np.array([refunds.get(pair, -np.inf) for pair in pairs])
    return rows[back < rows[TIME].to_numpy(np.float64)].reset_index(drop=True)


def _keyed(refunds: pd.DataFrame) -> dict[tuple[str, str], float]:
    pairs = zip(refunds[CONTACT_ID], refunds[ITEM_ID], strict=True)
    return dict(zip(pairs, refunds[TIME].astype(float), strict=True))
