/** What is said below an answer that is not simply there: waiting, stopped, failed, blocked, cut. */

import { button, make } from './dom.js';
import { icon, mark } from './icons.js';

const FINISHES = {
  SAFETY: 'The answer was blocked for safety.',
  RECITATION: 'The answer was stopped because it repeats a source too closely.',
  PROHIBITED_CONTENT: 'The answer was blocked: its content is prohibited.',
  BLOCKLIST: 'The answer was blocked: it holds a word that is not allowed.',
  SPII: 'The answer was blocked: it may hold personal data.',
  IMAGE_SAFETY: 'The picture was blocked for safety.',
  LANGUAGE: 'The model does not write this language.',
  MALFORMED_FUNCTION_CALL: 'The model wrote a call that cannot be read.',
};
const CATEGORIES = {
  HARM_CATEGORY_HARASSMENT: 'harassment',
  HARM_CATEGORY_HATE_SPEECH: 'hate speech',
  HARM_CATEGORY_SEXUALLY_EXPLICIT: 'sexually explicit content',
  HARM_CATEGORY_DANGEROUS_CONTENT: 'dangerous content',
  HARM_CATEGORY_CIVIC_INTEGRITY: 'civic integrity',
};
const FULL = /input token count .* exceeds|exceeds the maximum number of tokens/i;

/** Whether a failure means that the chat no longer fits in the model's context. */
export const isFull = (error) => Boolean(error && error.code === 400 && FULL.test(error.message));

function notice(kind, name, title, text, actions = []) {
  return make(
    'div',
    { class: `notice ${kind}` },
    icon(name),
    make('div', { class: 'notice-text' }, make('strong', {}, title), text && make('p', {}, text)),
    actions.length > 0 && make('div', { class: 'notice-actions' }, actions),
  );
}

/** How far the model's programs are compiled: "The model is warming up (40 %)". */
export const warmingText = (share) => `The model is warming up (${Math.floor(100 * share)} %)`;

function waitingText(run) {
  if (run?.progress) return run.progress;
  if (run?.loading && run.compiled !== undefined) return warmingText(run.compiled);
  if (run?.loading) return 'The model is loading…';
  if (run?.queue > 0)
    return run.queue === 1
      ? 'One request is ahead of yours'
      : `${run.queue} requests are ahead of yours`;
  if (run?.crowd > 1) return `The server is busy: ${run.crowd} requests are waiting`;
  return '';
}

/** What blocked it, in words: "harassment and hate speech". */
function blockedFor(ratings = []) {
  const hit = ratings.filter((r) => r.blocked || ['HIGH', 'MEDIUM'].includes(r.probability));
  return hit.map((r) => CATEGORIES[r.category] ?? r.category).join(' and ');
}

function safety(title, ratings) {
  const found = blockedFor(ratings);
  return notice('caution', 'shield', title, found && `Found: ${found}.`);
}

function failed(turn, actions) {
  const { error } = turn;
  if (isFull(error)) {
    return notice('caution', 'warn', 'This chat no longer fits', error.message, [
      button({ text: 'Start new chat', class: 'primary small', onclick: actions.newChat }),
      button({ text: 'Send only the last turns', class: 'small', onclick: actions.trim }),
    ]);
  }
  const again = button({
    icon: 'again',
    text: 'Try again',
    class: 'small',
    onclick: actions.retry,
  });
  if (error?.retry_s) countDown(again, error.retry_s);
  const title = error?.code
    ? `Error ${error.code}${error.status ? ` · ${error.status}` : ''}`
    : 'Something went wrong';
  return notice('bad', 'warn', title, error?.message ?? '', [again]);
}

/** Keeps a button closed until the server wants to be asked again. */
function countDown(control, seconds) {
  const text = control.querySelector('.button-text');
  const until = Date.now() + seconds * 1000;
  const tick = () => {
    const left = Math.ceil((until - Date.now()) / 1000);
    control.disabled = left > 0;
    text.textContent = left > 0 ? `Try again in ${left} s` : 'Try again';
    if (left <= 0) clearInterval(timer);
  };
  const timer = setInterval(tick, 250);
  tick();
}

/**
 * What stands below the parts of an answer, or null.
 * @param {import('../talk/tree.js').Turn} turn
 * @param {{run?: object, last: boolean, retry: () => void, goOn: () => void, trim: () => void,
 *   newChat: () => void}} actions
 */
export function drawState(turn, actions) {
  const more = (text, title) => {
    const resume = button({
      icon: 'forward',
      text: 'Continue',
      class: 'small',
      onclick: actions.goOn,
    });
    const again = button({
      icon: 'again',
      text: 'Try again',
      class: 'small',
      onclick: actions.retry,
    });
    const offered = actions.last ? [turn.parts.length ? resume : again] : [];
    return notice('', turn.finish ? 'more' : 'stop', title, text, offered);
  };
  switch (turn.state) {
    case 'waiting': {
      const text = waitingText(actions.run);
      return make(
        'div',
        { class: 'waiting' },
        mark('mark moving'),
        make('span', {}, text || 'Thinking it over'),
      );
    }
    case 'streaming':
      return null;
    case 'failed':
      return failed(turn, actions);
    case 'stopped':
      return more('', 'Stopped');
    case 'interrupted':
      return more('', 'The page was closed before the answer was complete');
    default:
  }
  if (turn.block) return safety('This message was blocked', turn.block.safetyRatings);
  if (turn.finish === 'MAX_TOKENS') return more('', 'The answer reached its length limit');
  if (turn.finish === 'SAFETY') return safety(FINISHES.SAFETY, turn.ratings);
  if (FINISHES[turn.finish]) return notice('caution', 'shield', FINISHES[turn.finish], turn.note);
  if (turn.parts.length === 0)
    return make('p', { class: 'muted' }, 'The model had nothing to say.');
  return null;
}

const FEW = 5; // tokens; below, a speed says nothing

/** What an answer took, for the line below it. */
export function usageText(turn) {
  const { usage, seconds, speaking_s } = turn;
  if (!usage) return '';
  const made = usage.candidatesTokenCount ?? 0;
  const speed = speaking_s > 0.05 ? made / speaking_s : seconds > 0 ? made / seconds : 0;
  const words = [made === 1 ? '1 token' : `${made} tokens`];
  if (speed > 0 && made >= FEW)
    words.push(`${speed < 10 ? speed.toFixed(1) : Math.round(speed)}/s`);
  return words.join(' · ');
}

/** The same at length. */
export function usageDetail(turn) {
  const { usage, seconds } = turn;
  const lines = [
    ['Prompt', usage.promptTokenCount],
    ['Answer', usage.candidatesTokenCount],
    ['Thinking', usage.thoughtsTokenCount],
    ['From cache', usage.cachedContentTokenCount],
    ['Total', usage.totalTokenCount],
  ].filter(([, count]) => count);
  const counts = lines.map(([name, count]) => `${name}: ${count} tokens`);
  if (usage.shared > 1) counts.push(`for ${usage.shared} drafts together`);
  if (seconds) counts.push(`in ${seconds.toFixed(1)} s`);
  if (turn.model) counts.push(`by ${turn.model}`);
  return counts.join('\n');
}
