/** The page, put together. */

import { isBusy, send, sendOnlyLast, stop } from './talk/asking.js';
import { measure } from './talk/fit.js';
import { askKeyWith } from './talk/server.js';
import { begin, changeSettings, on, show, state } from './talk/session.js';
import { findModels, watchServer } from './talk/status.js';
import { path } from './talk/tree.js';
import { createComposer } from './view/composer.js';
import { filesIn } from './view/attachments.js';
import { button, debounced, make } from './view/dom.js';
import { createHeader } from './view/header.js';
import { icon } from './view/icons.js';
import { createMeter } from './view/meter.js';
import { announce, isCovered, notify } from './view/overlay.js';
import { openSettings } from './view/settings.js';
import { createSidebar, toggleSidebar } from './view/sidebar.js';
import { createTranscript } from './view/transcript.js';
import { createWelcome } from './view/welcome.js';
import { isFull, warmingText } from './view/states.js';
import { askKey, exportTalk, openCode, openHelp } from './view/windows.js';

const $ = (id) => document.getElementById(id);
const DRAFT = 'castor/draft/'; // words that were not sent yet, by chat

const newChat = () => {
  show(null);
  composer.focus();
};
let begun; // resolves once the chats of this browser are there
const say = async (parts) => {
  await begun;
  send(parts);
  transcript.followEnd();
};

/** A switch in the message box. */
function chip(setting, name, text, label) {
  const made = button({
    icon: name,
    text,
    class: 'chip',
    title: label,
    onclick: () => changeSettings({ [setting]: !state.current.settings[setting] }),
  });
  on('settings', () => made.setAttribute('aria-pressed', String(state.current.settings[setting])));
  return made;
}

const meter = createMeter();
const composer = createComposer({
  kind: 'ask',
  id: 'ask',
  send: say,
  stop: () => stop(),
  changed: (parts) => weigh(parts),
  up: () => transcript.editLast(),
  tools: [
    chip('draw', 'brush', 'Draw', 'Answer with a picture'),
    chip('drafts', 'drafts', '3 drafts', 'Three answers to choose from'),
  ],
  ends: [meter.element],
});
$('composer').append(composer.element);
$('down').append(icon('down'));

const page = { newChat, openSettings, openHelp, openCode, exportTalk, useAsInput: composer.attach };
const transcript = createTranscript({
  log: $('transcript'),
  scroller: $('scroller'),
  down: $('down'),
  page,
});
createSidebar($('sidebar'), page);
createHeader($('header'), page);
createWelcome($('welcome'), composer, { send: say });
askKeyWith(askKey);
on('notice', ({ text, kind }) => notify(text, { kind }));

let counting = new AbortController();
const count = debounced(async (parts) => {
  counting.abort();
  counting = new AbortController();
  try {
    meter.show(await measure(parts, counting.signal));
  } catch {
    // another count is on its way
  }
  tell();
}, 350);
function weigh(parts) {
  if (!begun) return;
  try {
    sessionStorage.setItem(DRAFT + state.current.id, composer.written());
  } catch {
    // it lives as long as the page
  }
  count(parts);
}

/** What the server is doing, as the class of a line and its words; null where it is ready. */
function serverLine({ status, compiled, why, final }) {
  if (status === 'unreachable') return [status, 'The server cannot be reached. Trying again…'];
  if (status === 'loading')
    return compiled === undefined
      ? [status, 'The model is being loaded. Messages are answered as soon as it is there.']
      : [status, `${warmingText(compiled)}: the first answers take longer.`];
  return why ? ['unlisted', final ? why : `${why} Trying again…`] : null;
}

/** The lines above the message box: what stands in the way of an answer. */
function tell() {
  const [kind, words] = serverLine(state.status) ?? [];
  const last = path(state.current).at(-1);
  const over = meter.isOver() && !state.current.trim && last && !isFull(last.error);
  const full = over && [
    make('span', {}, `This chat and your message take ${meter.text()} tokens: it does not fit.`),
    button({ text: 'Start new chat', class: 'small', onclick: newChat }),
    button({
      text: 'Send only the last turns',
      class: 'small',
      onclick: () => sendOnlyLast(state.current),
    }),
  ];
  const again = kind === 'unlisted' && state.status.final;
  const ask = again && button({ text: 'Try again', class: 'small', onclick: findModels });
  const lines = [
    [kind, words && [make('span', {}, words), ask]],
    ['full', full],
  ].filter(([, line]) => line);
  const key = JSON.stringify([words, over && meter.text()]);
  if ($('notices').dataset.key === key) return;
  $('notices').dataset.key = key;
  $('notices').replaceChildren(
    ...lines.map(([what, line]) => make('div', { class: `banner ${what}` }, icon('warn'), line)),
  );
}
on('status', tell);

let shown = null;
on('talk', () => {
  const talk = state.current;
  $('welcome').hidden = path(talk).length > 0;
  $('transcript').hidden = $('heading').hidden = !$('welcome').hidden;
  $('heading').textContent = talk.title;
  document.title = $('welcome').hidden ? `${talk.title} · Castor` : 'Castor';
  composer.setBusy(isBusy(talk));
  if (shown !== talk.id) {
    const early = shown === null && composer.written(); // before the store was open
    shown = talk.id;
    if (!early) composer.write(sessionStorage.getItem(DRAFT + talk.id) ?? '');
  }
  count(composer.parts());
});
on('settings', () => {
  tell();
  count(composer.parts());
});
on('list', () => {
  if (state.current && $('welcome').hidden) document.title = `${state.current.title} · Castor`;
});
on('busy', (talk) => {
  if (talk !== state.current) return;
  composer.setBusy(isBusy(talk));
  $('transcript').setAttribute('aria-busy', String(isBusy(talk)));
  const last = path(talk).at(-1);
  const ends = { done: 'Answer complete', stopped: 'Stopped', failed: 'The answer failed' };
  announce(isBusy(talk) ? 'Castor is answering' : (ends[last?.state] ?? 'Answer complete'));
});

const isTyping = (target) => target.closest?.('input, textarea, select, [contenteditable]');

document.addEventListener('keydown', (event) => {
  const { key, ctrlKey, metaKey, shiftKey, target } = event;
  const command = ctrlKey || metaKey;
  if (command && shiftKey && ['o', 'n'].includes(key.toLowerCase())) {
    event.preventDefault();
    newChat();
  } else if (command && !shiftKey && key.toLowerCase() === 'b') {
    event.preventDefault();
    toggleSidebar();
  } else if (isCovered()) return;
  else if (key === 'Escape') stop();
  else if (command || event.altKey || isTyping(target)) return;
  else if (key === '/') {
    event.preventDefault();
    composer.focus();
  } else if (key === '?') openHelp();
});

$('scrim').addEventListener('click', () => toggleSidebar(false));
document.addEventListener('dragover', (event) => {
  if (![...event.dataTransfer.types].includes('Files')) return;
  event.preventDefault();
  document.body.classList.add('dropping');
});
document.addEventListener('dragleave', (event) => {
  if (event.relatedTarget === null) document.body.classList.remove('dropping');
});
document.addEventListener('drop', (event) => {
  document.body.classList.remove('dropping');
  if (filesIn(event.dataTransfer).length === 0) return;
  event.preventDefault();
  composer.addFiles(filesIn(event.dataTransfer));
});

begun = begin();
await begun;
if (!state.store.lasting) notify('This window is private: chats are gone when it closes.');
composer.focus();
performance.mark('castor-ready');
document.documentElement.dataset.ready = 'true';
watchServer();
