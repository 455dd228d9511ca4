/** Chats to files and back: Markdown and a page for people, JSON for this page. */

import { fromBase64, toBase64 } from './bytes.js';
import { DEFAULTS } from './request.js';
import { blobOf, holdMedia, state, storeMedia, touch } from './session.js';
import { freshId, mediaOf, path } from './tree.js';

const FORMAT = 'castor-chats';
const SHEETS =
  'tokens controls layout transcript parts markdown composer overlays fields'.split(' ');

/** A file name from a title. */
export function fileStem(title) {
  const safe = title
    .replace(/[^\p{L}\p{N}]+/gu, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 60);
  return safe.toLowerCase() || 'chat';
}

async function dataAddress(media) {
  const blob = await blobOf(media);
  return blob ? `data:${media.mime};base64,${await toBase64(blob)}` : '';
}

async function partText(part) {
  if (part.thought) return '';
  if (part.file) return `*(${part.file.name})*\n\n${fenced(part.text, '')}`;
  if (part.text) return part.text;
  if (part.media) {
    const { mime, name } = part.media;
    if (!mime.startsWith('image/')) return `*(${name}, ${mime})*`;
    return `![${name}](${await dataAddress(part.media)})`;
  }
  if (part.executableCode) {
    return fenced(part.executableCode.code, part.executableCode.language?.toLowerCase() ?? '');
  }
  const [kind] = Object.keys(part);
  return `*${kind}*\n\n${fenced(JSON.stringify(part[kind], null, 2), 'json')}`;
}

const fenced = (text, language) => `\`\`\`${language}\n${text}\n\`\`\``;

/**
 * The shown turns of a chat as Markdown, pictures within.
 * @param {import('./tree.js').Talk} talk
 */
export async function toMarkdown(talk) {
  const lines = [`# ${talk.title}`];
  for (const turn of path(talk)) {
    lines.push(turn.role === 'user' ? '## You' : '## Castor');
    for (const part of turn.parts) lines.push(await partText(part));
  }
  return `${lines.filter(Boolean).join('\n\n')}\n`;
}

/**
 * Chats with all their versions and media, as JSON that `fromJson` reads.
 * @param {import('./tree.js').Talk[]} talks
 */
export async function toJson(talks) {
  const media = {};
  for (const { id, mime, name } of talks.flatMap(mediaOf)) {
    const blob = await blobOf({ id });
    if (blob) media[id] = { mime, name, data: await toBase64(blob) };
  }
  return JSON.stringify({ format: FORMAT, version: 1, talks, media });
}

/** Refuses what is no chat, so that nothing half-read is kept. */
function check(talk) {
  const turns = Object.entries(talk?.turns ?? { none: null });
  const sound = ([id, turn]) =>
    turn?.id === id && ['user', 'model'].includes(turn.role) && Array.isArray(turn.parts);
  if (typeof talk?.title !== 'string' || !turns.every(sound)) {
    throw new Error('the file holds something that is no chat');
  }
}

/**
 * Adds the chats of a file; one that is here already comes beside it.
 * @param {string} text
 * @returns {Promise<import('./tree.js').Talk[]>}
 */
export async function fromJson(text) {
  let given;
  try {
    given = JSON.parse(text);
  } catch {
    throw new Error('the file is no JSON');
  }
  if (given?.format !== FORMAT || !Array.isArray(given.talks)) {
    throw new Error('the file was not exported from this page');
  }
  given.talks.forEach(check);
  for (const [id, { mime, name, data }] of Object.entries(given.media ?? {})) {
    const blob = fromBase64(data, mime);
    holdMedia({ id }, blob);
    await storeMedia({ id, mime, name });
  }
  for (const talk of given.talks) {
    if (state.talks.has(talk.id)) talk.id = freshId();
    talk.settings = { ...DEFAULTS, ...talk.settings };
    touch(talk);
  }
  return given.talks;
}

const escape = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

/** The address of each picture replaced by its data. */
async function embedded(element) {
  const copy = element.cloneNode(true);
  const gone = 'button, .turn-foot, .drafts, audio, video, [hidden], dialog, input[type=file]';
  const media = [...element.querySelectorAll('[data-media]')];
  const copies = [...copy.querySelectorAll('[data-media]')];
  for (const [i, shown] of media.entries()) {
    const blob = await blobOf({ id: shown.dataset.media });
    if (blob && shown.tagName === 'IMG') {
      copies[i].setAttribute('src', `data:${blob.type};base64,${await toBase64(blob)}`);
      copies[i].closest('button')?.replaceWith(copies[i]);
    }
  }
  for (const unwanted of copy.querySelectorAll(gone)) unwanted.remove();
  return copy.outerHTML;
}

/**
 * A page of its own with what is shown, to read or to give away. It loads nothing.
 * @param {import('./tree.js').Talk} talk
 * @param {HTMLElement} transcript
 */
export async function toPage(talk, transcript) {
  const sheets = SHEETS.map((name) => fetch(`web/style/${name}.css`).then((r) => r.text()));
  const style = (await Promise.all(sheets)).join('\n').replace(/@font-face\s*\{[^}]*\}/g, '');
  const theme = document.documentElement.dataset.theme;
  return `<!doctype html>
<html lang="en"${theme ? ` data-theme="${theme}"` : ''} class="exported">
<head><meta charset="utf-8"><title>${escape(talk.title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<style>${style}</style></head>
<body><main><h1 class="exported-title">${escape(talk.title)}</h1>${await embedded(transcript)}</main></body>
</html>
`;
}
