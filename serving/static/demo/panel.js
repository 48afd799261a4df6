// The panel: what the service knows this moment, and why it recommends what it does.
import { count, days, h, nameOf, post, share, why } from './parts.js';

const EVENTS = {
  page_viewed: 'Opened a page', product_viewed: 'Looked at', product_added: 'Put into the cart', product_removed: 'Took out',
  cart_viewed: 'Looked into the cart', order_completed: 'Ordered', products_searched: 'Searched',
  product_list_viewed: 'Opened a department', recommendation_viewed: 'Saw recommended', recommendation_clicked: 'Followed',
};
const PLACES = { home: 'For this visitor', product: 'For this product', cart: 'For this cart', buy_again: 'Due again',
  trending: 'Rising' };
const FALLBACKS = {
  no_champion: 'no model has been trained', no_history: 'nothing to go by yet', unknown_contact: 'nothing is known of this contact',
  no_evidence: 'no rule covers these items', over_budget: 'the model took too long', nothing_due: 'nothing is due',
  nothing_trending: 'nothing is rising', nothing_eligible: 'the first choice may not be shown', model_failed: 'the model failed',
  registry_unavailable: 'the model registry does not answer',
  feature_store_unavailable: 'the feature store does not answer',
};

let shop = null;
let timer = 0;
let asked = 0;
const answers = new Map(); // placement and what it shows -> answer

export const panel = {
  begin(theShop) {
    shop = theShop;
    document.addEventListener('nextbest', ({ detail }) => {
      if (detail.type === 'sent') soon(60);
      if (detail.type === 'answered' && !detail.answer.stale) {
        answers.set(detail.placement + (detail.show || ''), detail);
        soon(60);
      }
    });
    const toggle = document.getElementById('panel-toggle');
    toggle.addEventListener('click', () => {
      const open = toggle.getAttribute('aria-expanded') !== 'true';
      toggle.setAttribute('aria-expanded', String(open));
      document.getElementById('panel').classList.toggle('open', open);
    });
    document.addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && toggle.getAttribute('aria-expanded') === 'true') {
        toggle.click();
        toggle.focus();
      }
    });
    setInterval(() => document.hidden || tick(), 5000);
    panel.refresh();
  },
  page() { answers.clear(); },
  forget() { answers.clear(); panel.refresh(); },
  refresh() { soon(0); },
};

function soon(ms) {
  clearTimeout(timer);
  timer = setTimeout(refresh, ms);
}

async function refresh() {
  const mine = ++asked;
  let known = null;
  try {
    if (shop.consent) {
      known = await post('/demo/panel', { anonymous_id: await nextbest.anonymousId(),
        ...(shop.who ? { contact_id: shop.who.contact_id, identity_token: shop.who.identity_token } : {}) });
    }
  } catch (error) {
    known = { error: String(error.message) };
  }
  if (mine !== asked) return;
  document.getElementById('panel-parts').replaceChildren(...[who(known), interests(known), chosen(), happened(known)].filter(Boolean));
  document.getElementById('panel').classList.add('live');
  tell(known);
}

function tell(known) {
  const status = document.getElementById('panel-status');
  const text = !shop.consent ? 'No consent: the service knows nothing.' : !known || known.error ? 'The service does not answer.' :
    `${shop.who ? 'Known as household ' + shop.who.contact_id : 'Anonymous visitor'}, ${count(known.events_total, 'event')}. ` +
    [...answers.values()].map(({ placement, answer }) => `${PLACES[placement] || placement}: ${count(answer.items.length, 'item')}.`).join(' ');
  if (status.textContent !== text) status.textContent = text;
}

function part(title, ...children) {
  return h('section', { class: 'part' }, h('h3', {}, title), ...children);
}

function who(known) {
  if (!shop.consent) {
    return part('Identity', h('p', { class: 'big' }, 'Nobody'),
      h('p', {}, 'No consent: nothing is stored in this browser and no event is sent. Recommendations are asked without an id.'));
  }
  if (!known || known.error) return part('Identity', h('p', {}, (known && known.error) || 'The service does not answer.'));
  if (!known.card) {
    return part('Identity', h('p', { class: 'big' }, shop.who ? `Household ${shop.who.contact_id}` : 'Anonymous visitor'),
      h('p', {}, known.events_total ? 'Known by what was looked at in this browser only.' : 'Nothing is known yet.'));
  }
  const { card } = known;
  const { segment, engagement, predictions } = card;
  const churn = predictions.churn;
  const rows = [
    segment && ['Segment', segment.name.replace(/_/g, ' ') +
      (segment.moved === 'same' ? '' : ` (${segment.moved} from ${segment.before.replace(/_/g, ' ')})`)],
    ['Stage', card.stage.replace(/_/g, ' ')],
    engagement.last_order && ['Last order', days((new Date(card.as_of.moment) - new Date(engagement.last_order)) / 86400000)],
    churn && churn.probability !== null && [`No order in ${churn.horizon_days} days`, share(churn.probability) + ` (${churn.source})`],
    predictions.value && predictions.value.value !== null && ['Expected to spend', '$' + predictions.value.value.toFixed(0)],
  ].filter(Boolean);
  return part('Identity', h('p', { class: 'big' }, `Household ${card.contact_id}`),
    h('dl', {}, rows.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value)))));
}

function interests(known) {
  if (!known || known.error || !known.categories.length) return null;
  const most = known.categories[0].share;
  return part(known.card && known.card.affinities.length ? 'Buys mostly' : 'Looks at', h('ul', { class: 'bars' }, known.categories.map((one) =>
    h('li', {}, h('span', {}, one.name), h('span', { class: 'amount' }, share(one.share)),
      h('meter', { min: 0, max: most, value: one.share, 'aria-label': one.name })))));
}

function happened(known) {
  if (!known || known.error || !known.events.length) return null;
  const lines = [];
  for (const one of known.events) { // a shelf that comes into view is one line, not eight
    const last = lines[lines.length - 1];
    if (last && last.event === 'recommendation_viewed' && one.event === last.event) last.times += 1;
    else lines.push({ ...one, times: 1 });
  }
  return part(`Events (${known.events_total.toLocaleString('en')})`, h('ol', { class: 'events' }, lines.slice(0, 9).map((one) =>
    h('li', {}, one.times > 1 ? h('span', {}, 'Saw ', h('b', {}, `${one.times} recommendations`)) :
      h('span', {}, EVENTS[one.event] || one.event.replace(/_/g, ' '), one.item ? [' ', h('b', {}, one.item)] : null),
    h('time', { 'data-at': Date.now() - 1000 * one.seconds_ago }, ago(one.seconds_ago))))));
}

function chosen() {
  const order = Object.keys(PLACES);
  const shown = [...answers.values()].filter(({ placement, answer }) => answer.items.length || placement !== 'buy_again')
    .sort((one, other) => order.indexOf(one.placement) - order.indexOf(other.placement));
  if (!shown.length) return null;
  return part('Why it shows what it shows', shown.map(({ placement, show, answer }) => h('div', { class: 'answer' },
    h('h4', {}, (show && { complements: 'Goes with it', alternatives: 'Instead of it' }[show]) || PLACES[placement] || placement),
    answer.error ? h('p', { class: 'note' }, `No answer (${answer.error}); the shop’s own products stay.`) :
      h('p', { class: 'note' }, h('span', { class: 'chip' }, String(answer.source).replace(/_/g, ' ')),
        answer.fallback ? ` fallback: ${FALLBACKS[answer.fallback] || answer.fallback}` : answer.model_version ? ` ${answer.model_version}` : ''),
    h('ol', { class: 'picks' }, answer.items.slice(0, 4).map((item) => h('li', {},
      h('span', {}, h('b', {}, nameOf(item.item_id, item.title)), h('small', {}, why(item.reason))),
      h('span', { class: 'amount', title: `probability of buying it within ${answer.horizon_days} days` }, share(item.probability))))))));
}

function ago(seconds) {
  if (seconds < 5) return 'now';
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 86400 ? `${Math.floor(seconds / 3600)} h` : days(seconds / 86400);
}

function tick() {
  for (const time of document.querySelectorAll('#panel time')) time.textContent = ago((Date.now() - time.dataset.at) / 1000);
}

