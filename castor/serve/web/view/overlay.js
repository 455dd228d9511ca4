/** What lies over the page: menus, dialogs, short notices, and the one voice for screen readers. */

import { button, make } from './dom.js';
import { icon } from './icons.js';

/** Says something to screen readers, politely, once. */
export function announce(text) {
  const place = document.getElementById('announcer');
  place.textContent = '';
  setTimeout(() => (place.textContent = text), 30);
}

/** Whether something lies over the page that Esc would close first. */
export const isCovered = () =>
  Boolean(document.querySelector('dialog[open], [popover]:popover-open'));

function place(menu, anchor) {
  const at = anchor.getBoundingClientRect();
  const size = menu.getBoundingClientRect();
  const left = Math.min(at.left, innerWidth - size.width - 8);
  const below = at.bottom + 6;
  const top = below + size.height > innerHeight - 8 ? at.top - size.height - 6 : below;
  menu.style.left = `${Math.max(8, left)}px`;
  menu.style.top = `${Math.max(8, top)}px`;
}

function walk(event, menu) {
  const items = [...menu.querySelectorAll('[role^=menuitem]:not(:disabled)')];
  const at = items.indexOf(document.activeElement);
  const to = {
    ArrowDown: (at + 1) % items.length,
    ArrowUp: (at - 1 + items.length) % items.length,
    Home: 0,
    End: items.length - 1,
  }[event.key];
  if (event.key === 'Tab') menu.hidePopover();
  if (to === undefined) return;
  event.preventDefault();
  items[to].focus();
}

/**
 * Opens a menu beside `anchor`.
 * @param {HTMLElement} anchor
 * @param {({text: string, icon?: string, hint?: string, chosen?: boolean, danger?: boolean,
 *   action: () => void} | null)[]} items null = a line between
 */
export function openMenu(anchor, items) {
  const rows = items.map((item) => {
    if (!item) return make('div', { class: 'menu-line', role: 'separator' });
    const act = () => {
      menu.hidePopover();
      item.action();
    };
    const choice = item.chosen !== undefined;
    return make(
      'button',
      {
        type: 'button',
        role: choice ? 'menuitemradio' : 'menuitem',
        'aria-checked': choice ? String(item.chosen) : undefined,
        class: item.danger ? 'menu-item danger' : 'menu-item',
        tabindex: -1,
        onclick: act,
      },
      item.icon && icon(item.icon),
      make('span', { class: 'menu-text' }, item.text, item.hint && make('small', {}, item.hint)),
      item.chosen && icon('check'),
    );
  });
  const label = anchor.getAttribute('aria-label') ?? 'Menu';
  const menu = make(
    'div',
    { class: 'menu', role: 'menu', popover: 'auto', 'aria-label': label },
    rows,
  );
  anchor.setAttribute('aria-haspopup', 'menu');
  (anchor.closest('dialog, aside, header, main') ?? document.body).append(menu);
  menu.addEventListener('keydown', (event) => walk(event, menu));
  menu.addEventListener('toggle', ({ newState }) => {
    anchor.setAttribute('aria-expanded', String(newState === 'open'));
    if (newState !== 'closed') return;
    if (menu.contains(document.activeElement) || document.activeElement === document.body) {
      anchor.focus();
    }
    setTimeout(() => menu.remove());
  });
  menu.showPopover();
  place(menu, anchor);
  (menu.querySelector('[aria-checked=true]') ?? menu.querySelector('[role^=menuitem]'))?.focus();
}

/**
 * Opens a dialog; it is gone when it closes.
 * @param {{title: string, body: any, actions?: any[], kind?: string, closed?: () => void}} given
 * @returns {HTMLDialogElement}
 */
export function openDialog({ title, body, actions, kind = '', closed }) {
  const heading = make('h2', { id: `title-${Date.now()}`, tabindex: -1, autofocus: true }, title);
  const dialog = make(
    'dialog',
    { class: `dialog ${kind}`, 'aria-labelledby': heading.id },
    make(
      'div',
      { class: 'dialog-head' },
      heading,
      button({ icon: 'close', label: 'Close', onclick: () => dialog.close() }),
    ),
    make('div', { class: 'dialog-body' }, body),
    actions && make('div', { class: 'dialog-foot' }, actions),
  );
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener('close', () => {
    dialog.remove();
    closed?.();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * Shows a notice for some seconds above the message box.
 * @param {string} text
 * @param {{kind?: string, action?: {text: string, act: () => void}, gone?: () => void}} [more]
 */
export function notify(text, { kind = '', action, gone } = {}) {
  const close = () => {
    if (!notice.isConnected) return;
    notice.remove();
    gone?.();
  };
  const act = action && (() => (notice.remove(), action.act()));
  const notice = make(
    'div',
    { class: `toast ${kind}` },
    make('span', {}, text),
    action && make('button', { type: 'button', class: 'link', onclick: act }, action.text),
    button({ icon: 'close', label: 'Dismiss', class: 'small', onclick: close }),
  );
  toasts().append(notice);
  announce(text);
  setTimeout(close, action ? 7000 : 5000);
}

/** Where notices go: into the dialog that lies on top, else onto the page. */
function toasts() {
  const host = document.querySelector('dialog[open]') ?? document.querySelector('main');
  const found = host.querySelector(':scope > .toasts');
  return found ?? host.appendChild(make('div', { class: 'toasts' }));
}
