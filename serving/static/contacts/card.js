// A card's parts, from how somebody stands to what is kept of them.
import { bar, dates, interval, path, scale } from './charts.js';
import { facts, h, section } from './parts.js';
import * as w from './words.js';

const SHARES = 6;

// The currency of the latest order; null: figures stand alone.
const currencyOf = (card) => ((card.timeline || []).find((one) => one.currency) || {}).currency || null;

function mark(card, said) {
  return said && said.model_version && card.simulated.includes(said.model_version) ? h('strong', { class: 'simulated' }, 'simulated') : null;
}

function saidBy(card, said) {
  return h('p', { class: said.fallback ? 'said fallback' : 'said' }, mark(card, said), mark(card, said) && ' ', w.saidBy(said));
}

const nothing = (text) => h('p', { class: 'muted' }, text);

export function parts(card) {
  const money = (amount, digits) => w.money(amount, currencyOf(card), digits);
  const shown = { card, money, now: card.as_of.moment, predictions: card.predictions || {} };
  return [
    head(shown), next(shown), road(shown),
    h('div', { class: 'columns' },
      h('div', { class: 'column' }, leaving(shown), value(shown), nextOrder(shown), happened(shown)),
      h('div', { class: 'column side' }, engagement(shown), tags(shown), consents(shown), triggers(shown))),
  ];
}

// --- how somebody stands

function head({ card, money, now, predictions }) {
  const { segment, engagement, stage } = card;
  const { churn, value, next_order: order } = predictions;
  const ahead = value && value.ahead.find((one) => one.days === 365);
  const likely = churn && churn.probability !== null;
  const moved = segment && (segment.moved === 'same' ? 'unchanged since the last order' : `${segment.moved} from ${w.plain(segment.before)} since the last order`);
  const tiles = [
    ['Stage', w.capital(w.plain(stage)), `${engagement.half} the first order`],
    ['Segment', segment ? w.capital(w.plain(segment.name)) : 'None', segment ? moved : 'no orders yet, or no segments learned', segment && segment.moved === 'down' && 'warn'],
    ['Engagement', `${w.number(engagement.index)} of 100`, engagement.last_seen ? `last seen ${w.relative(engagement.last_seen, now)}` : 'never seen'],
    ['Value', value && value.past !== null ? money(value.past, 0) : 'Unknown', ahead && ahead.spend !== null ? `so far; ${money(ahead.spend, 0)} expected in a year` : 'so far'],
    ['Leaving', likely ? w.percent(churn.probability) : churn ? w.capital(churn.band) : 'Unknown', churn ? `${churn.band} risk` +
      (likely && churn.low !== null ? `, ${w.span(churn.low, churn.high)}` : '') : 'no prediction', churn && churn.band === 'high' && 'warn'],
  ];
  return h('div', { class: 'head' },
    h('p', { class: 'kind' }, 'Contact'), h('h1', {}, card.contact_id),
    h('p', { class: 'lead' }, story(card, order, now)),
    h('dl', { class: 'tiles' }, tiles.map(([name, figure, words, look]) => h('div', { class: look || null }, h('dt', {}, name),
      h('dd', {}, h('span', { class: 'figure' }, figure), h('span', { class: 'words' }, words))))));
}

function story(card, order, now) {
  const said = [`This contact ${w.STAGES[card.stage] || `is ${w.plain(card.stage)}`}.`];
  if (card.engagement.last_order) said.push(`The last order came ${w.relative(card.engagement.last_order, now)}, on ${w.day(card.engagement.last_order)}.`);
  if (order && order.date) said.push(`The next is expected about ${w.day(order.date)}.`);
  return said.join(' ');
}

// --- what to do

function next({ card, money, now }) {
  const { product, channel } = card.next_best || {};
  return section('What to do next', { class: 'next' },
    card.worth && h('p', { class: 'worth' }, h('strong', {}, money(card.worth.at_risk)), ' at risk: of the ', money(card.worth.expected),
      ` expected in the next ${w.count(card.worth.days, 'day')}, as no order within ${w.count(card.worth.horizon_days, 'day')} has a probability of ${w.percent(card.worth.probability)}.`),
    h('div', { class: 'three' },
      h('div', {}, h('h3', {}, 'Offer'), product && product.items.length ? [
        h('ol', { class: 'offers' }, product.items.map((item) => h('li', {}, h('b', {}, w.calm(item.title || item.item_id)), ' ',
          h('span', {}, `${w.percent(item.probability, 0)} to buy it within ${w.count(product.horizon_days, 'day')}`), h('small', {}, w.capital(w.reason(item.reason)))))),
        saidBy(card, product)] : nothing('Nothing can be recommended now.')),
      h('div', {}, h('h3', {}, 'Over'), channel ? [over(channel), saidBy(card, channel)] : nothing('No channel can be told now.')),
      h('div', {}, h('h3', {}, 'When'), when(channel, now))));
}

function over(channel) {
  const shown = channel.channels.filter((one) => one.eligible).slice(0, 3);
  return [
    h('p', { class: 'big' }, channel.best ? w.channel(channel.best) : 'Send nothing'),
    channel.best ? h('ul', { class: 'plain' }, shown.map((one) => h('li', {}, `${w.channel(one.channel)}: answered with ${w.percent(one.probability, 0)}`,
      h('small', {}, one.evidence.messages ? `${w.count(Math.round(one.evidence.responses), 'answer')} to ${w.count(Math.round(one.evidence.messages), 'message')}` :
        'assumed: no message was sent over it yet')))) :
      nothing(shown.length ? 'No channel that may be used is worth its cost.' : 'No channel may be used: see consents.'),
  ];
}

function when(channel, now) {
  if (!channel || !channel.send_at) return nothing('No time: nothing is to be sent.');
  return [h('p', { class: 'big' }, w.time(channel.send_at)), h('p', {}, `${w.day(channel.send_at)}, ${w.relative(channel.send_at, now)}`),
    nothing('In your time zone. The hour of the coming day at which an answer is likeliest, outside quiet hours.')];
}

// --- how they came here

function road({ card }) {
  if (!card.path) return section('The path here', {}, nothing('The past cannot be read now.'));
  return section('The path here', {}, nothing('What was spent each month, and the segment and stage at its end.'), path(card.path, currencyOf(card)));
}

// --- where they are heading

function leaving({ card, predictions: { churn } }) {
  if (!churn) return section('Leaving', {}, nothing('There is no prediction.'));
  const known = churn.probability !== null;
  const most = Math.max(...churn.drivers.map((one) => Math.abs(one.contribution)), 1e-9);
  const between = known && churn.low !== null ? ` Among contacts scored alike it is ${w.span(churn.low, churn.high)}.` : '';
  return section('Will they leave?', {},
    known ? h('p', {}, h('b', {}, w.percent(churn.probability)), ` probability of no order within ${w.count(churn.horizon_days, 'day')}.${between}`) :
      nothing('No probability can be told; the band says how things stand.'),
    known && interval({ ...churn, value: churn.probability, label: `${w.percent(churn.probability)} probability of leaving${between && `, ${w.span(churn.low, churn.high)}`}` }),
    known && scale(w.percent(0), w.percent(1)),
    h('p', {}, 'Risk: ', h('span', { class: `band ${['low', 'medium', 'high'].includes(churn.band) ? churn.band : 'unknown'}` }, churn.band || 'unknown'),
      churn.percentile !== null && ` higher than that of ${w.percent(churn.percentile / 100, 0)} of contacts`),
    churn.drivers.length > 0 && [h('h3', {}, 'Why'), h('ul', { class: 'drivers' }, churn.drivers.map((one) => h('li', {},
      h('span', { class: one.contribution > 0 ? 'raises' : 'lowers' }, one.contribution > 0 ? '▲ raises it' : '▼ lowers it'), h('span', {}, w.capital(one.phrase)),
      bar(Math.abs(one.contribution), most, `strength ${w.number(one.contribution, 2)}`))))],
    saidBy(card, churn));
}

function value({ card, money, predictions: { value: given } }) {
  if (!given || given.value === null) return section('What will they spend?', {}, nothing('Too little is known to say.'), given && saidBy(card, given));
  const rows = [{ days: given.horizon_days, orders: null, spend: given.value, low: given.low, high: given.high },
    ...given.ahead.filter((one) => one.days !== given.horizon_days)].filter((one) => one.spend !== null);
  const most = Math.max(...rows.map((one) => Math.max(one.spend, one.high || 0)), 1e-9);
  return section('What will they spend?', {},
    h('ul', { class: 'rows' }, rows.map((one) => {
      const between = one.low !== undefined && one.low !== null && one.high !== null ? `${money(one.low, 0)} to ${money(one.high, 0)}` : '';
      return h('li', {}, h('span', {}, `Next ${w.count(one.days, 'day')}`), h('b', {}, money(one.spend)),
        h('small', {}, between || (one.orders !== null ? `in ${w.count(one.orders, 'order')}` : '')),
        between ? interval({ low: one.low, high: one.high, value: one.spend, most, label: `${money(one.spend)}, ${between}` }) : bar(one.spend, most, money(one.spend)));
    })),
    facts([given.past !== null && ['Spent so far', money(given.past)], given.total !== null && ['So far and in the coming year', money(given.total)]]),
    saidBy(card, given));
}

function nextOrder({ card, now, predictions: { next_order: order } }) {
  if (!order) return section('When will they order?', {}, nothing('There is no prediction.'));
  const rows = order.categories || [];
  const ends = rows.slice(0, 8).map((one) => one.due).concat(order.high_date || order.date || []);
  const to = ends.reduce((last, date) => (w.at(date) > w.at(last) ? date : last), new Date(new Date(now).getTime() + 60 * 864e5).toISOString());
  const line = (one, label) => dates({ from: now, to, low: one.low, middle: one.due, high: one.high, label });
  return section('When will they order?', {},
    order.date ? [h('p', {}, h('b', {}, w.day(order.date)), order.low_date && ` is the middle; with 80 % between ${w.range(order.low_date, order.high_date)}.`),
      order.low_date && line({ low: order.low_date, due: order.date, high: order.high_date }, `from ${w.range(order.low_date, order.high_date)}`), order.low_date && scale('today', w.day(to))] :
      nothing('No date can be told: an order within a year is unlikely, or too little is known.'),
    order.probability !== null && h('p', {}, `${w.percent(order.probability)} to order within ${w.count(order.horizon_days, 'day')}`, order.value !== null && `; ${w.count(order.value, 'order')} expected`, '.'),
    rows.length > 0 && [h('h3', {}, 'Due by nature'), nothing(`What is bought again and again. Each bar runs from today to ${w.day(to)}.`), due(rows.slice(0, 8), line), rows.length > 8 &&
      h('details', {}, h('summary', {}, `${rows.length - 8} more`), due(rows.slice(8), line))],
    saidBy(card, order));
}

const due = (rows, line) => h('ul', { class: 'rows' }, rows.map((one) => h('li', {}, h('span', {}, w.category(one.category)), h('b', {}, w.dayMonth(one.due)),
  h('small', {}, `${w.range(one.low, one.high)}; about every ${w.count(Math.round(one.usual_days), 'day')}, bought on ${w.count(one.purchases, 'day')}`),
  line(one, `${w.category(one.category)} due ${w.dayMonth(one.due)}`))));

// --- who they are

function engagement({ card, now }) {
  const given = card.engagement, score = card.rule_score;
  return section('Engagement', {},
    bar(given.index, 100, `${w.number(given.index)} of 100`),
    facts([
      ['Index', `${w.number(given.index)} of 100`],
      ['Last seen', given.last_seen ? `${w.relative(given.last_seen, now)}` : 'never'],
      ['Last order', given.last_order ? `${w.relative(given.last_order, now)}` : 'none'],
      ...['orders', 'views', 'opens', 'clicks'].filter((name) => given[name] >= 0.05).map((name) => [`${w.capital(name)} lately`, w.number(given[name], 1)]),
      card.segment && ['Recency, frequency, money', `${card.segment.recency}, ${card.segment.frequency}, ${card.segment.monetary} of 5`],
      score && ['Score by rules', `${w.number(score.score)} points${score.reached.length ? `: ${score.reached.map(w.plain).join(', ')}` : ''}`],
    ]),
    nothing('“Lately”: the older, the less it counts, by half in 30 days.'));
}

function tags({ card }) {
  const given = card.tags || {};
  const interests = Object.entries(given.interests || {}).slice(0, SHARES);
  const of = (share, evidence, what) => (share === null || share === undefined ? '' : ` (${w.percent(share, 0)} of ${w.count(evidence, what)})`);
  const rows = [
    given.source && ['First came by', `${w.plain(given.source)}${given.source_at ? `, ${w.day(given.source_at)}` : ''}`],
    given.last_source && ['Last came by', w.plain(given.last_source)],
    given.language && ['Language', given.language + of(given.language_share, given.language_evidence, 'event')],
    given.device && ['Device', given.device + of(given.device_share, given.device_evidence, 'event')],
    given.hours && given.hours.length > 0 && ['Hours', `${given.hours.join(', ')}${given.timezone ? ` ${given.timezone}` : ' UTC'}${of(given.hours_share, given.hours_evidence, 'active hour')}`],
    given.weekdays && given.weekdays.length > 0 && ['Weekdays', given.weekdays.join(', ') + of(given.weekdays_share, given.weekdays_evidence, 'active day')],
  ].filter(Boolean);
  const most = Math.max(...card.affinities.map((one) => one.share), 1e-9);
  return section('Tags and interests', {},
    rows.length > 0 && facts(rows),
    interests.length > 0 && [h('h3', {}, 'Interests'), list(interests.map(([name, strength]) => [name, w.number(strength, 2), strength, 1])),
      nothing('0.5 is the middle of all who have any interest in it.')],
    card.affinities.length > 0 && [h('h3', {}, 'Buys mostly'), list(card.affinities.slice(0, SHARES).map((one) => [one.category, w.percent(one.share), one.share, most]))],
    !rows.length && !interests.length && !card.affinities.length && nothing('Behaviour tells nothing yet.'));
}

const list = (rows) => h('ul', { class: 'rows thin' }, rows.map(([name, figure, share, most]) =>
  h('li', {}, h('span', {}, w.category(name)), h('b', {}, figure), bar(share, most, `${w.category(name)} ${figure}`))));

function consents({ card }) {
  const told = (said, yes, no) => (said === null ? 'not recorded' : said ? yes : no);
  return section('Consents', {}, h('ul', { class: 'consents' }, Object.entries(card.consents).map(([name, one]) => h('li', {},
    h('span', {}, w.channel(name)), h('span', { class: one.permitted ? 'yes' : 'no' }, one.permitted ? '✓ may be used' : `✕ ${w.blocked(one.blocked_by)}`),
    h('small', {}, `consent ${told(one.consent, 'given', 'refused')}, reach ${told(one.reachable, 'given', 'none')}`)))));
}

function triggers({ card, now }) {
  const given = card.triggers;
  return section('Triggers', {}, !given ? nothing('They cannot be read now.') : !given.length ? nothing('Nothing has fired for this contact.') :
    h('ol', { class: 'fired' }, given.map((one) => h('li', {}, h('b', {}, w.capital(w.plain(one.rule))),
      h('span', {}, one.before ? `${w.plain(one.before)} → ${w.plain(one.after)}` : w.plain(one.after)),
      h('time', { datetime: one.timestamp, title: w.moment(one.timestamp) }, w.relative(one.timestamp, now))))));
}

// --- what happened

function happened({ card, money, now }) {
  const given = card.timeline;
  if (!given) return section('What happened', {}, nothing('The past cannot be read now.'));
  if (!given.length) return section('What happened', {}, nothing('Nothing yet.'));
  const first = given.slice(0, 12), rest = given.slice(12);
  return section('What happened', {}, things(first, card, money, now),
    rest.length > 0 && h('details', {}, h('summary', {}, `${rest.length} earlier`), things(rest, card, money, now)));
}

function things(given, card, money, now) {
  return h('ol', { class: 'things' }, given.map((one) => h('li', { class: one.total !== null ? 'paid' : null },
    h('time', { datetime: one.at, title: w.relative(one.at, now) }, h('b', {}, w.day(one.at)), ' ', w.time(one.at)),
    h('p', {}, what(one), one.total !== null && [' for ', h('b', {}, w.money(one.total, one.currency))],
      one.who !== card.contact_id && h('small', {}, ` as ${one.who}`)),
    goods(one))));
}

function what(one) {
  const lines = one.items.length > 1 || one.total !== null;
  const items = one.times > 1 && lines ? ` ${w.count(one.times, 'item')}` : '';
  const over = one.channel ? ` by ${w.channel(one.channel).toLowerCase()}` : '';
  return `${w.event(one.event)}${items}${over}${one.campaign_id ? `, campaign ${one.campaign_id}` : ''}${one.query ? ` “${one.query}”` : ''}${one.event === 'page_viewed' && one.url ? ` ${one.url}` : ''}`;
}

function goods(one) {
  if (!one.items.length) return null;
  const named = one.items.map((item) => w.calm(item.title || item.item_id) + (item.quantity > 1 ? ` × ${w.number(item.quantity, 2)}` : ''));
  const more = one.times - one.items.length;
  return h('p', { class: 'goods' }, named.slice(0, 4).join(', '), named.length > 4 && [' ', h('details', {},
    h('summary', {}, `and ${named.length - 4 + Math.max(more, 0)} more`), named.slice(4).join(', '), more > 0 && ` and ${w.count(more, 'line')} more`)]);
}
