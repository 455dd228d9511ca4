/** How the server is, and which models it has: asked again until both are known. */

import { failureIn, health, listModels } from './server.js';
import { emit, state } from './session.js';

const SOON_MS = 1000;
const LATER_MS = 2000; // where nothing came

function tell(changes) {
  state.status = { ...state.status, ...changes };
  emit('status', state.status);
}

/** What stood in the way of the list, as an error of the API. */
function unlisted(error) {
  const failure = failureIn(error);
  if (failure.status === 'UNREACHABLE') return Object.assign(error, { failure });
  const message = `The list of models did not come: ${failure.message}`;
  return Object.assign(new Error(message), { failure: { ...failure, message } });
}

async function list() {
  try {
    const models = await listModels();
    if (models.length === 0) throw new Error('there is no model that answers.');
    state.models = models;
  } catch (error) {
    throw unlisted(error);
  }
  tell({ why: '', final: false });
  emit('settings', state.current);
}

let listing = null; // the request for the models that is on its way

/** Resolves once the models are known; rejects where the server does not give their list. */
export function knowModels() {
  if (state.models.length > 0) return Promise.resolve();
  listing ??= list().finally(() => (listing = null));
  return listing;
}

/** Asks for the models until they are known, unless the server refuses for good. */
export async function findModels() {
  try {
    await knowModels();
  } catch ({ failure }) {
    const { code, status, message } = failure;
    const final = code >= 400 && code < 500;
    if (status !== 'UNREACHABLE') tell({ why: message, final });
    if (!final) setTimeout(findModels, LATER_MS);
  }
}

async function watchHealth() {
  let next_ms = 0;
  try {
    const { status = 'ok', queue = 0, compiled } = await health();
    tell({ status, queue, compiled });
    if (status !== 'ok') next_ms = SOON_MS;
  } catch {
    tell({ status: 'unreachable' });
    next_ms = LATER_MS;
  }
  if (next_ms) setTimeout(watchHealth, next_ms);
}

/** Looks at the server until it is ready and its models are known. */
export function watchServer() {
  watchHealth();
  findModels();
}
