/** One turn on the page, with everything that can be done about it. */

import * as asking from '../talk/asking.js';
import { rate } from '../talk/rating.js';
import { blobOf, state } from '../talk/session.js';
import { children, siblings, textOf } from '../talk/tree.js';
import { drawAttachment, mediaFrom } from './attachments.js';
import { createComposer } from './composer.js';
import { button, copyButton, make } from './dom.js';
import { drawDrafts } from './drafts.js';
import { mark } from './icons.js';
import { notify, openMenu } from './overlay.js';
import { drawParts, showPicture } from './parts.js';
import { askReason } from './reasons.js';
import { canSpeak, isSpeaking, speak } from './speech.js';
import { drawState, usageDetail, usageText } from './states.js';

/** `< 2 / 3 >` between the versions of a turn, where there are several. */
function switcher(talk, turn) {
  const all = siblings(talk, turn);
  const drafts = turn.group && all.every((other) => other.group === turn.group);
  if (all.length < 2 || drafts) return null;
  const at = all.indexOf(turn);
  const busy = asking.isBusy(talk);
  const step = (name, label, to) =>
    button({
      icon: name,
      label,
      class: 'small',
      disabled: busy || !all[to],
      onclick: () => {
        asking.chooseTurn(talk, all[to]);
        const shown = document.querySelector(`[data-turn="${all[to].id}"]`);
        const same = shown?.querySelector(`[aria-label="${label}"]`);
        (same?.disabled ? shown.querySelector('.switcher button:not(:disabled)') : same)?.focus();
      },
    });
  return make(
    'div',
    { class: 'switcher', role: 'group', 'aria-label': 'Versions' },
    step('left', 'Previous version', at - 1),
    make(
      'span',
      { 'aria-label': `Version ${at + 1} of ${all.length}` },
      `${at + 1} / ${all.length}`,
    ),
    step('right', 'Next version', at + 1),
  );
}

/** What a user's turn holds: files, answers to calls, words. */
function drawSaid(body, turn) {
  const shelf = turn.parts.filter((part) => part.media || part.file);
  const open = (media) => (media ? () => showPicture(media, media.name) : undefined);
  const files = shelf.map((part) => drawAttachment(part, { open: open(part.media) }));
  const answered = turn.parts.filter((part) => part.functionResponse);
  const results = make('div', { class: 'results' });
  drawParts(results, answered, { live: false, prompt: '', respond: null });
  const words = textOf(turn);
  const held = [
    files.length > 0 && make('div', { class: 'attachments' }, files),
    answered.length > 0 && results,
    words && make('div', { class: 'bubble', dir: 'auto' }, words),
  ];
  body.replaceChildren(...held.filter(Boolean));
}

/** What can be done with a user's turn. */
function userActions(talk, turn, edit) {
  const text = textOf(turn);
  const editable = !asking.isBusy(talk) && !turn.parts.some((part) => part.functionResponse);
  const actions = make(
    'div',
    { class: 'actions' },
    text && copyButton(() => text, { label: 'Copy message', class: 'small' }),
    editable && button({ icon: 'edit', label: 'Edit message', class: 'small', onclick: edit }),
  );
  return [actions, switcher(talk, turn)].filter(Boolean);
}

/**
 * A message of the user's.
 * @param {import('../talk/tree.js').Talk} talk
 * @param {import('../talk/tree.js').Turn} turn
 */
function userMessage(talk, turn) {
  const body = make('div', { class: 'turn-body' });
  const foot = make('div', { class: 'turn-foot' });
  const element = make(
    'article',
    { class: 'turn user', 'data-turn': turn.id },
    make('h2', { class: 'unseen' }, 'You said'),
    body,
    foot,
  );
  let footed = '';
  const draw = () => {
    footed = '';
    drawSaid(body, turn);
    update();
  };
  const edit = () => {
    const close = () => {
      element.classList.remove('editing');
      draw();
      document.getElementById('ask').focus();
    };
    const send = (parts) => {
      element.classList.remove('editing');
      asking.edit(talk, turn, parts);
      document.getElementById('ask').focus();
    };
    const composer = createComposer({ kind: 'edit', parts: turn.parts, send, cancel: close });
    element.classList.add('editing');
    body.replaceChildren(composer.element);
    foot.replaceChildren();
    composer.focus();
    composer.write(composer.written());
  };
  const update = () => {
    if (element.classList.contains('editing')) return;
    const key = JSON.stringify([asking.isBusy(talk), siblings(talk, turn).map(({ id }) => id)]);
    if (key === footed) return;
    footed = key;
    foot.replaceChildren(...userActions(talk, turn, edit));
  };
  draw();
  return { element, update, edit };
}

function thumbs(talk, turn) {
  const make_ = (rating, name, label) => {
    const chosen = turn.rating?.rating === rating;
    const tell = (given) =>
      rate(talk, turn, given).catch(() =>
        notify('The server did not take the rating; it is kept here.'),
      );
    return button({
      icon: name,
      label,
      class: `small ${chosen ? 'chosen' : ''}`,
      'aria-pressed': String(chosen),
      onclick: (event) => {
        const given = chosen ? null : { rating };
        const row = event.currentTarget.parentNode;
        turn.rating = given ?? undefined;
        row.replaceWith(thumbs(talk, turn));
        document.querySelector(`[data-turn="${turn.id}"] [aria-label="${label}"]`)?.focus();
        if (given) askReason(rating, (more) => tell({ rating, ...more }));
        else tell(null);
      },
    });
  };
  return make(
    'span',
    { class: 'thumbs' },
    make_('up', 'up', 'Good answer'),
    make_('down', 'thumbdown', 'Bad answer'),
  );
}

function modelActions(talk, turn, last) {
  const again = button({ icon: 'again', label: 'Answer again', class: 'small' });
  again.addEventListener('click', () =>
    openMenu(again, [
      { icon: 'again', text: 'Answer again', action: () => asking.regenerate(talk, turn) },
      { icon: 'drafts', text: 'Three drafts', action: () => asking.regenerate(talk, turn, true) },
    ]),
  );
  const tune = button({ icon: 'tune', label: 'Change this answer', class: 'small' });
  tune.addEventListener('click', () =>
    openMenu(
      tune,
      Object.keys(asking.CHANGES).map((name) => ({
        text: name,
        action: () => asking.change(name),
      })),
    ),
  );
  const text = textOf(turn);
  const reading = isSpeaking(turn.id);
  const read = button({
    icon: reading ? 'quiet' : 'speak',
    label: reading ? 'Stop reading' : 'Read aloud',
    class: 'small',
    onclick: () => speak(turn.id, text),
  });
  const usage = usageText(turn);
  if (turn.parts.length === 0) return [switcher(talk, turn)];
  return [
    make(
      'div',
      { class: 'actions' },
      text && copyButton(() => text, { label: 'Copy answer', class: 'small' }),
      thumbs(talk, turn),
      again,
      last && text && tune,
      text && canSpeak() && read,
    ),
    switcher(talk, turn),
    usage && make('span', { class: 'usage', title: usageDetail(turn) }, usage),
  ];
}

/** All that the state below an answer shows: it is drawn anew when this changes. */
const stateKey = (turn, run, last) =>
  JSON.stringify([
    [turn.state, turn.finish, turn.error, turn.block, turn.parts.length > 0, last],
    [run?.queue, run?.crowd, run?.loading, run?.compiled, run?.progress],
  ]);

/** The same of the line of actions: what has the focus there keeps it otherwise. */
const footKey = (talk, turn, busy, last) => {
  const versions = siblings(talk, turn).map(({ id }) => id);
  return JSON.stringify([busy, last, versions, turn.rating, turn.usage, isSpeaking(turn.id)]);
};

/**
 * An answer of the model's.
 * @param {import('../talk/tree.js').Talk} talk
 * @param {import('../talk/tree.js').Turn} turn
 * @param {{newChat: () => void, useAsInput: (part: object) => void}} page
 */
function modelMessage(talk, turn, page) {
  const drafts = make('div', { class: 'drafts', hidden: true });
  const body = make('div', { class: 'turn-body', dir: 'auto' });
  const below = make('div', { class: 'turn-state' });
  const foot = make('div', { class: 'turn-foot' });
  const element = make(
    'article',
    { class: 'turn model', 'data-turn': turn.id },
    make('h2', { class: 'unseen' }, 'Castor said'),
    make('div', { class: 'avatar' }, mark()),
    make('div', { class: 'turn-column' }, drafts, body, below, foot),
  );
  const useAsInput = async (media) => {
    const blob = await blobOf(media);
    page.useAsInput({ media: mediaFrom(blob, media.mime, media.name) });
  };
  const actions = {
    retry: () => asking.retry(talk, turn),
    goOn: () => asking.goOn(talk, turn),
    trim: () => asking.sendOnlyLast(talk),
    newChat: page.newChat,
  };
  let shown = '';
  let footed = '';
  const update = () => {
    const live = turn.state === 'streaming' || turn.state === 'waiting';
    const run = state.runs.get(talk.id);
    const last = children(talk, turn.id).length === 0;
    const asked = talk.turns[turn.parent];
    const respond = last && !run ? asking.respond : null;
    drawDrafts(drafts, talk, turn);
    drawParts(body, turn.parts, { live, prompt: asked ? textOf(asked) : '', useAsInput, respond });
    element.classList.toggle('live', turn.state === 'streaming');
    const told = stateKey(turn, run, last);
    if (told !== shown)
      below.replaceChildren(...[drawState(turn, { ...actions, run, last })].filter(Boolean));
    shown = told;
    const busy = Boolean(live || run);
    const key = footKey(talk, turn, busy, last);
    if (key === footed) return;
    footed = key;
    foot.replaceChildren(...(busy ? [] : modelActions(talk, turn, last).filter(Boolean)));
  };
  update();
  return { element, update };
}

/** The view of a turn: `element`, `update()`, and `edit()` where it can be edited. */
export const createMessage = (talk, turn, page) =>
  turn.role === 'user' ? userMessage(talk, turn) : modelMessage(talk, turn, page);
