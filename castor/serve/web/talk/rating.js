/**
 * What a user thinks of an answer, as one line of JSON that training can read.
 *
 * A line is a document in the form of the Gemini API: `contents` ends with the rated answer, media
 * ride along in base64. Beside it stand `rating` ("up", "down"), `reasons`, `reason` in the user's
 * words, and `others`: the answers to the same words that were not rated so. The last line of an
 * `id` counts; one with the rating null takes it back.
 */

import { contentsOf, frame } from './request.js';
import { sendFeedback } from './server.js';
import { blobOf, modelOf, save, state } from './session.js';
import { pathTo, siblings } from './tree.js';

/** What may be wrong, or right, with an answer. */
export const REASONS = {
  up: ['Correct', 'Easy to understand', 'Complete', 'Well drawn'],
  down: ['Not correct', 'Did not follow instructions', 'Not useful', 'Badly drawn', 'Unsafe'],
};

async function record(talk, turn) {
  const how = { blobOf };
  const { systemInstruction, tools, generationConfig } = frame(talk.settings, modelOf(talk));
  const others = [];
  for (const other of siblings(talk, turn)) {
    if (other === turn || other.state === 'failed') continue;
    const [content] = await contentsOf([other], how);
    if (content) others.push({ content, rating: other.rating?.rating ?? null });
  }
  return {
    id: turn.id,
    ...(systemInstruction && { systemInstruction }),
    contents: await contentsOf(pathTo(talk, turn), how),
    origin: `chat/${talk.id}#${turn.id}`,
    tags: [`rating/${turn.rating.rating}`],
    ...turn.rating,
    others,
    model: turn.model ?? modelOf(talk)?.name ?? '',
    ...(tools && { tools }),
    ...(generationConfig && { generationConfig }),
    time: new Date().toISOString(),
  };
}

/**
 * Rates an answer: keeps it here and tells the server. Without a rating, takes it back.
 * @param {import('./tree.js').Talk} talk
 * @param {import('./tree.js').Turn} turn
 * @param {{rating: 'up' | 'down', reasons?: string[], reason?: string} | null} given
 */
export async function rate(talk, turn, given) {
  turn.rating = given ? { reasons: [], reason: '', ...given } : undefined;
  save(talk);
  if (!given) {
    await state.store.remove('ratings', turn.id);
    return sendFeedback({ id: turn.id, rating: null, time: new Date().toISOString() });
  }
  const line = await record(talk, turn);
  await state.store.put('ratings', line);
  return sendFeedback(line);
}

/** All ratings, one JSON object a line. */
export async function ratingLines() {
  const lines = await state.store.all('ratings');
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('');
}
