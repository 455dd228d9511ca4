/** The drafts of an answer side by side; the one that is picked becomes the chat. */

import { chooseTurn } from '../talk/asking.js';
import { addressOf } from '../talk/session.js';
import { siblings, textOf } from '../talk/tree.js';
import { make } from './dom.js';

const PEEK = 140; // characters

function peek(turn) {
  const text = textOf(turn)
    .replace(/[*_`$]+/g, '')
    .replace(/^[#>|\s-]+/gm, ' ')
    .replace(/\s+/g, ' ')
    .trim();
  if (text) return text.slice(0, PEEK);
  if (turn.state === 'failed') return 'failed';
  return turn.state === 'done' ? '' : 'writing…';
}

/**
 * Draws the row of drafts above an answer; hidden where there is one answer only.
 * @param {HTMLElement} host
 * @param {import('../talk/tree.js').Talk} talk
 * @param {import('../talk/tree.js').Turn} turn
 */
export function drawDrafts(host, talk, turn) {
  const drafts = turn.group ? siblings(talk, turn).filter((t) => t.group === turn.group) : [];
  host.hidden = drafts.length < 2;
  if (host.hidden) return;
  if (host.children.length !== drafts.length) {
    host.setAttribute('role', 'group');
    host.setAttribute('aria-label', 'Drafts');
    host.replaceChildren(
      ...drafts.map((draft, i) =>
        make(
          'button',
          {
            type: 'button',
            class: 'draft',
            onclick: () => {
              chooseTurn(talk, draft);
              document
                .querySelector(`[data-turn="${draft.id}"] .draft[aria-pressed=true]`)
                ?.focus();
            },
          },
          make('b', {}, `Draft ${i + 1}`),
          make('span', { class: 'draft-peek' }),
        ),
      ),
    );
  }
  drafts.forEach((draft, i) => {
    const card = host.children[i];
    card.setAttribute('aria-pressed', String(draft === turn));
    const media = draft.parts.find((part) => part.media?.mime.startsWith('image/'))?.media;
    if (media && card.dataset.media !== media.id) {
      card.dataset.media = media.id;
      addressOf(media).then((src) => card.lastChild.replaceChildren(make('img', { alt: '', src })));
    } else if (!media) card.lastChild.textContent = peek(draft);
  });
}
