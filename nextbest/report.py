"""`nextbest report …`: what was learned and how it holds, as tables for people and JSON for machines."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nextbest import _screen as screen
from nextbest.errors import BadInput
from nextbest.settings import Settings

if TYPE_CHECKING:
    from training.coverage import Coverage

app = typer.Typer(help="Reports on what was learned, how well it still holds, and what it led to.")

Now = Annotated[str | None, typer.Option("--now", help="The moment to take for the present (ISO 8601).")]
Home = Annotated[Path | None, typer.Option("--home", help="Folder of all state.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
SHOWN = 15
MOST = 1_000
"""Rules in the JSON, those that fired most."""


@app.callback(invoke_without_command=True)
def reports(context: typer.Context, home: Home = None, now: Now = None, as_json: Json = False) -> None:
    """Reports on what was learned, how well it still holds, and what it led to; alone: the decisions'."""
    from nextbest.cli import door

    if context.invoked_subcommand is None:
        decisions(home=home, now=now, as_json=as_json)
        if not as_json:
            screen.say(
                "more: nextbest report decisions --help, report campaigns, report coverage, report paths, "
                "report rfm, report lifecycle, report demand"
            )
    elif home or now or as_json:
        with door(show_bars=False):
            name = context.invoked_subcommand
            raise BadInput(f"give options after the report's name: nextbest report {name} …")


@app.command()
def decisions(
    since: Annotated[str | None, typer.Option(help="Only answers from this moment on (ISO 8601).")] = None,
    until: Annotated[str | None, typer.Option(help="Only answers before this moment (ISO 8601).")] = None,
    by: Annotated[
        Literal["placement", "source", "fallback", "model_version", "position"] | None,
        typer.Option(help="One table only; default placement, source and fallback."),
    ] = None,
    window_days: Annotated[
        float, typer.Option(min=0.0, help="Days after a click, or a view, in which an order counts.")
    ] = 7.0,
    home: Home = None,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """What the answers led to: views, clicks, orders, money, by placement, source and fallback."""
    from nextbest import _decisions_report as shown
    from nextbest.cli import door, moment, read_settings

    with door(show_bars=False):
        from training.decisions import OVERVIEW, decision_report, plain

        settings = read_settings(home, now)
        first, last = (moment(text) if text else None for text in (since, until))
        report = decision_report(
            settings, settings.present(), first, last, window_days, [by] if by else OVERVIEW
        )
    if as_json:
        screen.show_json(plain(report))
    else:
        shown.show_decisions(report)


@app.command()
def campaigns(
    since: Annotated[str | None, typer.Option(help="Only messages from this moment on (ISO 8601).")] = None,
    until: Annotated[str | None, typer.Option(help="Only messages before this moment (ISO 8601).")] = None,
    window_days: Annotated[
        float, typer.Option(help="Days after a message, or a decision, in which an order counts.")
    ] = 7.0,
    rule: Annotated[
        Literal["last_touch", "linear", "position", "markov", "shapley"],
        typer.Option(help="How an order is shared out among the messages before it."),
    ] = "last_touch",
    by: Annotated[
        Literal["campaign", "channel", "segment"] | None,
        typer.Option(help="Tables of this alone; default all three."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw cost and revenue of each campaign into this PNG file.")
    ] = None,
    home: Home = None,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """What messages cost and brought: revenue attributed, and caused, by campaign, channel and segment."""
    from nextbest import _campaigns_report as shown
    from nextbest.cli import door, moment, read_settings

    with door(show_bars=False):
        from training.campaigns import BYS, campaign_report, plain

        file = shown.plot_file(plot)
        settings = read_settings(home, now)
        first, last = (moment(text) if text else None for text in (since, until))
        wanted: tuple[Any, ...] = (by,) if by else BYS
        if file and "campaign" not in wanted:
            wanted = ("campaign", *wanted)
        report = campaign_report(settings, settings.present(), first, last, window_days, rule, wanted)
        if file and report.total.sent:
            shown.write_plot(report, file)
    if as_json:
        screen.show_json(plain(report))
    else:
        shown.show_campaigns(report, file)


@app.command("coverage")
def rules_coverage(
    days: Annotated[
        int | None, typer.Option(min=1, help="Only the last so many days of baskets; default all since.")
    ] = None,
    home: Home = None,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """Compare the basket champion's rules with the baskets bought since it learned."""
    from nextbest.cli import door, read_settings

    with door(show_bars=False):
        from training.coverage import champion_coverage

        settings = read_settings(home, now)
        about, found = champion_coverage(settings, settings.present(), days)
        titles = _titles(settings)
    if as_json:
        most, stopped = (rules.to_dict("records") for rules in (found.rules.head(MOST), found.stopped))
        screen.show_json({**about, **found.figures, "fired_most": most, "stopped": stopped})
    else:
        _show(about, found, titles)


def _titles(settings: Settings) -> dict[str, str]:
    from features.events.lake import Lake

    items = Lake(settings.lake).items()[["item_id", "title"]].dropna()
    return dict(zip(items["item_id"].astype(str), items["title"].astype(str), strict=True))


def _show(about: dict[str, Any], found: "Coverage", titles: Mapping[str, str]) -> None:
    span = f"{_day(about['since'])} to {_day(about['until'])}"
    screen.facts(f"rules of nextbest-basket version {about['version']} on baskets of {span}", found.figures)
    for title, rules in (("fired most", found.rules), ("stopped holding", found.stopped)):
        if len(rules):
            header = ("who buys", "buys", "promised", "realised", "95 %", "fired", "base rate", "state")
            screen.table(
                f"{title} ({len(rules):,} in all)",
                header,
                (_cells(rule, titles) for rule in rules.head(SHOWN).to_dict("records")),
            )


def _cells(rule: Mapping[Any, Any], titles: Mapping[str, str]) -> tuple[str, ...]:
    items = [item for item in (rule["item_1"], rule["item_2"], rule["item_3"]) if item]
    antecedent = " + ".join(titles.get(item, item) for item in items)
    return (
        antecedent, titles.get(rule["consequent"], rule["consequent"]),
        f"{rule['promised']:.3f}", f"{rule['realised']:.3f}",
        f"{rule['low']:.3f} to {rule['high']:.3f}", f"{rule['fired']:,}",
        f"{rule['base_rate']:.4f}", rule["state"],
    )  # fmt: skip


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


@app.command()
def paths(
    category: Annotated[
        str | None, typer.Option(help="Only orders of this category and those below it.")
    ] = None,
    least: Annotated[int, typer.Option(help="Paths that must have walked a sequence of steps.", min=1)] = 20,
    by: Annotated[
        Literal["lift", "conversion"], typer.Option(help="What the tables are sorted by.")
    ] = "lift",
    top: Annotated[int, typer.Option(help="Rows of each table at most.", min=1)] = 15,
    home: Home = None,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """Which steps between orders lead to one: support, conversion, lift over the base rate."""
    from nextbest import _paths_report as shown
    from nextbest.cli import door, read_settings

    with door() as progress:
        report = shown.paths_report(read_settings(home, now), category, least, by, top, progress)
    if as_json:
        screen.show_json(report)
    else:
        shown.show_paths(report)


Months = Annotated[int, typer.Option(min=1, max=60, help="Months back whose ends are looked at.")]
Plot = Annotated[Path | None, typer.Option(help="Draw the flows between the months into this PNG file.")]


@app.command()
def rfm(
    months: Months = 6,
    cross: Annotated[
        Literal["recency,frequency", "recency,monetary", "frequency,monetary"],
        typer.Option(help="The two dimensions that are crossed."),
    ] = "recency,frequency",
    falling: Annotated[int, typer.Option(min=0, help="Contacts listed who fell, the dearest.")] = 20,
    plot: Plot = None,
    home: Home = None,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """RFM segments month by month, the moves between them, who falls and what they are worth."""
    from nextbest import _rfm_report as shown
    from nextbest._campaigns_report import plot_file
    from nextbest._moves_report import write_flow
    from nextbest.cli import door, read_settings

    with door() as progress:
        from training.rfm_map import plain, rfm_report

        file, settings = plot_file(plot), read_settings(home, now)
        report = rfm_report(settings, settings.present(), months, cross, falling, progress)
        if file:
            write_flow(report.moves, shown.TITLE, file)
    if as_json:
        screen.show_json(plain(report))
    else:
        shown.show_rfm(report, file)


@app.command()
def lifecycle(
    months: Months = 6, plot: Plot = None, home: Home = None, now: Now = None, as_json: Json = False
) -> None:
    """Contacts by lifecycle stage, the moves between stages, and the time to the first order."""
    from nextbest import _lifecycle_report as shown
    from nextbest._campaigns_report import plot_file
    from nextbest._moves_report import write_flow
    from nextbest.cli import door, read_settings

    with door() as progress:
        from training.lifecycle import lifecycle_report, plain

        file, settings = plot_file(plot), read_settings(home, now)
        report = lifecycle_report(settings, settings.present(), months, progress)
        if file:
            write_flow(report.moves, shown.TITLE, file)
    if as_json:
        screen.show_json(plain(report))
    else:
        shown.show_lifecycle(report, file)


@app.command()
def demand(
    days: Annotated[int, typer.Option(min=1, max=365, help="How many days ahead.")] = 30,
    by: Annotated[Literal["product", "category"], typer.Option(help="What the rows are.")] = "category",
    top: Annotated[int, typer.Option(min=1, help="Rows shown at most.")] = 15,
    out: Annotated[Path | None, typer.Option(help="Write all rows into this Parquet file.")] = None,
    home: Home = None,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """How often each product or category will be bought, and how the same forecast turned out before."""
    from nextbest import _demand_report as shown
    from nextbest.cli import door, read_settings

    with door(show_bars=False):
        from training.demand import demand_report

        file, settings = shown.demand_file(out), read_settings(home, now)
        report = demand_report(settings, settings.present(), days)
        if file:
            shown.write_demand(report, by, file)
    if as_json:
        screen.show_json(shown.plain(report, by, top))
    else:
        shown.show_demand(report, by, top)
