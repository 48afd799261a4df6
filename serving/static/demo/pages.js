// The pages: each returns a title, its parts, and `after`, what to do once they are shown.
import { card, count, get, h, money, products } from './parts.js';
import { tile } from './tiles.js';
import { facts, shop } from './shop.js';

const bestSellers = async (category, n = 8) =>
  (await get(`/demo/products?count=${n}${category ? '&category=' + encodeURIComponent(category) : ''}`)).products;

function shelf(title, lede) {
  const id = 'shelf-' + title.toLowerCase().replace(/\W+/g, '-');
  const list = h('ul', { class: 'cards' });
  const section = h('section', { class: 'shelf', 'aria-labelledby': id },
    h('div', { class: 'shelf-head' }, h('h2', { id }, title), lede && h('p', {}, lede)), list);
  return { section, list };
}

// A block that has no best sellers to stand in for it: it appears only with something in it.
async function fill({ section, list }, options) {
  section.hidden = true;
  const answer = await shop.block(list, options);
  if (answer && !answer.stale) section.hidden = !answer.items.length;
}

function home() {
  const known = shop.who !== null;
  const again = shelf('Due again', 'What this household buys regularly, and is about to run out of.');
  const picked = shelf(known ? 'Picked for you' : 'A good start',
    known ? 'The most probable next purchases.' : 'Look around: this shelf follows what you look at.');
  const rising = shelf('Rising this week', 'Selling better than they used to.');
  again.section.hidden = true;
  return {
    title: 'Larder',
    parts: [
      h('div', { class: 'hero' },
        h('h1', {}, known ? 'Welcome back.' : 'Everyday food, well kept.'),
        h('p', {}, 'A demonstration shop on a year of a real grocer’s sales. Every shelf below is an answer of the service; ',
          'beside it is what the service knows while you look around.')),
      picked.section, again.section, rising.section,
      h('section', { class: 'shelf', 'aria-labelledby': 'all-departments' },
        h('div', { class: 'shelf-head' }, h('h2', { id: 'all-departments' }, 'Departments')),
        h('ul', { class: 'doors' }, shop.config.departments.map((department) => h('li', {},
          h('a', { href: '/demo/category/' + encodeURIComponent(department.path) },
            tile({ item_id: department.path, department_name: department.name }, 'small'),
            h('span', {}, department.name)))))),
    ],
    after() {
      shop.block(picked.list, { placement: 'home', places: 8 }, () => bestSellers());
      fill(again, { placement: 'buy_again', places: 4 });
      fill(rising, { placement: 'trending', places: 4 });
    },
  };
}

function crumbs(...steps) {
  return h('nav', { class: 'crumbs', 'aria-label': 'Breadcrumb' }, h('ol', {},
    steps.map(([name, path]) => h('li', {}, path ? h('a', { href: path }, name) : h('span', { 'aria-current': 'page' }, name)))));
}

const categoryLink = (path) => '/demo/category/' + path.split('/').map(encodeURIComponent).join('/');

async function category(path) {
  const department = shop.config.departments.find((one) => one.path === path.split('/')[0]) ||
    { path: path.split('/')[0], name: path.split('/')[0], categories: [] };
  const within = department.categories.find((one) => one.path === path);
  const { products: found, more } = await get('/demo/products?category=' + encodeURIComponent(path));
  const title = within ? within.name : path === department.path ? department.name : (found[0] || {}).category_name || path;
  const list = h('ul', { class: 'cards' }, found.map(card));
  const rising = shelf('Rising here');
  nextbest.track('Product List Viewed', { category: path });
  return {
    title,
    parts: [
      crumbs(['Larder', '/demo'], [department.name, path === department.path ? null : categoryLink(department.path)],
        ...(path === department.path ? [] : [[title, null]])),
      h('h1', {}, title),
      h('ul', { class: 'chips', 'aria-label': 'Categories' }, department.categories.map((one) => h('li', {},
        h('a', { href: categoryLink(one.path), 'aria-current': one.path === path ? 'page' : null }, one.name)))),
      rising.section,
      h('section', { class: 'shelf', 'aria-labelledby': 'best' },
        h('div', { class: 'shelf-head' }, h('h2', { id: 'best' }, 'Best sellers')), list),
      more && moreButton(list, path, found.length),
    ].filter(Boolean),
    after() { fill(rising, { placement: 'trending', category: path, places: 4 }); },
  };
}

function moreButton(list, path, start) {
  const button = h('button', { type: 'button', class: 'more', async onclick() {
    const next = await get(`/demo/products?category=${encodeURIComponent(path)}&start=${start}`);
    start += next.products.length;
    const made = next.products.map(card);
    list.append(...made);
    if (made.length) made[0].querySelector('a').focus();
    button.hidden = !next.more;
  } }, 'Show more');
  return button;
}

async function product(id) {
  const [found] = await products([id]);
  if (!found) return missing();
  const quantity = h('input', { id: 'quantity', type: 'number', min: 1, max: 99, value: 1, inputmode: 'numeric' });
  const goes = shelf('Goes well with it', 'Bought together more often than chance explains.');
  const instead = shelf('Or take instead');
  nextbest.track('Product Viewed', facts(found));
  return {
    title: found.name,
    parts: [
      crumbs(['Larder', '/demo'], [found.department_name, categoryLink(found.department)],
        [found.category_name, categoryLink(found.category)]),
      h('article', { class: 'product' },
        tile(found, 'large'),
        h('div', {},
          h('h1', {}, found.name),
          h('p', { class: 'muted' }, [found.size, found.category_name].filter(Boolean).join(' · ')),
          h('p', { class: 'price large' }, money(found.price)),
          h('form', { class: 'row', onsubmit(event) {
            event.preventDefault();
            shop.add(found.item_id, Math.min(Math.max(Math.round(Number(quantity.value)) || 1, 1), 99));
          } },
            h('label', { class: 'hidden', for: 'quantity' }, 'Quantity'), quantity,
            h('button', { type: 'submit', class: 'primary' }, 'Add to cart')))),
      goes.section, instead.section,
    ],
    after() {
      fill(goes, { placement: 'product', show: 'complements', itemIds: [id], places: 4 });
      fill(instead, { placement: 'product', show: 'alternatives', itemIds: [id], places: 4 });
    },
  };
}

async function cart() {
  const ids = shop.inCart();
  const found = await products(ids);
  const goes = shelf('Goes with your cart', 'What goes with several of its items comes first.');
  if (!found.length) {
    return {
      title: 'Cart',
      parts: [h('h1', {}, 'Your cart is empty'), h('p', { class: 'muted' }, 'Here is something to begin with.'), goes.section],
      after() { shop.block(goes.list, { placement: 'home', places: 4 }, () => bestSellers(null, 4)); },
    };
  }
  const total = found.reduce((sum, one) => sum + (one.price || 0) * shop.cart[one.item_id], 0);
  nextbest.track('Cart Viewed', { products: found.map((one) => ({ ...facts(one), quantity: shop.cart[one.item_id] })) });
  const change = async (one, quantity) => {
    await shop.add(one.item_id, quantity);
    shop.go('/demo/cart');
  };
  return {
    title: 'Cart',
    parts: [
      h('h1', {}, 'Cart'),
      h('ul', { class: 'lines' }, found.map((one) => h('li', {},
        tile(one, 'small'),
        h('a', { href: '/demo/product/' + encodeURIComponent(one.item_id) }, one.name),
        h('span', { class: 'stepper' },
          h('button', { type: 'button', 'aria-label': `One ${one.name} less`, onclick: () => change(one, -1) }, '−'),
          h('span', { 'aria-label': count(shop.cart[one.item_id], 'piece') }, shop.cart[one.item_id]),
          h('button', { type: 'button', 'aria-label': `One ${one.name} more`, onclick: () => change(one, 1) }, '+')),
        h('span', { class: 'price' }, money((one.price || 0) * shop.cart[one.item_id]))))),
      h('div', { class: 'sum' },
        h('p', {}, 'Total ', h('strong', { class: 'price' }, money(total))),
        h('button', { type: 'button', class: 'primary', id: 'order', onclick: () => shop.order() }, 'Place the order')),
      goes.section,
    ],
    after() { shop.block(goes.list, { placement: 'cart', itemIds: ids.slice(0, 100), places: 4 }, () => bestSellers(null, 4)); },
  };
}

function order(id) {
  const done = shop.ordered && shop.ordered.order_id === id ? shop.ordered : null;
  if (!done) return missing();
  const next = shelf('Next time', 'What you have just bought is gone from here.');
  return {
    title: 'Thank you',
    parts: [
      h('h1', {}, 'Thank you.'),
      h('p', {}, `${count(done.bought.length, 'product')} for ${money(done.total)}. Nothing is delivered: this is a demonstration.`),
      h('ul', { class: 'lines' }, done.bought.map((one, n) => h('li', {}, tile(one, 'small'), h('span', {}, one.name),
        h('span', { class: 'muted' }, `${done.products[n].quantity} ×`), h('span', { class: 'price' }, money(one.price))))),
      next.section,
    ],
    after() { shop.block(next.list, { placement: 'home', places: 4 }, () => bestSellers(null, 4)); },
  };
}

async function search(_, query) {
  const words = query.get('q') || '';
  const { products: found } = await get('/demo/products?q=' + encodeURIComponent(words));
  nextbest.track('Products Searched', { query: words });
  return {
    title: `Search: ${words}`,
    parts: [
      h('h1', {}, found.length ? `“${words}”` : `Nothing found for “${words}”`),
      found.length ? h('ul', { class: 'cards' }, found.map(card)) : h('p', { class: 'muted' }, 'Try milk, bread, apples or coffee.'),
    ],
  };
}

const STAGES = { visitor: 'has only looked', lead: 'has made contact', engaged: 'is interested', sales_ready: 'is about to buy',
  new: 'is new', active: 'buys regularly', loyal: 'is loyal', slipping: 'buys less than before', leaving: 'is leaving',
  lost: 'has not bought for long' };

async function logIn() {
  if (shop.who) {
    return {
      title: 'Your account',
      parts: [h('h1', {}, `Household ${shop.who.contact_id}`),
        h('p', { class: 'muted' }, 'Log out, and the shop knows you no more.'),
        h('button', { type: 'button', class: 'primary', onclick: () => shop.logOut() }, 'Log out')],
    };
  }
  const { contacts } = await get('/demo/contacts');
  return {
    title: 'Log in',
    parts: [
      h('h1', {}, 'Who are you today?'),
      h('p', { class: 'muted' }, 'Real households of the data, known by number only. What you look at now becomes part of their history here.'),
      h('ul', { class: 'people' }, contacts.map((one) => h('li', {},
        h('button', { type: 'button', onclick: () => shop.logIn(one.contact_id) },
          h('span', { class: 'number' }, one.contact_id),
          h('span', {}, h('strong', {}, one.segment ? one.segment.replace(/_/g, ' ') : `Household ${one.contact_id}`),
            h('span', { class: 'muted' }, ` ${STAGES[one.stage] || one.stage}; mostly ${one.categories.slice(0, 2).join(', ').toLowerCase() || 'nothing yet'}`)))))),
      contacts.length ? null : h('p', {}, 'There are no households yet.'),
    ].filter(Boolean),
  };
}

function missing() {
  return { title: 'Not found', parts: [h('h1', {}, 'There is nothing here'), h('p', {}, h('a', { href: '/demo' }, 'Back to the shop'))] };
}

export const pages = { '': home, category, product, cart, order, search, 'log-in': logIn, missing };
