/** Whether a chat fits in the model's context, and what of it does. */

import { contentsOf, frame, INLINE_BYTES } from './request.js';
import { countTokens } from './server.js';
import { blobOf, modelOf, state } from './session.js';
import { path } from './tree.js';

const ROOM = 0.25; // of the context is left to the answer when turns are left out

/**
 * The last turns that leave room for an answer, from a user's turn on; at least the last question.
 * @param {import('./tree.js').Talk} talk
 * @param {import('./tree.js').Turn[]} turns
 * @param {{model: object, body: object, how: object}} given
 */
export async function lastThatFit(talk, turns, { model, body, how }) {
  const limit = model?.inputTokenLimit;
  if (!limit) return turns;
  const starts = turns.flatMap((turn, i) => (turn.role === 'user' ? [i] : []));
  let low = 0;
  let high = starts.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    const contents = await contentsOf(turns.slice(starts[middle]), how);
    const tokens = await countTokens(model.name, { ...body, contents }, how.signal);
    if (tokens <= limit * (1 - ROOM)) high = middle;
    else low = middle + 1;
  }
  return turns.slice(starts[low] ?? 0);
}

/** Roughly, where the server does not count: four characters a token. */
function estimate(contents) {
  const text = JSON.stringify(contents, (name, value) => (name === 'data' ? '' : value));
  return Math.round(text.length / 4);
}

/**
 * How many tokens the shown chat takes with `parts` as its next words.
 * @param {import('./tree.js').Part[]} parts
 * @param {AbortSignal} signal
 * @returns {Promise<{tokens: number, limit: number, exact: boolean}>}
 */
export async function measure(parts, signal) {
  const talk = state.current;
  const model = modelOf(talk);
  const limit = model?.inputTokenLimit ?? 0;
  const shown = path(talk);
  const from = Math.max(
    0,
    shown.findIndex((turn) => turn.id === talk.from),
  );
  const turns = [...shown.slice(from), ...(parts.length ? [{ role: 'user', parts }] : [])];
  const large = ({ media }) => media && media.size > INLINE_BYTES && !media.uri;
  const small = turns.map((turn) => ({ ...turn, parts: turn.parts.filter((p) => !large(p)) }));
  const contents = await contentsOf(small, { blobOf, signal });
  if (contents.length === 0 || !model) return { tokens: 0, limit, exact: true };
  try {
    const tokens = await countTokens(
      model.name,
      { ...frame(talk.settings, model), contents },
      signal,
    );
    return { tokens, limit, exact: !turns.some((turn) => turn.parts.some(large)) };
  } catch (error) {
    if (signal.aborted) throw error;
    return { tokens: estimate(contents), limit, exact: false };
  }
}
