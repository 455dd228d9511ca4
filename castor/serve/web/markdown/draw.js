/** Markdown onto the page: blocks to elements, redrawing only what changed while text streams in. */

import { copyButton, make } from '../view/dom.js';
import { parseSources } from './blocks.js';
import { drawCode } from './highlight.js';
import { drawInline } from './inline.js';
import { drawMath } from './math.js';

const drawn = new WeakMap(); // container -> the sources of its children

/**
 * Shows `text` in `container`. Called again with more text it keeps the blocks that did not change,
 * so that a selection within them survives.
 * @param {HTMLElement} container
 * @param {string} text
 */
export function drawMarkdown(container, text) {
  const wanted = ranked(parseSources(text));
  const before = drawn.get(container) ?? [];
  let same = 0;
  while (same < wanted.length && wanted[same].source === before[same]) same += 1;
  while (container.childNodes.length > same) container.lastChild.remove();
  for (const { block } of wanted.slice(same)) container.append(drawBlock(block));
  drawn.set(
    container,
    wanted.map(({ source }) => source),
  );
}

function inline(tag, text, properties) {
  const element = make(tag, properties);
  drawInline(element, text);
  return element;
}

/** Headings get the rank of their element: the first is an h3, and no rank is left out below. */
function ranked(sources) {
  const open = []; // levels of the headings that the next one stands below
  return sources.map(({ block, source }) => {
    if (block.kind !== 'heading') return { block, source };
    while (open.length && open.at(-1) >= block.level) open.pop();
    open.push(block.level);
    const rank = Math.min(2 + open.length, 6);
    return { block: { ...block, rank }, source: `${rank}:${source}` };
  });
}

/** One block as an element. */
function drawBlock(block) {
  switch (block.kind) {
    case 'heading':
      return inline(`h${block.rank ?? 6}`, block.text, { class: `size-${block.level}` });
    case 'paragraph':
      return inline('p', block.text);
    case 'code':
      return codeBlock(block.text, block.language);
    case 'math': {
      const holder = make('div', { class: 'math-block' });
      drawMath(holder, block.text, true);
      return holder;
    }
    case 'quote':
      return make('blockquote', {}, block.blocks.map(drawBlock));
    case 'list':
      return drawList(block);
    case 'table':
      return drawTable(block);
    default:
      return make('hr');
  }
}

/**
 * A block of code under a line with its language and a button that copies it.
 * @param {string} text
 * @param {string} language
 */
export function codeBlock(text, language) {
  const code = make('code');
  drawCode(code, text, language);
  return make(
    'div',
    { class: 'code-block' },
    make(
      'div',
      { class: 'code-head' },
      make('span', {}, language || 'text'),
      copyButton(() => text, { label: 'Copy code', text: 'Copy', class: 'small' }),
    ),
    make('pre', { tabindex: 0, 'aria-label': `Code, ${language || 'text'}`, role: 'group' }, code),
  );
}

function drawList(block) {
  const items = block.items.map(({ blocks, task }) => {
    const item = make('li', { class: task === null ? undefined : 'task' });
    if (task !== null) {
      const label = task ? 'done' : 'not done';
      item.append(
        make('input', { type: 'checkbox', checked: task, disabled: true, 'aria-label': label }),
      );
    }
    blocks.forEach((inner, i) => {
      if (inner.kind === 'paragraph' && !block.loose) {
        if (i > 0 && blocks[i - 1].kind === 'paragraph') item.append(make('br'));
        drawInline(item, inner.text);
      } else item.append(drawBlock(inner));
    });
    return item;
  });
  const start = block.ordered && block.start !== 1 ? block.start : undefined;
  return make(block.ordered ? 'ol' : 'ul', { start }, items);
}

function drawTable({ align, head, rows }) {
  const cell = (tag) => (text, i) =>
    inline(tag, text, {
      class: align[i] && `align-${align[i]}`,
      scope: tag === 'th' ? 'col' : undefined,
    });
  const table = make(
    'table',
    {},
    make('thead', {}, make('tr', {}, head.map(cell('th')))),
    make(
      'tbody',
      {},
      rows.map((row) => make('tr', {}, row.map(cell('td')))),
    ),
  );
  return make(
    'div',
    { class: 'table-wrap', tabindex: 0, role: 'group', 'aria-label': 'Table' },
    table,
  );
}
