/** The list of chats: search, open, rename, pin, delete. */

import { isBusy } from '../talk/asking.js';
import { listTalks, on, pin, remove, rename, show, state } from '../talk/session.js';
import { button, debounced, make } from './dom.js';
import { icon, mark } from './icons.js';
import { notify, openMenu } from './overlay.js';

const DAY_MS = 86_400_000;
const narrow = () => innerWidth < 900;

/** Opens or closes the list. */
export function toggleSidebar(open = document.documentElement.dataset.sidebar === 'closed') {
  document.documentElement.dataset.sidebar = open ? 'open' : 'closed';
  if (open && narrow()) document.querySelector('.sidebar button')?.focus();
}

function heading(talk) {
  if (talk.pinned) return 'Pinned';
  const midnight = new Date().setHours(0, 0, 0, 0);
  if (talk.changed >= midnight) return 'Today';
  if (talk.changed >= midnight - DAY_MS) return 'Yesterday';
  if (talk.changed >= midnight - 7 * DAY_MS) return 'Last 7 days';
  return new Date(talk.changed).toLocaleDateString('en', { month: 'long', year: 'numeric' });
}

function renameIn(row, talk) {
  const input = make('input', { class: 'rename', value: talk.title, 'aria-label': 'Title' });
  let done = false;
  const end = (keep) => {
    if (done) return;
    done = true;
    input.remove();
    if (keep) rename(talk, input.value);
    refresh();
    document.querySelector(`[data-talk="${talk.id}"]`)?.focus();
  };
  input.addEventListener('keydown', (event) => {
    event.stopPropagation();
    if (event.key === 'Enter') end(true);
    if (event.key === 'Escape') end(false);
  });
  input.addEventListener('blur', () => end(true));
  row.replaceChildren(input);
  input.focus();
  input.select();
}

function deleteTalk(talk) {
  const gone = remove(talk);
  const undo = { text: 'Undo', act: gone.undo };
  notify(`“${talk.title}” is deleted.`, { action: undo, gone: gone.finish });
}

function row(talk, exportTalk) {
  const open = make(
    'button',
    {
      type: 'button',
      class: 'talk-open',
      'data-talk': talk.id,
      'aria-current': talk === state.current ? 'page' : undefined,
      onclick: () => {
        show(talk);
        if (narrow()) toggleSidebar(false);
      },
    },
    make('span', { class: 'talk-title' }, talk.title),
    isBusy(talk) && make('span', { class: 'talk-busy', role: 'img', 'aria-label': 'answering' }),
    talk.pinned && icon('pin', 'icon talk-pin'),
  );
  const more = button({
    icon: 'more',
    label: `More about ${talk.title}`,
    class: 'small talk-more',
  });
  const element = make('li', { class: 'talk' }, open, more);
  more.addEventListener('click', () =>
    openMenu(more, [
      { icon: 'edit', text: 'Rename', action: () => renameIn(element, talk) },
      { icon: 'pin', text: talk.pinned ? 'Unpin' : 'Pin', action: () => pin(talk) },
      { icon: 'save', text: 'Export', action: () => exportTalk(talk) },
      null,
      { icon: 'trash', text: 'Delete', danger: true, action: () => deleteTalk(talk) },
    ]),
  );
  return element;
}

/** Chats below what they have in common. */
function section(name, talks, exportTalk) {
  const rows = talks.map((talk) => row(talk, exportTalk));
  const title = make('h2', { class: 'talks-heading' }, name);
  return make('section', { 'aria-label': name }, title, make('ul', {}, rows));
}

let refresh = () => {};

/**
 * @param {HTMLElement} host
 * @param {{newChat: () => void, openSettings: () => void, openHelp: () => void,
 *   exportTalk: (talk: object) => void}} page
 */
export function createSidebar(host, { newChat, openSettings, openHelp, exportTalk }) {
  const search = make('input', {
    type: 'search',
    class: 'search',
    placeholder: 'Search chats',
    'aria-label': 'Search chats',
  });
  const list = make('nav', { class: 'talks', 'aria-label': 'Chats' });
  const fresh = () => {
    newChat();
    if (narrow()) toggleSidebar(false);
  };
  host.append(
    make(
      'div',
      { class: 'sidebar-head' },
      make('span', { class: 'brand' }, mark(), 'Castor'),
      button({ icon: 'sidebar', label: 'Close sidebar', onclick: () => toggleSidebar(false) }),
    ),
    button({ icon: 'compose', text: 'New chat', class: 'new-chat', onclick: fresh }),
    make('div', { class: 'search-box' }, icon('search'), search),
    list,
    make(
      'div',
      { class: 'sidebar-foot' },
      button({ icon: 'gear', text: 'Settings', class: 'quiet', onclick: openSettings }),
      button({ icon: 'help', text: 'Help', class: 'quiet', onclick: openHelp }),
    ),
  );
  refresh = () => {
    if (list.querySelector('.rename')) return;
    const focused = document.activeElement?.dataset?.talk;
    const talks = listTalks(search.value);
    const groups = [...Map.groupBy(talks, heading)];
    list.replaceChildren(...groups.map(([name, some]) => section(name, some, exportTalk)));
    if (talks.length === 0) {
      const none = search.value ? 'No chat holds these words.' : 'Chats are kept in this browser.';
      list.append(make('p', { class: 'talks-none' }, none));
    }
    if (focused) list.querySelector(`[data-talk="${focused}"]`)?.focus();
  };
  search.addEventListener('input', debounced(refresh, 120));
  host.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && narrow()) {
      event.stopPropagation();
      toggleSidebar(false);
      document.querySelector('.header button')?.focus();
    }
  });
  on('list', refresh);
  on('busy', refresh);
}
