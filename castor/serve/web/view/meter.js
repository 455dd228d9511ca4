/** How full the model's context is: a ring and two numbers in the message box. */

import { make } from './dom.js';

const AROUND = 2 * Math.PI * 8;
const NEARLY = 0.8; // from here on it is shown in another colour

function circle(kind) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', 'circle');
  for (const [name, value] of Object.entries({ cx: 10, cy: 10, r: 8, class: kind })) {
    made.setAttribute(name, value);
  }
  return made;
}

const brief = (count) => (count < 10_000 ? String(count) : `${Math.round(count / 1000)}k`);

/** @returns the meter: `element`, `show(measured)`, `isOver()`, `text()` */
export function createMeter() {
  const ring = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  ring.setAttribute('viewBox', '0 0 20 20');
  ring.setAttribute('class', 'meter-ring');
  ring.setAttribute('aria-hidden', 'true');
  const filled = circle('meter-filled');
  ring.append(circle('meter-track'), filled);
  const numbers = make('span', { class: 'meter-text', 'aria-hidden': 'true' });
  const element = make(
    'div',
    {
      class: 'meter',
      role: 'meter',
      'aria-label': 'Context used',
      'aria-valuemin': 0,
      'aria-valuemax': 1,
      'aria-valuenow': 0,
      hidden: true,
    },
    ring,
    numbers,
  );
  let now = { tokens: 0, limit: 0, exact: true };
  const text = () => `${now.exact ? '' : 'about '}${now.tokens} of ${now.limit}`;
  return {
    element,
    text,
    isOver: () => now.limit > 0 && now.tokens > now.limit,
    show: (measured) => {
      now = measured;
      const share = now.limit ? Math.min(1, now.tokens / now.limit) : 0;
      element.hidden = now.limit === 0;
      element.classList.toggle('nearly', share >= NEARLY);
      element.classList.toggle('over', now.tokens > now.limit);
      element.setAttribute('aria-valuemax', now.limit);
      element.setAttribute('aria-valuenow', Math.min(now.tokens, now.limit));
      element.setAttribute('aria-valuetext', `${text()} tokens`);
      element.title = `This chat and your message take ${text()} tokens of context.`;
      filled.style.visibility = share ? '' : 'hidden';
      filled.style.strokeDasharray = `${share * AROUND} ${AROUND}`;
      numbers.textContent = `${now.exact ? '' : '~'}${brief(now.tokens)} / ${brief(now.limit)}`;
    },
  };
}
