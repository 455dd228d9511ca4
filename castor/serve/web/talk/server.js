/** The server's endpoints, all below the folder that this page came from. */

import { readEvents } from './events.js';

const KEY = 'castor/key';
const CHUNK = 8 * 2 ** 20;
const VERSION = 'v1beta';
let ask = null; // asks the user for a key; resolves to a key or null

const read = (storage) => {
  try {
    return storage.getItem(KEY);
  } catch {
    return null;
  }
};
let key = read(sessionStorage) ?? read(localStorage);

/** The key in use, if any. */
export const currentKey = () => key;

/**
 * Uses a key from now on; `remember` keeps it beyond this tab.
 * @param {string} value
 * @param {boolean} remember
 */
export function useKey(value, remember) {
  key = value;
  try {
    (remember ? localStorage : sessionStorage).setItem(KEY, value);
  } catch {
    // it lives as long as the page
  }
}

/** Says how to ask the user for a key when the server wants one. */
export function askKeyWith(question) {
  ask = question;
}

/**
 * An error of the API: `failure.message` is the server's text, `failure.retry_s` when to come again.
 * @param {any} body what came: an error object, or an array with one
 * @param {number} status of HTTP
 */
export function failureOf(body, status) {
  const error = (Array.isArray(body) ? body[0] : body)?.error ?? {};
  const delay = error.details?.find?.((d) => d.retryDelay)?.retryDelay;
  const failure = {
    code: error.code ?? status,
    status: error.status ?? '',
    message: error.message || `The server answered with status ${status}.`,
    retry_s: delay ? parseFloat(delay) : undefined,
  };
  return Object.assign(new Error(failure.message), { failure });
}

const UNREACHABLE = {
  code: 0,
  status: 'UNREACHABLE',
  message: 'The server cannot be reached. Is it still running?',
};

/** What went wrong, in the form of the API, whatever was thrown. */
export function failureIn(error) {
  if (error.failure) return error.failure;
  if (error instanceof TypeError) return UNREACHABLE;
  return { code: 0, status: '', message: error.message };
}

const wantsKey = ({ code, message }) => [400, 401, 403].includes(code) && /api key/i.test(message);

/** A request; asks for a key once if the server wants one. The response is one with status 200. */
async function request(path, { headers = {}, ...more } = {}, asked = false) {
  const all = key ? { ...headers, 'x-goog-api-key': key } : headers;
  const response = await fetch(path, { ...more, headers: all });
  if (response.ok) return response;
  const error = failureOf(await response.json().catch(() => null), response.status);
  if (asked || !ask || !wantsKey(error.failure)) throw error;
  if ((await ask(error.failure.message)) === null) throw error;
  return request(path, { headers, ...more }, true);
}

const post = (path, body, signal) =>
  request(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal,
  });

/** The models, in the form of the Gemini API. */
export async function listModels() {
  const { models = [] } = await (await request(`${VERSION}/models?pageSize=1000`)).json();
  return models.filter((m) =>
    (m.supportedGenerationMethods ?? ['generateContent']).includes('generateContent'),
  );
}

const modelPath = (model) =>
  `${VERSION}/models/${encodeURIComponent(model.replace(/^models\//, ''))}`;

/**
 * The chunks of an answer as they come.
 * @param {string} model
 * @param {object} body
 * @param {AbortSignal} signal
 */
export async function* streamContent(model, body, signal) {
  const response = await post(`${modelPath(model)}:streamGenerateContent?alt=sse`, body, signal);
  for await (const chunk of readEvents(response.body)) {
    if (chunk.error) throw failureOf(chunk, chunk.error.code ?? 500);
    yield chunk;
  }
}

/** How many tokens a request's contents take; system instruction and tools included. */
export async function countTokens(model, body, signal) {
  const { contents, systemInstruction, tools } = body;
  const whole = {
    model: `models/${model.replace(/^models\//, '')}`,
    contents,
    systemInstruction,
    tools,
  };
  const wire = systemInstruction || tools ? { generateContentRequest: whole } : { contents };
  const { totalTokens } = await (
    await post(`${modelPath(model)}:countTokens`, wire, signal)
  ).json();
  return totalTokens;
}

/** What the server says of itself: {status, model, queue}. Never asks for a key. */
export async function health() {
  const response = await fetch('health', { cache: 'no-store' });
  return response.json();
}

/** Tells the server one rating. */
export const sendFeedback = (rating) => post('feedback', rating);

/** An upload address as seen from here: a proxy may have told the server another origin. */
function reachable(address) {
  const url = new URL(address, document.baseURI);
  return url.origin === location.origin ? url.href : url.pathname + url.search;
}

/**
 * Uploads a file in chunks.
 * @param {Blob} blob
 * @param {{name: string, mime: string, signal?: AbortSignal, progress?: (share: number) => void}} more
 * @returns {Promise<{uri: string, name: string, state: string}>}
 */
export async function uploadFile(blob, { name, mime, signal, progress = () => {} }) {
  const start = await request(`upload/${VERSION}/files`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'x-goog-upload-protocol': 'resumable',
      'x-goog-upload-command': 'start',
      'x-goog-upload-header-content-length': String(blob.size),
      'x-goog-upload-header-content-type': mime,
    },
    body: JSON.stringify({ file: { displayName: name, mimeType: mime } }),
    signal,
  });
  const address = reachable(start.headers.get('x-goog-upload-url'));
  for (let at = 0; ; at += CHUNK) {
    const last = at + CHUNK >= blob.size;
    const response = await request(address, {
      method: 'POST',
      headers: {
        'x-goog-upload-command': last ? 'upload, finalize' : 'upload',
        'x-goog-upload-offset': String(at),
      },
      body: blob.slice(at, at + CHUNK),
      signal,
    });
    progress(Math.min(1, (at + CHUNK) / blob.size));
    if (last) return (await response.json()).file;
  }
}

/** Waits until an uploaded file may be used. */
export async function whenActive(file, signal) {
  for (let now = file, tries = 0; ; tries += 1) {
    if (now.state !== 'PROCESSING') return now;
    if (tries > 120) throw new Error(`${file.name} is still being processed`);
    await new Promise((resolve) => setTimeout(resolve, 500));
    now = await (await request(`${VERSION}/${file.name}`, { signal })).json();
  }
}
