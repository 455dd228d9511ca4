/** What a chat looks like on the wire: `contents` and the settings of a request. */

import { toBase64 } from './bytes.js';
import { uploadFile, whenActive } from './server.js';

export const INLINE_BYTES = 4 * 2 ** 20; // what is larger goes through /upload
const KEPT_MS = 47 * 3600 * 1000; // the server keeps uploads for 48 hours

/** Settings of a chat; null leaves a number to the model. */
export const DEFAULTS = Object.freeze({
  model: '',
  system: '',
  temperature: null,
  topP: null,
  topK: null,
  seed: null,
  maxOutputTokens: null,
  thinking: true,
  codeExecution: false,
  functions: '',
  draw: false,
  drafts: false,
});

/**
 * The declarations that a settings text holds.
 * @param {string} text a JSON array of function declarations, or one; empty: none
 */
export function parseFunctions(text) {
  if (!text.trim()) return [];
  const found = JSON.parse(text);
  const list = Array.isArray(found) ? found : (found.functionDeclarations ?? [found]);
  const nameless = list.find((f) => typeof f?.name !== 'string' || !f.name);
  if (nameless) throw new Error('every function needs a "name"');
  return list;
}

function generationConfig(settings, model) {
  const config = {};
  for (const name of ['temperature', 'topP', 'topK', 'seed', 'maxOutputTokens']) {
    if (settings[name] !== null && settings[name] !== undefined) config[name] = settings[name];
  }
  if (settings.draw) config.responseModalities = ['IMAGE'];
  if (model?.thinking && settings.thinking) config.thinkingConfig = { includeThoughts: true };
  return config;
}

/**
 * Everything of a request but its contents.
 * @param {object} settings
 * @param {object} [model] as the server lists it
 */
export function frame(settings, model) {
  const tools = [];
  let functionDeclarations = [];
  try {
    functionDeclarations = parseFunctions(settings.functions ?? '');
  } catch {
    // the settings say so where it was written
  }
  if (functionDeclarations.length) tools.push({ functionDeclarations });
  if (settings.codeExecution) tools.push({ codeExecution: {} });
  const config = generationConfig(settings, model);
  return {
    ...(settings.system?.trim() && { systemInstruction: { parts: [{ text: settings.system }] } }),
    ...(tools.length && { tools }),
    ...(Object.keys(config).length && { generationConfig: config }),
  };
}

/** One medium on the wire; large ones are uploaded once and then named. */
async function mediaPart(media, { blobOf, upload, signal, progress }) {
  if (media.uri && media.until > Date.now()) {
    return { fileData: { mimeType: media.mime, fileUri: media.uri } };
  }
  const blob = await blobOf(media);
  if (!blob) throw new Error(`${media.name} is no longer kept in this browser.`);
  if (blob.size > INLINE_BYTES && upload) {
    const { name, mime } = media;
    const file = await uploadFile(blob, {
      name,
      mime,
      signal,
      progress: (s) => progress?.(name, s),
    });
    media.uri = (await whenActive(file, signal)).uri;
    media.until = Date.now() + KEPT_MS;
    return { fileData: { mimeType: mime, fileUri: media.uri } };
  }
  return { inlineData: { mimeType: media.mime, data: await toBase64(blob) } };
}

/**
 * Turns as `contents`: thoughts stay behind, and turns that hold nothing.
 * @param {import('./tree.js').Turn[]} turns
 * @param {{blobOf: (media: object) => Promise<Blob>, upload?: boolean, signal?: AbortSignal,
 *   progress?: (name: string, share: number) => void}} how
 */
export async function contentsOf(turns, how) {
  const contents = [];
  for (const { role, parts } of turns) {
    const wire = [];
    for (const part of parts) {
      if (part.thought || part.text === '') continue;
      if (part.media) wire.push(await mediaPart(part.media, how));
      else wire.push(part.file ? { text: `${part.file.name}:\n\n${part.text}` } : part);
    }
    if (wire.length) contents.push({ role, parts: wire });
  }
  return contents;
}
