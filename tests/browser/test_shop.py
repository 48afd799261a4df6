"""The demo shop in a real browser: what a visitor does, and what the service makes of it."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from serving import demo_shop
from serving._storefront import category_name, name_and_size, sentence
from serving.web import create_app

from .conftest import Service, engine, modules


@pytest.fixture
def shop(open_service: Service, page: Any) -> Any:
    """The shop's home page, consent given."""
    blocked: list[str] = []
    page.on("console", lambda said: said.type == "error" and blocked.append(said.text))
    page.goto(f"{open_service.url}/demo")
    page.click("[data-consent=yes]")
    yield page
    assert blocked == []  # nothing broke the Content-Security-Policy, no file was missing


def titles(page: Any, shelf: str) -> list[str]:
    """Return the products of a shelf, once the service has filled it."""
    section = page.locator("section.shelf", has=page.get_by_role("heading", name=shelf, exact=True))
    section.locator(".why").first.wait_for()
    return list(section.locator(".card-name").all_text_contents())


def panel(page: Any, text: str) -> None:
    page.locator("#panel-parts", has_text=text).wait_for()


def look_at(page: Any, url: str, *items: str) -> None:
    for item in items:
        page.goto(f"{url}/demo/product/{item}")
        page.get_by_role("button", name="Add to cart").wait_for()


def test_from_a_visitor_to_an_order(shop: Any, open_service: Service) -> None:
    assert titles(shop, "A good start")[:2] == ["Item 0", "Item 1"]
    look_at(shop, open_service.url, "i03", "i06", "i09")
    panel(shop, "Milk100 %")
    shop.get_by_role("link", name="Larder", exact=True).first.click()
    panel(shop, "Because you looked at")
    assert titles(shop, "A good start")[:2] == ["Item 4", "Item 0"]  # goes with Item 3; the best of the milk
    panel(shop, "Anonymous visitor")

    look_at(shop, open_service.url, "i03")
    assert titles(shop, "Goes well with it") == ["Item 4"]
    shop.get_by_role("button", name="Add to cart").click()
    shop.locator("#cart-count", has_text="1").wait_for()
    shop.click("#cart-link")
    assert titles(shop, "Goes with your cart")[0] == "Item 4"
    panel(shop, "basket nextbest-basket/1")
    shop.click("#order")
    shop.get_by_role("heading", name="Thank you.").wait_for()
    assert "Item 3" not in titles(shop, "Next time")
    panel(shop, "Ordered Item 3")
    orders = open_service.events("order_completed")
    assert [(row["item_id"], row["quantity"], row["price"]) for row in orders] == [("i03", 1.0, 4.0)]


def test_logging_in_makes_the_visitor_known(shop: Any, open_service: Service) -> None:
    look_at(shop, open_service.url, "i08")
    shop.click("#who")
    shop.get_by_role("button", name="c1").click()
    panel(shop, "Household c1")
    panel(shop, "Looked at Item 8")  # what the visitor did is now the household's
    assert "Item 5" in titles(shop, "Due again")
    shop.click("#who")
    shop.get_by_role("button", name="Log out").click()
    panel(shop, "Anonymous visitor")


def test_without_consent_it_stores_and_sends_nothing(open_service: Service, page: Any) -> None:
    before = len(open_service.events())
    page.goto(f"{open_service.url}/demo")
    page.click("[data-consent=no]")
    titles(page, "A good start")
    look_at(page, open_service.url, "i00")
    page.wait_for_timeout(300)
    assert page.evaluate("Object.keys(localStorage).filter((name) => name !== 'larder:cart')") == []
    assert len(open_service.events()) == before
    panel(page, "Nobody")


def test_it_can_be_used_with_the_keyboard_alone(shop: Any) -> None:
    def press(key: str, until: str, most: int = 60) -> None:
        for _ in range(most):
            shop.keyboard.press(key)
            if shop.evaluate("(css) => document.activeElement.matches(css)", until):
                assert shop.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid" or (
                    shop.evaluate("document.activeElement.matches('.card-link, main')")
                )
                return
        raise AssertionError(f"{until} is not reached")

    titles(shop, "A good start")
    shop.evaluate("document.activeElement.blur()")
    shop.reload()
    titles(shop, "A good start")
    shop.keyboard.press("Tab")
    assert shop.evaluate("document.activeElement.className") == "skip"
    shop.keyboard.press("Enter")
    assert shop.evaluate("document.activeElement.id") == "main"
    press("Tab", ".card-link")
    name = shop.evaluate("document.activeElement.textContent")
    shop.keyboard.press("Enter")
    shop.get_by_role("heading", name=name, level=1).wait_for()
    assert shop.evaluate("document.activeElement.id") == "main"  # a reader hears the new page
    press("Tab", "button[type=submit].primary")
    shop.keyboard.press("Enter")
    shop.get_by_role("status").filter(has_text="in the cart").wait_for()
    press("Shift+Tab", "#cart-link")
    shop.keyboard.press("Enter")
    shop.get_by_role("heading", name="Cart", level=1).wait_for()
    press("Tab", "#order")
    shop.keyboard.press("Enter")
    shop.get_by_role("heading", name="Thank you.").wait_for()


@pytest.mark.parametrize(
    ("scheme", "paths"), [("light", ("", "/category/food", "/log-in")), ("dark", ("/product/i03", "/cart"))]
)
def test_everybody_can_use_it(shop: Any, open_service: Service, scheme: str, paths: tuple[str, ...]) -> None:
    rules = modules("axe-core", "axe.min.js").read_text()
    shop.emulate_media(color_scheme=scheme)
    for path in paths:
        shop.goto(f"{open_service.url}/demo{path}")
        shop.locator("main h1").wait_for()
        shop.locator("#panel-parts .part").first.wait_for()
        shop.wait_for_timeout(150)
        found = shop.evaluate(f"{rules}; axe.run().then((said) => said.violations)")
        said = [(one["id"], [node["html"][:120] for node in one["nodes"]][:3]) for one in found]
        assert said == [], path


def test_its_parts_have_names(shop: Any) -> None:
    titles(shop, "A good start")
    assert shop.get_by_role("main").count() == shop.get_by_role("banner").count() == 1
    assert shop.get_by_role("complementary", name="What the service knows").count() == 1
    assert shop.get_by_role("navigation", name="Departments").count() == 1
    assert shop.get_by_role("heading", level=1).count() == 1
    assert shop.get_by_label("Search products").count() == 1
    assert shop.locator("#panel-status[aria-live=polite]").text_content().startswith("Anonymous visitor")
    nameless = "[...document.querySelectorAll('a, button, input')].filter((e) => !e.textContent.trim() && " \
               "!e.getAttribute('aria-label') && !(e.labels || []).length).length"  # fmt: skip
    assert shop.evaluate(nameless) == 0


def test_it_fits_the_narrowest_telephone(shop: Any, open_service: Service) -> None:
    shop.set_viewport_size({"width": 360, "height": 740})
    for path in ("", "/category/food", "/product/i03", "/cart", "/log-in", "/search?q=item"):
        shop.goto(f"{open_service.url}/demo{path}")
        shop.locator("main h1").wait_for()
        assert shop.evaluate("document.documentElement.scrollWidth") <= 360, path
    bar = shop.get_by_role("button", name="What the service knows")
    assert not shop.locator("#panel-body").is_visible()
    bar.click()
    panel(shop, "Anonymous visitor")
    assert shop.locator("#panel-body").is_visible()
    shop.keyboard.press("Escape")
    assert not shop.locator("#panel-body").is_visible()


# --- without a browser


@pytest.fixture
def asked(tmp_path: Any, client_of: Any, request: Any) -> Iterator[Any]:
    made = engine(tmp_path / "home", **request.param)
    app = create_app(lambda: made, more_routes=demo_shop.ROUTES, more_calls=demo_shop.CALLS)
    with client_of(app) as client:
        yield client


KEYS = {"write_key": SecretStr("w"), "secret_key": SecretStr("s")}


@pytest.mark.parametrize("asked", [KEYS], indirect=True)
def test_where_keys_are_set_there_is_no_shop(asked: Any) -> None:
    for path in ("", "/cart", "/config", "/contacts", "/products?ids=i00", "/assets/shop.js"):
        answer = asked.get(f"/demo{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert "NEXTBEST_DEMO_SHOP" in answer.json()["message"]
    for path in ("log-in", "panel"):
        assert asked.post(f"/demo/{path}", json={"contact_id": "c1"}).status_code == 404
    script = asked.get("/nextbest.js")
    assert script.headers["content-type"].startswith("text/javascript")
    again = asked.get("/nextbest.js", headers={"if-none-match": script.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("asked", [KEYS | {"demo_shop": True}], indirect=True)
def test_a_shop_with_keys_signs_only_for_whom_it_offers(asked: Any) -> None:
    assert asked.get("/demo/config").json()["write_key"] == "w"
    assert [one["contact_id"] for one in asked.get("/demo/contacts").json()["contacts"]] == ["c1"]
    token = asked.post("/demo/log-in", json={"contact_id": "c1"}).json()["identity_token"]
    assert len(token) == 64
    assert asked.post("/demo/log-in", json={"contact_id": "c2"}).json()["code"] == "not_offered"
    known = asked.post("/demo/panel", json={"contact_id": "c1", "identity_token": token}).json()
    assert (known["known_as"], known["card"]["contact_id"]) == ("contact", "c1")
    assert asked.post("/demo/panel", json={"contact_id": "c1"}).json()["code"] == "identity_token_needed"
    strange = {"origin": "https://elsewhere.example"}
    assert asked.post("/demo/panel", json={}, headers=strange).json()["code"] == "origin_not_allowed"


@pytest.mark.parametrize("asked", [{}], indirect=True)
def test_products_are_the_catalogues(asked: Any) -> None:
    found = asked.get("/demo/products?category=food/milk&count=2").json()
    assert [(one["item_id"], one["price"]) for one in found["products"]] == [("i00", 1.0), ("i03", 4.0)]
    assert found["more"] is True
    assert [one["item_id"] for one in asked.get("/demo/products?q=item 1").json()["products"]] == [
        "i01",
        "i10",
        "i11",
    ]
    assert asked.get("/demo/products?ids=i01,nothing").json()["products"][0]["category_name"] == "Bread"
    assert asked.get("/demo/products?count=1000").json()["code"] == "invalid_request"
    page = asked.get("/demo/category/food")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert [one["path"] for one in asked.get("/demo/config").json()["departments"]] == ["food", "care"]


def test_names_of_the_till_become_readable() -> None:
    assert name_and_size("FLUID MILK WHITE ONLY 1 GA") == ("White milk", "1 ga")
    assert name_and_size("ONIONS SWEET (BULK&BAG) 40 LB") == ("Onions sweet", "40 lb")
    assert name_and_size("MUSHROOMS W/WHOLE PKG 8 OZ") == ("Mushrooms with whole pack", "8 oz")
    assert category_name("GROCERY/FRZN MEAT-MEAT DINNERS") == "Frozen meat, meat dinners"
    assert sentence("") == ""
