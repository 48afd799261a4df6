"""nextbest.js in a real browser, on pages of another origin than the service's."""

import gzip
import hashlib
import hmac
import json
import re
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from serving._assets import asset, compact

from .conftest import SECRET, WICKED, WRITE, Service

DOCS = Path(__file__).parents[2] / "docs" / "script.md"
OWN = '<div id="box"><a id="own" href="#own">Our best sellers</a></div>'


def tag(service: Service, host: str | None = None, **options: Any) -> str:
    """Return the tag as docs/script.md gives it, with other options."""
    snippet = re.search(r"```html\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert snippet is not None
    quick = {"flushMs": 50, "timeoutMs": 8000}
    given = json.dumps({"writeKey": WRITE, "host": host or service.url, **quick, **options})
    with_options = re.sub(r"init\({.*?}\)", lambda _: f"init({given})", snippet.group(1))
    return with_options.replace("https://nextbest.example", service.url)


@pytest.fixture
def visit(service: Service, page: Any) -> Callable[..., Any]:
    """Open a page with the tag in its head and this in its body."""

    def open_page(body: str = OWN, name: str = "page", **options: Any) -> Any:
        service.pages[name] = f"<!doctype html><title>{name}</title>{tag(service, **options)}<body>{body}"
        page.goto(f"{service.shop}/{name}")
        return page

    return open_page


def recommend(page: Any, **options: Any) -> Any:
    return page.evaluate("(options) => nextbest.recommend(options)", {"el": "#box", **options})


def me(page: Any) -> str:
    return str(page.evaluate("Promise.resolve(nextbest.anonymousId())"))


def kept(page: Any) -> tuple[list[str], str]:
    """Return what the browser keeps: names in localStorage, and the cookies."""
    return page.evaluate("Object.keys(localStorage)"), page.evaluate("document.cookie")


def closed_port() -> str:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_it_is_small() -> None:
    assert len(asset("nextbest.js").zipped) <= 6 * 1024
    assert gzip.decompress(asset("nextbest.js").zipped) == asset("nextbest.js").body
    assert "// " not in asset("nextbest.js").body.decode().splitlines()[0]
    assert compact("  a();\n\n  // why\n    b();\n") == "a();\nb();\n"


def test_it_renders_and_never_runs_data(visit: Any) -> None:
    page = visit()
    template = """<p class="item" title="{{title}}" onclick="{{title}}" style="color: {{title}}">
      <a href="/p/{{item_id}}?q={{title}}">{{title}}</a> <i>{{position}} {{reason.kind}} {{reason.none}}</i>
      <a class="bad" href="{{bad}}">bad</a> <a class="fine" href="{{fine}}">fine</a></p>"""
    answer = page.evaluate(
        """(template) => nextbest.recommend({ el: '#box', template, k: 3, category: 'food/milk',
          enrich: (items) => items.map((item) =>
            ({ ...item, bad: 'java\\nscript:alert(1)', fine: '/x' })) })""",
        template,
    )
    assert [item["item_id"] for item in answer["items"]] == ["i00", "i03", "i06"]
    assert page.locator("#own").count() == 0
    assert page.locator(".item a:first-child").all_text_contents() == ["Item 0", "Item 3", WICKED]
    last = page.locator(".item").nth(2)
    assert last.get_attribute("title") == WICKED
    assert (last.get_attribute("onclick"), last.get_attribute("style")) == (None, None)
    assert last.locator("i").text_content() == "3 trending_in "
    assert last.locator(".bad").get_attribute("href") is None
    assert last.locator(".fine").get_attribute("href") == "/x"
    assert page.locator("#box script, #box img").count() == 0
    assert page.evaluate("window.hacked") is None


def test_templates_may_be_elements_or_functions(visit: Any) -> None:
    page = visit(OWN + '<template id="card"><a href="/p/{{item_id}}">{{title}}</a></template>')
    page.focus("#own")
    recommend(page, template="#card", k=2)
    assert page.evaluate("document.activeElement.textContent") == "Item 0"  # the keyboard is not lost
    assert page.locator("#box a").all_text_contents() == ["Item 0", "Item 1"]
    page.evaluate("nextbest.recommend({ el: '#box', k: 2, template: (item) => item.title.toUpperCase() })")
    page.wait_for_function("document.querySelector('#box').textContent === 'ITEM 0ITEM 1'")


def test_impressions_and_clicks_are_reported_with_the_answer_they_belong_to(
    visit: Any, service: Service
) -> None:
    service.pages["next"] = "<!doctype html><title>next</title>"
    page = visit()
    template = '<a style="display: block; height: 500px" href="/pages/next">{{title}}</a>'
    answer = recommend(page, template=template, k=4)
    who = me(page)
    viewed = lambda: service.events("recommendation_viewed", anonymous_id=who)  # noqa: E731
    service.wait(lambda: len(viewed()) == 2, page)  # 800 px show one, and more than half of the second
    page.mouse.wheel(0, 2000)
    service.wait(lambda: len(viewed()) == 4, page)
    page.locator("#box a").nth(2).click()
    page.wait_for_url("**/next")
    clicked = service.wait(lambda: service.events("recommendation_clicked", anonymous_id=who), page)
    for row, position in zip([*viewed(), *clicked], (1, 2, 3, 4, 3), strict=True):
        said = json.loads(row["properties"])
        assert row["item_id"] == answer["items"][position - 1]["item_id"]
        assert said["recommendation_id"] == answer["recommendation_id"]
        assert (said["placement"], said["position"]) == ("home", position)


def test_without_consent_nothing_is_stored_nor_sent(visit: Any, service: Service, page: Any) -> None:
    asked: list[Any] = []
    page.on("request", lambda request: request.method == "POST" and asked.append(request))
    page = visit(consent=False)
    before = len(service.events())
    page.evaluate("nextbest.track('Product Viewed', { product_id: 'i00' })")
    page.evaluate("nextbest.identify('c1', {}, { token: 'x' })")
    recommend(page, k=2)
    assert page.locator("#box div").all_text_contents() == ["Item 0", "Item 1"]
    page.wait_for_timeout(200)
    assert kept(page) == ([], "")
    assert [request.url.split("?")[0].rsplit("/", 1)[1] for request in asked] == ["recommendations"]
    assert asked[0].post_data_json == {"k": 2}
    assert len(service.events()) == before

    page.evaluate("nextbest.consent(true)")
    who = me(page)
    seen = service.wait(lambda: service.events(anonymous_id=who), page)
    assert [row["event"] for row in seen] == ["page_viewed"]
    page.evaluate("nextbest.track('Product Viewed', { product_id: 'i00' }); nextbest.consent(false)")
    assert kept(page) == ([], "")
    page.wait_for_timeout(200)
    assert len(service.events(anonymous_id=who)) == 1


def test_where_there_is_no_local_storage_a_cookie_keeps_the_id(visit: Any, context: Any) -> None:
    context.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('no'); } })"
    )
    page = visit()
    who = me(page)
    assert page.evaluate("document.cookie") == f"nextbest_id={who}"
    page.reload()
    assert me(page) == who


@pytest.mark.parametrize("trouble", ["down", "slow", "nonsense"])
def test_whatever_the_service_does_the_page_keeps_its_content(
    visit: Any, service: Service, trouble: str
) -> None:
    host = closed_port() if trouble == "down" else f"http://localhost:{service.port}/faults/{trouble}"
    page = visit(OWN + "<button onclick=\"this.textContent = 'works'\">b</button>", host=host, timeoutMs=300)
    answer = recommend(page)
    assert answer["items"] == []
    assert {"slow": "timeout", "down": "Failed to fetch"}.get(trouble, "JSON") in answer["error"]
    assert page.locator("#own").is_visible()
    page.click("button")
    assert page.locator("button").text_content() == "works"
    shown = page.evaluate(
        "nextbest.recommend({ el: '#box', fallback: [{ item_id: 'x', title: 'Own <b>' }] }).then(() => "
        "document.querySelector('#box').textContent)"
    )
    assert shown == "Own <b>"


def test_offline_loses_nothing_and_doubles_nothing(visit: Any, service: Service, context: Any) -> None:
    page = visit()
    who = me(page)
    service.wait(lambda: service.events(anonymous_id=who), page)
    context.set_offline(True)
    page.evaluate("['a', 'b'].forEach((id) => nextbest.track('Product Viewed', { product_id: id }))")
    page.wait_for_timeout(250)
    assert len([name for name in kept(page)[0] if ":event:" in name]) == 2
    page.evaluate("dispatchEvent(new Event('pagehide'))")
    context.set_offline(False)
    viewed = service.wait(lambda: service.events("product_viewed", anonymous_id=who)[1:], page)
    page.wait_for_timeout(200)
    assert [row["item_id"] for row in service.events("product_viewed", anonymous_id=who)] == ["a", "b"]
    assert len(viewed) == 1
    assert kept(page)[0] == ["nextbest:id"]


def test_what_a_page_could_not_send_the_next_one_does(visit: Any, service: Service) -> None:
    page = visit(name="first", host=closed_port())
    who = me(page)
    page.evaluate("nextbest.track('Product Viewed', { product_id: 'i01', note: 'kept' })")
    page.wait_for_timeout(150)
    page = visit(name="second")
    rows = service.wait(lambda: service.events("product_viewed", anonymous_id=who), page)
    assert [(row["item_id"], json.loads(row["properties"])["note"]) for row in rows] == [("i01", "kept")]
    pages = service.wait(lambda: service.events("page_viewed", anonymous_id=who)[1:], page)
    assert len(pages) == 1


def test_what_waits_is_bounded_and_the_oldest_goes_first(visit: Any) -> None:
    page = visit(host=closed_port(), flushMs=60_000)
    page.evaluate("for (let n = 0; n < 505; n++) nextbest.track('Product Viewed', { product_id: 'p' + n })")
    page.evaluate("nextbest.track('Product Viewed', { note: 'x'.repeat(40000) })")  # bigger than any may be
    waiting = page.evaluate(
        "Object.keys(localStorage).filter((name) => name.includes(':event:')).sort()"
        ".map((name) => JSON.parse(localStorage[name]).properties.product_id)"
    )
    assert (len(waiting), waiting[0], waiting[-1]) == (500, "p5", "p504")


def test_a_page_that_is_left_sends_a_beacon(visit: Any, service: Service) -> None:
    page = visit(flushMs=60_000)
    who = me(page)
    page.evaluate("nextbest.track('Product Viewed', { product_id: 'i02' })")
    page.goto("about:blank")
    assert service.wait(lambda: service.events("product_viewed", anonymous_id=who), page)


def test_a_busy_service_is_asked_again_when_it_says(visit: Any, service: Service) -> None:
    service.seen.clear()
    page = visit(host=f"http://localhost:{service.port}/faults/busy")
    service.wait(lambda: len(service.seen) == 2, page)
    assert service.seen[1][0] - service.seen[0][0] >= 2.0
    assert any(":event:" in name for name in kept(page)[0])


def test_an_application_that_loads_no_pages(visit: Any, service: Service) -> None:
    page = visit(OWN, name="spa")
    who = me(page)
    page.evaluate("history.pushState(null, '', '/pages/spa?product=1'); document.title = 'Product 1'")
    rows = service.wait(lambda: service.events("page_viewed", anonymous_id=who)[1:], page)
    said = json.loads(rows[0]["properties"])
    assert (rows[0]["url"], said["title"]) == (f"{service.shop}/spa?product=1", "Product 1")
    assert said["referrer"] == f"{service.shop}/spa"
    page.evaluate("history.replaceState({ scroll: 1 }, ''); location.hash = 'reviews'")
    page.go_back()
    page.go_back()
    service.wait(lambda: len(service.events("page_viewed", anonymous_id=who)) == 3, page)
    page.wait_for_timeout(200)
    assert len(service.events("page_viewed", anonymous_id=who)) == 3

    # the answer asked for first comes last, and is not shown
    page.evaluate("""() => {
      const real = window.fetch;
      let first = true;
      window.fetch = (url, options) => {
        if (!first || !url.includes('recommendations')) return real(url, options);
        first = false;
        return new Promise((done) => setTimeout(() => done(real(url)), 400)).catch(() => {});
      };
    }""")
    stale, shown = page.evaluate("""() => Promise.all([
      nextbest.recommend({ el: '#box', k: 1, category: 'food/milk' }),
      nextbest.recommend({ el: '#box', k: 1, category: 'food/bread' }),
    ])""")
    assert stale["stale"] is True
    page.wait_for_timeout(500)
    assert page.locator("#box").text_content() == shown["items"][0]["title"] == "Item 1"
    recommend(page, k=1, category="care")
    assert page.locator("#box > *").count() == 1
    recommend(page, k=1, category="nothing/like/this")
    assert page.locator("#own").is_visible()


def test_who_is_logged_in_is_proven_by_a_token(visit: Any, service: Service) -> None:
    token = hmac.new(SECRET.encode(), b"c1", hashlib.sha256).hexdigest()
    page = visit(contactId="c1", identityToken=token)
    assert recommend(page, k=3)["identified"] is True
    page.evaluate("nextbest.track('Product Viewed', { product_id: 'i09' })")
    service.wait(lambda: service.events("product_viewed", contact_id="c1", item_id="i09"), page)
    page = visit(contactId="c1", identityToken="0" * 64)
    answer = recommend(page, k=3)
    assert (answer["identified"], len(answer["items"])) == (False, 3)

    page = visit()
    before = me(page)
    page.evaluate("(token) => nextbest.identify('c1', { plan: 'gold' }, { token })", token)
    assert recommend(page, k=3)["identified"] is True
    links = service.engine.log.identities()
    assert list(links.loc[links["anonymous_id"] == before, "contact_id"]) == ["c1"]
    page.evaluate("nextbest.reset()")
    assert me(page) != before
    assert recommend(page, k=3)["identified"] is False


def test_an_answer_knows_what_was_sent_before_it(visit: Any) -> None:
    page = visit(flushMs=60_000)
    page.evaluate("nextbest.track('Product Viewed', { product_id: 'i11' })")
    reasons = {item["reason"]["kind"] for item in recommend(page, k=12)["items"]}
    assert "because_you_viewed" in reasons
