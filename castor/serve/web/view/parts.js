/** The parts of an answer on the page: text, thoughts, pictures, sounds, calls, code. */

import { codeBlock, drawMarkdown } from '../markdown/draw.js';
import { playable } from '../talk/bytes.js';
import { addressOf, blobOf } from '../talk/session.js';
import { button, download, make } from './dom.js';
import { icon } from './icons.js';
import { openDialog } from './overlay.js';

const SMALL = 320; // px; smaller pictures are shown enlarged

/** What kind of thing a part is. */
function kindOf(part) {
  if (part.thought) return 'thought';
  if (part.text !== undefined) return 'text';
  if (part.media) return 'media';
  return (
    ['functionCall', 'functionResponse', 'executableCode', 'codeExecutionResult'].find(
      (k) => part[k],
    ) ?? 'other'
  );
}

/**
 * Draws parts into `host` and keeps what did not change when called again.
 * @param {HTMLElement} host
 * @param {import('../talk/tree.js').Part[]} parts
 * @param {{live: boolean, prompt: string, useAsInput: (media: object) => void,
 *   respond: ((call: object, response: object) => void) | null}} how
 */
export function drawParts(host, parts, how) {
  const shown = parts.filter((part) => part.text !== '');
  while (host.childNodes.length > shown.length) host.lastChild.remove();
  shown.forEach((part, i) => {
    const kind = kindOf(part);
    const open = how.live && i === shown.length - 1;
    const key =
      kind === 'text' || kind === 'thought'
        ? kind
        : `${kind}:${JSON.stringify(part)}${how.respond ? '?' : ''}`;
    let element = host.childNodes[i];
    if (element?.dataset.key !== key) {
      const fresh = draw(kind, part, how);
      fresh.dataset.key = key;
      if (element) element.replaceWith(fresh);
      else host.append(fresh);
      element = fresh;
    }
    if (kind === 'text') drawMarkdown(element, part.text);
    else if (kind === 'thought') updateThought(element, part.text, open);
  });
}

function draw(kind, part, how) {
  switch (kind) {
    case 'text':
      return make('div', { class: 'markdown' });
    case 'thought':
      return make(
        'details',
        { class: 'thought' },
        make('summary', {}, icon('spark'), make('span', {}), icon('chevron', 'icon chevron')),
        make('div', { class: 'markdown' }),
      );
    case 'media':
      return drawMedia(part.media, how);
    case 'functionCall':
      return callCard(part.functionCall, how);
    case 'functionResponse':
      return card(
        'tool',
        `Result of ${part.functionResponse.name}`,
        json(part.functionResponse.response),
      );
    case 'executableCode': {
      const { code, language = '' } = part.executableCode;
      return card(
        'code',
        'Ran code',
        codeBlock(code.replace(/\n$/, ''), language.toLowerCase()),
        true,
      );
    }
    case 'codeExecutionResult': {
      const { output = '', outcome = '' } = part.codeExecutionResult;
      const well = outcome === '' || outcome.endsWith('_OK');
      return card(
        'code',
        well ? 'Output' : `Output: ${outcome.replace('OUTCOME_', '').toLowerCase()}`,
        codeBlock(output.replace(/\n$/, ''), 'output'),
        true,
      );
    }
    default:
      return card('help', 'Something this page does not know', json(part));
  }
}

const json = (value) => codeBlock(JSON.stringify(value ?? {}, null, 2), 'json');

function updateThought(element, text, open) {
  element.querySelector('summary span').textContent = open ? 'Thinking…' : 'Show thinking';
  element.classList.toggle('live', open);
  drawMarkdown(element.lastChild, text);
}

/** A card of a tool: a line that opens to what was given and what came back. */
function card(name, title, body, open = false) {
  return make(
    'details',
    { class: 'tool-card', open },
    make('summary', {}, icon(name), make('span', {}, title), icon('chevron', 'icon chevron')),
    body,
  );
}

function callCard(call, { respond }) {
  const shown = card('tool', `Wants to call ${call.name}`, json(call.args), true);
  if (!respond) return shown;
  const area = make('textarea', {
    rows: 2,
    'aria-label': `Result of ${call.name}, as JSON`,
    placeholder: '{"result": …}',
  });
  const problem = make('p', { class: 'field-error', role: 'alert' });
  const give = () => {
    try {
      const value = JSON.parse(area.value || '{}');
      const object = value !== null && typeof value === 'object' && !Array.isArray(value);
      respond(call, object ? value : { result: value });
    } catch {
      problem.textContent = 'This is no JSON. A text goes in quotes: {"result": "sunny"}';
    }
  };
  shown.append(
    make(
      'div',
      { class: 'call-answer' },
      area,
      problem,
      button({ text: 'Send result', class: 'primary', onclick: give }),
    ),
  );
  return shown;
}

function drawMedia(media, how) {
  const kind = media.mime.split('/')[0];
  if (kind === 'image') return picture(media, how);
  const figure = make('figure', { class: 'sound' });
  if (kind === 'audio' || kind === 'video') {
    const player = make(kind, { controls: true, 'data-media': media.id, 'aria-label': media.name });
    figure.append(player);
    blobOf(media)
      .then((blob) => playable(blob, media.mime))
      .then((blob) => (player.src = URL.createObjectURL(blob)));
  }
  figure.append(mediaActions(media, how));
  return figure;
}

function picture(media, how) {
  const alt = how.prompt ? `Picture for: ${how.prompt}` : 'Picture by Castor';
  const image = make('img', { alt, 'data-media': media.id });
  image.addEventListener('load', () => image.classList.toggle('small', image.naturalWidth < SMALL));
  addressOf(media).then((address) => {
    if (address) image.src = address;
    else figure.replaceChildren(make('p', { class: 'muted' }, 'This picture is no longer kept.'));
  });
  const enlarge = () => showPicture(media, alt);
  const figure = make(
    'figure',
    { class: 'picture' },
    make(
      'button',
      { type: 'button', class: 'picture-frame', 'aria-label': `Enlarge. ${alt}`, onclick: enlarge },
      image,
    ),
    mediaActions(media, how),
  );
  return figure;
}

function mediaActions(media, { useAsInput }) {
  const save = async () => download(await blobOf(media), media.name);
  return make(
    'figcaption',
    {},
    button({ icon: 'save', text: 'Download', class: 'small quiet', onclick: save }),
    button({
      icon: 'forward',
      text: 'Use as input',
      class: 'small quiet',
      onclick: () => useAsInput(media),
    }),
  );
}

/**
 * A picture as large as the window allows.
 * @param {object} media
 * @param {string} alt
 */
export async function showPicture(media, alt) {
  const image = make('img', { alt, src: await addressOf(media), class: 'lightbox-picture' });
  openDialog({ title: media.name, body: image, kind: 'lightbox' });
}
