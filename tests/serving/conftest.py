"""A tiny shop whose answers are known beforehand: twelve items in three categories, one regular buyer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial, partialmethod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from starlette.applications import Starlette

from features.points import Rules
from features.state import ContactState, ContactView
from models.base import Ranking, Reason
from models.catalogue import Catalogue
from nextbest.columns import CONTACT_COLUMNS, ITEM_COLUMNS, ITEM_STATISTICS
from nextbest.settings import Settings
from serving.access import Access
from serving.answers import Answers
from serving.book import ContactBook
from serving.budget import Budget
from serving.champions import Loaded, Status
from serving.parts import Parts
from serving.people import People
from serving.predict import PredictionLadders
from serving.reach import ChannelLadder
from serving.recommend import RecommendationLadder
from serving.schemas import (
    BestChannelRequest,
    ChannelDecision,
    Prediction,
    PredictionsRequest,
    Recommendations,
    RecommendationsRequest,
)
from serving.shelf import Shelf

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SECONDS = NOW.timestamp()
DAY = 86_400.0
CATEGORIES = ("food/milk", "food/bread", "care/soap")


def items() -> pd.DataFrame:
    """Items i00 … i11, i00 the most sold; every third of one category; all bought again every ten days."""
    rows = [
        {
            "item_id": f"i{n:02d}", "title": f"Item {n}", "category": CATEGORIES[n % 3], "price": 1.0 + n,
            **dict.fromkeys(ITEM_STATISTICS, 0.0), "sold_90d": 100.0 - n, "sold_7d": 8.0 - n * 0.1,
            "sold_total": 200.0 - n, "buyers": 40.0, "repeat_buyers": 30.0, "repurchase_rate": 0.75,
            "cadence_days": 10.0, "mean_price": 1.0 + n,
        }
        for n in range(12)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=[*ITEM_COLUMNS, *ITEM_STATISTICS])


def buyer(contact_id: str = "c1", bought: Mapping[str, float] | None = None) -> ContactState:
    """Return somebody who bought items so many days ago, each twice, ten days apart."""
    bought = {"i03": 30.0, "i05": 20.0, "i07": 2.0} if bought is None else bought
    names = sorted(bought, key=lambda item: bought[item])
    last = np.array([SECONDS - bought[item] * DAY for item in names])
    weights = 2.0 ** (-np.array([bought[item] for item in names]) / 90) * 1.9
    return ContactState.from_row(
        {
            "contact_id": contact_id, "as_of": 5, "last_seen": SECONDS - DAY,
            "first_seen": SECONDS - 300 * DAY,
            "last_order": float(last.max()), "first_order": SECONDS - 300 * DAY, "lists_at": SECONDS,
            "orders_total": 6.0, "orders_90d": 4.0, "spend_total": 60.0, "spend_90d": 40.0,
            "lines_total": 6.0,
            "lines_90d": 4.0, "recent_items": names, "recent_times": last, "repeat_items": names,
            "repeat_30d": weights, "repeat_90d": weights, "repeat_365d": weights,
            "repeat_count": [2.0] * len(names),
            "repeat_first": last - 10 * DAY, "repeat_last": last, "category_names": ["food/milk"],
            "category_90d": [3.0], "category_last": [SECONDS - 2 * DAY],
        }
    )  # fmt: skip


class FakeLive:
    """States by id; `error` is raised instead of answering."""

    def __init__(self, states: Sequence[ContactState] = ()) -> None:
        self.states = {state.contact_id: state for state in states}
        self.error: Exception | None = None

    def get(self, contact_ids: Sequence[str], now: float, stored: bool = True) -> list[ContactView]:
        if self.error and stored:
            raise self.error
        held = self.states if stored else {}
        return [held.get(i, ContactState.empty(i)).at(now) for i in contact_ids]

    def visitors(self, anonymous_ids: Sequence[str], now: float) -> list[ContactView]:
        if self.error:
            raise self.error
        return [
            self.states.get(f"visitor:{i}", ContactState.empty(None)).renamed(None).at(now)
            for i in anonymous_ids
        ]


class FakeChampions:
    """Models by task; `why` is the reason for the missing ones."""

    def __init__(self) -> None:
        self.models: dict[str, Any] = {}
        self.simulated: set[str] = set()
        self.why = "no_champion"

    def get(self, task: str) -> Loaded | None:
        if task not in self.models:
            return None
        return Loaded(task, f"nextbest-{task}/1", self.models[task], task in self.simulated)

    def why_none(self, task: str) -> str:
        return self.why


class Ranks:
    """Recommends a fixed list, in falling order."""

    kind = "ranks"

    def __init__(
        self, item_ids: Sequence[str], probability: float | None = 0.5, source: str = "ranked",
        before: Callable[[], object] = lambda: None,
    ) -> None:  # fmt: skip
        self.item_ids, self.probability, self.source, self.before = (
            list(item_ids),
            probability,
            source,
            before,
        )

    def recommend(self, shopper: Any, catalogue: Catalogue, k: int, context: Sequence[str] = ()) -> Ranking:
        self.before()
        chosen = self.item_ids[:k]
        given = None if self.probability is None else np.full(len(chosen), self.probability)
        reasons = [Reason("bought_together", {"item_id": "i02", "lift": 2.0, "confidence": 0.25})] * len(
            chosen
        )
        return Ranking(chosen, np.arange(len(chosen), 0, -1) / 10, reasons, self.source, given)


@dataclass
class Shop:
    """Parts with fakes behind them, and the decisions that were handed over."""

    settings: Settings
    live: FakeLive = field(default_factory=lambda: FakeLive([buyer()]))
    champions: FakeChampions = field(default_factory=FakeChampions)
    frame: pd.DataFrame | None = field(default_factory=items)
    contacts: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*CONTACT_COLUMNS]))
    words: list[dict[str, Any]] = field(default_factory=list)
    decisions: list[Mapping[str, Any]] = field(default_factory=list)
    budget: Budget = field(default_factory=Budget)
    now: datetime = NOW

    ranks = staticmethod(Ranks)
    buyer = staticmethod(buyer)

    def parts(self) -> Parts:
        shelf = Shelf(lambda now: None if self.frame is None else (self.frame, 500))
        shelf.refresh(NOW)
        nothing = pd.DataFrame(columns=["contact_id", "channel", "timestamp", "event"])
        book = ContactBook(
            lambda: self.contacts, lambda: nothing, lambda ids: pd.DataFrame(), lambda *_: self.words
        )
        book.refresh()
        return Parts(
            self.settings, People(self.live), shelf, self.champions, self.budget, book, self.decisions.append,
            lambda: np.random.default_rng(7),
        )  # fmt: skip

    def recommend(self, **asked: Any) -> Recommendations:
        return RecommendationLadder(self.parts()).answer(RecommendationsRequest(**asked), NOW)

    def reach(self, *contact_ids: str, **asked: Any) -> list[ChannelDecision]:
        request = BestChannelRequest(contact_ids=list(contact_ids), **asked)
        return ChannelLadder(self.parts()).answer(request, NOW).contacts

    def predict(self, *contact_ids: str) -> list[dict[str, Prediction]]:
        answer = PredictionLadders(self.parts()).answer(
            PredictionsRequest(contact_ids=list(contact_ids)), NOW
        )
        return [contact.predictions for contact in answer.contacts]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(Settings(home=tmp_path, budget_ms=5000))
    yield made
    made.budget.close()


@pytest.fixture(scope="module")
def shop_factory(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Shop]:
    settings, budget = Settings(home=tmp_path_factory.mktemp("home"), budget_ms=5000), Budget()
    return lambda: Shop(settings, budget=budget)


class Client:
    """Asks an ASGI app in this process, its lifespan included."""

    def __init__(self, app: Starlette, portal: BlockingPortal) -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://localhost")
        self._portal, self.app = portal, app

    def request(self, method: str, path: str, **asked: Any) -> httpx.Response:
        return self._portal.call(partial(self._client.request, method, path, **asked))

    get = partialmethod(request, "GET")
    post = partialmethod(request, "POST")
    delete = partialmethod(request, "DELETE")


@pytest.fixture(scope="session")
def client_of() -> Callable[[Starlette], AbstractContextManager[Client]]:
    @contextmanager
    def client_of(app: Starlette) -> Iterator[Client]:
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(app.router.lifespan_context(app)),
        ):
            yield Client(app, portal)

    return client_of


class FakeEngine(SimpleNamespace):
    """What the app asks of an engine."""

    def __init__(self, shop: Any) -> None:
        erased: list[str] = []
        status = {"churn": Status("nextbest-churn/1", "nextbest-churn/2", "it is broken")}
        super().__init__(
            access=Access(shop.settings), settings=shop.settings,
            gauges=lambda: {"log_tail_events": 7.0}, now=lambda: shop.now, erased=erased, closed=False,
            answers=Answers(shop.parts(), Rules(rules=())), gone={"registry": "gone"},
            champions=SimpleNamespace(status=lambda: status), decisions=SimpleNamespace(written=3, dropped=1),
            erase=lambda contact: not erased.append(contact),
            triggers=SimpleNamespace(page=lambda since, limit, rule: ([], 0)),
        )  # fmt: skip

    def missing(self) -> dict[str, str]:
        return dict(self.gone)

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="session")
def engine_of() -> Callable[[Shop], FakeEngine]:
    return FakeEngine
