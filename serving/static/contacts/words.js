// Numbers, dates and codes in words. Numbers and dates follow the reader's own habits.
const locale = navigator.languages && navigator.languages.length ? [...navigator.languages] : undefined;
const format = (options) => new Intl.DateTimeFormat(locale, options);
const DAY = format({ weekday: 'short', day: 'numeric', month: 'short', year: 'numeric' });
const SHORT = format({ day: 'numeric', month: 'short' });
const MONTH = format({ month: 'short', year: '2-digit', timeZone: 'UTC' });
const LONG_MONTH = format({ month: 'long', year: 'numeric', timeZone: 'UTC' });
const TIME = format({ hour: 'numeric', minute: '2-digit' });
const AGO = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const DAY_MS = 86400000;

// A date without a time is a day of the calendar, not a moment in Greenwich.
export const at = (text) => new Date(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T12:00:00` : text);
export const day = (text) => DAY.format(at(text));
export const dayMonth = (text) => SHORT.format(at(text));
export const month = (text) => MONTH.format(at(text));
export const longMonth = (text) => LONG_MONTH.format(at(text));
export const time = (text) => TIME.format(at(text));
export const moment = (text) => `${day(text)}, ${time(text)}`;
export const range = (low, high) => (high ? SHORT.formatRange(at(low), at(high)) : `${dayMonth(low)}, or more than a year ahead`);

export function relative(text, now) {
  const days = Math.round((new Date(at(text)).setHours(12) - new Date(at(now)).setHours(12)) / DAY_MS);
  const size = Math.abs(days);
  if (size < 14) return AGO.format(days, 'day');
  if (size < 60) return AGO.format(Math.round(days / 7), 'week');
  return size < 700 ? AGO.format(Math.round(days / 30.4), 'month') : AGO.format(Math.round(days / 365), 'year');
}

export const number = (n, digits = 0) =>
  n.toLocaleString(locale, { minimumFractionDigits: 0, maximumFractionDigits: digits });
export const percent = (p, digits) =>
  p.toLocaleString(locale, { style: 'percent', maximumFractionDigits: digits === undefined ? (p < 0.1 || p > 0.9 ? 1 : 0) : digits });
export const span = (low, high) => `${percent(low, 1)} to ${percent(high, 1)}`;
export const count = (n, one, many = `${one}s`) => `${number(n, 1)} ${n === 1 ? one : many}`;

// Money in the currency of the contact's own orders, or as a bare number where none is known.
export function money(amount, currency, digits = 2) {
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  try {
    return amount.toLocaleString(locale, currency ? { style: 'currency', currency, ...options } : options);
  } catch (error) { // a currency that is none
    return amount.toLocaleString(locale, options);
  }
}

export const plain = (code) => String(code).replace(/_/g, ' ');
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
// Tills shout.
export const calm = (text) => (text === text.toUpperCase() && /[A-Z]{3}/.test(text) ? capital(text.toLowerCase()) : text);
export const category = (path) => calm(path.split('/').pop().replace(/-/g, ' '));

export const STAGES = {
  visitor: 'has looked around, and is not known yet', lead: 'is known, and shows little interest yet',
  engaged: 'is interested, and has not ordered yet', sales_ready: 'is about to place a first order',
  new: 'is a new customer', active: 'is an active customer', loyal: 'is a loyal customer', slipping: 'is slipping: less active than before',
  leaving: 'is leaving', lost: 'is lost as a customer, as things stand',
};
// From best to worst; the tone is the colour of a picture, never the only sign.
const TONES = {
  sales_ready: 1, engaged: 2, lead: 3, visitor: 3, loyal: 1, active: 2, new: 2, slipping: 4, leaving: 5, lost: 5,
  champions: 1, potential_loyal: 2, promising: 3, needs_attention: 4, at_risk: 5, cannot_lose: 5, hibernating: 5,
};
export const tone = (name) => (name ? TONES[name] || 3 : 0);

const WHY = {
  no_champion: 'no model has earned this task yet', model_failed: 'the model failed', registry_unavailable: 'the model registry does not answer',
  feature_store_unavailable: 'the feature store does not answer', over_budget: 'the model took too long', unknown_contact: 'nothing is known of the contact',
  no_history: 'there are no purchases to go by', no_evidence: 'there is nothing to go by', nothing_eligible: 'nothing else may be shown',
  simulated_model: 'the model was learned from simulated messages, which decide for nobody', no_message_history: 'no message was ever sent to this contact',
  not_enough_data: 'there is too little to go by', no_orders: 'there are no orders', consents_unavailable: 'consents cannot be read', no_catalogue: 'there is no catalogue',
};
const SOURCES = {
  churn: 'the churn model', bgnbd: 'BG/NBD, the pattern of orders', recency: 'the days since the last order over the usual gap',
  value: 'the value model', own_rate: 'the contact’s own rate', next_purchase: 'the ranking of next purchases', basket: 'what goes together in baskets',
  personal: 'the contact’s own purchases', trending: 'what is trending', popular: 'what sells', default: 'the configured default',
  not_enough_data: 'nobody: there is too little to go by', none: 'nobody', own_rates: 'the contact’s own rate of responses',
};

// Who says so, and why it is not the first choice.
export function saidBy({ source, model_version, fallback }) {
  const by = `Said by ${SOURCES[source] || plain(source)}${model_version ? ` (${model_version})` : ''}`;
  return fallback ? `${by}, as a fallback: ${WHY[fallback] || plain(fallback)}.` : `${by}.`;
}

const BLOCKED = {
  no_consent: 'consent was refused', consent_unknown: 'no consent is recorded', not_reachable: 'cannot be reached', reach_unknown: 'it is not known whether it reaches',
  weekly_cap: 'had enough messages this week', quiet_hours: 'only quiet hours', consents_unavailable: 'consents cannot be read',
};
export const blocked = (codes) => codes.map((code) => BLOCKED[code] || plain(code)).join(', ');

export const CHANNELS = { email: 'Email', sms: 'Text message', web_push: 'Web push', mobile_push: 'App push', ads: 'Ads', phone: 'Telephone', post: 'Letter' };
export const channel = (name) => CHANNELS[name] || capital(plain(name));

export function reason({ kind, because = {} }) {
  const named = because.item_id ? calm(because.title || because.item_id) : '';
  switch (kind) {
    case 'bought_together': return `goes with ${named}`;
    case 'due': return `due: bought about every ${count(Math.round(because.usual_days), 'day')}, last ${count(Math.round(because.last_days_ago), 'day')} ago`;
    case 'bought_before': return `bought ${count(Math.round(because.times), 'time')}, last ${count(Math.round(because.last_days_ago), 'day')} ago`;
    case 'similar_to': return `like ${named}`;
    case 'because_you_viewed': return `after a look at ${named}`;
    case 'walked': return 'others who took the same steps bought it';
    case 'trending_in': return because.category ? `trending in ${category(because.category)}` : 'trending';
    case 'popular_in': return because.category ? `popular in ${category(because.category)}` : 'popular';
    case 'new': return 'new, shown by chance';
    case 'grown_out_of': return `the next size after ${named}`;
    default: return plain(kind);
  }
}

const EVENTS = {
  order_completed: 'Ordered', order_refunded: 'Sent back', product_viewed: 'Looked at', product_clicked: 'Clicked', product_added: 'Put into the cart',
  product_removed: 'Took out of the cart', page_viewed: 'Visited', cart_viewed: 'Looked at the cart', checkout_started: 'Began to check out',
  products_searched: 'Searched', form_submitted: 'Sent a form', message_sent: 'Was sent a message', message_delivered: 'Got a message',
  message_opened: 'Opened a message', message_clicked: 'Clicked in a message', message_bounced: 'A message came back', unsubscribed: 'Unsubscribed',
  subscribed: 'Subscribed', recommendation_viewed: 'Saw recommendations', recommendation_clicked: 'Clicked a recommendation', coupon_redeemed: 'Redeemed a coupon',
};
export const event = (name) => EVENTS[name] || capital(plain(name));
