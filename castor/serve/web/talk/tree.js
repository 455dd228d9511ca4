/**
 * A chat as a tree of turns: an edit or a new answer is a sibling, and nothing is lost.
 *
 * Invariant: `path(talk)` is one turn per level, from a first turn along `talk.chosen`.
 *
 * @typedef {{id: string, mime: string, name: string, size: number, uri?: string, until?: number}} Media
 * @typedef {{text?: string, thought?: boolean, file?: {name: string, size: number}, media?: Media, functionCall?: object,
 *   functionResponse?: object, executableCode?: object, codeExecutionResult?: object}} Part
 * @typedef {{id: string, parent: string, role: 'user' | 'model', parts: Part[], made: number,
 *   state: 'done' | 'waiting' | 'streaming' | 'stopped' | 'interrupted' | 'failed',
 *   group?: string, finish?: string, usage?: object, seconds?: number, error?: object,
 *   block?: object, model?: string, rating?: object}} Turn
 * @typedef {{id: string, title: string, named: boolean, pinned: boolean, made: number,
 *   changed: number, turns: Record<string, Turn>, chosen: Record<string, string>,
 *   settings: object, trim: boolean, from?: string}} Talk
 */

/** An id that nothing else has; also where pages have no secure context. */
export function freshId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** @returns {Talk} */
export function newTalk(settings, now = Date.now()) {
  const times = { made: now, changed: now };
  const names = { title: 'New chat', named: false, pinned: false };
  return { id: freshId(), ...names, ...times, turns: {}, chosen: {}, settings, trim: false };
}

/**
 * Adds a turn below `parent` ('' = a first turn) and chooses it.
 * @param {Talk} talk
 * @param {Partial<Turn>} given
 * @returns {Turn}
 */
export function addTurn(talk, given) {
  const turn = { id: freshId(), parent: '', parts: [], made: Date.now(), state: 'done', ...given };
  talk.turns[turn.id] = turn;
  talk.chosen[turn.parent] = turn.id;
  return turn;
}

/** The turns below `parent`, oldest first. */
export function children(talk, parent) {
  return Object.values(talk.turns)
    .filter((turn) => turn.parent === parent)
    .sort((a, b) => a.made - b.made);
}

/** All versions of a turn, itself among them. */
export const siblings = (talk, turn) => children(talk, turn.parent);

/** The turns that are shown, first to last. */
export function path(talk) {
  const shown = [];
  let at = '';
  for (;;) {
    const next = talk.turns[talk.chosen[at]] ?? children(talk, at).at(-1);
    if (!next || shown.includes(next)) return shown;
    shown.push(next);
    at = next.id;
  }
}

/** The turns up to and with `turn`, whatever is chosen. */
export function pathTo(talk, turn) {
  const found = [];
  for (let at = turn; at; at = talk.turns[at.parent]) found.unshift(at);
  return found;
}

/** Shows another version: from there on what was last chosen below it. */
export function choose(talk, turn) {
  talk.chosen[turn.parent] = turn.id;
}

/** The plain text of a turn, thoughts left out. */
export function textOf(turn) {
  return turn.parts
    .filter((p) => p.text && !p.thought && !p.file)
    .map((p) => p.text)
    .join('');
}

const KINDS = { image: 'A picture', audio: 'A recording', video: 'A clip' };

/** A title from the first words of the first turn. */
export function titleOf(talk) {
  const first = path(talk)[0];
  if (!first) return 'New chat';
  const line = textOf(first)
    .replace(/[#*_`>]+/g, ' ')
    .replace(/\s+/g, ' ')
    .trim();
  if (line === '') {
    const media = first.parts.find((p) => p.media)?.media;
    const file = first.parts.find((p) => p.file)?.file;
    return media ? (KINDS[media.mime.split('/')[0]] ?? media.name) : (file?.name ?? 'New chat');
  }
  if (line.length <= 48) return line;
  const cut = line.slice(0, 48);
  return `${cut.slice(0, Math.max(cut.lastIndexOf(' '), 24)).trim()}…`;
}

/** Every medium that a talk refers to. */
export function mediaOf(talk) {
  return Object.values(talk.turns).flatMap((t) =>
    t.parts.flatMap((p) => (p.media ? [p.media] : [])),
  );
}
