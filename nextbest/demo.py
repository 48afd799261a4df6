"""The whole main job on real data: ingest, features, training, then three questions over HTTP."""

import json
import resource
import shutil
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nextbest import _screen as screen
from nextbest._training import show_reports
from nextbest.progress import Progress
from nextbest.settings import Settings

SOURCE = "complete-journey"
JOBS = ("rfm", "value", "churn", "replenishment", "basket", "next-purchase")


def run(settings: Settings, households: int | None = None) -> None:
    """Run every step with a progress bar; raises NextbestError where a step cannot go on."""
    from serving.launch import check_port

    check_port(settings)  # before the minutes of work that a taken port would spoil
    started = time.monotonic()
    screen.say(
        "[bold]nextbest[/] on Complete Journey: 1.47 million lines of 2,469 households in 2017, moved by "
        f"whole weeks so that they end today.\nEverything is kept in {settings.home}/; nothing leaves this "
        "machine.\n"
    )
    now = settings.present()
    _learn(settings, now, households)
    _ask_everything(settings)
    _farewell(settings, time.monotonic() - started)


def _learn(settings: Settings, now: datetime, households: int | None) -> None:
    from features.build import build
    from features.events.ingest import ingest
    from training.base import Context
    from training.runner import train

    with _step("1. events: validated, deduplicated, into the lake by day") as report:
        options: dict[str, Any] = {"households": households} if households else {}
        taken = ingest(settings, SOURCE, now=now, shift_to_today=True, progress=report, **options)
    screen.facts("events", asdict(taken))
    with _step("2. features: decayed counters, pairs, items, into Feast") as report:
        built = build(settings, now, progress=report)
    screen.facts("features", {"contacts": built.contacts, "rows": built.rows})
    with _step("3. models: fitted, compared with baselines on the last 30 days") as report:
        context = Context(settings, now, settings.seed, {}, report)
        reports = train(list(JOBS), context)
        simulated = Context(settings, now, settings.seed, {"log": "simulated"}, report)
        reports += train(["channel"], simulated)
    show_reports(reports)


@contextmanager
def _step(title: str) -> Iterator[Progress]:
    screen.say(f"[bold]{title}[/]")
    started = time.monotonic()
    with screen.progress() as report:
        yield report
    screen.say(f"   {time.monotonic() - started:.0f} s\n")


def _ask_everything(settings: Settings) -> None:
    from serving.launch import start_background

    screen.say("[bold]4. the service, asked three questions[/]")
    contacts, item = _subjects(settings)
    log = settings.home / "service.log"
    with start_background(settings, log) as url:
        screen.say(f"   serving at {url} (log: {log})\n")
        screen.say("[bold]What will this household buy next?[/]")
        _ask(url, settings, "/v1/recommendations", {"contact_id": contacts[0], "placement": "home", "k": 5})
        screen.say("[bold]What goes together with this product?[/]")
        _ask(url, settings, "/v1/bought-together", {"item_ids": [item], "k": 3})
        screen.say("[bold]Are these three leaving, and which channel reaches them?[/]")
        _ask(url, settings, "/v1/predictions", {"contact_ids": contacts, "tasks": ["churn"]})
        _ask(url, settings, "/v1/best-channel", {"contact_ids": contacts})
    screen.say("   service stopped\n")


def _subjects(settings: Settings) -> tuple[list[str], str]:
    """Choose a regular, a middling and a rare buyer, and a product with many baskets."""
    from features.events.lake import Lake

    events = Lake(settings.lake).events()
    orders = events.filter(events.event == "order_completed")
    counts = (
        orders.group_by("contact_id").agg(n=orders.order_id.nunique()).order_by("n", "contact_id").execute()
    )
    ids = counts["contact_id"].tolist()
    items = orders.group_by("item_id").agg(n=orders.count()).order_by("n").execute()["item_id"].tolist()
    return [ids[int(len(ids) * share)] for share in (0.9, 0.5, 0.05)], items[-20 if len(items) > 20 else -1]


def _ask(url: str, settings: Settings, path: str, body: dict[str, Any]) -> Any:
    headers = {"content-type": "application/json"}
    if settings.secret_key:
        headers["authorization"] = f"Bearer {settings.secret_key.get_secret_value()}"
    request = urllib.request.Request(url + path, json.dumps(body).encode(), headers)  # noqa: S310  our own loopback URL
    screen.console.print(f"POST {path}", style="cyan")
    screen.console.print_json(data=body)
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        answer = json.load(response)
    screen.console.print_json(data=answer)
    screen.say("")
    return answer


def _farewell(settings: Settings, seconds: float) -> None:
    peak = (
        max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        / 2**20
    )
    disk = sum(p.stat().st_size for p in Path(settings.home).rglob("*") if p.is_file()) / 2**20
    program = "nextbest" if shutil.which("nextbest") else ".venv/bin/nextbest"
    screen.say(
        f"[bold]Done[/] in {seconds / 60:.1f} minutes, {peak:.1f} GB at the peak, {disk:.0f} MB on disk "
        f"({datetime.now(UTC):%H:%M} UTC).\n\n"
        "Go on:\n"
        "  make serve      serve what was trained; README.md has a curl for each question\n"
        f"  .venv/bin/mlflow ui --backend-store-uri {settings.mlflow_uri}\n"
        "                  runs, plots, model cards, champions\n"
        f"  {program} models list\n"
        f"  {program} score recommendations --out next.parquet   everyone at once\n"
        f'  {program} ingest YOURS.csv --map contact_id=…        your own data (README, "Your own data")\n'
    )
