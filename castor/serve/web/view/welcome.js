/** The empty page: a greeting and four things to try, one for each sense. */

import { changeSettings } from '../talk/session.js';
import { mediaFrom } from './attachments.js';
import { make } from './dom.js';
import { icon, mark } from './icons.js';

/** A small picture to ask about: a circle and a star on paper. */
function samplePicture() {
  const canvas = make('canvas');
  canvas.width = canvas.height = 256;
  const pen = canvas.getContext('2d');
  pen.fillStyle = '#ffffff';
  pen.fillRect(0, 0, 256, 256);
  pen.fillStyle = '#d62828';
  pen.beginPath();
  pen.arc(82, 92, 50, 0, 7);
  pen.fill();
  pen.fillStyle = '#1d6fd1';
  pen.beginPath();
  for (let i = 0; i < 10; i += 1) {
    const angle = (i * Math.PI) / 5 - Math.PI / 2;
    const reach = i % 2 ? 24 : 58;
    pen.lineTo(176 + reach * Math.cos(angle), 172 + reach * Math.sin(angle));
  }
  pen.fill();
  return new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
}

/** Four things to try. */
function examplesFor(composer, send) {
  return [
    {
      name: 'brush',
      title: 'Draw',
      text: 'Draw a red star on the left.',
      act: () => {
        changeSettings({ draw: true });
        send([{ text: 'Draw a red star on the left.' }]);
      },
    },
    {
      name: 'eye',
      title: 'Look',
      text: 'What color is the circle?',
      act: async () => {
        const media = mediaFrom(await samplePicture(), 'image/png', 'sample.png');
        send([{ media }, { text: 'What color is the circle?' }]);
      },
    },
    {
      name: 'ear',
      title: 'Listen',
      text: 'Say a digit and have it named.',
      act: () => {
        composer.write('Which digit is spoken?');
        composer.microphone();
      },
    },
    {
      name: 'film',
      title: 'Watch',
      text: 'Which way does the heart move?',
      act: async () => {
        const clip = await (await fetch('web/moving.gif')).blob();
        const media = mediaFrom(clip, 'image/gif', 'moving.gif');
        send([{ media }, { text: 'Which way does the heart move?' }]);
      },
    },
  ];
}

function drawExample({ name, title, text, act }) {
  const words = [make('b', {}, title), make('span', {}, text)];
  const open = { type: 'button', class: 'example', onclick: act };
  return make('li', {}, make('button', open, icon(name), words));
}

/**
 * @param {HTMLElement} host
 * @param {object} composer
 * @param {{send: (parts: object[]) => void}} page
 */
export function createWelcome(host, composer, { send }) {
  host.append(
    mark('mark large'),
    make('h1', {}, 'What shall we look at?'),
    make(
      'p',
      { class: 'welcome-line' },
      'Castor reads text, pictures, sounds and clips, writes, and draws.',
    ),
    make('ul', { class: 'examples' }, examplesFor(composer, send).map(drawExample)),
  );
}
