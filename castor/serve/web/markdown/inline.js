/**
 * What stands within a line: emphasis, code, links, formulas. Writes nodes, never markup.
 *
 * Nothing here loads anything by itself: a remote picture becomes a link that says what it is,
 * and a link goes only where a person may want to go (http, https, mailto).
 */

import { drawMath } from './math.js';

const ESCAPABLE = /[!-/:-@[-`{-~]/;
const SAFE = new Set(['http:', 'https:', 'mailto:']);
const EMBEDDED = /^data:image\/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+$/;
const BARE = /^https?:\/\/[^\s<>"'`]+/i;
const STYLES = { '***': ['strong', 'em'], '**': ['strong'], '*': ['em'], '~~': ['del'] };
const DEEPEST = 16;

/**
 * Appends the nodes of one line, or of one paragraph, to `parent`.
 * @param {Node} parent
 * @param {string} text
 * @param {number} [depth]
 */
export function drawInline(parent, text, depth = 0) {
  const hopeless = new Set(); // marks that nothing closes from here on
  let plain = '';
  const flush = () => {
    if (plain) parent.appendChild(document.createTextNode(plain));
    plain = '';
  };
  let at = 0;
  while (at < text.length) {
    const taken =
      depth < DEEPEST && special(text, at, { hopeless, flush, parent, depth, before: plain });
    if (taken) at += taken;
    else {
      plain += text[at];
      at += 1;
    }
  }
  flush();
}

/** How many characters were drawn as something else than text; 0: none. */
function special(text, at, place) {
  switch (text[at]) {
    case '\\':
      return escaped(text, at, place);
    case '\n':
      return lineBreak(text, at, place);
    case '`':
      return codeSpan(text, at, place);
    case '$':
      return formula(text, at, place);
    case '!':
      return text[at + 1] === '[' ? link(text, at, place) : 0;
    case '[':
      return link(text, at, place);
    case '<':
      return pointed(text, at, place);
    case '*':
    case '_':
    case '~':
      return emphasis(text, at, place);
    case 'h':
    case 'H':
      return /[\w/]$/.test(place.before) ? 0 : bare(text, at, place);
    default:
      return 0;
  }
}

function put(place, tag, attributes = {}) {
  place.flush();
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  place.parent.appendChild(element);
  return element;
}

function escaped(text, at, place) {
  const next = text[at + 1];
  if (next === '(' || next === '[') {
    const close = text.indexOf(next === '(' ? '\\)' : '\\]', at + 2);
    if (close > 0) {
      place.flush();
      drawMath(place.parent, text.slice(at + 2, close).trim(), next === '[');
      return close + 2 - at;
    }
  }
  if (next === '\n') {
    put(place, 'br');
    return 2;
  }
  if (next === undefined || !ESCAPABLE.test(next)) return 0;
  place.flush();
  place.parent.appendChild(document.createTextNode(next));
  return 2;
}

function lineBreak(text, at, place) {
  put(place, 'br'); // chats mean the line breaks that they write
  return text.slice(at).match(/^\n */)[0].length;
}

function codeSpan(text, at, place) {
  const ticks = /^`+/.exec(text.slice(at))[0];
  let close = at;
  do close = text.indexOf(ticks, close + ticks.length);
  while (close > 0 && (text[close + ticks.length] === '`' || text[close - 1] === '`'));
  if (close < 0) return 0;
  let inner = text.slice(at + ticks.length, close).replace(/\n/g, ' ');
  if (/^ .*[^ ].* $/.test(inner)) inner = inner.slice(1, -1);
  put(place, 'code').textContent = inner;
  return close + ticks.length - at;
}

function formula(text, at, place) {
  const double = text[at + 1] === '$';
  const rest = text.slice(at);
  const found = double
    ? /^\$\$([^$]+?)\$\$/.exec(rest)
    : /^\$((?:[^\s$\\]|\\.)(?:(?:[^$\\]|\\.)*?(?:[^\s$\\]|\\.))?)\$(?![\d\w])/.exec(rest);
  if (!found || /\n\s*\n/.test(found[1])) return 0;
  place.flush();
  drawMath(place.parent, found[1].trim(), double);
  return found[0].length;
}

/** The address if it may be followed, else null. */
export function safeAddress(address) {
  try {
    const url = new URL(address.trim());
    return SAFE.has(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** The end of what opens at `at`, brackets balanced, or -1. */
function balanced(text, at, open, close) {
  let depth = 0;
  for (let i = at; i < text.length; i += 1) {
    if (text[i] === '\\') i += 1;
    else if (text[i] === open) depth += 1;
    else if (text[i] === close && (depth -= 1) === 0) return i;
  }
  return -1;
}

function link(text, at, place) {
  const picture = text[at] === '!';
  const start = picture ? at + 1 : at;
  if (place.hopeless.has('[')) return 0;
  const middle = balanced(text, start, '[', ']');
  if (middle < 0) place.hopeless.add('[');
  if (middle < 0 || text[middle + 1] !== '(') return 0;
  const end = balanced(text, middle + 1, '(', ')');
  if (end < 0) return 0;
  const label = text.slice(start + 1, middle);
  const inner = text.slice(middle + 2, end).trim();
  const [, pointed_, plain] = /^(?:<([^>]*)>|(\S*))/.exec(inner);
  const address = pointed_ ?? plain ?? '';
  if (picture) drawPicture(place, label, address);
  else {
    const href = safeAddress(address);
    drawInline(href ? anchor(place, href) : put(place, 'span'), label, place.depth + 1);
  }
  return end + 1 - at;
}

function anchor(place, href) {
  return put(place, 'a', { href, target: '_blank', rel: 'noopener noreferrer nofollow' });
}

function drawPicture(place, alt, address) {
  if (EMBEDDED.test(address)) {
    put(place, 'img', { src: address, alt });
    return;
  }
  const href = safeAddress(address);
  const said = `Picture${alt ? `: ${alt}` : ''} (not loaded)`;
  const shown = href ? anchor(place, href) : put(place, 'span');
  shown.className = 'remote-picture';
  shown.textContent = said;
}

function pointed(text, at, place) {
  const found = /^<((?:https?:\/\/|mailto:)[^\s<>]+)>/i.exec(text.slice(at));
  const href = found && safeAddress(found[1]);
  if (!href) return 0;
  anchor(place, href).textContent = found[1].replace(/^mailto:/i, '');
  return found[0].length;
}

function bare(text, at, place) {
  const found = BARE.exec(text.slice(at, at + 2048));
  if (!found) return 0;
  let address = found[0].replace(/[.,:;!?*_~]+$/, '');
  while (address.endsWith(')') && address.split(')').length > address.split('(').length) {
    address = address.slice(0, -1);
  }
  const href = safeAddress(address);
  if (!href) return 0;
  anchor(place, href).textContent = address;
  return address.length;
}

/** Where `mark` closes after `from`, or -1: not after a space, and `_` not within a word. */
function closing(text, from, mark) {
  for (let i = from; i < text.length; i += 1) {
    if (text[i] === '\\') i += 1;
    else if (text[i] === '`') {
      const ticks = /^`+/.exec(text.slice(i))[0];
      const end = text.indexOf(ticks, i + ticks.length);
      i = end < 0 ? i + ticks.length - 1 : end + ticks.length - 1;
    } else if (text[i] === mark[0]) {
      let run = 1;
      while (text[i + run] === mark[0]) run += 1;
      const fits = run === mark.length || (run > mark.length && mark.length > 1) || run === 3;
      const word = mark[0] === '_' && /[\p{L}\p{N}]/u.test(text[i + run] ?? '');
      if (fits && i > from && !/\s/.test(text[i - 1]) && !word) return i + run - mark.length;
      i += run - 1;
    }
  }
  return -1;
}

function emphasis(text, at, place) {
  const run = /^(\*{1,3}|_{1,3}|~{1,2})/.exec(text.slice(at))[0];
  const styles = STYLES[run.replaceAll('_', '*')];
  const next = text[at + run.length];
  if (!styles || next === undefined || /\s/.test(next) || next === run[0]) return 0;
  if (run[0] === '_' && /[\p{L}\p{N}_]$/u.test(place.before)) return 0;
  if (place.hopeless.has(run)) return 0;
  const end = closing(text, at + run.length, run);
  if (end < 0) {
    place.hopeless.add(run);
    return 0;
  }
  const outer = put(place, styles[0]);
  const inner = styles[1] ? outer.appendChild(document.createElement(styles[1])) : outer;
  drawInline(inner, text.slice(at + run.length, end), place.depth + 1);
  return end + run.length - at;
}
