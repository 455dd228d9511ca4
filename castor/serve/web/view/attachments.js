/** Files on their way into a message: what may come, and how each is shown. */

import { nameFor } from '../talk/answer.js';
import { sizeText } from '../talk/bytes.js';
import { addressOf, holdMedia } from '../talk/session.js';
import { freshId } from '../talk/tree.js';
import { button, make } from './dom.js';
import { icon } from './icons.js';

export const ACCEPT =
  'image/*,audio/*,video/*,text/*,application/pdf,.md,.json,.csv,.py,.js,.ts,.flac,.opus';
const ALIASES = {
  'image/jpg': 'image/jpeg',
  'audio/x-wav': 'audio/wav',
  'audio/wave': 'audio/wav',
  'audio/mp3': 'audio/mpeg',
  'audio/x-flac': 'audio/flac',
  'audio/x-m4a': 'audio/mp4',
};
const ENDINGS = {
  flac: 'audio/flac',
  opus: 'audio/ogg',
  mkv: 'video/x-matroska',
  avif: 'image/avif',
};
const TEXT = /^(text\/|application\/(json|xml|x-sh|javascript|toml|x-yaml|yaml|sql))/;
const TEXT_ENDING =
  /\.(md|txt|json|jsonl|csv|tsv|py|js|mjs|ts|tsx|jsx|c|h|cc|cpp|rs|go|java|rb|sh|sql|toml|ya?ml|xml|html|css|log|tex)$/i;
const MOST_TEXT = 1_000_000; // bytes
const MOST_BYTES = 2_000_000_000; // what the upload protocol allows

function mimeOf(file) {
  const type = file.type.split(';')[0];
  return ALIASES[type] ?? (type || ENDINGS[file.name.split('.').pop().toLowerCase()] || '');
}

/**
 * A file as a part of a message: text is read, anything else is held as it is.
 * @param {File} file
 * @returns {Promise<import('../talk/tree.js').Part>}
 */
export async function partFrom(file) {
  const mime = mimeOf(file);
  if (file.size === 0) throw new Error(`${file.name} is empty`);
  if (TEXT.test(mime) || TEXT_ENDING.test(file.name)) {
    if (file.size > MOST_TEXT) throw new Error(`${file.name} has more than 1 MB of text`);
    return { text: await file.text(), file: { name: file.name, size: file.size } };
  }
  if (!/^(image|audio|video)\//.test(mime) && mime !== 'application/pdf') {
    throw new Error(`${file.name} is no picture, sound, clip, text or PDF`);
  }
  if (file.size > MOST_BYTES) throw new Error(`${file.name} is larger than 2 GB`);
  return { media: mediaFrom(file, mime, file.name || nameFor(mime)) };
}

/** A medium held in memory until its message is sent. */
export function mediaFrom(blob, mime, name) {
  const media = { id: freshId(), mime, name, size: blob.size };
  holdMedia(media, blob);
  return media;
}

const KIND = { image: 'picture', audio: 'ear', video: 'film' };

/**
 * How an attachment is shown: pictures and clips as a thumbnail, sounds with a player.
 * @param {import('../talk/tree.js').Part} part
 * @param {{remove?: () => void, open?: () => void}} [actions]
 */
export function drawAttachment(part, { remove, open } = {}) {
  const { name, size } = part.media ?? part.file;
  const kind = part.media?.mime.split('/')[0] ?? 'file';
  const chip = make('div', { class: `attachment ${kind}`, role: 'group', 'aria-label': name });
  const fallback = () =>
    chip.prepend(
      make('span', { class: 'attachment-icon' }, icon(KIND[kind] ?? 'file')),
      make(
        'span',
        { class: 'attachment-text' },
        make('b', {}, name),
        make('small', {}, sizeText(size)),
      ),
    );
  if (kind === 'image') {
    const image = make('img', {
      alt: name,
      'data-media': part.media.id,
      onerror: () => (image.remove(), fallback()),
    });
    const frame = open
      ? make(
          'button',
          { type: 'button', class: 'thumb', 'aria-label': `Enlarge ${name}`, onclick: open },
          image,
        )
      : make('span', { class: 'thumb' }, image);
    chip.append(frame);
    addressOf(part.media).then((address) =>
      address ? (image.src = address) : (frame.remove(), fallback()),
    );
  } else if (kind === 'audio' || kind === 'video') {
    const player = make(kind, {
      controls: true,
      preload: 'metadata',
      'data-media': part.media.id,
      'aria-label': name,
    });
    chip.append(player);
    addressOf(part.media).then((address) =>
      address ? (player.src = address) : (player.remove(), fallback()),
    );
  } else fallback();
  if (remove) {
    chip.append(
      button({ icon: 'close', label: `Remove ${name}`, class: 'remove small', onclick: remove }),
    );
  }
  return chip;
}

/**
 * Files that were dropped or pasted.
 * @param {DataTransfer | null} transfer
 * @returns {File[]}
 */
export const filesIn = (transfer) => [...(transfer?.files ?? [])];
