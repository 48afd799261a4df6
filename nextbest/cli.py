"""The command line. Commands are thin: they read settings, call one function, and show what came back.

Heavy libraries are imported inside the commands, so that `nextbest --help` answers at once.
"""

import difflib
import logging
import os
import tomllib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError

from nextbest import _screen as screen
from nextbest import report, triggers
from nextbest.errors import BadInput, NextbestError
from nextbest.progress import Progress, silent
from nextbest.settings import Settings

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, help=__doc__)
OLD_DAYS = 60
features_app = typer.Typer(no_args_is_help=True, help="Feature tables and the feature store.")
models_app = typer.Typer(no_args_is_help=True, help="Registered models, champions and their history.")
app.add_typer(features_app, name="features")
app.add_typer(models_app, name="models")
app.add_typer(report.app, name="report")
app.add_typer(triggers.app, name="triggers")

Now = Annotated[
    str | None,
    typer.Option("--now", help="The moment to take for the present (ISO 8601); default the clock."),
]
Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of all state; default NEXTBEST_HOME or .nextbest.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def moment(text: str) -> datetime:
    """Read ISO 8601; a time without a zone is UTC."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"'{text}' is not a time; write it as 2026-01-31 or 2026-01-31T12:00:00Z") from None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def read_settings(home: Path | None, now: str | None, **overrides: Any) -> Settings:
    """Return the settings with the command's own options on top."""
    values = {"home": home, "now": moment(now) if now else None, **overrides}
    return Settings(**{name: value for name, value in values.items() if value is not None})


@contextmanager
def door(show_bars: bool = True) -> Iterator[Progress]:
    """Turn expected errors into one line and exit code 2; draw progress bars unless told otherwise."""
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    for chatty in ("alembic", "mlflow"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        if show_bars:
            with screen.progress() as report:
                yield report
        else:
            yield silent
    except ValidationError as error:
        raise screen.fail(
            f"settings (options, NEXTBEST_*, nextbest.toml): {_settings_problems(error)}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise screen.fail(f"nextbest.toml in this folder cannot be read: {error}") from None
    except (NextbestError, OSError) as error:
        raise screen.fail(str(error)) from None


def _settings_problems(error: ValidationError) -> str:
    said = []
    for problem in error.errors():
        name = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(name, Settings.model_fields, 1)
            known = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(Settings.model_fields)}"
            said.append(f"no setting '{name}'; {known}")
        else:
            said.append(f"{name}: {problem['msg']}")
    return "; ".join(said)


def pairs(values: list[str], option: str) -> dict[str, str]:
    """Read key=value options."""
    out = {}
    for value in values:
        key, sign, rest = value.partition("=")
        if not sign or not key:
            raise BadInput(f"{option} takes key=value, got '{value}'")
        out[key.strip()] = rest.strip()
    return out


def plain(value: Any) -> Any:
    """Return dataclasses as dicts, for JSON."""
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def show(value: Any, as_json: bool, title: str) -> None:
    """Show one result as a table or as JSON."""
    if as_json:
        screen.show_json(plain(value))
    else:
        screen.facts(title, plain(value))


@app.command()
def demo(
    home: Home = None,
    now: Now = None,
    households: Annotated[
        int | None, typer.Option(help="Use only so many households (a quick look).", min=50)
    ] = None,
) -> None:
    """Learn from real shop data, then answer three questions over HTTP."""
    from nextbest.demo import run

    with door(show_bars=False):
        run(read_settings(home, now), households)


@app.command()
def ingest(
    source: Annotated[str, typer.Argument(help="complete-journey, or a CSV or Parquet file.")],
    map_: Annotated[
        list[str], typer.Option("--map", help="contact_id=CustomerID,order_id=InvoiceNo,… (canonical=theirs)")
    ] = [],  # noqa: B006  Typer reads the default
    table: Annotated[
        str, typer.Option(help="For canonical Parquet: events, items, contacts or identities.")
    ] = "events",
    shift_to_today: Annotated[
        bool, typer.Option("--shift-to-today", help="Move old data by whole weeks.")
    ] = False,
    home: Home = None,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """Take events in; bad rows go to a reject file with the reason."""
    from features.events.ingest import ingest as take_in

    with door() as report:
        settings = read_settings(home, now)
        mapping = pairs([part for value in map_ for part in value.split(",")], "--map") or None
        summary = take_in(
            settings, source, now=settings.present(), mapping=mapping, table=table,
            shift_to_today=shift_to_today, progress=report,
        )  # fmt: skip
    show(summary, as_json, f"ingested {source}")
    if not as_json:
        _say_if_old(settings)


def _say_if_old(settings: Settings) -> None:
    """Say when the data end long before the present: everything would look as if it had stopped."""
    from features.events.lake import Lake

    span = Lake(settings.lake).span() if settings.lake.exists() else None
    days = (settings.present() - span[1]).days if span else 0
    if span and days > OLD_DAYS:
        screen.say(
            f"[yellow]note:[/] the last event is {days} days old, so every contact looks lost. For old data "
            f"give every command --now {span[1]:%Y-%m-%d} (or NEXTBEST_NOW), or ingest with --shift-to-today."
        )


@app.command()
def events(
    out: Annotated[Path, typer.Option("--out", help="Parquet file to write.")],
    since: Annotated[str | None, typer.Option(help="Only events from this moment on (ISO 8601).")] = None,
    home: Home = None,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """Write every stored event, log and lake together, to a Parquet file."""
    from features.events.ingest import export_events

    with door(show_bars=False):
        count = export_events(read_settings(home, now), out, moment(since) if since else None)
    show({"events": count, "file": str(out)}, as_json, "exported")


@features_app.command()
def build(
    engine: Annotated[
        Literal["duckdb", "spark"], typer.Option(help="duckdb, or spark where one machine is outgrown.")
    ] = "duckdb",
    online: Annotated[
        bool,
        typer.Option(help="Put rows online too; training, and channels in bulk without news, need none."),
    ] = True,
    home: Home = None,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """Lake to feature tables to Feast, offline and online."""
    from features.build import build as build_features

    with door() as report:
        settings = read_settings(home, now)
        summary = build_features(settings, settings.present(), engine, report, online)
    show(summary, as_json, "features built")


@app.command()
def train(
    names: Annotated[list[str] | None, typer.Argument(help="all, or jobs by name.")] = None,
    set_: Annotated[list[str], typer.Option("--set", help="key=value, as the job's options say.")] = [],  # noqa: B006
    home: Home = None,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """Fit, compare with the baselines and the champion, register; a winner becomes champion."""
    from nextbest._training import show_reports
    from training.base import Context
    from training.runner import train as run

    with door() as report:
        settings = read_settings(home, now)
        context = Context(settings, settings.present(), settings.seed, pairs(set_, "--set"), report)
        reports = run(names or ["all"], context)
    if as_json:
        screen.show_json([plain(r) for r in reports])
    else:
        show_reports(reports)
        _say_if_old(settings)
    if all(report.status in {"skipped", "failed"} for report in reports):
        raise typer.Exit(1)


def _registry_command(
    call: Callable[[Any, datetime], Any], title: str, home: Path | None, now: str | None, as_json: bool
) -> None:
    from training.tracking import Registry

    with door(show_bars=False):
        settings = read_settings(home, now)
        answer = call(Registry(settings), settings.present())
    if as_json or not isinstance(answer, list):
        show(answer, as_json, title)
    elif answer:
        header = list(dict.fromkeys(key for row in answer for key in plain(row)))
        screen.table(title, header, ([plain(row).get(key) for key in header] for row in answer))
    else:
        screen.say("nothing registered yet; run: nextbest train all")


@models_app.command("list")
def list_(home: Home = None, now: Now = None, as_json: Json = False) -> None:
    """List registered models and which version is champion."""
    _registry_command(lambda r, _: r.list(), "models", home, now, as_json)


@models_app.command("show")
def show_model(
    name: str,
    version: Annotated[int | None, typer.Option()] = None,
    home: Home = None,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """Show one version: metrics, baselines, data, where its run is."""
    _registry_command(lambda r, _: r.show(name, version), name, home, now, as_json)


@models_app.command()
def promote(
    name: str,
    version: int,
    reason: Annotated[str, typer.Option(help="Kept in the history.")] = "promoted by hand",
    home: Home = None,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """Make a version champion; a running service follows within seconds."""
    _registry_command(lambda r, at: r.promote(name, version, reason, at), name, home, now, as_json)


@models_app.command()
def rollback(
    name: str,
    reason: Annotated[str, typer.Option(help="Kept in the history.")] = "rolled back by hand",
    home: Home = None,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """Make the previous champion champion again."""
    _registry_command(lambda r, at: r.rollback(name, reason, at), name, home, now, as_json)


@models_app.command()
def history(
    name: Annotated[str | None, typer.Argument()] = None,
    home: Home = None,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """Show every promotion and rollback."""
    _registry_command(lambda r, _: r.history(name), "promotions", home, now, as_json)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option()] = None,
    port: Annotated[int | None, typer.Option()] = None,
    workers: Annotated[int | None, typer.Option()] = None,
    home: Home = None,
    now: Now = None,
) -> None:
    """Serve until stopped."""
    from serving.launch import serve as launch

    with door(show_bars=False):
        launch(read_settings(home, now, host=host, port=port, workers=workers))


@app.command()
def score(
    what: Annotated[Literal["recommendations", "channels", "predictions"], typer.Argument()],
    out: Annotated[Path, typer.Option("--out", help="Parquet file to write.")],
    contacts: Annotated[
        Path | None, typer.Option(help="CSV or Parquet with contact_id; default everyone.")
    ] = None,
    k: Annotated[int, typer.Option(min=1, max=100, help="Recommendations a contact.")] = 10,
    ask: Annotated[
        list[str], typer.Option("--ask", help="field=value of every request (docs/http.md).")
    ] = [],  # noqa: B006
    home: Home = None,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """Answer for many contacts at once, into a Parquet file."""
    from nextbest.bulk import score as score_all

    with door() as report:
        settings = read_settings(home, now)
        summary = score_all(settings, what, out, contacts, k, report, pairs(ask, "--ask"))
    show(summary, as_json, f"scored {what}")


@app.command()
def segment(
    expression: Annotated[str | None, typer.Argument(help="As docs/segments.md says, in quotes.")] = None,
    name: Annotated[str | None, typer.Option(help="A saved segment in the place of an expression.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the saved segments.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="CSV or Parquet file to write them to.")] = None,
    columns: Annotated[
        str | None, typer.Option(help="What --out writes, a,b; default what the expression reads.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Contacts that --out writes at most.")] = None,
    count: Annotated[bool, typer.Option("--count", help="Only how many; no tables.")] = False,
    contacts: Annotated[
        Path | None, typer.Option(help="CSV or Parquet with contact_id; default everyone.")
    ] = None,
    home: Home = None,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """Count whom an expression finds; write the contacts with --out."""
    from nextbest import _segments as segments

    with door() as report:
        settings = read_settings(home, now)
        if list_:
            return segments.show_saved(settings, as_json)
        asked = segments.asked(settings, expression, name)
        export = segments.export(out, columns, limit)
        by = () if count else segments.BY
        found = segments.select(settings, asked, report, export, contacts, by)
    if as_json:
        screen.show_json(plain(found))
    elif count:
        screen.say(f"{found.count}")
    else:
        segments.show_report(found)


@app.command()
def erase(contact_id: str, home: Home = None, now: Now = None, as_json: Json = False) -> None:
    """Erase a contact from the whole state folder; training leaves the contact out from then on."""
    from features.forget import forget

    with door(show_bars=False):
        summary = forget(read_settings(home, now), [contact_id])
    title = f"erased {contact_id}" if summary else f"nothing is known of a contact {contact_id}"
    show(summary, as_json, title)


@app.command()
def export(
    contact_id: str,
    out: Annotated[Path, typer.Option("--out", help="JSON file to write.")],
    home: Home = None,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """Write everything held of a person, by any of their ids, to a JSON file."""
    from serving.export import write_export

    with door(show_bars=False):
        summary = write_export(read_settings(home, now), contact_id, out)
    show({**summary, "file": str(out)}, as_json, f"exported {contact_id}")


@app.command()
def exclude(
    contact_id: str,
    back: Annotated[bool, typer.Option("--back", help="Learn of the contact again.")] = False,
    home: Home = None,
    now: Now = None,
    as_json: Json = False,
) -> None:
    """Leave a contact out of what is learned, without erasing anything (objection to profiling)."""
    from features.excluded import OBJECTED, include
    from features.excluded import exclude as leave_out

    with door(show_bars=False):
        settings = read_settings(home, now)
        changed = include(settings, [contact_id]) if back else leave_out(settings, [contact_id], OBJECTED)
    title = f"{contact_id} is {'learned from again' if back else 'left out of what is learned from now on'}"
    show({"changed": changed}, as_json, title)


@app.command()
def doctor(home: Home = None, now: Now = None, as_json: Json = False) -> None:
    """Say what is missing, stale or misconfigured, and the command that mends it."""
    from nextbest.doctor import examine

    with door(show_bars=False):
        findings = examine(read_settings(home, now))
    if as_json:
        screen.show_json([plain(f) for f in findings])
    else:
        screen.table(
            "doctor", ("part", "state", "what", "mend"), ((f.part, f.state, f.what, f.mend) for f in findings)
        )
    if any(f.state == "broken" for f in findings):
        raise typer.Exit(1)
