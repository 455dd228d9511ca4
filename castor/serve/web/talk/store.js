/** Where chats are kept: IndexedDB of this browser, or memory where that is closed. */

const NAME = 'castor';
const STORES = { talks: 'id', media: 'id', ratings: 'id' };

const settled = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

function open() {
  const request = indexedDB.open(NAME, 1);
  request.onupgradeneeded = () => {
    for (const [store, keyPath] of Object.entries(STORES)) {
      request.result.createObjectStore(store, { keyPath });
    }
  };
  return settled(request);
}

/** The same four verbs over plain maps. */
function memory() {
  const maps = Object.fromEntries(Object.keys(STORES).map((store) => [store, new Map()]));
  return {
    lasting: false,
    all: async (store) => [...maps[store].values()],
    get: async (store, id) => maps[store].get(id),
    put: async (store, value) => void maps[store].set(value.id, value),
    remove: async (store, id) => void maps[store].delete(id),
  };
}

/**
 * Opens the store. `lasting` is false where nothing outlives the page (private windows).
 * Stores: `talks` (talk/tree.js), `media` ({id, mime, name, blob}), `ratings` (talk/rating.js).
 */
export async function openStore() {
  let database;
  try {
    database = await open();
  } catch {
    return memory();
  }
  const within = (store, mode) => database.transaction(store, mode).objectStore(store);
  return {
    lasting: true,
    all: (store) => settled(within(store, 'readonly').getAll()),
    get: (store, id) => settled(within(store, 'readonly').get(id)),
    put: (store, value) => settled(within(store, 'readwrite').put(value)),
    remove: (store, id) => settled(within(store, 'readwrite').delete(id)),
  };
}
