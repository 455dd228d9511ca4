/** What a user does with a chat: ask, stop, ask again, edit, draft, go on, answer a call. */

import { streamInto } from './answer.js';
import { lastThatFit } from './fit.js';
import { contentsOf, frame } from './request.js';
import { failureIn, health } from './server.js';
import {
  blobOf,
  emit,
  holdMedia,
  modelOf,
  save,
  show,
  state,
  storeMedia,
  touch,
} from './session.js';
import { knowModels } from './status.js';
import { addTurn, choose, freshId, path, pathTo, siblings } from './tree.js';

const DRAFTS = 3;
const PATIENCE_MS = 1200; // before the user is told what the server is doing

/** Ways to change an answer: what is shown, and what is asked. */
export const CHANGES = {
  Shorter: 'Make your last answer shorter.',
  Longer: 'Make your last answer longer.',
  Simpler: 'Make your last answer easier to understand.',
  'More casual': 'Make your last answer sound more casual.',
  'More professional': 'Make your last answer sound more professional.',
};

/** Whether an answer is on its way in that chat. */
export const isBusy = (talk) => state.runs.has(talk?.id);

/** The body of a request for what follows `turns`. */
export async function bodyFor(talk, turns, { candidates = 1, again = 0, signal, progress } = {}) {
  const model = modelOf(talk);
  const body = frame(talk.settings, model);
  const how = { blobOf, upload: true, signal, progress };
  const fit = talk.trim ? await lastThatFit(talk, turns, { model, body, how }) : turns;
  talk.from = fit.length < turns.length ? fit[0].id : undefined;
  const config = { ...body.generationConfig };
  if (candidates > 1) config.candidateCount = candidates;
  if (config.seed !== undefined) config.seed += again; // another answer, not the same one
  const generationConfig = Object.keys(config).length ? config : undefined;
  return { ...body, contents: await contentsOf(fit, how), generationConfig };
}

/** Tells what the server is doing while nothing comes. */
function watch(run, turns, changed) {
  return setInterval(async () => {
    if (!turns.every((turn) => turn.state === 'waiting') || run.told) return;
    try {
      const { status, queue, compiled } = await health();
      Object.assign(run, { loading: status === 'loading', compiled, crowd: queue });
      changed();
    } catch {
      // the request itself will say it
    }
  }, PATIENCE_MS);
}

/** Waits for the models, as long as the user does. */
const modelsOrStop = (signal) =>
  new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason));
    knowModels().then(resolve, reject);
  });

function conclude(turns, error, stopped) {
  for (const turn of turns) {
    if (turn.state !== 'waiting' && turn.state !== 'streaming') continue;
    turn.state = stopped ? 'stopped' : 'failed';
    if (!stopped) turn.error = failureIn(error);
  }
}

/** Sends what was said once the models are known, and takes what comes. */
async function exchange(talk, turns, before, { entry, again, changed }) {
  const { signal } = entry.control;
  const progress = (name, share) => {
    entry.progress = `Uploading ${name}: ${Math.round(100 * share)} %`;
    changed();
  };
  const keep = (media, blob) => {
    holdMedia(media, blob);
    storeMedia(media);
  };
  await modelsOrStop(signal);
  entry.progress = '';
  changed();
  const candidates = turns.length;
  const body = await bodyFor(talk, before, { candidates, again, signal, progress });
  entry.progress = '';
  await streamInto(turns, { model: modelOf(talk).name, body, signal, keep, changed });
}

/** Lets the server answer into `turns`; `before` are the turns that it reads. */
async function run(talk, turns, before, again = 0) {
  const control = new AbortController();
  const progress = state.models.length > 0 ? '' : 'Waiting for the server…';
  const entry = { control, turns, queue: 0, crowd: 0, loading: false, progress };
  state.runs.set(talk.id, entry);
  const fresh = { state: 'waiting', error: undefined, finish: undefined, block: undefined };
  for (const turn of turns) Object.assign(turn, fresh);
  touch(talk);
  emit('busy', talk);
  if (state.current === talk) emit('talk', talk);
  const changed = (position) => {
    if (position !== undefined) Object.assign(entry, { queue: position, told: true });
    save(talk);
    for (const turn of turns) emit('turn', turn);
  };
  const timer = watch(entry, turns, changed);
  try {
    await exchange(talk, turns, before, { entry, again, changed });
  } catch (error) {
    conclude(turns, error, control.signal.aborted);
  }
  clearInterval(timer);
  state.runs.delete(talk.id);
  if (state.talks.has(talk.id)) touch(talk);
  emit('busy', talk);
  if (state.current === talk) emit('talk', talk);
}

/** New turns for an answer below `parent`. */
function answer(talk, parent, drafts) {
  const count = drafts ? DRAFTS : 1;
  const group = drafts ? freshId() : undefined;
  const made = Date.now();
  const again = siblings(talk, { parent: parent.id }).length;
  const turns = Array.from({ length: count }, (_, i) =>
    addTurn(talk, { parent: parent.id, role: 'model', state: 'waiting', made: made + i, group }),
  );
  choose(talk, turns[0]);
  return run(talk, turns, pathTo(talk, parent), again);
}

/** Says something in the shown chat. */
export function send(parts) {
  const talk = state.current;
  if (isBusy(talk)) return null;
  const parent = path(talk).at(-1)?.id ?? '';
  return ask(talk, parent, parts);
}

function ask(talk, parent, parts) {
  for (const { media } of parts) if (media) storeMedia(media);
  const turn = addTurn(talk, { parent, role: 'user', parts });
  const first = !state.talks.has(talk.id);
  touch(talk);
  if (first) show(talk);
  return answer(talk, turn, talk.settings.drafts);
}

/** Asks again with other words: the old ones stay as a version. */
export const edit = (talk, turn, parts) => ask(talk, turn.parent, parts);

/** Another answer to the same words; with `drafts`, three at once. */
export const regenerate = (talk, turn, drafts = false) =>
  answer(talk, talk.turns[turn.parent], drafts);

/** The same answer once more, after it failed. */
export function retry(talk, turn) {
  const turns = turn.group
    ? siblings(talk, turn).filter((t) => t.group === turn.group && t.state === 'failed')
    : [turn];
  for (const again of turns) Object.assign(again, { parts: [], usage: undefined });
  return run(talk, turns, pathTo(talk, talk.turns[turn.parent]));
}

/** Lets an answer that was cut go on where it ended. */
export const goOn = (talk, turn) => run(talk, [turn], pathTo(talk, turn));

/** Asks for the answer in another way, as the next words of the chat. */
export const change = (name) => send([{ text: CHANGES[name] }]);

/** Answers a call of the model's, on the user's word. */
export function respond(call, response) {
  const { id, name } = call;
  return send([{ functionResponse: { ...(id && { id }), name, response } }]);
}

/** Stops the answer that is on its way; what came of it stays. */
export function stop(talk = state.current) {
  state.runs.get(talk?.id)?.control.abort();
}

/** Shows another version of a turn. */
export function chooseTurn(talk, turn) {
  choose(talk, turn);
  save(talk);
  emit('talk', talk);
}

/** From now on only the last turns that fit are sent. */
export function sendOnlyLast(talk) {
  talk.trim = true;
  const last = path(talk).at(-1);
  save(talk);
  emit('settings', talk);
  return last?.state === 'failed' ? retry(talk, last) : null;
}
