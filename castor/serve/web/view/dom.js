/** Elements, built; nothing here ever parses markup. */

import { icon } from './icons.js';

const PROPERTIES = new Set([
  'value',
  'checked',
  'disabled',
  'hidden',
  'srcObject',
  'indeterminate',
]);

/**
 * An element: `make('a', {class: 'link', onclick: follow, 'aria-label': 'Home'}, 'text', child)`.
 * Properties and children that are undefined, null or false are left out.
 * @param {string} tag
 * @param {Record<string, any>} [properties]
 * @param {...any} children
 * @returns {any}
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (PROPERTIES.has(name)) element[name] = value;
    else if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value !== false) element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.flat(3).filter((c) => c !== undefined && c !== null && c !== false));
  return element;
}

/**
 * A button. Without `text` it shows the icon alone and `label` is what it is called.
 * @param {{icon?: string, label?: string, text?: string, class?: string, [more: string]: any}} given
 * @returns {HTMLButtonElement}
 */
export function button({ icon: name, label, text, class: kind = '', ...more }) {
  const look = text === undefined ? `icon-button ${kind}` : `button ${kind}`;
  return make(
    'button',
    { type: 'button', class: look.trim(), 'aria-label': label, title: label, ...more },
    name && icon(name),
    text !== undefined && make('span', { class: 'button-text' }, text),
  );
}

/**
 * A labelled field: the label above, the control, a line of help below.
 * @param {string} label
 * @param {HTMLElement} control
 * @param {string} [help]
 */
export function field(label, control, help) {
  control.id ||= `field-${Math.random().toString(36).slice(2, 9)}`;
  const hint = help && make('p', { class: 'field-help', id: `${control.id}-help` }, help);
  if (hint) control.setAttribute('aria-describedby', hint.id);
  return make('div', { class: 'field' }, make('label', { for: control.id }, label), control, hint);
}

/** Whether the user's pointer is a finger and there is likely no keyboard. */
export const isTouch = () => matchMedia('(hover: none) and (pointer: coarse)').matches;

/**
 * Calls `action` once, `delay_ms` after the last call.
 * @param {(...values: any[]) => void} action
 * @param {number} delay_ms
 */
export function debounced(action, delay_ms) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), delay_ms);
  };
}

/**
 * Hands a file to the user.
 * @param {Blob} blob
 * @param {string} name
 */
export function download(blob, name) {
  const link = make('a', { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/**
 * Copies text; where the clipboard is closed to pages (plain http), by a selection.
 * @param {string} text
 */
export async function copy(text) {
  if (navigator.clipboard && isSecureContext) return navigator.clipboard.writeText(text);
  const area = make('textarea', { class: 'unseen', value: text });
  const host = document.querySelector('dialog[open]') ?? document.body;
  host.append(area);
  area.select();
  document.execCommand('copy');
  area.remove();
}

/**
 * A button that copies and says so for a moment.
 * @param {() => string} text
 * @param {{label?: string, class?: string, text?: string}} [look]
 */
export function copyButton(text, { label = 'Copy', class: kind = '', text: caption } = {}) {
  const made = button({ icon: 'copy', label, text: caption, class: kind });
  made.addEventListener('click', async () => {
    await copy(text());
    made.replaceChild(icon('check'), made.firstChild);
    made.classList.add('done');
    setTimeout(() => {
      made.replaceChild(icon('copy'), made.firstChild);
      made.classList.remove('done');
    }, 1400);
  });
  return made;
}
