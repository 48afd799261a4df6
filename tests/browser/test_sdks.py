"""Segment's and RudderStack's browser SDKs, unchanged, on a page of another origin: what they say is kept."""

import json
from typing import Any

import pytest

from .conftest import WRITE, Service, address, modules

SAID = """
  const until = (said) => Promise.race([said, new Promise((done) => setTimeout(done, 50))]);
  await until(sdk.identify('c-' + name, { plan: 'gold' }));
  await until(sdk.track('Product Viewed', { product_id: 'i03', price: 4 }));
  await until(sdk.page('Home'));
  await until(sdk.track('Order Completed', { order_id: 'o-' + name, currency: 'EUR', products: [
    { product_id: 'i04', quantity: 2, price: 5 }, { product_id: 'i05', quantity: 1, price: 6 }] }));
}"""
SEGMENT = """async ([name, writeKey, host, delivery]) => {
  const segment = { apiHost: host + '/v1', protocol: 'http', apiKey: writeKey, ...delivery };
  const integrations = { 'Segment.io': segment };
  const { AnalyticsBrowser } = window.AnalyticsNext;
  const [sdk] = await AnalyticsBrowser.load({ writeKey, cdnSettings: { integrations } }, { integrations });
"""
SEGMENT_BY_CDN = """async ([name, writeKey, host]) => {
  const sdk = window.AnalyticsNext.AnalyticsBrowser.load({ writeKey, cdnURL: 'http://' + host });
"""
RUDDERSTACK = """async ([name, writeKey, host]) => {
  const sdk = new window.rudderanalytics.RudderAnalytics();
  const off = { enabled: false };
  const source = { id: 's', name: 's', enabled: true, writeKey, workspaceId: 'w', destinations: [],
    config: { statsCollection: { errors: off, metrics: off } }, connections: [], dataplanes: {} };
  sdk.load(writeKey, 'http://' + host, { getSourceConfig: () => ({ source }), polyfillIfRequired: false });
  await new Promise((done) => sdk.ready(done));
"""
BATCHES = {"deliveryStrategy": {"strategy": "batching", "config": {"size": 10, "timeout": 50}}}
ANALYTICS_NEXT = ("@segment", "analytics-next", "dist", "umd", "index.js")
ANALYTICS_JS = ("@rudderstack", "analytics-js", "dist", "npm", "modern", "bundled", "umd", "index.js")


@pytest.mark.parametrize(
    ("name", "source", "begin", "delivery"),
    [
        ("segment", ANALYTICS_NEXT, SEGMENT, {}),
        ("segment-batches", ANALYTICS_NEXT, SEGMENT, BATCHES),
        ("segment-cdn", ANALYTICS_NEXT, SEGMENT_BY_CDN, {}),
        ("rudderstack", ANALYTICS_JS, RUDDERSTACK, {}),
    ],
)
def test_what_it_says_is_stored(
    service: Service, page: Any, name: str, source: tuple[str, ...], begin: str, delivery: dict[str, Any]
) -> None:
    script = address(modules(*source))
    service.pages[name] = f'<!doctype html><title>sdk</title><script src="{script}"></script>'
    page.goto(f"{service.shop}/{name}")
    page.evaluate(begin + SAID, [name, WRITE, f"127.0.0.1:{service.port}", delivery])

    contact = f"c-{name}"
    rows = service.wait(lambda: (found := service.events(contact_id=contact))[3:] and found, page, 10)
    by_event = {row["event"]: row for row in rows}
    assert set(by_event) == {"product_viewed", "page_viewed", "order_completed"}
    viewed = by_event["product_viewed"]
    assert (viewed["item_id"], viewed["price"]) == ("i03", 4.0)
    assert viewed["url"] == f"{service.shop}/{name}"
    assert json.loads(by_event["page_viewed"]["properties"])["name"] == "Home"
    columns = ("item_id", "quantity", "price", "order_id", "currency")
    lines = [tuple(row[key] for key in columns) for row in rows if row["event"] == "order_completed"]
    assert lines == [("i04", 2.0, 5.0, f"o-{name}", "EUR"), ("i05", 1.0, 6.0, f"o-{name}", "EUR")]

    def linked() -> bool:
        links = service.engine.log.identities()
        return contact in set(links.loc[links["anonymous_id"] == viewed["anonymous_id"], "contact_id"])

    service.wait(linked, page)
    assert json.loads(service.engine.log.contacts([contact])["traits"].iloc[0]) == {"plan": "gold"}
    assert len(service.events(contact_id=contact)) == 4
