/**
 * What the page knows: chats, the one that is shown, models, and which answers are on their way.
 *
 * Events (`on`): `list` chats or their titles changed · `talk` other turns are shown ·
 * `turn` one turn changed · `busy` an answer began or ended · `status` of the server ·
 * `settings` of the shown chat · `notice` something to tell the user.
 */

import { DEFAULTS } from './request.js';
import { openStore } from './store.js';
import { mediaOf, newTalk, titleOf } from './tree.js';

const listeners = new Map();
const SETTINGS = 'castor/settings';
const OWN = ['system', 'functions', 'draw', 'drafts', 'codeExecution']; // stay with their chat
const SAVE_MS = 300;

export const state = {
  store: null,
  /** @type {Map<string, import('./tree.js').Talk>} */
  talks: new Map(),
  /** @type {import('./tree.js').Talk} */
  current: null,
  models: [],
  /**
   * `compiled` is the share of the model's programs that are ready while it warms up, `why` what
   * the server says of a list of models that it does not give, `final` that asking again is vain.
   * @type {{status: 'unknown' | 'ok' | 'loading' | 'unreachable', queue: number,
   *   compiled?: number, why?: string, final?: boolean}}
   */
  status: { status: 'unknown', queue: 0 },
  runs: new Map(), // talk id -> {control, turns, queue, progress}
};

/** Calls `action` with the detail of each event of that name. */
export function on(name, action) {
  listeners.set(name, [...(listeners.get(name) ?? []), action]);
}

/** Tells those who listen. */
export function emit(name, detail) {
  for (const action of listeners.get(name) ?? []) action(detail);
}

const blobs = new Map(); // media id -> Blob
const addresses = new Map(); // media id -> object URL

/** Holds a medium in memory; it is stored when a turn with it is. */
export const holdMedia = (media, blob) => void blobs.set(media.id, blob);

/** Stores a medium for as long as a chat refers to it. */
export function storeMedia(media) {
  const { id, mime, name } = media;
  const blob = blobs.get(id);
  return blob && state.store.put('media', { id, mime, name, blob }).catch(tellFull);
}

/** The bytes of a medium, or undefined where they are gone. */
export async function blobOf({ id }) {
  if (!blobs.has(id)) {
    const kept = await state.store.get('media', id);
    if (kept) blobs.set(id, kept.blob);
  }
  return blobs.get(id);
}

/** An address that the page can show a medium from. */
export async function addressOf(media) {
  const blob = await blobOf(media);
  if (blob && !addresses.has(media.id)) addresses.set(media.id, URL.createObjectURL(blob));
  return addresses.get(media.id);
}

const tellFull = () =>
  emit('notice', {
    text: 'This browser has no room left: new messages are not kept.',
    kind: 'bad',
  });

function readSettings() {
  try {
    return { ...DEFAULTS, ...JSON.parse(localStorage.getItem(SETTINGS) ?? '{}') };
  } catch {
    return { ...DEFAULTS };
  }
}

state.current = newTalk(readSettings()); // until the store is open

/** Changes settings of the shown chat; what is not the chat's own, also of chats to come. */
export function changeSettings(changes) {
  Object.assign(state.current.settings, changes);
  const lasting = Object.entries(state.current.settings).filter(([name]) => !OWN.includes(name));
  try {
    localStorage.setItem(SETTINGS, JSON.stringify(Object.fromEntries(lasting)));
  } catch {
    // they hold for this chat
  }
  if (state.talks.has(state.current.id)) save(state.current);
  emit('settings', state.current);
}

/** The model of a chat as the server lists it: the chosen one, else the first. */
export function modelOf(talk) {
  return state.models.find((m) => m.name === talk?.settings.model) ?? state.models[0];
}

const waiting = new Map(); // talk id -> timer
const written = new Map(); // talk id -> when it was last written
const channel = 'BroadcastChannel' in globalThis ? new BroadcastChannel('castor') : null;

async function write(talk) {
  clearTimeout(waiting.get(talk.id));
  waiting.delete(talk.id);
  written.set(talk.id, Date.now());
  try {
    await state.store.put('talks', talk);
    channel?.postMessage(talk.id);
  } catch {
    tellFull();
  }
}

/** Keeps a chat: at once, or soon where it was kept a moment ago; with `now` always at once. */
export function save(talk, { now = false } = {}) {
  if (now || Date.now() - (written.get(talk.id) ?? 0) > SAVE_MS) return write(talk);
  if (!waiting.has(talk.id))
    waiting.set(
      talk.id,
      setTimeout(() => write(talk), SAVE_MS),
    );
}

/** Notes that a chat has something new: it moves to the top and gets its title. */
export function touch(talk) {
  talk.changed = Date.now();
  state.talks.set(talk.id, talk);
  if (!talk.named) talk.title = titleOf(talk);
  save(talk);
  emit('list');
}

/** A turn that was on its way when the page closed will not go on. */
function settle(talk) {
  for (const turn of Object.values(talk.turns)) {
    if (turn.state === 'waiting' || turn.state === 'streaming') turn.state = 'interrupted';
  }
  return { ...talk, settings: { ...DEFAULTS, ...talk.settings } };
}

/** Shows a chat; without one, a new chat that is kept once something is said in it. */
export function show(talk) {
  state.current = talk ?? newTalk(readSettings());
  const address = talk ? `#${talk.id}` : location.pathname + location.search;
  if (location.hash !== (talk ? `#${talk.id}` : '')) history.pushState(null, '', address);
  emit('talk', state.current);
  emit('settings', state.current);
  emit('list');
}

/** Shows the chat that the address names. */
export function showAddressed() {
  show(state.talks.get(location.hash.slice(1)) ?? null);
}

/** Chats, pinned first, newest first; with words, those that hold them all. */
export function listTalks(words = '') {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const holds = (talk) => {
    if (wanted.length === 0) return true;
    const said = Object.values(talk.turns).flatMap((t) => t.parts.map((p) => p.text ?? ''));
    const text = [talk.title, ...said].join('\n').toLowerCase();
    return wanted.every((word) => text.includes(word));
  };
  return [...state.talks.values()]
    .filter(holds)
    .sort((a, b) => Number(b.pinned) - Number(a.pinned) || b.changed - a.changed);
}

/** Gives a chat a title of the user's. */
export function rename(talk, title) {
  if (!title.trim()) return;
  Object.assign(talk, { title: title.trim(), named: true });
  save(talk, { now: true });
  emit('list');
}

/** Pins a chat to the top, or no longer. */
export function pin(talk) {
  talk.pinned = !talk.pinned;
  save(talk, { now: true });
  emit('list');
}

/** Deletes a chat; what comes back brings it back until it is called with nothing to undo. */
export function remove(talk) {
  state.runs.get(talk.id)?.control.abort();
  clearTimeout(waiting.get(talk.id));
  waiting.delete(talk.id);
  state.talks.delete(talk.id);
  const used = () => new Set([...state.talks.values()].flatMap(mediaOf).map((m) => m.id));
  const gone = (async () => {
    await state.store.remove('talks', talk.id);
    channel?.postMessage(talk.id);
  })();
  if (state.current === talk) show(null);
  emit('list');
  return {
    undo: () => gone.then(() => touch(talk)),
    finish: async () => {
      if (state.talks.has(talk.id)) return;
      const kept = used();
      for (const { id } of mediaOf(talk)) if (!kept.has(id)) await state.store.remove('media', id);
    },
  };
}

async function follow({ data: id }) {
  if (state.runs.has(id)) return; // this tab writes it
  const kept = await state.store.get('talks', id);
  if (kept) state.talks.set(id, { ...kept, settings: { ...DEFAULTS, ...kept.settings } });
  else state.talks.delete(id);
  if (state.current?.id === id) show(state.talks.get(id) ?? null);
  emit('list');
}

/** Opens the store and the chat that the address names. */
export async function begin() {
  state.store = await openStore();
  for (const talk of await state.store.all('talks')) state.talks.set(talk.id, settle(talk));
  channel?.addEventListener('message', follow);
  addEventListener('popstate', showAddressed);
  addEventListener('hashchange', showAddressed);
  addEventListener('pagehide', () => {
    for (const id of waiting.keys()) if (state.talks.has(id)) write(state.talks.get(id));
  });
  showAddressed();
}
