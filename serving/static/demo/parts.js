// Small pieces the pages and the panel are made of. Data becomes text, never markup.
import { tile } from './tiles.js';

export function h(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export const money = (price) =>
  price === null || price === undefined ? '' : price.toLocaleString('en', { style: 'currency', currency: 'USD' });

export const count = (n, one, many) => `${n.toLocaleString('en')} ${n === 1 ? one : many || one + 's'}`;

export const share = (p) => (p > 0 && p < 0.005 ? '<1 %' : `${Math.round(100 * p)} %`);

export function days(n) {
  const whole = Math.round(n);
  return whole < 1 ? 'today' : whole === 1 ? 'yesterday' : `${whole} days ago`;
}

export async function get(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error((await answer.json()).message);
  return answer.json();
}

export async function post(path, body) {
  const answer = await fetch(path, { method: 'POST', body: JSON.stringify(body) });
  if (!answer.ok) throw new Error((await answer.json()).message);
  return answer.json();
}

const known = new Map();

export async function products(ids) {
  const missing = ids.filter((id) => !known.has(id));
  if (missing.length) {
    const { products: found } = await get('/demo/products?ids=' + encodeURIComponent(missing.join()));
    found.forEach((product) => known.set(product.item_id, product));
  }
  return ids.map((id) => known.get(id)).filter(Boolean);
}

export const nameOf = (id, title) => (known.get(id) || {}).name || title || id;

// Why the service shows an item, as a sentence.
export function why({ kind, because = {} }) {
  const named = nameOf(because.item_id, because.title);
  const place = because.category ? categoryName(because.category) : '';
  switch (kind) {
    case 'bought_together': return `Goes with ${named}`;
    case 'due': return `You buy it about every ${count(Math.round(because.usual_days), 'day')}`;
    case 'bought_before': return because.times > 1 ? `Bought ${Math.round(because.times)} times, last ${days(because.last_days_ago)}` :
      `Bought ${days(because.last_days_ago)}`;
    case 'similar_to': return `Like ${named}`;
    case 'because_you_viewed': return `Because you looked at ${named}`;
    case 'walked': return 'Others on your path bought it';
    case 'trending_in': return place ? `Trending in ${place}` : 'Trending';
    case 'popular_in': return place ? `Popular in ${place}` : 'Popular';
    case 'new': return 'New here';
    case 'grown_out_of': return `The next size after ${named}`;
    default: return 'Popular';
  }
}

export function categoryName(path) {
  const last = path.split('/').pop().toLowerCase().replace(/ - |-/g, ', ');
  return last.charAt(0).toUpperCase() + last.slice(1);
}

export function card(product) {
  const name = [product.name, product.size].filter(Boolean).join(', ');
  return h('li', { class: 'card' },
    h('a', { href: '/demo/product/' + encodeURIComponent(product.item_id), class: 'card-link' },
      tile(product),
      h('span', { class: 'card-name' }, product.name)),
    h('p', { class: 'card-size' }, product.size || product.category_name),
    product.reason && h('p', { class: 'why' }, why(product.reason)),
    h('div', { class: 'card-foot' },
      h('span', { class: 'price' }, money(product.price)),
      h('button', { type: 'button', class: 'add', 'data-add': product.item_id, 'aria-label': `Add ${name} to the cart` }, 'Add')));
}
