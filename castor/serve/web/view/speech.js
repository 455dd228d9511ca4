/** Answers read aloud by the browser's own voice. */

import { emit } from '../talk/session.js';

let speaking = null; // the id of what is read

/** Whether this browser has a voice. */
export const canSpeak = () => 'speechSynthesis' in window;

/** Whether that answer is being read. */
export const isSpeaking = (id) => speaking === id;

/** Markdown as one would say it. */
export function spoken(text) {
  return text
    .replace(/```[\s\S]*?(```|$)/g, ' (code) ')
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/[*_`#>|~]+/g, ' ')
    .replace(/\s+/g, ' ')
    .trim();
}

/**
 * Reads an answer, or stops where it is being read.
 * @param {string} id
 * @param {string} text
 */
export function speak(id, text) {
  const again = speaking === id;
  speechSynthesis.cancel();
  speaking = again ? null : id;
  if (!again) {
    const voice = new SpeechSynthesisUtterance(spoken(text));
    voice.onend = voice.onerror = () => {
      if (speaking === id) speaking = null;
      emit('talk');
    };
    speechSynthesis.speak(voice);
  }
  emit('talk');
}
