// The demo shop: what is in the cart, who is logged in, which page is shown. It uses nextbest.js as any shop would.
import { card, count, get, h, post, products } from './parts.js';
import { pages } from './pages.js';
import { panel } from './panel.js';

const kept = (store, name, value) => {
  try {
    if (value === undefined) return JSON.parse(store.getItem(name));
    if (value === null) store.removeItem(name);
    else store.setItem(name, JSON.stringify(value));
  } catch (error) { /* a browser that keeps nothing: the shop works until the next load */ }
  return value;
};

export const shop = {
  config: null,
  who: kept(sessionStorage, 'larder:who') || null, // {contact_id, identity_token}
  cart: kept(localStorage, 'larder:cart') || {}, // item_id -> quantity
  consent: kept(localStorage, 'larder:consent') === true ? true : null, // a refusal is not stored either
  inCart: () => Object.keys(shop.cart),
  pieces: () => Object.values(shop.cart).reduce((sum, n) => sum + n, 0),

  async add(id, quantity) {
    shop.cart[id] = (shop.cart[id] || 0) + quantity;
    if (shop.cart[id] <= 0) delete shop.cart[id];
    changed();
    const [product] = await products([id]);
    const event = quantity > 0 ? 'Product Added' : 'Product Removed';
    nextbest.track(event, { ...facts(product), quantity: Math.abs(quantity) });
    say(`${product.name}: ${quantity > 0 ? 'in the cart' : 'removed'}`);
  },

  async order() {
    const bought = await products(shop.inCart());
    const lines = bought.map((product) => ({ ...facts(product), quantity: shop.cart[product.item_id] }));
    const order = { order_id: 'larder-' + Date.now().toString(36) + Math.random().toString(36).slice(2, 6), currency: 'USD',
      total: Math.round(100 * lines.reduce((sum, line) => sum + line.price * line.quantity, 0)) / 100, products: lines };
    nextbest.track('Order Completed', order);
    shop.cart = {};
    changed();
    shop.ordered = { ...order, bought };
    shop.go('/demo/order/' + order.order_id);
  },

  async logIn(contactId) {
    shop.who = kept(sessionStorage, 'larder:who', await post('/demo/log-in', { contact_id: contactId }));
    nextbest.identify(shop.who.contact_id, {}, { token: shop.who.identity_token || undefined });
    changed();
    panel.refresh();
    shop.go('/demo');
  },

  logOut() {
    shop.who = kept(sessionStorage, 'larder:who', null);
    nextbest.reset();
    changed();
    panel.forget();
    shop.go('/demo');
  },

  go(path) {
    history.pushState(null, '', path);
    show();
  },

  // A block of recommendations: the shop's own best sellers stand in it until an answer comes, and if none does.
  async block(list, options, own) {
    if (own) list.replaceChildren(...(await own()).map(card));
    const { places, ...asked } = options;
    const known = (items) => enrich(items, places, asked.show === 'alternatives');
    return nextbest.recommend({ el: list, template: card, enrich: known, k: places + SPARE,
      excludeIds: shop.config.not_online, timeoutMs: 5000, ...asked });
  },
};

export const facts = (product) => ({ product_id: product.item_id, name: product.name, price: product.price,
  category: product.category, currency: 'USD' });

// The service says which items and why; the shop knows their names, sizes and prices. The catalogue has many items of one
// name (every dairy's white milk): a shelf shows one of each, and none that was just bought, unless it is about likeness.
const SPARE = 4;

async function enrich(items, places, alike) {
  await products([...new Set(items.flatMap((item) => [item.item_id, item.reason.because.item_id]).filter(Boolean))]);
  const known = new Map((await products(items.map((item) => item.item_id))).map((product) => [product.item_id, product]));
  const names = new Set(shop.ordered ? shop.ordered.bought.map((product) => product.name) : []);
  const shown = items.filter(({ item_id: id }) => {
    if (!known.has(id) || (!alike && names.has(known.get(id).name))) return false;
    names.add(known.get(id).name);
    return true;
  });
  return shown.slice(0, places).map((item) => ({ ...item, ...known.get(item.item_id) }));
}

export function say(what) {
  const toast = document.getElementById('toast');
  toast.textContent = what;
  toast.classList.add('shown');
  clearTimeout(say.timer);
  say.timer = setTimeout(() => toast.classList.remove('shown'), 2500);
}

function changed() {
  kept(localStorage, 'larder:cart', shop.cart);
  document.getElementById('cart-count').textContent = shop.pieces();
  document.getElementById('cart-link').setAttribute('aria-label', `Cart, ${count(shop.pieces(), 'piece')}`);
  const who = document.getElementById('who');
  who.textContent = shop.who ? `Household ${shop.who.contact_id}` : 'Log in';
}

const main = document.getElementById('main');
let turn = 0;
let shown = null;
const here = () => location.pathname + location.search;

async function show(first) {
  const mine = ++turn;
  shown = here();
  const [, , name = '', ...rest] = location.pathname.split('/').map(decodeURIComponent);
  const page = pages[name] || pages.missing;
  let made;
  try {
    made = await page(rest.join('/'), new URLSearchParams(location.search));
  } catch (error) {
    made = { title: 'Not possible now', parts: [h('p', {}, String(error.message))] };
  }
  if (mine !== turn) return; // meanwhile another page was asked for
  document.title = made.title === 'Larder' ? 'Larder' : `${made.title} · Larder`;
  panel.page();
  main.replaceChildren(...made.parts);
  document.querySelectorAll('#departments a').forEach((link) => {
    const current = location.pathname.startsWith(link.getAttribute('href'));
    if (current) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  });
  if (!first) {
    window.scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
  if (made.after) made.after();
}

document.addEventListener('click', (event) => {
  const button = event.target.closest('[data-add]');
  if (button) {
    shop.add(button.dataset.add, Number(button.dataset.quantity) || 1);
    return;
  }
  const link = event.target.closest('a[href^="/demo"]');
  if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  shop.go(link.getAttribute('href'));
});

document.getElementById('search').addEventListener('submit', (event) => {
  event.preventDefault();
  const words = document.getElementById('words').value.trim();
  if (words) shop.go('/demo/search?q=' + encodeURIComponent(words));
});

window.addEventListener('popstate', () => here() !== shown && show()); // not for #main

const consent = document.getElementById('consent');
consent.addEventListener('click', (event) => {
  const said = event.target.dataset.consent;
  if (!said) return;
  shop.consent = said === 'yes';
  kept(localStorage, 'larder:consent', shop.consent || null);
  nextbest.consent(shop.consent);
  consent.hidden = true;
  main.focus({ preventScroll: true });
  panel.refresh();
});

async function begin() {
  changed();
  try {
    shop.config = await get('/demo/config');
  } catch (error) {
    main.replaceChildren(h('h1', {}, 'The shop is not open'), h('p', {}, String(error.message)));
    return;
  }
  nextbest.init({
    writeKey: shop.config.write_key,
    consent: shop.consent === true,
    contactId: shop.who && shop.who.contact_id,
    identityToken: (shop.who && shop.who.identity_token) || undefined,
    flushMs: 150, // the panel is to show at once what happened
  });
  nextbest.page();
  consent.hidden = shop.consent !== null;
  document.getElementById('departments').replaceChildren(...shop.config.departments.map((department) =>
    h('li', {}, h('a', { href: '/demo/category/' + encodeURIComponent(department.path) }, department.name))));
  panel.begin(shop);
  show(true);
}

begin();
