/** Server-sent events of the Gemini API: `data: {json}` lines, blank lines between. */

/**
 * The JSON of each event, however the bytes were cut on the way.
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<any>}
 */
export async function* readEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += done ? '\n' : value;
      const lines = rest.split('\n');
      rest = lines.pop();
      for (const line of lines) {
        const text = line.replace(/\r$/, '');
        if (text.startsWith('data:')) yield parse(text.slice(5));
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error('The connection broke in the middle of the answer.');
  }
}
