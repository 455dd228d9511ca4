/** The smaller dialogs: help, the server's key, the chat as a program, and its export. */

import { bodyFor } from '../talk/asking.js';
import { curlCode, pythonCode, scriptCode } from '../talk/code.js';
import { fileStem, toJson, toMarkdown, toPage } from '../talk/exports.js';
import { currentKey, useKey } from '../talk/server.js';
import { blobOf, modelOf, show, state } from '../talk/session.js';
import { toBase64 } from '../talk/bytes.js';
import { path, pathTo } from '../talk/tree.js';
import { codeBlock } from '../markdown/draw.js';
import { button, download, field, make } from './dom.js';
import { notify, openDialog } from './overlay.js';

const KEYS = [
  ['Enter', 'Send (on phones: a new line)'],
  ['Shift Enter', 'New line'],
  ['Esc', 'Stop the answer'],
  ['↑', 'Edit your last message, in an empty box'],
  ['/', 'Go to the message box'],
  ['Ctrl Shift O', 'New chat (where the browser leaves it to the page, Ctrl Shift N too)'],
  ['Ctrl B', 'Show or hide the list of chats'],
  ['?', 'This help'],
];

/** Lists the keys and what the page does with what is said. */
export function openHelp() {
  const rows = KEYS.map(([keys, what]) =>
    make(
      'div',
      {},
      make(
        'dt',
        {},
        keys.split(' ').map((key) => make('kbd', {}, key)),
      ),
      make('dd', {}, what),
    ),
  );
  openDialog({
    title: 'Help',
    kind: 'narrow',
    body: [
      make('dl', { class: 'keys' }, rows),
      make(
        'p',
        {},
        'Pictures, sounds, clips and text files can be chosen, dropped on the page or pasted. ',
        'Chats are kept in this browser. They go to the server that this page came from, and nowhere else.',
      ),
    ],
  });
}

/**
 * Asks for the server's key; null if the user will not give one.
 * @param {string} reason the server's text
 * @returns {Promise<string | null>}
 */
export function askKey(reason) {
  return new Promise((resolve) => {
    const input = make('input', { type: 'password', autocomplete: 'off', spellcheck: 'false' });
    const remember = make('input', { type: 'checkbox' });
    const use = () => {
      const key = input.value.trim();
      if (!key) return input.focus();
      useKey(key, remember.checked);
      resolve(key);
      dialog.close();
    };
    input.addEventListener('keydown', (event) => event.key === 'Enter' && use());
    const dialog = openDialog({
      title: 'This server wants a key',
      kind: 'narrow',
      body: [
        make('p', {}, reason),
        field('API key', input),
        make('label', { class: 'check' }, remember, 'Remember it in this browser'),
      ],
      actions: [
        button({ text: 'Cancel', onclick: () => dialog.close() }),
        button({ text: 'Use key', class: 'primary', onclick: use }),
      ],
      closed: () => resolve(null),
    });
    input.focus();
  });
}

/** The body of the shown chat up to its last question, and a file name for each medium. */
async function program() {
  const talk = state.current;
  const last = path(talk).findLast((turn) => turn.role === 'user');
  const turns = last ? pathTo(talk, last) : [{ role: 'user', parts: [{ text: 'Hello' }] }];
  const drafts = talk.settings.drafts ? 3 : 1;
  const body = await bodyFor({ ...talk, trim: false }, turns, { candidates: drafts });
  const names = new Map();
  for (const { media } of turns.flatMap((turn) => turn.parts)) {
    const blob = media && (await blobOf(media));
    if (blob) names.set(await toBase64(blob), media.name);
  }
  const model = (modelOf(talk)?.name ?? 'model').replace(/^models\//, '');
  return { body, model, names, key: currentKey() ? 'YOUR_KEY' : 'local' };
}

/** Shows the chat as a program in three languages. */
export async function openCode() {
  const { body, model, names, key } = await program();
  const languages = {
    curl: ['bash', curlCode],
    Python: ['python', pythonCode],
    JavaScript: ['javascript', scriptCode],
  };
  const place = make('div', { role: 'tabpanel', 'aria-label': 'Code' });
  const tabs = Object.entries(languages).map(([name, [language, write]]) => {
    const tab = make(
      'button',
      { type: 'button', role: 'tab', class: 'tab', 'aria-selected': 'false', tabindex: -1 },
      name,
    );
    tab.addEventListener('click', () => {
      for (const other of tabs) {
        other.setAttribute('aria-selected', String(other === tab));
        other.tabIndex = other === tab ? 0 : -1;
      }
      place.replaceChildren(codeBlock(write(model, body, { key, names }), language));
    });
    return tab;
  });
  const bar = make('div', { role: 'tablist', class: 'tabs', 'aria-label': 'Language' }, tabs);
  bar.addEventListener('keydown', ({ key: pressed }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[pressed];
    if (!step) return;
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
  });
  const note =
    'pip install google-genai, or npm install @google/genai: the same programs run with Google’s servers.';
  openDialog({
    title: 'Get code',
    kind: 'wide',
    body: [bar, place, make('p', { class: 'field-help' }, note)],
  });
  tabs[1].click();
}

/** Offers a chat as Markdown, as JSON and as a page of its own. */
export function exportTalk(talk) {
  const stem = fileStem(talk.title);
  const give = (kind, ending, text) => async () => {
    dialog.close();
    try {
      download(new Blob([await text()], { type: kind }), `${stem}.${ending}`);
    } catch (error) {
      notify(`It could not be exported: ${error.message}`, { kind: 'bad' });
    }
  };
  const page = () => {
    if (state.current !== talk) show(talk);
    return toPage(talk, document.getElementById('transcript'));
  };
  const choice = (title, hint, act) =>
    make(
      'button',
      { type: 'button', class: 'choice', onclick: act },
      make('b', {}, title),
      make('small', {}, hint),
    );
  const dialog = openDialog({
    title: 'Export',
    kind: 'narrow',
    body: make(
      'div',
      { class: 'choices' },
      choice(
        'Web page',
        'One file to read or to share, pictures within',
        give('text/html', 'html', page),
      ),
      choice(
        'Markdown',
        'The shown versions as text',
        give('text/markdown', 'md', () => toMarkdown(talk)),
      ),
      choice(
        'JSON',
        'Everything, to be imported again',
        give('application/json', 'json', () => toJson([talk])),
      ),
    ),
  });
}
