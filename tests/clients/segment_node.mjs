import { Analytics } from "@segment/analytics-node";

const [, , host, writeKey] = process.argv;
const analytics = new Analytics({ writeKey, host, path: "/v1/batch", flushAt: 5 });
let failed = 0;
analytics.on("error", () => { failed += 1; });
const products = [{ product_id: "p1", price: 2.5, quantity: 2 }, { product_id: "p2", price: 1, quantity: 1 }];
analytics.identify({ userId: "ann", anonymousId: "v", traits: { email: "ann@b.org", plan: "gold", consent_email: true } });
analytics.track({ anonymousId: "v", event: "Product Viewed", properties: { product_id: "p1" }, timestamp: new Date() });
analytics.track({ userId: "ann", event: "Order Completed", properties: { order_id: "o1", currency: "EUR", products } });
analytics.page({ userId: "ann", name: "Home", properties: { url: "https://shop.example/" } });
analytics.screen({ userId: "ann", name: "Start" });
analytics.group({ userId: "ann", groupId: "club" });
analytics.alias({ userId: "ann", previousId: "old-ann" });
await analytics.closeAndFlush({ timeout: 20_000 });
process.exit(failed);
