"""The page of a contact in a real browser: the service's figures, its key, and no markup but its own."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pandas as pd
import pytest
from pydantic import SecretStr

from features.events.triggers import Change, Firing
from models.churn import Driver
from tests.serving.conftest import NOW, buyer

from .conftest import LEAVING, SECRET, STRANGE, WICKED, WRITE, Service, modules, serving

DAY = timedelta(days=1)
KEYS = {"write_key": SecretStr(WRITE), "secret_key": SecretStr(SECRET)}


class Churn:
    """Everybody leaves with a probability of 0.42."""

    kind = "churn"
    config = type("config", (), {"horizon_days": 30})

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        columns = {"probability": 0.42, "low": 0.33, "high": 0.51, "percentile": 88.0, "band": "high"}
        return pd.DataFrame(columns, index=frame.index)

    def drivers(self, frame: pd.DataFrame) -> list[list[Driver]]:
        told = [Driver("recency_days", 40.0, 1.5, "40 days since the last order"),
                Driver("tenure_days", 300.0, -0.5, f"customer since {WICKED}")]  # fmt: skip
        return [told] * len(frame)

    def next_order(self, frame: pd.DataFrame, horizon: float) -> pd.DataFrame:
        return pd.DataFrame({"days": 10.0, "low_days": 3.0, "high_days": 40.0}, index=frame.index)


class Value:
    """Everybody will spend 200 in a quarter."""

    kind = "value"
    config = type("config", (), {"horizon_days": 30})

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        columns = {
            "p_no_order": 0.2, "expected_orders": 2.0, "orders_low": 0.0, "orders_high": 5.0,
            "order_value": 35.0, "expected_spend": 70.0, "spend_low": 12.0, "spend_high": 150.0,
            "next_order_days": 7.0, "orders_90d": 6.0, "spend_90d": 200.0, "orders_365d": 22.0,
            "spend_365d": 800.0,
        }  # fmt: skip
        return pd.DataFrame(columns, index=frame.index)


class Segments:
    """Somebody who was a champion, and is at risk."""

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        names = np.where(frame["recency_days"] == 0, "champions", "at_risk")
        return pd.DataFrame({"r": 2.0, "f": 5.0, "m": 4.0, "segment": names}, index=frame.index)


def months(person: Any, now: datetime, months: int) -> pd.DataFrame:
    """Return two months of somebody who bought and bought again, and the present as it was built."""
    row = buyer().at(now.timestamp()).row()
    orders = ((60, 3.0, 20.0), (30, 5.0, 45.5), (0, 5.0, 45.5))
    rows = [
        row | {"timestamp": NOW - days * DAY, "orders_total": count, "spend_total": spend}
        for days, count, spend in orders
    ]
    return pd.DataFrame(rows)


def filled(service: Service) -> Service:
    """Give a service models, events and a trigger."""
    made = service.engine
    made.models |= {"churn": Churn(), "value": Value(), "rfm": Segments()}
    made.simulated.add("value")
    made.past.months = months
    common = {"contact_id": "c1", "received_at": NOW, "anonymous_id": None}
    empty = dict.fromkeys(
        ("item_id", "order_id", "quantity", "price", "currency", "channel", "campaign_id", "message_id",
         "url", "properties")
    )  # fmt: skip
    order = {"event": "order_completed", "order_id": "o1", "quantity": 2.0, "currency": "EUR"}
    told = [
        {**order, "timestamp": NOW - DAY, "item_id": "i06", "price": 7.25},
        {**order, "timestamp": NOW - DAY, "item_id": "i01", "price": 2.0},
        {"event": "message_opened", "timestamp": NOW - 2 * DAY, "channel": "email", "campaign_id": WICKED},
        {"event": WICKED, "timestamp": NOW - 3 * DAY},
    ]  # fmt: skip
    made.log.append([{**empty, **common, **one, "event_id": f"card{n}"} for n, one in enumerate(told)])
    fired = Change("c1", None, "{}", (Firing("segment_fall", "champions", WICKED),))
    made.triggers.store([fired], made.triggers.basis(), NOW)
    return service


@pytest.fixture(scope="module")
def loose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service without keys."""
    with serving(tmp_path_factory.mktemp("loose")) as running:
        yield filled(running)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with keys."""
    with serving(tmp_path_factory.mktemp("locked"), **KEYS) as running:
        yield filled(running)


@pytest.fixture
def said(page: Any) -> Iterator[list[str]]:
    """What the console said amiss; the network's own words on an answer that was refused do not count."""
    found: list[str] = []
    page.on("console", lambda one: one.type in ("error", "warning") and found.append(one.text))
    yield found
    assert [text for text in found if "the server responded with a status of" not in text] == []


def at(service: Service, contact_id: str) -> str:
    return f"{service.url}/contacts/{quote(contact_id, safe='')}"


def see(page: Any, heading: str) -> None:
    page.get_by_role("heading", name=heading, exact=True, level=1).wait_for()


def part(page: Any, heading: str) -> str:
    """Return the words of a part of the page."""
    text: str = page.locator(
        "section", has=page.get_by_role("heading", name=heading, exact=True)
    ).inner_text()
    return " ".join(text.split())


def test_it_shows_the_figures_the_service_gave(page: Any, loose: Service, said: list[str]) -> None:
    card = httpx.get(f"{loose.url}/v1/contacts/c1").json()
    page.goto(at(loose, "c1"))
    see(page, "c1")
    head = " ".join(page.locator(".tiles").inner_text().split())
    stage, index = card["stage"].replace("_", " ").capitalize(), card["engagement"]["index"]
    for figure in (stage, "At risk", "down from champions", f"{index:.0f} of 100", "42% high risk",
                   "33% to 51%", "€800 expected in a year"):  # fmt: skip
        assert figure in head, (figure, head)
    todo = part(page, "What to do next")
    assert f"€{card['worth']['at_risk']:.2f} at risk: of the €200.00 expected in the next 90 days" in todo
    first = card["next_best"]["product"]["items"][0]
    assert f"{first['title']} {100 * first['probability']:.0f}% to buy it within 30 days" in todo
    assert "as a fallback: no model has earned this task yet" in todo
    leaving = part(page, "Will they leave?")
    assert "▲ raises it 40 days since the last order" in leaving
    assert "▼ lowers it Customer since" in leaving
    assert "88% of contacts" in leaving
    spend = part(page, "What will they spend?")
    assert "Next 30 days €70.00 €12 to €150" in spend
    assert "Next 90 days €200.00 in 6 orders" in spend
    assert "simulated Said by the value model (nextbest-value/1)." in spend
    assert "simulated" not in leaving
    when = part(page, "When will they order?")
    assert "with 80 % between" in when
    for date in ("date", "low_date"):
        moment = datetime.fromisoformat(card["predictions"]["next_order"][date])
        assert f"{moment:%b} {moment.day}" in when
    happened = part(page, "What happened")
    assert "Ordered 2 items for €18.50" in happened
    assert "Item 1 × 2" in happened
    assert "Opened a message by email" in happened
    page.get_by_text("The figures, month by month").click()
    rows = page.locator(".path + details tbody tr").all_inner_texts()
    told = [(" ".join(row.split()), step) for row, step in zip(rows, reversed(card["path"]), strict=True)]
    assert len(told) == 3
    for words, step in told:
        assert f" {step['orders']} €{step['spend']:.2f} at risk " in words
    bars = page.locator(".path .spent title").all_text_contents()
    spent = [f"€{step['spend']:.2f} in {step['orders']} orders" for step in card["path"]]
    assert [title.split(": ")[1] for title in bars] == spent
    assert "At risk: " in page.locator(".path g title").first.text_content()


def test_markup_is_text(page: Any, loose: Service, said: list[str]) -> None:
    page.goto(at(loose, "c1"))
    see(page, "c1")
    assert WICKED in part(page, "Triggers")
    assert page.locator("main").inner_text().count("<script>") >= 4  # item, campaign, event, driver, trigger
    page.goto(at(loose, STRANGE))
    see(page, STRANGE)
    assert page.title().startswith(STRANGE)
    assert page.locator("main img, main script").count() == 0
    page.fill("#wanted", f"{STRANGE}<b>")
    page.get_by_role("button", name="Open").click()
    see(page, "No such contact")
    assert f"{STRANGE}<b>" in page.locator("main").inner_text()
    assert page.evaluate("window.hacked") is None


def test_with_keys_it_asks_once_and_keeps_it_in_the_tab(
    page: Any, context: Any, locked: Service, said: list[str]
) -> None:
    asked: list[tuple[str, str | None]] = []
    page.on("request", lambda one: asked.append((one.url, one.headers.get("authorization"))))
    page.goto(at(locked, "c1"))
    see(page, "A key is needed")
    field = page.get_by_label("Secret key")
    assert page.evaluate("document.activeElement.id") == "key"
    for wrong, words in (
        ("guess", "not the service’s secret key"),
        (WRITE, "public write key"),
        ("Schlüssel ✓", "not the"),
    ):
        field.fill(wrong)
        page.keyboard.press("Enter")
        page.get_by_role("alert").filter(has_text=words).wait_for()
        assert page.evaluate("sessionStorage.length") == 0
    field.fill(SECRET)
    page.get_by_role("button", name="Show").click()
    see(page, "c1")
    page.reload()
    see(page, "c1")
    assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]
    assert all(SECRET not in url for url, _ in asked)
    assert asked[-1][1] == f"Bearer {SECRET}"
    assert all(header is None for url, header in asked if "/v1/" not in url)

    other = context.new_page()
    other.goto(at(locked, "c1"))
    see(other, "A key is needed")
    other.close()
    page.get_by_role("button", name="Forget the key").click()
    see(page, "A key is needed")
    assert page.evaluate("sessionStorage.length") == 0


def test_one_looks_a_contact_up_by_its_id(page: Any, loose: Service, said: list[str]) -> None:
    page.goto(f"{loose.url}/contacts")
    see(page, "Contacts")
    page.get_by_label("Contact id").fill(" c1 ")
    page.keyboard.press("Enter")
    see(page, "c1")
    assert page.url == at(loose, "c1")
    page.goto(at(loose, "nobody"))
    see(page, "No such contact")
    assert "“nobody”" in page.locator("main").inner_text()
    page.goto(f"{loose.url}/contacts/%E0%A4%A")  # no text in UTF-8
    see(page, "No such contact")


def test_where_the_service_fails_it_says_so(page: Any, loose: Service) -> None:
    page.route("**/v1/contacts/*", lambda route: route.abort())
    page.goto(at(loose, "c1"))
    see(page, "That did not work")
    page.unroute("**/v1/contacts/*")
    page.get_by_role("button", name="Try again").click()
    see(page, "c1")


def test_what_is_missing_is_said(page: Any, loose: Service, said: list[str]) -> None:
    card = httpx.get(f"{loose.url}/v1/contacts/c1").json()
    names = ("segment", "worth", "path", "next_best", "timeline", "triggers", "ids", "tags", "rule_score")
    empty = dict.fromkeys(names) | {"affinities": [], "predictions": {}}
    page.route("**/v1/contacts/c1", lambda route: route.fulfill(json=card | empty))
    page.goto(at(loose, "c1"))
    see(page, "c1")
    assert "The past cannot be read now." in part(page, "What happened")
    assert "Nothing can be recommended now." in part(page, "What to do next")
    unsure = {
        **dict.fromkeys(("model_version", "probability", "low", "high", "percentile")), "source": "recency",
        "fallback": "no_champion", "band": "medium", "horizon_days": 30, "drivers": [],
    }  # fmt: skip
    page.route(
        "**/v1/contacts/c1", lambda route: route.fulfill(json=card | {"predictions": {"churn": unsure}})
    )
    page.reload()
    see(page, "c1")
    assert "Risk: medium" in part(page, "Will they leave?")
    assert "as a fallback: no model has earned this task yet" in part(page, "Will they leave?")


def test_erasing_needs_the_id_typed(page: Any, locked: Service, said: list[str]) -> None:
    page.goto(at(locked, LEAVING))
    page.get_by_label("Secret key").fill(SECRET)
    page.keyboard.press("Enter")
    see(page, LEAVING)
    button = page.get_by_role("button", name="Erase for good")
    confirm = page.get_by_label("Type the id to confirm")
    confirm.fill(LEAVING[:-1])
    assert not button.is_visible()
    confirm.fill(LEAVING)
    page.route(f"**/v1/contacts/{LEAVING}", lambda route: route.fulfill(
        status=503, json={"code": "busy", "message": "a build is under way"}), times=1)  # fmt: skip
    button.click()
    page.get_by_role("alert").filter(has_text="a build is under way").wait_for()
    button.click()
    see(page, "Erased")
    answer = httpx.get(f"{locked.url}/v1/contacts/{LEAVING}", headers={"authorization": f"Bearer {SECRET}"})
    assert answer.status_code == 404
    page.reload()
    see(page, "No such contact")


def test_the_export_is_a_file(page: Any, locked: Service, said: list[str]) -> None:
    page.goto(at(locked, STRANGE))
    page.get_by_label("Secret key").fill(SECRET)
    page.keyboard.press("Enter")
    see(page, STRANGE)
    asked: list[Any] = []

    def export(route: Any) -> None:
        asked.append(route.request)
        route.fulfill(json={"contact_id": STRANGE})

    page.route("**/export", export)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download everything").click()
    assert json.loads(download.value.path().read_text()) == {"contact_id": STRANGE}
    assert download.value.suggested_filename.startswith("contact-_img_src_x")
    assert asked[0].headers["authorization"] == f"Bearer {SECRET}"
    assert asked[0].url == f"{locked.url}/v1/contacts/{quote(STRANGE, safe='')}/export"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_everybody_can_use_it(
    page: Any, loose: Service, locked: Service, said: list[str], scheme: str, width: int
) -> None:
    rules = modules("axe-core", "axe.min.js").read_text()
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 740})
    for url, heading in (
        (at(loose, "c1"), "c1"),
        (at(locked, "c1"), "A key is needed"),
        (f"{loose.url}/contacts", "Contacts"),
    ):
        page.goto(url)
        see(page, heading)
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        found = page.evaluate(f"{rules}; axe.run().then((said) => said.violations)")
        assert [(one["id"], [node["html"][:120] for node in one["nodes"]][:3]) for one in found] == [], url
        assert page.evaluate("document.documentElement.scrollWidth") <= width, url
        assert page.get_by_role("heading", level=1).count() == 1


# --- without a browser


def test_the_page_itself_holds_nothing_of_anybody(locked: Service) -> None:
    shell = httpx.get(at(locked, "c1"))
    assert shell.status_code == 200
    assert "c1" not in shell.text
    assert "script-src 'self'" in shell.headers["content-security-policy"]
    assert httpx.get(f"{locked.url}/contacts").text == shell.text
    script = httpx.get(f"{locked.url}/static/contacts/page.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert httpx.get(f"{locked.url}/static/contacts/nothing.js").json()["code"] == "not_found"
    assert httpx.get(f"{locked.url}/v1/contacts/c1").status_code == 401
    for path in ("/contacts", "/contacts/{contact_id}"):
        assert path in httpx.get(f"{locked.url}/openapi.json").json()["paths"]
