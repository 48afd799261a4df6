"""What campaigns caused: those they were meant for against those held out of them.

By intention to treat: whoever was decided to be treated counts as treated, whatever came of it, so that the
two groups differ by chance and by the campaign alone. What the treated of a campaign brought beyond the held
out is n_t x (mean_t - mean_h); of several campaigns, the sum of that.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd
from scipy.stats import t as student

from models.base import Floats
from models.holdout import held_out
from nextbest.columns import CONTACT_ID
from nextbest.errors import NotReady
from nextbest.settings import Settings
from training._campaign_tables import CampaignTables
from training._happened import Span
from training._snapshots import contacts_seen

LEVEL = 0.9
LEAST = 30
"""Held-out contacts below which nothing is said."""
SURE = 0.01
"""A hash group without messages counts as held out where chance would leave it without so seldom."""
COLUMNS = ("campaign", "person", "moment", "until", "held_out", "channel")
TOO_FEW = f"fewer than {LEAST} contacts were held out"
NO_CAMPAIGN = "these messages name no campaign"
NOT_LOGGED = (
    "no decision tells who was held out, and the contacts whom the hash would hold out got messages too, or "
    "are too few to tell"
)
NOT_BUILT = "no decision tells who was held out, and no contact is known; nextbest features build"
NO_CHANNEL = "the decisions do not tell which channel the held out would have had"


@dataclass(frozen=True)
class Incremental:
    """Revenue that would not have come without the messages; None with the reason where it cannot be told."""

    revenue: float | None
    interval: tuple[float, float] | None
    """LEVEL, by Student's t."""
    treated: int
    """Contacts decided to be treated, once for each campaign; of those compared, where any are."""
    held_out: int
    campaigns: tuple[str, ...] = ()
    """Whose effect it is."""
    why: str | None = None


def incremental(audience: pd.DataFrame, why: str | None = None) -> Incremental:
    """Compare treated with held out. audience: campaign, person, held_out, revenue; each pair once.

    The interval is Welch's (1947), with a variance that is not too small where the held out are few and
    orders rare (`_variances`). `why`: said where there is nobody.
    """
    size = audience.groupby(["campaign", "held_out"]).size().unstack(fill_value=0)
    size = size.reindex(columns=[False, True], fill_value=0)
    usable = size.index[(size >= 2).all(axis=1)]
    rows = audience[audience["campaign"].isin(usable)]
    if rows.loc[rows["held_out"], "person"].nunique() < LEAST:
        treated, held = int(size[False].sum()), int(size[True].sum())
        return Incremental(None, None, treated, held, why=TOO_FEW if treated + held else why or NOT_LOGGED)
    weight = (-rows["campaign"].map(size[False] / size[True])).where(rows["held_out"], 1.0)
    estimate = float((weight * rows["revenue"]).sum())
    parts, persons = _variances(rows, weight)
    half = float(np.sqrt(parts.sum()) * student.ppf((1 + LEVEL) / 2, _freedom(parts, persons)))
    treated, held = int((~rows["held_out"]).sum()), int(rows["held_out"].sum())
    names = tuple(str(name) for name in usable)
    return Incremental(estimate, (estimate - half, estimate + half), treated, held, names)


def _variances(rows: pd.DataFrame, weight: "pd.Series[float]") -> tuple[Floats, Floats]:
    """Return the variance of the treated's and the held out's part of the estimate, and the persons in each.

    A contact's residuals in several campaigns are added up before they are squared: it is still one contact.
    Of few held out and rare orders, the sample tends to show too few buyers, and with them too small a
    variance just when its mean is too small; so theirs is taken to be at least that of the treated.
    """
    arms = rows.groupby(["campaign", "held_out"])["revenue"]
    size = arms.transform("size")
    residual = weight * (rows["revenue"] - arms.transform("mean")) / np.sqrt(1 - 1 / size)
    by_person = residual.groupby([rows["held_out"], rows["person"]]).sum().pow(2).groupby(level=0)
    parts, persons = by_person.sum().to_numpy(np.float64), by_person.size().to_numpy(np.float64)
    spread = rows[~rows["held_out"]].groupby("campaign")["revenue"].var()
    out = rows["held_out"]
    alone = float(residual[out].pow(2).sum())
    least = float((weight[out].pow(2) * rows.loc[out, "campaign"].map(spread)).sum())
    together = parts[1] / alone if alone > 0 else 1.0
    return np.array([parts[0], max(alone, least) * together]), persons


def _freedom(parts: Floats, persons: Floats) -> float:
    """Return the degrees of freedom of a sum of two variances (Satterthwaite 1946)."""
    below = float((parts**2 / np.maximum(persons - 1, 1)).sum())
    return float(parts.sum()) ** 2 / below if below > 0 else float(persons.min())


def audience_of(
    tables: CampaignTables, settings: Settings, span: Span, messages: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return COLUMNS and `revenue` of every campaign with a hold-out, and why others have none.

    By the decision log where it tells; else by the hash, if the log of events shows that it was obeyed.
    `until`: the end of the window in which revenue counts.
    """
    logged = tables.audience()
    logged["until"] = logged["moment"] + timedelta(days=span.days)
    sent = {str(name): rows for name, rows in messages.groupby("campaign")}
    others = [name for name in sent if name not in set(logged["campaign"])]
    hashed, why = _hashed({name: sent[name] for name in others}, settings, span)
    parts = [part for part in (logged, *hashed) if len(part)]
    found = pd.concat(parts, ignore_index=True) if parts else logged
    found = found[list(COLUMNS)].assign(held_out=found["held_out"].astype(bool))
    found["channel"] = _channels(found, messages)
    return found.assign(revenue=tables.revenue(found)), why


def _hashed(
    sent: Mapping[str, pd.DataFrame], settings: Settings, span: Span
) -> tuple[list[pd.DataFrame], dict[str, str]]:
    why: dict[str, str] = {"": NO_CAMPAIGN} if "" in sent else {}
    found: list[pd.DataFrame] = []
    named = {name: rows for name, rows in sent.items() if name}
    if not named:
        return found, why
    try:
        seen = contacts_seen(settings)
    except NotReady:
        return found, why | dict.fromkeys(named, NOT_BUILT)
    for name, rows in named.items():
        start, end = rows["moment"].min(), rows["moment"].max() + timedelta(days=span.days)
        ids = seen.loc[seen["first"] < start, CONTACT_ID].reset_index(drop=True)
        flags = _obeyed(ids, set(rows["person"]), name, settings)
        if flags is None:
            why[name] = NOT_LOGGED
        else:
            window = {"moment": start, "until": end, "held_out": flags, "channel": None}
            found.append(pd.DataFrame({"campaign": name, "person": ids, **window}))
    return found, why


def _obeyed(
    ids: "pd.Series[str]", recipients: Iterable[str], campaign: str, settings: Settings
) -> "pd.Series[bool] | None":
    """Return who the hash holds out of all contacts known before, if none of them got the campaign.

    And if that is no chance: (1 - share)^recipients is the probability of it where nobody minds the hash.
    """
    got = ids.isin(set(recipients))
    share, salt = settings.message_holdout_share, settings.message_holdout_salt
    if (1 - share) ** int(got.sum()) > SURE:
        return None
    for name in (campaign, None):
        flags = pd.Series(held_out(ids.to_numpy(), share, salt, name), index=ids.index)
        if not (flags & got).any():
            return flags
    return None


def _channels(audience: pd.DataFrame, messages: pd.DataFrame) -> "pd.Series[str]":
    """Return each row's channel: the one intended; of a campaign that has only one, that; else None.

    Where the channels of the held out are not told, those of the treated say nothing either.
    """
    told = audience["held_out"] & audience["channel"].notna()
    known = told.groupby(audience["campaign"]).transform("any")
    used = messages.groupby("campaign")["channel"].agg(["nunique", "first"])
    only = used.loc[used["nunique"] == 1, "first"]
    return audience["channel"].where(known, audience["campaign"].map(only)).astype(object)
