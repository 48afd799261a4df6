"""The campaign report as people see it, and its plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.events._files import written_aside
from nextbest import _screen as screen
from nextbest.errors import BadInput

if TYPE_CHECKING:
    from training.campaigns import CampaignOutcome, CampaignReport

MESSAGES = ("contacts", "sent", "delivered", "bounced", "opened", "clicked", "unsubscribed")
MONEY = (
    "cost", "orders\nattributed", "revenue\nattributed", "ROMI by\nattributed",
    "revenue incremental\n(90 %)", "treated", "held out", "ROMI by incremental\n(90 %)",
)  # fmt: skip
MOST = 20
"""Rows of each table at most."""
DRAWN = 12
"""Campaigns of the plot at most."""
UNNAMED = "(none)"
NO_MESSAGES = (
    "no message was sent in that span; message_sent events come over the intake or with nextbest ingest, "
    "each with contact_id, campaign_id, channel and message_id"
)


def show_campaigns(report: "CampaignReport", plot: Path | None = None) -> None:
    """Print messages and money of everything and of each group, and what the figures leave out."""
    if not report.total.sent:
        screen.say(NO_MESSAGES)
        return
    label = " (simulated messages)" if report.facts["simulated_messages"] else ""
    _tables(f"all messages{label}", "", [report.total])
    for name, outcomes in report.groups.items():
        more = f" (the first {MOST} of {len(outcomes)})" if len(outcomes) > MOST else ""
        _tables(f"by {name}{more}{label}", name, outcomes[:MOST])
    for line in notes(report):
        screen.say(line)
    if plot:
        screen.say(f"drawn: {plot}")


def _tables(title: str, name: str, outcomes: Sequence["CampaignOutcome"]) -> None:
    for what, header, cells in (("messages", MESSAGES, _message_cells), ("money", MONEY, _money_cells)):
        rows = [(outcome.name or UNNAMED, *cells(outcome)) for outcome in outcomes]
        screen.table(f"{title}: {what}", (name, *header), rows)


def notes(report: "CampaignReport") -> list[str]:
    """Return what has to be known to read the figures."""
    facts, days = report.facts, f"{report.facts['window_days']:g} days"
    lines = [
        f"attributed: orders within {days} after a message that did not bounce, by {_words(facts['rule'])}; "
        "part of them would have come anyway",
        "incremental: what the treated ordered beyond the held out of the same campaign, within "
        f"{days} after the decision; the share held out is set to {facts['holdout_share']:.1%}",
        f"ROMI, return on marketing investment: (revenue x margin {facts['margin']:g} - cost) / cost; by "
        "incremental revenue with the cost of the campaigns that have a hold-out",
    ]
    if facts["simulated_messages"]:
        share = facts["simulated_messages"] / facts["messages"]
        lines.insert(
            0, f"{share:.0%} of these messages are simulated: the figures show a report, no business"
        )
    if "segment" in report.groups and facts["rule_by_segment"] != facts["rule"]:
        lines.append(f"segments: by {_words(facts['rule_by_segment'])}, for no path leads between them")
    return lines + _missing(report)


def _missing(report: "CampaignReport") -> list[str]:
    facts, lines = report.facts, []
    for why, names in _reasons(report).items():
        lines.append(f"no incremental revenue: {why} ({', '.join(names[:5])}{', …' if names[5:] else ''})")
    if facts["messages_with_open_window"]:
        lines.append(
            f"{facts['messages_with_open_window']:,} messages and {facts['decisions_with_open_window']:,} "
            f"decisions are younger than {facts['window_days']:g} days: more orders may follow"
        )
    if unmatched := facts["events_of_no_message"]:
        told = ", ".join(f"{n:,} {name}" for name, n in unmatched.items())
        lines.append(f"not counted, for they name no message of the span by message_id: {told}")
    if without := facts["channels_without_cost"]:
        told = ", ".join(name or UNNAMED for name in without)
        lines.append(f"taken for free, for no cost is set: {told}; NEXTBEST_CHANNELS sets it")
    if facts["segments_why_none"]:
        lines.append(facts["segments_why_none"])
    return lines


def _reasons(report: "CampaignReport") -> dict[str, list[str]]:
    """Return why groups have no incremental revenue, and which; the total's where it has none."""
    found: dict[str, list[str]] = {}
    alone = [("all", report.total)] if report.total.incremental_why else []
    named = [(o.name or UNNAMED, o) for outcomes in report.groups.values() for o in outcomes]
    for name, outcome in alone + named:
        if outcome.incremental_why:
            found.setdefault(outcome.incremental_why, []).append(name)
    return found


def _words(rule: str) -> str:
    return rule.replace("_", " ")


def _message_cells(outcome: "CampaignOutcome") -> tuple[str, ...]:
    return (
        f"{outcome.contacts:,}", f"{outcome.sent:,}",
        "" if outcome.delivered is None else f"{outcome.delivered:,}",
        _part(outcome.bounced, outcome.bounce_rate), f"{outcome.opened:,}", f"{outcome.clicked:,}",
        _part(outcome.unsubscribed, outcome.unsubscribe_rate),
    )  # fmt: skip


def _money_cells(outcome: "CampaignOutcome") -> tuple[str, ...]:
    return (
        f"{outcome.cost:,.2f}", _orders(outcome.orders_attributed), f"{outcome.revenue_attributed:,.2f}",
        _times(outcome.romi_attributed),
        _between(outcome.revenue_incremental, outcome.incremental_interval, "{:,.2f}"),
        f"{outcome.treated:,}", f"{outcome.held_out:,}",
        _between(outcome.romi_incremental, outcome.romi_incremental_interval, "{:,.1f}"),
    )  # fmt: skip


def _part(count: int, rate: float | None) -> str:
    return f"{count:,} ({rate:.1%})" if count and rate is not None else f"{count:,}"


def _orders(count: float) -> str:
    return f"{count:,.0f}" if abs(count - round(count)) < 1e-6 else f"{count:,.1f}"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}"


def _between(value: float | None, ends: tuple[float, float] | None, form: str) -> str:
    if value is None:
        return ""
    wide = ends is not None and ends[1] - ends[0] >= 10
    told = [("{:,.0f}" if wide else form).format(number) for number in (value, *(ends or ()))]
    return f"{told[0]} ({told[1]} to {told[2]})" if ends else told[0]


def plot_file(file: Path | None) -> Path | None:
    """Return the file a plot goes into; raises BadInput where none can be written there."""
    if file is None:
        return None
    if file.suffix.lower() != ".png":
        raise BadInput(f"--plot {file} must end in .png")
    if not file.parent.is_dir():
        raise BadInput(f"--plot {file}: there is no folder {file.parent}")
    return file


def write_plot(report: "CampaignReport", file: Path) -> None:
    """Draw cost and both revenues of the largest campaigns; the file is whole, or as it was before."""
    import numpy as np

    from training.plots import grouped_bars

    shown = report.groups["campaign"][:DRAWN]
    ends = np.array([o.incremental_interval or (np.nan, np.nan) for o in shown])
    series: Mapping[str, Any] = {
        "cost": [o.cost for o in shown],
        f"revenue attributed ({_words(report.facts['rule'])})": [o.revenue_attributed for o in shown],
        "revenue incremental (90 %)": [o.revenue_incremental for o in shown],
    }
    label = ", simulated messages" if report.facts["simulated_messages"] else ""
    figure = grouped_bars(
        [o.name or UNNAMED for o in shown],
        series,
        f"What campaigns cost and brought{label}",
        "Money, in the currency of the orders",
        {"revenue incremental (90 %)": (ends[:, 0], ends[:, 1])},
    )
    with written_aside(file) as aside:
        figure.savefig(aside, format="png")
