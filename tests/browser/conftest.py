"""A real browser, and a real service over a tiny shop: real event log, real folding, real basket rules."""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import uvicorn
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from features.events.log import EventLog
from features.events.triggers import TriggerLog
from features.events.turned_away import TurnedAway
from features.events.writer import Writer
from features.live import LiveContacts
from features.points import Rules
from features.state import ContactState
from models.basket import Basket, Baskets
from nextbest.settings import Settings
from serving import contact_page, demo_shop, intake
from serving.access import Access
from serving.answers import Answers
from serving.book import ContactBook
from serving.budget import Budget
from serving.parts import Parts
from serving.past import Past
from serving.people import People
from serving.shelf import Shelf
from serving.web import create_app
from tests.serving.conftest import NOW, FakeChampions, buyer, items
from tests.serving.conftest import client_of as client_of

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
MODULES = Path(__file__).parents[1] / "clients" / "node_modules"
WRITE, SECRET = "wr1te", "s3cret"
WICKED = "<script>window.hacked=1</script><img src=x onerror='window.hacked=2'>\"'"
"""The title of item i06."""
STRANGE, LEAVING = "<img src=x onerror=window.hacked=3>/a b?#%25", "leaving"
"""Ids of contacts that are as c1 is."""


def modules(*path: str) -> Path:
    """Return a file of the Node packages; skips where they are not installed."""
    found = MODULES.joinpath(*path)
    if not found.exists():
        pytest.skip("the browser packages are not installed: npm ci --prefix tests/clients")
    return found


def address(module: Path) -> str:
    """Return where the test's pages find a file of the Node packages."""
    return f"/modules/{module.relative_to(MODULES)}"


class Stored:
    """The feature store: rows by contact."""

    def __init__(self, *states: ContactState) -> None:
        self.rows = {
            str(state.contact_id): {
                "contact_id": state.contact_id, "as_of": 0, "lists_as_of": 0, "lists_at": state.lists_at,
                **state.counters, **state.times, **state.arrays,
            }
            for state in states
        }  # fmt: skip

    def online(self, service: str, ids: list[str]) -> list[dict[str, Any] | None]:
        return [self.rows.get(contact) for contact in ids]

    def stamp(self) -> object:
        return len(self.rows)


@dataclass
class Service:
    """A running service, as its tests see it."""

    port: int
    engine: Any
    pages: dict[str, str] = field(default_factory=dict)
    """Path below /pages/ -> HTML."""
    seen: list[tuple[float, str]] = field(default_factory=list)
    """When which fault was asked."""

    @property
    def url(self) -> str:
        """Where the service answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def shop(self) -> str:
        """Where the test's pages lie: another origin."""
        return f"http://localhost:{self.port}/pages"

    def events(self, name: str | None = None, **columns: Any) -> list[dict[str, Any]]:
        """Return the stored events, oldest first, of a name and with columns."""
        frames = list(self.engine.log.read())
        rows = pd.concat(frames).to_dict("records") if frames else []
        wanted = {"event": name, **columns} if name else columns
        return [row for row in rows if all(row[key] == value for key, value in wanted.items())]

    def wait(self, condition: Callable[[], Any], page: Any, seconds: float = 5.0) -> Any:
        """Return what the condition says, once it is true."""
        end = time.monotonic() + seconds
        while not (said := condition()):
            assert time.monotonic() < end, f"still not so after {seconds} s"
            page.wait_for_timeout(25)
        return said


def engine(home: Path, **settings: Any) -> Any:
    """Return what the app asks of an engine, over real parts."""
    settings_ = Settings(home=home, budget_ms=5000, **settings)
    frame = items()
    frame.loc[frame["item_id"] == "i06", "title"] = WICKED
    shelf = Shelf(lambda now: (frame, 500))
    shelf.refresh(NOW)
    paths = dict(zip(frame["item_id"], frame["category"], strict=True))
    log = EventLog(settings_.event_log_url)
    store = Stored(buyer(), buyer(STRANGE), buyer(LEAVING))
    live = LiveContacts(store, log, Rules(rules=()), lambda: paths)  # type: ignore[arg-type]
    triggers = TriggerLog(settings_.event_log_url)
    champions = FakeChampions()
    champions.models["basket"] = _rules()
    began = time.monotonic()
    nothing = pd.DataFrame(columns=["contact_id", "channel", "timestamp", "event"])
    book = ContactBook(lambda: log.contacts(), lambda: nothing, lambda ids: pd.DataFrame(), lambda *_: [])
    book.refresh()
    budget = Budget()
    past = Past(settings_, log, triggers)
    parts = Parts(settings_, People(live), shelf, champions, budget, book, lambda row: None, past=past)
    (home / "features").mkdir(parents=True)
    pd.DataFrame({"contact_id": ["c1"]}).to_parquet(home / "features" / "contact_lists.parquet")

    def now() -> datetime:
        return NOW + timedelta(seconds=time.monotonic() - began)

    def close() -> None:
        made.writer.close()
        budget.close()
        triggers.close()
        log.close()

    made = SimpleNamespace(
        settings=settings_, access=Access(settings_), now=now, log=log, shelf=shelf, close=close,
        answers=Answers(parts, Rules(rules=())), writer=Writer(log.take),
        turned_away=TurnedAway(settings_.rejects), missing=dict, contact_of=live.contact_of,
        past=past, models=champions.models, simulated=champions.simulated, triggers=triggers,
        erase=lambda contact_id: store.rows.pop(contact_id, None) is not None,
        champions=SimpleNamespace(status=dict), decisions=SimpleNamespace(written=0, dropped=0),
    )  # fmt: skip
    return made


def _rules() -> Basket:
    """Milk i00 and bread i01 go together, and so do i03 and i04; the other baskets hold one item."""
    baskets = [["i00", "i01"]] * 30 + [["i03", "i04"]] * 30 + [[f"i{n:02d}"] for n in range(12)] * 20
    lines = [(f"o{number}", item) for number, basket in enumerate(baskets) for item in basket]
    return Basket.learn(Baskets.of([order for order, _ in lines], [item for _, item in lines]))


@contextmanager
def serving(home: Path, **settings: Any) -> Iterator[Service]:
    """Run a service on a free port."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        service = Service(port, engine(home, origins=[f"http://localhost:{port}"], **settings))

        async def page(http: Request) -> Response:
            return HTMLResponse(service.pages[http.path_params["name"]])

        async def module(http: Request) -> Response:
            return FileResponse(MODULES / http.path_params["path"])

        app = create_app(
            lambda: service.engine,
            more_routes=[
                *intake.routes(),
                *demo_shop.ROUTES,
                *contact_page.ROUTES,
                Route("/pages/{name}", page),
                Route("/modules/{path:path}", module),
                Route("/faults/{fault}/{path:path}", _fault(service), methods=["POST", "OPTIONS"]),
            ],
            more_calls=[*intake.calls(), *demo_shop.CALLS, *contact_page.CALLS],
        )
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the server did not start"
                time.sleep(0.01)
            yield service
        finally:
            server.should_exit = True
            thread.join(10)


def _fault(service: Service) -> Callable[[Request], Any]:
    """Answer as a service in trouble does: at /faults/slow, /faults/nonsense, /faults/busy."""

    async def answer(http: Request) -> Response:
        import anyio

        fault = http.path_params["fault"]
        service.seen.append((time.monotonic(), fault))
        if fault == "slow":
            await anyio.sleep(1.0)
            return JSONResponse(
                {"items": [{"item_id": "late", "title": "Late"}], "recommendation_id": "late"}
            )
        if fault == "busy":
            return JSONResponse({"code": "busy", "message": ""}, 429, {"retry-after": "2"})
        return HTMLResponse("<h1>It works!</h1>")

    return answer


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """Chromium from the system's package."""
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with keys; pages of another origin call it."""
    keys = {"write_key": SecretStr(WRITE), "secret_key": SecretStr(SECRET)}
    with serving(tmp_path_factory.mktemp("keyed"), **keys) as running:
        yield running


@pytest.fixture(scope="package")
def open_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service without keys, as the demo runs."""
    with serving(tmp_path_factory.mktemp("open")) as running:
        yield running


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    """A browser nobody has used."""
    made = browser.new_context(viewport={"width": 1280, "height": 800})
    made.set_default_timeout(10_000)
    yield made
    made.close()


@pytest.fixture
def page(context: Any) -> Iterator[Any]:
    """A page; whatever reaches it as an exception fails the test."""
    made = context.new_page()
    errors: list[str] = []
    made.on("pageerror", lambda error: errors.append(str(error)))
    yield made
    assert errors == []
