/** Colours for code: a small scanner that knows comments, strings, numbers, keywords and calls. */

const words = (text) => new Set(text.split(' '));
const C_LIKE =
  'if else for while do switch case break continue return new this true false null void';
const KEYWORDS = {
  python: words(
    'and as assert async await break class continue def del elif else except False finally for from ' +
      'global if import in is lambda None nonlocal not or pass raise return self True try while with yield match case',
  ),
  script: words(
    `${C_LIKE} async await class const default delete export extends from function import in instanceof let ` +
      'of static super throw try catch finally typeof undefined var yield interface type enum implements readonly',
  ),
  shell: words(
    'if then else elif fi for in do done while case esac function return export local set echo cd exit source sudo',
  ),
  sql: words(
    'select from where insert into values update set delete create table drop alter join left right inner ' +
      'outer on group by order having limit as and or not null distinct union primary key references index',
  ),
  c: words(
    `${C_LIKE} int long short char float double bool unsigned signed struct union enum typedef static const ` +
      'auto class public private protected virtual override template typename namespace using include define ' +
      'try catch throw final import package extends implements interface String var func fn let mut pub impl ' +
      'trait use mod match where move ref type defer go chan map range string error nil self Self',
  ),
  data: words('true false null yes no on off'),
};
const FAMILIES = {
  python: 'python py python3 pycon',
  script: 'javascript js mjs jsx typescript ts tsx',
  shell: 'bash sh shell zsh console',
  sql: 'sql sqlite postgresql mysql',
  c: 'c h cpp c++ cc java kotlin kt swift rust rs go cs csharp php scala dart zig cuda',
  data: 'json yaml yml toml ini json5 jsonc',
  markup: 'html xml svg css',
};
const FAMILY = Object.fromEntries(
  Object.entries(FAMILIES).flatMap(([family, names]) => names.split(' ').map((n) => [n, family])),
);
const HASH = /#[^\n]*/y;
const SLASHES = /\/\/[^\n]*|\/\*[\s\S]*?(?:\*\/|$)/y;
const COMMENTS = {
  python: HASH,
  shell: HASH,
  data: /(?:#|\/\/)[^\n]*/y,
  sql: /--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)/y,
  script: SLASHES,
  c: SLASHES,
  markup: /<!--[\s\S]*?(?:-->|$)|\/\*[\s\S]*?(?:\*\/|$)/y,
};
const STRING =
  /"""[\s\S]*?(?:"""|$)|'''[\s\S]*?(?:'''|$)|"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?|`(?:[^`\\]|\\.)*`?/y;
const NUMBER = /\b(?:0[xX][\da-fA-F_]+|\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)\b/y;
const WORD = /[\p{L}_$@][\p{L}\p{N}_$]*/uy;
const TAG = /<\/?[A-Za-z][\w-]*|\/?>/y;
const LONGEST = 60_000; // characters; longer code stays plain

const take = (pattern, text, at) => {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0];
};

/** What stands at `at` and its class ('' = plain). */
function token(text, at, family) {
  const comment = take(COMMENTS[family], text, at);
  if (comment) return [comment, 'hl-comment'];
  if (family === 'markup') {
    const tag = take(TAG, text, at);
    if (tag) return [tag, 'hl-keyword'];
  }
  const quoted = /["'`]/.test(text[at]) && take(STRING, text, at);
  if (quoted) {
    const key =
      family === 'data' && /^\s*:/.test(text.slice(at + quoted.length, at + quoted.length + 8));
    return [quoted, key ? 'hl-name' : 'hl-string'];
  }
  const number = take(NUMBER, text, at);
  if (number) return [number, 'hl-number'];
  const word = take(WORD, text, at);
  if (!word) return [text[at], ''];
  const known = family === 'sql' ? word.toLowerCase() : word;
  if (KEYWORDS[family]?.has(known)) return [word, 'hl-keyword'];
  const after = text[at + word.length];
  if (after === '(') return [word, 'hl-call'];
  return [word, family === 'data' && (after === ':' || after === ' ') ? 'hl-name' : ''];
}

/**
 * Fills `element` with the code, coloured where the language is known.
 * @param {HTMLElement} element
 * @param {string} text
 * @param {string} language as written after the fence
 */
export function drawCode(element, text, language) {
  const family = FAMILY[language.toLowerCase()];
  if (!family || text.length > LONGEST) {
    element.textContent = text;
    return;
  }
  const out = document.createDocumentFragment();
  let plain = '';
  for (let at = 0; at < text.length;) {
    const [piece, kind] = token(text, at, family);
    at += piece.length;
    if (!kind) {
      plain += piece;
      continue;
    }
    if (plain) out.append(plain);
    plain = '';
    const span = document.createElement('span');
    span.className = kind;
    span.textContent = piece;
    out.append(span);
  }
  if (plain) out.append(plain);
  element.replaceChildren(out);
}
