// nextbest.js: events and recommendations for the pages of a shop. How to use it: docs/script.md.
// It never throws into the page, never blocks it, and fills templates without ever parsing data as HTML.
(function (window, document) {
  'use strict';

  const stub = window.nextbest || {};
  if (stub.version) return;

  const VERSION = '1.0';
  const PREFIX = 'nextbest:';
  const EVENT_BYTES = 32000;
  const BATCH_BYTES = 60000; // browsers let 64 KB outlive a page
  const BATCH_EVENTS = 100;
  const KEPT_EVENTS = 500;
  const SEND_MS = 10000;
  const RETRY_MS = 1000;
  const RETRY_MOST_MS = 60000;
  const WAIT_MOST_MS = 3600000;
  const NEVER_ACCEPTED = [400, 413, 422];

  const home = (document.currentScript || {}).src;
  const early = []; // calls before init: [name, arguments, resolve]
  let settings = null;
  let allowed = false; // may anything be stored or sent about this visitor
  let contact = null; // {id, token} of whoever is logged in; in memory only, the page says it at every load
  let anonymousId = null;
  let introduced = null; // traits of the identify call there was on this page

  const warn = (what) => window.console && console.warn('nextbest:', what);
  const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
  // the public key in the address and a plain body: other origins are asked without a preflight
  const PLAIN = { 'content-type': 'text/plain' };
  const address = (path) =>
    settings.host + path + (settings.writeKey ? '?writeKey=' + encodeURIComponent(settings.writeKey) : '');
  const announce = (type, detail) =>
    document.dispatchEvent(new CustomEvent('nextbest', { detail: { type, ...detail } }));

  function uuid() {
    if (crypto.randomUUID) return crypto.randomUUID(); // https and localhost only
    return '10000000-1000-4000-8000-100000000000'.replace(/[018]/g, (c) =>
      (c ^ (crypto.getRandomValues(new Uint8Array(1))[0] & (15 >> (c / 4)))).toString(16));
  }

  // --- What the browser keeps, under one prefix; storage may be full, forbidden or absent.

  function stored(name, value) {
    try {
      if (value === undefined) return localStorage.getItem(PREFIX + name);
      if (value === null) localStorage.removeItem(PREFIX + name);
      else localStorage.setItem(PREFIX + name, value);
      return value;
    } catch (error) {
      return null;
    }
  }

  function storedNames(start) {
    try {
      return Object.keys(localStorage).filter((key) => key.startsWith(PREFIX + start))
        .map((key) => key.slice(PREFIX.length)).sort();
    } catch (error) {
      return [];
    }
  }

  function cookie(value) {
    try {
      const secure = location.protocol === 'https:' ? '; Secure' : '';
      if (value !== undefined) {
        const age = value ? 31536000 : 0;
        document.cookie = 'nextbest_id=' + value + '; Path=/; SameSite=Lax; Max-Age=' + age + secure;
      }
      return (/(?:^|; )nextbest_id=([^;]+)/.exec(document.cookie) || [])[1];
    } catch (error) {
      return undefined;
    }
  }

  function identity(fresh) {
    anonymousId = (!fresh && (stored('id') || cookie())) || uuid();
    if (!stored('id', anonymousId)) cookie(anonymousId);
  }

  // --- Events: each is kept under a name of its own, so that tabs never overwrite each other's, until the
  // service has acknowledged it. What is sent twice is stored once there, by its messageId.

  const queue = new Map(); // name -> JSON, oldest first
  let inFlight = [];
  let stopSending = null;
  let timer = 0;
  let notBefore = 0;
  let failures = 0;
  let draining = null;
  let counted = 0;

  function put(message) {
    if (!allowed) return;
    const text = JSON.stringify({
      messageId: uuid(),
      timestamp: new Date().toISOString(),
      anonymousId,
      userId: contact ? contact.id : undefined,
      ...message,
      context: {
        page: here(), locale: navigator.language, library: { name: 'nextbest.js', version: VERSION },
      },
    });
    if (size(text) > EVENT_BYTES) return warn('an event is bigger than 32 KB and is not sent');
    const name = 'event:' + Date.now() + ':' + String(counted++).padStart(6, '0') + ':' + uuid().slice(0, 8);
    queue.set(name, text);
    stored(name, text);
    forget([...queue.keys()].slice(0, -KEPT_EVENTS));
    schedule(queue.size - inFlight.length >= BATCH_EVENTS / 2 ? 0 : settings.flushMs);
  }

  const size = (text) => new Blob([text]).size;

  function forget(names) {
    for (const name of names) {
      queue.delete(name);
      stored(name, null);
    }
  }

  function schedule(ms) {
    if (timer && ms) return;
    clearTimeout(timer);
    timer = setTimeout(flush, ms);
  }

  function flush() {
    clearTimeout(timer);
    timer = 0;
    draining = draining || drain().catch(warn).then(() => {
      draining = null;
      if (allowed && queue.size) schedule(Math.max(notBefore - Date.now(), settings.flushMs));
    });
    return draining;
  }

  async function drain() {
    while (allowed && queue.size && Date.now() >= notBefore) await send(batch());
  }

  function batch(without = []) {
    let bytes = 200;
    const names = [];
    for (const [name, text] of queue) {
      if (without.includes(name)) continue;
      bytes += size(text) + 1;
      if (names.length && (bytes > BATCH_BYTES || names.length === BATCH_EVENTS)) break;
      names.push(name);
    }
    return names;
  }

  const body = (names) => '{"sentAt":"' + new Date().toISOString() + '","batch":[' +
    names.map((name) => queue.get(name)).join() + ']}';

  async function send(names) {
    let status = 0;
    let wait = 0;
    inFlight = names;
    stopSending = new AbortController();
    const late = setTimeout(() => stopSending.abort(), SEND_MS);
    try {
      const answer = await fetch(address('/v1/batch'), {
        method: 'POST', keepalive: true, credentials: 'omit', headers: PLAIN, signal: stopSending.signal,
        body: body(names),
      });
      wait = 1000 * Number(answer.headers.get('retry-after')) || 0;
      if (answer.ok) await answer.json(); // a captive portal says 200 too, in HTML
      status = answer.status;
    } catch (error) {
      status = 0;
    }
    clearTimeout(late);
    inFlight = [];
    if ((status >= 200 && status < 300) || NEVER_ACCEPTED.includes(status)) {
      if (status >= 400) warn('the service cannot accept ' + names.length + ' events: ' + status);
      failures = 0;
      forget(names);
      announce('sent', { count: names.length, status });
    } else if (allowed) {
      const pause = Math.min(RETRY_MOST_MS, RETRY_MS * 2 ** failures++) * (0.5 + Math.random() / 2);
      notBefore = Date.now() + Math.min(Math.max(wait, pause), WAIT_MOST_MS);
    }
  }

  // A beacon is never acknowledged: what it carries stays and is sent again by the next page.
  function leave() {
    const names = allowed && navigator.onLine && navigator.sendBeacon ? batch(inFlight) : [];
    if (!names.length || Date.now() < notBefore) return;
    navigator.sendBeacon(address('/beacon/v1/batch'), body(names));
  }

  function begin() {
    identity();
    for (const name of storedNames('event:')) {
      const text = stored(name);
      try {
        if (text && JSON.parse(text).messageId) queue.set(name, text);
        else stored(name, null);
      } catch (error) {
        stored(name, null);
      }
    }
    if (queue.size) schedule(0);
  }

  // --- Pages, also of applications that change the address without loading one.

  let referrer = document.referrer;
  let current = null;
  let paged = null;

  const place = () => location.href.replace(/#(?![/!]).*/, '');
  const here = () => ({ url: location.href, path: location.pathname, search: location.search,
    title: document.title, referrer });

  function moved() {
    if (current === null || place() === current) return;
    referrer = current;
    const at = current = place();
    paged = null;
    setTimeout(() => { if (at === current && paged === null) page(); }, 100); // the title comes after
  }

  function listen() {
    if (current !== null) return;
    current = place();
    window.addEventListener('pagehide', guarded(leave));
    document.addEventListener('visibilitychange', guarded(() => document.hidden && leave()));
    window.addEventListener('online', guarded(() => {
      notBefore = failures = 0;
      flush();
    }));
    if (!settings.autoPage) return;
    for (const name of ['pushState', 'replaceState']) {
      const original = history[name];
      history[name] = function () {
        const result = original.apply(this, arguments);
        guarded(moved)();
        return result;
      };
    }
    window.addEventListener('popstate', guarded(moved));
    window.addEventListener('pageshow', guarded((event) => event.persisted && page()));
  }

  // --- Templates: {{title}}, {{reason.kind}}. Text goes in as text; an attribute is filled only where no
  // value could run as code, and addresses only with http(s) or relative ones.

  const FIELD = /{{\s*([\w.]+)\s*}}/g;
  const URLS = /^(href|src|srcset|action|formaction|poster|data|cite|background|ping|xlink:href)$/i;
  const HAS = Object.prototype.hasOwnProperty;
  const CODE = /^(on|style$|srcdoc$)/i;

  function field(item, path) {
    let value = item;
    for (const name of path.split('.')) {
      if (value === null || typeof value !== 'object' || !HAS.call(value, name)) return '';
      value = value[name];
    }
    return value === null || value === undefined || typeof value === 'object' ? '' : String(value);
  }

  function safe(url) {
    try {
      return /^https?:$/.test(new URL(url, document.baseURI).protocol);
    } catch (error) {
      return false;
    }
  }

  function fill(root, item) {
    const walker = document.createTreeWalker(root, 5); // elements and text
    while (walker.nextNode()) {
      const node = walker.currentNode;
      if (node.nodeType === 3) {
        const holder = node.parentNode.nodeName.toLowerCase();
        if (holder !== 'script' && holder !== 'style') {
          node.data = node.data.replace(FIELD, (_, path) => field(item, path));
        }
        continue;
      }
      for (const { name, value } of [...node.attributes]) {
        if (!value.includes('{{')) continue;
        const url = URLS.test(name);
        const whole = /^\s*{{[^}]*}}\s*$/.test(value);
        const filled = value.replace(FIELD, (_, path) =>
          url && !whole ? encodeURIComponent(field(item, path)) : field(item, path));
        if (CODE.test(name) || (url && (!filled.trim() || !safe(filled)))) node.removeAttribute(name);
        else node.setAttribute(name, filled);
      }
    }
  }

  function render(template, item) {
    if (typeof template === 'function') {
      const made = template(item);
      return made instanceof Node ? made : document.createTextNode(String(made));
    }
    let source = template;
    if (typeof template === 'string' && !template.includes('<')) source = document.querySelector(template);
    if (typeof source === 'string') {
      source = document.createElement('template');
      source.innerHTML = template; // the shop's own markup; data comes in below, as text
    }
    if (!source || !source.content) throw new Error('no template ' + template);
    const copy = document.importNode(source.content, true);
    fill(copy, item);
    return copy;
  }

  // --- Recommendations.

  const blocks = new WeakMap(); // element -> {turn, stop, own: the page's content, ours}
  const seen = new WeakMap(); // element of an item -> what to report
  const observer = window.IntersectionObserver && new IntersectionObserver(guarded((entries) => {
    for (const { target, isIntersecting, intersectionRatio } of entries) {
      if (!isIntersecting || intersectionRatio < 0.5) continue;
      observer.unobserve(target);
      track('Recommendation Viewed', seen.get(target));
    }
  }), { threshold: 0.5 });

  async function element(el) {
    if (!el || el instanceof Element) return el;
    if (!document.querySelector(el) && document.readyState === 'loading') {
      await new Promise((done) => document.addEventListener('DOMContentLoaded', done, { once: true }));
    }
    return document.querySelector(el);
  }

  async function recommend(options = {}) {
    const stop = new AbortController();
    let answer = { items: [] };
    let el = null;
    let block = {};
    try {
      el = await element(options.el);
      if (options.el && !el) throw new Error('no element ' + options.el);
      if (el) {
        block = blocks.get(el) || { turn: 0, own: [...el.childNodes] };
        blocks.set(el, block);
        if (block.stop) block.stop.abort();
      }
      block.stop = stop;
      answer = await ask(options, stop);
    } catch (error) {
      answer.error = stop.signal.aborted ? 'timeout' : String((error && error.message) || error);
    }
    if (block.stop !== stop) return { ...answer, stale: true };
    block.stop = null;
    try {
      if (answer.items.length) show(el, block, options, answer.items, answer.tracked ? answer : null);
      else without(el, block, options, answer);
    } catch (error) {
      warn(error);
      answer = { ...answer, error: String(error.message) };
      without(el, block, {}, answer);
    }
    announce('answered', { placement: options.placement || 'home', show: options.show, answer });
    return answer;
  }

  async function ask(options, stop) {
    const ms = options.timeoutMs || settings.timeoutMs;
    const aborted = new Promise((_, fail) =>
      stop.signal.addEventListener('abort', () => fail(new Error('timeout'))));
    aborted.catch(() => {});
    const late = setTimeout(() => stop.abort(), ms);
    const within = (promise) => Promise.race([promise, aborted]);
    try {
      const tracked = allowed;
      // an answer is to know what came before it
      if (queue.size) await within(Promise.race([flush(), sleep(ms / 3)]));
      const asked = { placement: options.placement, k: options.k, item_ids: options.itemIds,
        category: options.category, exclude_ids: options.excludeIds, show: options.show };
      if (allowed) asked.anonymous_id = anonymousId;
      if (allowed && contact && (contact.token || !settings.writeKey)) {
        asked.contact_id = contact.id;
        asked.identity_token = contact.token;
      }
      let response = await post(asked, stop);
      if (response.status === 403 && asked.contact_id) { // the token has expired: better unknown than nothing
        delete asked.contact_id;
        delete asked.identity_token;
        response = await post(asked, stop);
      }
      if (!response.ok) throw new Error('status ' + response.status);
      const answer = await within(response.json());
      if (!answer || !Array.isArray(answer.items)) throw new Error('not an answer');
      let items = answer.items.filter((item) => item && typeof item.item_id === 'string');
      if (options.enrich && items.length) items = await within(Promise.resolve(options.enrich(items)));
      return { ...answer, items: items.slice(0, options.k || items.length), tracked };
    } finally {
      clearTimeout(late);
    }
  }

  const post = (asked, stop) => fetch(address('/v1/recommendations'), {
    method: 'POST', credentials: 'omit', signal: stop.signal, body: JSON.stringify(asked), headers: PLAIN,
  });

  function replace(el, nodes) {
    const within = el.contains(document.activeElement);
    el.replaceChildren(...nodes);
    const next = within && el.querySelector('a[href], button'); // who is here with the keyboard stays here
    if (next) next.focus({ preventScroll: true });
  }

  function show(el, block, options, items, answer) {
    if (!el) return;
    const made = items.map((item, index) => {
      const piece = render(options.template || '<div>{{title}}</div>', { ...item, position: index + 1 });
      return piece.nodeType === 11 ? [...piece.childNodes] : [piece];
    });
    replace(el, [].concat(...made));
    block.ours = true;
    if (!answer) return;
    made.forEach((nodes, index) => {
      const parts = nodes.filter((node) => node.nodeType === 1);
      const facts = { recommendation_id: answer.recommendation_id, item_id: items[index].item_id,
        placement: options.placement || 'home', position: index + 1 };
      const clicked = guarded((event) => event.button < 2 && track('Recommendation Clicked', facts));
      for (const part of parts) {
        part.addEventListener('click', clicked);
        part.addEventListener('auxclick', clicked);
      }
      if (observer && parts.length) {
        seen.set(parts[0], facts);
        observer.observe(parts[0]);
      }
    });
  }

  // Nothing to show: the page's own content stays, or comes back.
  function without(el, block, options, answer) {
    if (el && block.ours) replace(el, block.own);
    block.ours = false;
    if (typeof options.fallback === 'function') options.fallback(answer);
    else if (Array.isArray(options.fallback)) show(el, block, options, options.fallback, null);
  }

  // --- The calls.

  function init(options) {
    settings = { writeKey: '', timeoutMs: 1500, flushMs: 1000, autoPage: true, ...options };
    if (settings.host === undefined) settings.host = new URL(home || location.href).origin;
    settings.host = String(settings.host).replace(/\/+$/, '');
    contact = settings.contactId ? { id: String(settings.contactId), token: settings.identityToken } : null;
    allowed = settings.consent === undefined || settings.consent === true;
    if (allowed) begin();
    listen();
    for (const [name, given, done] of early.splice(0)) done(api[name](...given));
  }

  function identify(contactId, traits, extra) {
    const id = String(contactId);
    const token = (extra || {}).token;
    if (allowed && contact && contact.id !== id) identity(true); // another person at the same browser
    contact = { id, token: token || (contact && contact.id === id ? contact.token : undefined) };
    introduced = traits || {};
    put({ type: 'identify', traits: introduced });
  }

  function track(event, properties) {
    put({ type: 'track', event, properties: properties || {} });
  }

  function page(name, properties) {
    paged = [name, properties];
    put({ type: 'page', name, properties: { ...here(), ...properties } });
  }

  function consent(given) {
    if (given === allowed) return;
    allowed = given === true;
    if (allowed) {
      begin();
      if (introduced) put({ type: 'identify', traits: introduced });
      if (paged) page(...paged);
      return;
    }
    if (stopSending) stopSending.abort();
    clearTimeout(timer);
    timer = 0;
    queue.clear();
    storedNames('').forEach((name) => stored(name, null));
    if (cookie()) cookie('');
    anonymousId = null;
  }

  function reset() {
    contact = introduced = null;
    if (allowed) identity(true);
  }

  function guarded(call) {
    return function () {
      try {
        return call.apply(this, arguments);
      } catch (error) {
        warn(error);
      }
    };
  }

  const api = { version: VERSION, init: guarded(init) };
  const calls = { identify, track, page, recommend, consent, reset, anonymousId: () => anonymousId };
  for (const [name, call] of Object.entries(calls)) {
    const later = (given) => new Promise((done) => early.length < 100 && early.push([name, given, done]));
    api[name] = guarded((...given) => (settings ? call(...given) : later(given)));
  }
  window.nextbest = api;
  for (const [name, given, done] of stub.q || []) (done || (() => {}))(api[name] && api[name](...given));
})(window, document);
