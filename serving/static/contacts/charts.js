// Pictures drawn as SVG. Each has its figures in words or a table beside it.
import { h, s } from './parts.js';
import { at, capital, longMonth, money, month, number, plain, tone } from './words.js';

const clip = (value) => Math.min(Math.max(value, 0), 100);
const place = (value) => `${clip(value).toFixed(2)}%`;

// An estimate with its interval on a scale from 0 to `most`.
export function interval({ low, high, value, most = 1, label }) {
  const of = (x) => clip((100 * x) / most);
  const ends = low !== null && high !== null;
  return s('svg', { class: 'interval', role: 'img', 'aria-label': label, height: 22, width: '100%' },
    s('rect', { class: 'track', x: 0, y: 8, width: '100%', height: 6, rx: 3 }),
    ends && s('rect', { class: 'spread', x: place(of(low)), y: 4, width: place(Math.max(of(high) - of(low), 0.6)), height: 14, rx: 4 }),
    value !== null && s('line', { class: 'mark', x1: place(Math.max(of(value), 0.3)), x2: place(Math.max(of(value), 0.3)), y1: 1, y2: 21 }));
}

// What the ends of a picture stand for.
export const scale = (from, to) => h('p', { class: 'scale', 'aria-hidden': 'true' }, h('span', {}, from), h('span', {}, to));

// A bar from nothing to a value.
export const bar = (value, most, label) => interval({ low: 0, high: value, value: null, most: most || 1, label });

// From `from` to `to`: a range of dates and its middle.
export function dates({ from, to, low, middle, high, label }) {
  const of = (date) => (100 * (at(date) - at(from))) / Math.max(at(to) - at(from), 1);
  return interval({ low: clip(of(low)), high: high ? clip(of(high)) : 100, value: middle ? of(middle) : null, most: 100, label });
}

// Month by month: what was spent, and the segment and stage it left the contact in.
export function path(steps, currency) {
  const box = h('div', { class: 'path' });
  const draw = () => {
    const width = Math.max(Math.floor(box.clientWidth), 280);
    if (width === draw.width) return;
    draw.width = width;
    const shown = steps.slice(-Math.max(Math.floor(width / 46), 4));
    box.replaceChildren(picture(shown, width, currency));
  };
  new ResizeObserver(draw).observe(box);
  return [box, table(steps, currency)];
}

const HEIGHT = 132, LANE = 30, GAP = 30;

function picture(steps, width, currency) {
  const wide = width / steps.length;
  const most = Math.max(...steps.map((step) => step.spend), 1);
  const lanes = [['Segment', 'segment'], ['Stage', 'stage']];
  const whole = HEIGHT + 24 + lanes.length * (LANE + GAP) - 4;
  const label = `${longMonth(steps[0].at)} to ${longMonth(steps[steps.length - 1].at)}: the table below has every figure`;
  const svg = s('svg', { role: 'img', 'aria-label': label, width, height: whole, viewBox: `0 0 ${width} ${whole}` });
  const every = Math.ceil(62 / wide);
  steps.forEach((step, n) => {
    const tall = Math.max((Math.max(step.spend, 0) / most) * (HEIGHT - 34), step.orders ? 2 : 0);
    const x = n * wide, last = n === steps.length - 1;
    svg.append(
      s('rect', { class: last ? 'spent so-far' : 'spent', x: x + wide * 0.16, y: HEIGHT - tall, width: wide * 0.68, height: tall, rx: Math.min(3, tall / 2) },
        s('title', {}, `${longMonth(step.at)}: ${money(step.spend, currency)} in ${step.orders} orders`)),
      s('text', { class: 'figure', x: x + wide / 2, y: HEIGHT - tall - 7, 'text-anchor': 'middle' }, wide > 34 && step.spend > 0 ? money(step.spend, wide > 58 ? currency : null, 0) : ''));
    if ((steps.length - 1 - n) % every === 0) {
      svg.append(s('text', { class: 'axis', x: x + wide / 2, y: HEIGHT + 17, 'text-anchor': 'middle' }, last ? 'now' : month(step.at)));
    }
  });
  svg.append(s('line', { class: 'ground', x1: 0, x2: width, y1: HEIGHT + 0.5, y2: HEIGHT + 0.5 }));
  lanes.forEach(([name, field], lane) => {
    const y = HEIGHT + 24 + GAP - 8 + lane * (LANE + GAP);
    svg.append(s('text', { class: 'axis lane', x: 0, y: y - 6 }, name), ...runs(steps, field).map(([value, from, to]) => {
      const room = (to - from) * wide - 2;
      const text = value ? capital(plain(value)) : 'none';
      return s('g', {}, s('title', {}, `${text}: ${longMonth(steps[from].at)} to ${longMonth(steps[to - 1].at)}`),
        s('rect', { class: `run tone-${tone(value)}`, x: from * wide + 1, y, width: room, height: LANE, rx: 5 }),
        s('text', { class: `run-name tone-${tone(value)}-text`, x: from * wide + 1 + room / 2, y: y + LANE / 2 + 4.5, 'text-anchor': 'middle' },
          fitting(text, room)));
    }));
  });
  return svg;
}

// The word, its beginning, or nothing: what has room.
function fitting(text, room) {
  const letters = Math.floor((room - 6) / 7.3);
  if (text.length <= letters) return text;
  return letters >= 4 ? `${text.slice(0, letters - 1).trimEnd()}…` : '';
}

// Months in a row with one value: [value, first, after the last].
function runs(steps, field) {
  const found = [];
  steps.forEach((step, n) => {
    const last = found[found.length - 1];
    if (last && last[0] === step[field]) last[2] = n + 1;
    else found.push([step[field], n, n + 1]);
  });
  return found;
}

function table(steps, currency) {
  const head = ['Month', 'Orders', 'Spent', 'Segment', 'Stage', 'Engagement'];
  const rows = [...steps].reverse().map((step, n) => h('tr', {}, h('th', { scope: 'row' }, n ? longMonth(step.at) : `${longMonth(step.at)}, so far`),
    h('td', { class: 'n' }, number(step.orders)), h('td', { class: 'n' }, money(step.spend, currency)), h('td', {}, step.segment ? plain(step.segment) : 'none'),
    h('td', {}, plain(step.stage)), h('td', { class: 'n' }, number(step.index))));
  return h('details', {}, h('summary', {}, 'The figures, month by month'),
    h('div', { class: 'scrolls', tabindex: 0, role: 'group', 'aria-label': 'Month by month' }, h('table', {},
      h('thead', {}, h('tr', {}, head.map((name, n) => h('th', { scope: 'col', class: n === 1 || n === 2 || n === 5 ? 'n' : null }, name)))), h('tbody', {}, rows))));
}

