/** Answers read aloud by the browser's own voice. */

import { drawMarkdown } from '../markdown/draw.js';
import { emit, state } from '../talk/session.js';
import { make } from './dom.js';

let speaking = null; // the id of what is read

/** Whether this browser has a voice. */
export const canSpeak = () => 'speechSynthesis' in window;

/** Whether that answer is being read. */
export const isSpeaking = (id) => speaking === id;

const PAUSE = /[.!?:;,…]$/;

/** Text of an element that ends where one would pause. */
function close(element) {
  const mark = element.matches('td:not(:last-child), th:not(:last-child)') ? ',' : '.';
  element.append(PAUSE.test(element.textContent.trimEnd()) ? ' ' : `${mark} `);
}

/**
 * Markdown as one would say it, block by block; code and formulas are only named.
 * @param {string} text
 * @returns {string[]}
 */
export function spoken(text) {
  const drawn = make('div');
  drawMarkdown(drawn, text);
  for (const math of drawn.querySelectorAll('.math')) math.replaceWith('formula');
  for (const code of drawn.querySelectorAll('.code-block'))
    code.replaceWith(make('p', {}, 'Code'));
  for (const list of drawn.querySelectorAll('ul, ol, br')) list.before(' ');
  for (const part of drawn.querySelectorAll('h3, h4, h5, h6, p, td, th, li, .math-block'))
    close(part);
  return [...drawn.children]
    .map((block) => block.textContent.replace(/\s+/g, ' ').trim())
    .filter(Boolean);
}

/**
 * Reads an answer, or stops where it is being read. Each block is said by itself: browsers break
 * off a long one.
 * @param {string} id
 * @param {string} text
 */
export function speak(id, text) {
  const again = speaking === id;
  speechSynthesis.cancel();
  const lines = again ? [] : spoken(text).map((line) => new SpeechSynthesisUtterance(line));
  speaking = lines.length > 0 ? id : null;
  const over = () => {
    if (speaking !== id) return;
    speaking = null;
    emit('talk', state.current);
  };
  lines.forEach((line, i) => {
    line.onerror = over;
    if (i === lines.length - 1) line.onend = over;
    speechSynthesis.speak(line);
  });
  emit('talk', state.current);
}
