/** Bytes as base64 and back; base64 of the wire may be the standard or the URL-safe alphabet. */

const known = new WeakMap(); // blob -> its base64

/**
 * @param {Blob} blob
 * @returns {Promise<string>}
 */
export function toBase64(blob) {
  if (!known.has(blob)) {
    known.set(
      blob,
      new Promise((resolve, reject) => {
        const reader = new FileReader();
        reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(',') + 1));
        reader.onerror = () => reject(reader.error);
        reader.readAsDataURL(blob);
      }),
    );
  }
  return known.get(blob);
}

/**
 * @param {string} text
 * @param {string} mime
 * @returns {Blob}
 */
export function fromBase64(text, mime) {
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  return new Blob([Uint8Array.from(binary, (c) => c.charCodeAt(0))], { type: mime });
}

/**
 * 16-bit mono samples as a WAV file.
 * @param {Int16Array} samples
 * @param {number} rate_hz
 */
export function wavFile(samples, rate_hz) {
  const head = new DataView(new ArrayBuffer(44));
  const ascii = (at, text) => [...text].forEach((c, i) => head.setUint8(at + i, c.charCodeAt(0)));
  const bytes = samples.byteLength;
  ascii(0, 'RIFF');
  head.setUint32(4, 36 + bytes, true);
  ascii(8, 'WAVEfmt ');
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true); // PCM
  head.setUint16(22, 1, true); // mono
  head.setUint32(24, rate_hz, true);
  head.setUint32(28, rate_hz * 2, true);
  head.setUint16(32, 2, true);
  head.setUint16(34, 16, true);
  ascii(36, 'data');
  head.setUint32(40, bytes, true);
  return new Blob([head, samples], { type: 'audio/wav' });
}

/**
 * A blob that a browser can play: raw PCM of the wire gets a WAV header.
 * @param {Blob} blob
 * @param {string} mime
 */
export async function playable(blob, mime) {
  if (!/^audio\/(L16|pcm)/i.test(mime)) return blob;
  const rate_hz = Number(/rate=(\d+)/.exec(mime)?.[1] ?? 24000);
  return wavFile(new Int16Array((await blob.arrayBuffer()).slice(0, blob.size & ~1)), rate_hz);
}

/** A size for people: "3.2 MB". */
export function sizeText(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  return bytes < 1e6 ? `${Math.round(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
