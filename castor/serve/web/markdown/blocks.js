/**
 * Markdown to a tree of blocks. No HTML: a tag in the text stays text.
 *
 * @typedef {{kind: 'heading', level: number, text: string}
 *   | {kind: 'paragraph' | 'math', text: string}
 *   | {kind: 'code', language: string, text: string, closed: boolean}
 *   | {kind: 'quote', blocks: Block[]}
 *   | {kind: 'list', ordered: boolean, start: number, loose: boolean, items: Item[]}
 *   | {kind: 'table', align: string[], head: string[], rows: string[][]}
 *   | {kind: 'rule'}} Block
 * @typedef {{blocks: Block[], task: boolean | null}} Item
 */

const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const MARKER = /^( *)([-*+]|\d{1,9}[.)])(?:( +)(.*)|)$/;
const DELIMITERS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
const DISPLAY =
  /^ {0,3}(?:(\$\$)|(\\\[)|\\begin\{((?:equation|align|gather|multline|alignat|cases)\*?)\})/;
const DEEPEST = 12; // lists and quotes deeper than this are text

/**
 * @param {string} text
 * @returns {Block[]}
 */
export function parseBlocks(text) {
  return parseLines(text.replace(/\r\n?/g, '\n').replace(/\t/g, '    ').split('\n'), 0).map(
    ([block]) => block,
  );
}

/**
 * The top-level blocks, each with the text that it came from: what is unchanged need not be redrawn.
 * @param {string} text
 * @returns {{block: Block, source: string}[]}
 */
export function parseSources(text) {
  const lines = text.replace(/\r\n?/g, '\n').replace(/\t/g, '    ').split('\n');
  return parseLines(lines, 0).map(([block, start, end]) => ({
    block,
    source: lines.slice(start, end).join('\n'),
  }));
}

/** @returns {[Block, number, number][]} each block with its first line and the one after its last */
function parseLines(lines, depth) {
  const found = [];
  let at = 0;
  while (at < lines.length) {
    if (lines[at].trim() === '') {
      at += 1;
      continue;
    }
    const [block, end] =
      fence(lines, at) ??
      display(lines, at) ??
      heading(lines, at) ??
      rule(lines, at) ??
      table(lines, at) ??
      (depth < DEEPEST ? (quote(lines, at, depth) ?? list(lines, at, depth)) : null) ??
      indented(lines, at) ??
      paragraph(lines, at);
    found.push([block, at, end]);
    at = end;
  }
  return found;
}

function fence(lines, at) {
  const open = FENCE.exec(lines[at]);
  if (!open) return null;
  const indent = lines[at].search(/\S/);
  const close = new RegExp(`^ {0,3}${open[1][0]}{${open[1].length},}[ \\t]*$`);
  let end = at + 1;
  while (end < lines.length && !close.test(lines[end])) end += 1;
  const strip = new RegExp(`^ {0,${indent}}`);
  const text = lines.slice(at + 1, end).map((line) => line.replace(strip, ''));
  const closed = end < lines.length;
  const language = open[2].trim().split(/[\s{]/)[0];
  return [{ kind: 'code', language, text: text.join('\n'), closed }, closed ? end + 1 : end];
}

function display(lines, at) {
  const open = DISPLAY.exec(lines[at]);
  if (!open) return null;
  const close = open[1] ?? (open[2] ? '\\]' : `\\end{${open[3]}}`);
  const inside = open[3] ? 0 : open[0].length;
  for (let end = at; end < lines.length && (end === at || lines[end].trim() !== ''); end += 1) {
    const stop = lines[end].indexOf(close, end === at ? open[0].length : 0);
    if (stop < 0) continue;
    if (lines[end].slice(stop + close.length).trim() !== '') return null; // goes on as text
    const body = lines.slice(at, end + 1);
    body[body.length - 1] = body.at(-1).slice(0, open[3] ? undefined : stop);
    body[0] = body[0].slice(inside);
    return [{ kind: 'math', text: body.join('\n').trim() }, end + 1];
  }
  return null; // not closed yet
}

function heading(lines, at) {
  const found = HEADING.exec(lines[at]);
  return found && [{ kind: 'heading', level: found[1].length, text: found[2] ?? '' }, at + 1];
}

function rule(lines, at) {
  return RULE.test(lines[at]) ? [{ kind: 'rule' }, at + 1] : null;
}

function quote(lines, at, depth) {
  if (!QUOTE.test(lines[at])) return null;
  let end = at + 1;
  while (end < lines.length && lines[end].trim() !== '') {
    if (!QUOTE.test(lines[end]) && startsBlock(lines, end)) break;
    end += 1;
  }
  const inner = lines.slice(at, end).map((line) => line.replace(QUOTE, ''));
  return [{ kind: 'quote', blocks: parseLines(inner, depth + 1).map(([b]) => b) }, end];
}

/** The cells of one row; `\|` and bars within backticks part nothing. */
function cells(line) {
  const row = line.trim().replace(/^\|/, '');
  const found = [''];
  let ticked = false;
  for (let i = 0; i < row.length; i += 1) {
    if (row[i] === '\\' && row[i + 1] === '|') {
      found[found.length - 1] += '|';
      i += 1;
    } else if (row[i] === '|' && !ticked) found.push('');
    else {
      if (row[i] === '`') ticked = !ticked && row.indexOf('`', i + 1) > 0;
      found[found.length - 1] += row[i];
    }
  }
  if (found.length > 1 && found.at(-1).trim() === '') found.pop();
  return found.map((cell) => cell.trim());
}

function table(lines, at) {
  const under = lines[at + 1];
  if (under === undefined || !lines[at].includes('|') || !DELIMITERS.test(under)) return null;
  const head = cells(lines[at]);
  const marks = cells(under);
  if (marks.length !== head.length) return null;
  const align = marks.map((mark) => {
    if (mark.endsWith(':')) return mark.startsWith(':') ? 'center' : 'right';
    return mark.startsWith(':') ? 'left' : '';
  });
  let end = at + 2;
  const rows = [];
  while (end < lines.length && lines[end].trim() !== '' && lines[end].includes('|')) {
    const row = cells(lines[end]).slice(0, head.length);
    while (row.length < head.length) row.push('');
    rows.push(row);
    end += 1;
  }
  return [{ kind: 'table', align, head, rows }, end];
}

const sameList = (a, b) => a.at(-1) === b.at(-1) && /\d/.test(a) === /\d/.test(b);

/** Whether the line belongs to an item whose content starts at `inside`; models indent loosely. */
function belongs(line, inside) {
  const indent = line.search(/\S/);
  return indent >= inside || (indent >= 2 && MARKER.test(line));
}

function list(lines, at, depth) {
  const first = MARKER.exec(lines[at]);
  if (!first || first[1].length > 3) return null;
  const items = [];
  let loose = false;
  let end = at;
  while (end < lines.length) {
    const mark = MARKER.exec(lines[end]);
    if (!mark || mark[1].length > 3 || !sameList(mark[2], first[2]) || RULE.test(lines[end])) break;
    const inside = mark[1].length + mark[2].length + Math.min(mark[3]?.length ?? 1, 4);
    const body = [lines[end].slice(inside)];
    end += 1;
    while (end < lines.length) {
      if (lines[end].trim() === '') {
        const next = lines.slice(end).findIndex((line) => line.trim() !== '');
        if (next < 0 || !belongs(lines[end + next], inside)) break;
        loose ||= lines[end + next].search(/\S/) >= inside && !MARKER.test(lines[end + next]);
        body.push('');
      } else if (belongs(lines[end], inside)) {
        body.push(lines[end].slice(Math.min(lines[end].search(/\S/), inside)));
      } else if (MARKER.test(lines[end]) || startsBlock(lines, end) || body.at(-1) === '') break;
      else body.push(lines[end].trim());
      end += 1;
    }
    items.push(item(body, depth));
    const next = lines.slice(end).findIndex((line) => line.trim() !== '');
    if (next > 0) {
      const again = MARKER.exec(lines[end + next]);
      if (!again || again[1].length > 3 || !sameList(again[2], first[2])) break;
      loose = true;
      end += next;
    }
  }
  if (items.length === 0) return null;
  const ordered = /\d/.test(first[2]);
  return [{ kind: 'list', ordered, start: parseInt(first[2], 10) || 1, loose, items }, end];
}

function item(body, depth) {
  const task = /^\[([ xX])\] +/.exec(body[0]);
  if (task) body[0] = body[0].slice(task[0].length);
  const blocks = parseLines(body, depth + 1).map(([block]) => block);
  return { blocks, task: task ? task[1] !== ' ' : null };
}

function indented(lines, at) {
  if (!lines[at].startsWith('    ')) return null;
  let end = at;
  while (end < lines.length && (lines[end].startsWith('    ') || lines[end].trim() === ''))
    end += 1;
  while (lines[end - 1].trim() === '') end -= 1;
  const text = lines
    .slice(at, end)
    .map((line) => line.slice(4))
    .join('\n');
  return [{ kind: 'code', language: '', text, closed: true }, end];
}

/** Whether a line ends the paragraph before it. */
function startsBlock(lines, at) {
  const mark = MARKER.exec(lines[at]);
  const begins = mark && mark[4] !== undefined && (!/\d/.test(mark[2]) || mark[2].startsWith('1'));
  return Boolean(
    FENCE.test(lines[at]) ||
    display(lines, at) ||
    HEADING.test(lines[at]) ||
    RULE.test(lines[at]) ||
    QUOTE.test(lines[at]) ||
    (begins && mark[1].length <= 3) ||
    table(lines, at),
  );
}

function paragraph(lines, at) {
  let end = at + 1;
  while (end < lines.length && lines[end].trim() !== '') {
    const under = /^ {0,3}(=+|-+) *$/.exec(lines[end]);
    if (under) {
      const text = lines.slice(at, end).join('\n').trim();
      return [{ kind: 'heading', level: under[1][0] === '=' ? 1 : 2, text }, end + 1];
    }
    if (startsBlock(lines, end)) break;
    end += 1;
  }
  const text = lines.slice(at, end).map((line) => line.trimStart());
  return [{ kind: 'paragraph', text: text.join('\n').trimEnd() }, end];
}
