// What the page is made of: elements, pictures, and the calls. Data becomes text, never markup.
const SVG = 'http://www.w3.org/2000/svg';

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export const h = (tag, attributes, ...children) => filled(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

let made = 0;

// A part of the page under a heading of its own.
export function section(title, attributes, ...children) {
  const id = `part-${(made += 1)}`;
  return h('section', { 'aria-labelledby': id, ...attributes }, h('h2', { id }, title), ...children);
}

export const facts = (rows) => h('dl', { class: 'facts' }, rows.filter(Boolean).map(([name, ...values]) =>
  h('div', {}, h('dt', {}, name), h('dd', {}, ...values))));

const KEPT = 'nextbest:key';

// The key lives as long as the tab, and goes nowhere but into the Authorization header.
export const key = {
  get: () => { try { return sessionStorage.getItem(KEPT); } catch (error) { return key.held || null; } },
  set(text) { key.held = text; try { sessionStorage.setItem(KEPT, text); } catch (error) { /* until the next load */ } },
  forget() { key.held = null; try { sessionStorage.removeItem(KEPT); } catch (error) { /* nothing is kept */ } },
};

export class Problem extends Error {
  constructor(status, code, message) {
    super(message);
    Object.assign(this, { status, code });
  }
}

// Ask the service; throws a Problem with what it said.
export async function call(path, method = 'GET') {
  const headers = {};
  // headers are bytes: the key's own, whatever its letters
  if (key.get()) headers.authorization = 'Bearer ' + String.fromCharCode(...new TextEncoder().encode(key.get()));
  let answer;
  try {
    answer = await fetch(path, { method, headers, cache: 'no-store', credentials: 'omit' });
  } catch (error) {
    throw new Problem(0, 'no_answer', 'The service does not answer. Is it running?');
  }
  if (answer.ok) return answer;
  let said = {};
  try { said = await answer.json(); } catch (error) { /* not the service's own words */ }
  throw new Problem(answer.status, said.code || 'unknown', said.message || `The service answered ${answer.status}.`);
}
