// The page of contacts: which one is asked for, the key if there is one, what comes of it, and erasing.
import { parts } from './card.js';
import { call, facts, h, key, section } from './parts.js';

const main = document.getElementById('main');
const wanted = document.getElementById('wanted');

function asked() {
  const text = location.pathname.replace(/^\/contacts\/?/, '');
  try { return decodeURIComponent(text); } catch (error) { return text; }
}

const address = (id) => '/v1/contacts/' + encodeURIComponent(id);
const say = (text) => { document.getElementById('status').textContent = text; };

function show(title, ...children) {
  document.title = title;
  main.replaceChildren(...children.flat(9).filter(Boolean));
  main.removeAttribute('aria-busy');
  document.getElementById('forget').hidden = !key.get();
}

function notice(title, text, ...more) {
  show(title, h('div', { class: 'notice' }, h('h1', {}, title), h('p', { class: 'lead' }, text), ...more));
  say(title);
}

async function open() {
  const id = asked();
  wanted.value = id;
  if (!id) return notice('Contacts', 'Write a contact’s id above to see how that person stands, where they are heading, what it is worth to act, and why.');
  main.setAttribute('aria-busy', 'true');
  if (!main.children.length) main.append(h('p', { class: 'lead' }, 'Looking…'));
  say('Looking…');
  try {
    const card = await (await call(address(id))).json();
    show(`${id} · contact`, ...parts(card), kept(id, card));
    say(`Contact ${id}`);
  } catch (problem) {
    failed(id, problem);
  }
  return null;
}

function failed(id, problem) {
  if (problem.status === 401 || problem.status === 403) return askKey(problem);
  if (problem.status === 404) return notice('No such contact', `Nothing is known of “${id}”. Ids are as your own systems have them, letters large and small.`);
  return notice('That did not work', problem.message || String(problem), h('button', { type: 'button', onclick: open }, 'Try again'));
}

// --- the key

function askKey({ code, message }) {
  const sent = key.get();
  key.forget();
  const wrong = code === 'key_unknown' ? 'This key is not the service’s secret key. Check it, and try again.' :
    code === 'secret_key_needed' ? 'This is the public write key. Contacts are shown with the secret key only.' : message;
  const field = h('input', { id: 'key', type: 'password', autocomplete: 'off', required: true, 'aria-describedby': sent ? 'wrong key-help' : 'key-help', 'aria-invalid': sent ? 'true' : null });
  const send = (happening) => {
    happening.preventDefault();
    key.set(field.value.trim());
    open();
  };
  notice('A key is needed', 'Contacts are shown to holders of the service’s secret key.',
    h('form', { class: 'ask', onsubmit: send }, h('label', { for: 'key' }, 'Secret key'), h('div', { class: 'row' }, field, h('button', { type: 'submit', class: 'primary' }, 'Show')),
      sent && h('p', { id: 'wrong', role: 'alert', class: 'wrong' }, wrong),
      h('p', { id: 'key-help', class: 'muted' }, 'NEXTBEST_SECRET_KEY of the service. It stays in this tab, until it is closed, and is sent to this service only.')));
  field.focus();
}

// --- what is kept

function kept(id, card) {
  const trouble = h('p', { role: 'alert', class: 'wrong' });
  const button = h('button', { type: 'button', class: 'danger', hidden: true, onclick: () => erase(id, button, trouble) }, 'Erase for good');
  const field = h('input', { id: 'confirm', type: 'text', autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', maxlength: 200, 'aria-describedby': 'erase-help',
    oninput: () => { button.hidden = field.value !== id; } });
  const others = (card.ids || []).filter((one) => one !== id);
  return section('What is kept', { class: 'kept' },
    facts([['As of', new Date(card.as_of.moment).toLocaleString()], others.length > 0 && ['The same person', others.slice(0, 12).join(', ') + (others.length > 12 ? ` and ${others.length - 12} more` : '')]]),
    h('div', { class: 'two' },
      h('div', {}, h('h3', {}, 'Export'), h('p', {}, 'Everything that is stored of this contact, as a file.'),
        h('button', { type: 'button', onclick: () => download(id, trouble) }, 'Download everything')),
      h('div', {}, h('h3', {}, 'Erase'), h('p', { id: 'erase-help' }, 'Erases the contact everywhere: events, features, decisions, and from what models learn. This cannot be undone.'),
        h('label', { for: 'confirm' }, 'Type the id to confirm'), h('div', { class: 'row' }, field, button))),
    trouble);
}

async function download(id, trouble) {
  trouble.textContent = '';
  try {
    const url = URL.createObjectURL(await (await call(address(id) + '/export')).blob());
    const link = h('a', { href: url, download: `contact-${id.replace(/[^\w.-]+/g, '_')}.json` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    say('The download has begun.');
  } catch (problem) {
    trouble.textContent = `The export did not work: ${problem.message}`;
  }
}

async function erase(id, button, trouble) {
  button.disabled = true;
  trouble.textContent = '';
  try {
    const said = await (await call(address(id), 'DELETE')).json();
    wanted.value = '';
    notice(said.erased ? 'Erased' : 'Nothing to erase', said.erased ? `Contact “${id}” was erased everywhere.` : `Nothing was stored of “${id}”.`);
    main.focus();
  } catch (problem) {
    button.disabled = false;
    trouble.textContent = `Nothing is certain to have been erased: ${problem.message}`;
  }
}

document.getElementById('search').addEventListener('submit', (happening) => {
  happening.preventDefault();
  if (wanted.value.trim()) location.assign('/contacts/' + encodeURIComponent(wanted.value.trim()));
});
document.getElementById('forget').addEventListener('click', () => {
  key.forget();
  main.replaceChildren();
  open();
});
open();
