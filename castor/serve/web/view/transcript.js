/** The conversation: which turns are shown, in what order, and where the window looks. */

import { on, state } from '../talk/session.js';
import { path } from '../talk/tree.js';
import { isBusy } from '../talk/asking.js';
import { make } from './dom.js';
import { createMessage } from './message.js';

const NEAR = 80; // px from the end that count as being at the end

/** Keeps the window at the end of the log, until one scrolls up. */
function createFollower({ log, scroller, down }) {
  let follow = true;
  let height = 0; // where the window was: only going up ends the following
  const toEnd = (behavior = 'instant') =>
    scroller.scrollTo({ top: scroller.scrollHeight, behavior });
  const atEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR;
  scroller.addEventListener('scroll', () => {
    if (atEnd()) follow = true;
    else if (scroller.scrollTop < height) follow = false;
    height = scroller.scrollTop;
    down.hidden = atEnd();
  });
  down.addEventListener('click', () => {
    follow = true;
    toEnd('smooth');
  });
  new ResizeObserver(() => follow && toEnd()).observe(log);
  return {
    begin: () => (follow = true),
    followEnd: () => {
      follow = true;
      toEnd();
    },
  };
}

/** Puts the views of these turns into the log, in their order, and takes out all others. */
function arrange(log, views, turns, create) {
  const ids = new Set(turns.map(({ id }) => id));
  for (const [id, view] of views) {
    if (ids.has(id)) continue;
    view.element.remove();
    views.delete(id);
  }
  turns.forEach((turn, i) => {
    if (!views.has(turn.id)) views.set(turn.id, create(turn));
    const { element, update } = views.get(turn.id);
    const there = log.querySelectorAll(':scope > .turn')[i];
    if (there !== element) log.insertBefore(element, there ?? null);
    update();
  });
}

/**
 * @param {{log: HTMLElement, scroller: HTMLElement, down: HTMLButtonElement,
 *   page: {newChat: () => void, useAsInput: (part: object) => void}}} given
 */
export function createTranscript({ log, scroller, down, page }) {
  const views = new Map(); // turn id -> its view
  let talk = null;
  const due = new Set();
  const follower = createFollower({ log, scroller, down });

  const leftOut = make('p', { class: 'left-out' }, 'What is above is not sent to the model.');
  const render = () => {
    if (talk !== state.current) {
      log.replaceChildren();
      views.clear();
      follower.begin();
    }
    talk = state.current;
    arrange(log, views, path(talk), (turn) => createMessage(talk, turn, page));
    leftOut.remove();
    if (talk.from && views.has(talk.from)) views.get(talk.from).element.before(leftOut);
    log.setAttribute('aria-busy', String(isBusy(talk)));
  };

  const flush = () => {
    for (const id of due) views.get(id)?.update();
    due.clear();
  };
  on('talk', render);
  on('turn', (turn) => {
    const first = due.size === 0;
    const group = turn.group && [...views.values()].find((v) => v.element.dataset.turn !== turn.id);
    if (views.has(turn.id)) due.add(turn.id);
    else if (group)
      for (const other of path(talk)) if (other.group === turn.group) due.add(other.id);
    if (first && due.size) requestAnimationFrame(flush);
  });

  return {
    /** Opens the last message of the user's for editing; false where there is none. */
    editLast: () => {
      if (isBusy(talk)) return false;
      const last = path(talk).findLast((turn) => turn.role === 'user');
      views.get(last?.id)?.edit();
      return Boolean(last);
    },
    followEnd: follower.followEnd,
  };
}
