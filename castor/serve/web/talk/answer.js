/** One answer as it arrives: chunks of the wire become parts of turns. */

import { fromBase64 } from './bytes.js';
import { streamContent } from './server.js';
import { freshId } from './tree.js';

const EXTENSIONS = { jpeg: 'jpg', 'svg+xml': 'svg', mpeg: 'mp3', 'x-wav': 'wav', L16: 'pcm' };

/** A name for a file that has none: "picture.png". */
export function nameFor(mime) {
  const [kind, rest] = mime.split(/[/;]/);
  const stem = { image: 'picture', audio: 'sound', video: 'clip' }[kind] ?? 'file';
  return `${stem}.${EXTENSIONS[rest] ?? rest ?? 'bin'}`;
}

/** Adds what one chunk says to a turn; text joins the text before it. */
function append(turn, part, keep) {
  const last = turn.parts.at(-1);
  const data = part.inlineData ?? part.inline_data;
  if (data) {
    const mime = data.mimeType ?? data.mime_type;
    const blob = fromBase64(data.data, mime);
    const media = { id: freshId(), mime, name: nameFor(mime), size: blob.size };
    keep(media, blob);
    turn.parts.push({ media });
  } else if (typeof part.text === 'string') {
    const joins = last?.text !== undefined && Boolean(last.thought) === Boolean(part.thought);
    if (joins) last.text += part.text;
    else if (part.text)
      turn.parts.push({ text: part.text, ...(part.thought && { thought: true }) });
  } else turn.parts.push(part);
}

function take(turns, chunk, keep) {
  for (const candidate of chunk.candidates ?? []) {
    const turn = turns[candidate.index ?? 0];
    if (!turn) continue;
    for (const part of candidate.content?.parts ?? []) append(turn, part, keep);
    if (turn.parts.length) turn.state = 'streaming';
    if (candidate.safetyRatings) turn.ratings = candidate.safetyRatings;
    if (candidate.finishReason) {
      turn.finish = candidate.finishReason;
      turn.note = candidate.finishMessage;
      turn.state = 'done';
    }
  }
  if (chunk.promptFeedback?.blockReason) {
    for (const turn of turns) Object.assign(turn, { block: chunk.promptFeedback, state: 'done' });
  }
  if (chunk.modelVersion) for (const turn of turns) turn.model = chunk.modelVersion;
}

/**
 * Streams an answer into `turns`, one for each candidate, until it ends, fails or is stopped.
 * @param {import('./tree.js').Turn[]} turns
 * @param {{model: string, body: object, signal: AbortSignal,
 *   keep: (media: object, blob: Blob) => void, changed: (queue?: number) => void}} how
 */
export async function streamInto(turns, { model, body, signal, keep, changed }) {
  const asked = performance.now();
  const before = turns.map((turn) => turn.usage?.candidatesTokenCount ?? 0);
  let first = 0;
  for await (const chunk of streamContent(model, body, signal)) {
    take(turns, chunk, keep);
    const now = performance.now();
    if (!first && chunk.candidates?.length) first = now;
    for (const turn of turns) {
      turn.seconds = (now - asked) / 1000;
      turn.speaking_s = (now - (first || now)) / 1000;
    }
    if (chunk.usageMetadata) note(turns, chunk.usageMetadata, before);
    changed(chunk.queue?.position);
  }
  if (turns.every((turn) => turn.state === 'done')) return;
  throw new Error('The answer ended before it was finished.');
}

/** Usage on each turn: with several candidates the tokens are those of all together. */
function note(turns, usage, before) {
  turns.forEach((turn, i) => {
    const count = (usage.candidatesTokenCount ?? 0) + before[i];
    turn.usage = { ...usage, candidatesTokenCount: count, shared: turns.length };
  });
}
