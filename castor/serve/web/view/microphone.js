/** A recording from the microphone: 16 kHz mono WAV, with a level to look at. */

import { wavFile } from '../talk/bytes.js';
import { button, make } from './dom.js';

const RATE_HZ = 16_000;
const LONGEST_S = 300;
const BARS = 48;

/** Why this page may not use microphone or camera, or '' if it may ask. */
export function whyNoDevices() {
  if (navigator.mediaDevices) return '';
  return 'Browsers give pages the microphone and the camera only on localhost or over https.';
}

/** What a refusal of the browser means. */
export function whyRefused(error, what) {
  if (error.name === 'NotAllowedError') return `The browser does not allow this page the ${what}.`;
  if (error.name === 'NotFoundError') return `No ${what} was found.`;
  return `The ${what} cannot be used: ${error.message}`;
}

/** Blocks of samples at one rate as 16-bit samples at 16 kHz. */
async function resampled(blocks, rate_hz) {
  const length = blocks.reduce((n, block) => n + block.length, 0);
  if (length === 0) return new Int16Array(0);
  const seconds = length / rate_hz;
  const offline = new OfflineAudioContext(1, Math.ceil(seconds * RATE_HZ), RATE_HZ);
  const buffer = offline.createBuffer(1, length, rate_hz);
  let at = 0;
  for (const block of blocks) {
    buffer.copyToChannel(block, 0, at);
    at += block.length;
  }
  const source = offline.createBufferSource();
  source.buffer = buffer;
  source.connect(offline.destination);
  source.start();
  const samples = (await offline.startRendering()).getChannelData(0);
  return Int16Array.from(samples, (s) => Math.max(-32768, Math.min(32767, Math.round(s * 32768))));
}

/**
 * Starts to record.
 * @param {(level: number, seconds: number) => void} hear loudness 0 to 1, about 30 times a second
 * @returns {Promise<{stop: () => Promise<Blob>, cancel: () => void}>}
 */
async function record(hear) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  const context = new AudioContext();
  await context.audioWorklet.addModule(new URL('meter-worklet.js', import.meta.url));
  const node = new AudioWorkletNode(context, 'castor-meter', { numberOfOutputs: 0 });
  const blocks = [];
  let loudest = 0;
  let told = 0;
  node.port.onmessage = ({ data }) => {
    blocks.push(data);
    for (const sample of data) loudest = Math.max(loudest, Math.abs(sample));
    const seconds = (blocks.length * data.length) / context.sampleRate;
    if (seconds - told < 0.033) return;
    hear(Math.min(1, Math.sqrt(loudest)), seconds);
    told = seconds;
    loudest = 0;
  };
  context.createMediaStreamSource(stream).connect(node);
  const cancel = () => {
    for (const track of stream.getTracks()) track.stop();
    context.close();
  };
  const stop = async () => {
    cancel();
    return wavFile(await resampled(blocks, context.sampleRate), RATE_HZ);
  };
  return { stop, cancel };
}

const clock = (seconds) =>
  `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`;

/**
 * Records with a strip that shows the level; resolves to the WAV, or null if it was cancelled.
 * @param {HTMLElement} host where the strip is shown
 * @returns {Promise<Blob | null>}
 */
export async function recordIn(host) {
  const bars = Array.from({ length: BARS }, () => make('i'));
  const time = make('span', { class: 'recorder-time' }, '0:00');
  const levels = new Array(BARS).fill(0);
  let end;
  const ended = new Promise((resolve) => (end = resolve));
  const hear = (level, seconds) => {
    levels.push(level);
    levels.shift();
    bars.forEach((bar, i) => (bar.style.height = `${Math.max(8, levels[i] * 100)}%`));
    time.textContent = clock(seconds);
    if (seconds > LONGEST_S) end(true);
  };
  const recording = await record(hear);
  const strip = make(
    'div',
    { class: 'recorder', role: 'group', 'aria-label': 'Recording' },
    button({ icon: 'close', label: 'Cancel recording', onclick: () => end(false) }),
    make('span', { class: 'recorder-dot', 'aria-hidden': 'true' }),
    time,
    make('span', { class: 'recorder-bars', 'aria-hidden': 'true' }, bars),
    button({
      icon: 'check',
      label: 'Attach recording',
      class: 'primary',
      onclick: () => end(true),
    }),
  );
  strip.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    event.stopPropagation();
    end(false);
  });
  host.append(strip);
  strip.lastChild.focus();
  const keep = await ended;
  strip.remove();
  if (keep) return recording.stop();
  recording.cancel();
  return null;
}
