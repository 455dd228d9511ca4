/** Why an answer was good or bad: asked after a thumb, never required. */

import { REASONS } from '../talk/rating.js';
import { button, field, make } from './dom.js';
import { notify, openDialog } from './overlay.js';

/**
 * Asks why; `tell` is called once, when the user has said it or will not say it.
 * @param {'up' | 'down'} rating
 * @param {(more: {reasons: string[], reason: string}) => void} tell
 */
export function askReason(rating, tell) {
  const chosen = new Set();
  const chips = REASONS[rating].map((reason) => {
    const chip = button({ text: reason, class: 'chip', 'aria-pressed': 'false' });
    chip.addEventListener('click', () => {
      const now = !chosen.has(reason);
      if (now) chosen.add(reason);
      else chosen.delete(reason);
      chip.setAttribute('aria-pressed', String(now));
    });
    return chip;
  });
  const words = make('textarea', { rows: 3 });
  let said = { reasons: [], reason: '' };
  const send = () => {
    said = { reasons: [...chosen], reason: words.value.trim() };
    dialog.close();
    notify('Thank you. It is kept with the chat.');
  };
  const dialog = openDialog({
    title: rating === 'up' ? 'What was good?' : 'What went wrong?',
    kind: 'narrow',
    body: [
      make('div', { class: 'chips', role: 'group', 'aria-label': 'Reasons' }, chips),
      field(
        'In your words',
        words,
        'Your rating and the chat up to here go to this server, which keeps them for training.',
      ),
    ],
    actions: [
      button({ text: 'Skip', onclick: () => dialog.close() }),
      button({ text: 'Send', class: 'primary', onclick: send }),
    ],
    closed: () => tell(said),
  });
}
