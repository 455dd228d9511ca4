/** The box in which a message is written, new or edited: words, files, microphone, camera. */

import { ACCEPT, drawAttachment, filesIn, mediaFrom, partFrom } from './attachments.js';
import { takeWithCamera } from './camera.js';
import { button, isTouch, make } from './dom.js';
import { icon } from './icons.js';
import { recordIn, whyNoDevices, whyRefused } from './microphone.js';
import { announce, notify, openMenu } from './overlay.js';

const TALLEST = 240; // px; longer messages scroll

/** Attaches what the camera takes. */
async function fromCamera(attach) {
  const why = whyNoDevices();
  if (why) return notify(why, { kind: 'bad' });
  const blob = await takeWithCamera();
  if (!blob) return;
  const name = blob.type.startsWith('image/') ? 'photo.jpg' : `clip.${blob.type.split('/')[1]}`;
  attach({ media: mediaFrom(blob, blob.type, name) });
}

/** Attaches what is recorded in a strip over the box. */
async function fromMicrophone(box, attach) {
  const why = whyNoDevices();
  if (why) return notify(why, { kind: 'bad' });
  box.classList.add('recording');
  try {
    const blob = await recordIn(box);
    if (blob) attach({ media: mediaFrom(blob, 'audio/wav', 'recording.wav') });
  } catch (error) {
    notify(whyRefused(error, 'microphone'), { kind: 'bad' });
  }
  box.classList.remove('recording');
}

/** What keys and pasted files do in the text of a message. `up` is true where it did something. */
function listen(text, { submit, up, cancel, paste }) {
  text.addEventListener('paste', (event) => {
    const pasted = filesIn(event.clipboardData);
    if (pasted.length === 0) return;
    event.preventDefault();
    paste(pasted);
  });
  text.addEventListener('keydown', (event) => {
    if (event.isComposing) return;
    if (event.key === 'Enter' && !event.shiftKey && !isTouch()) {
      event.preventDefault();
      submit();
    } else if (event.key === 'ArrowUp' && up()) event.preventDefault();
    else if (event.key === 'Escape' && cancel) {
      event.stopPropagation();
      cancel();
    }
  });
}

function createText(kind, id, value) {
  return make('textarea', {
    id,
    rows: 1,
    class: 'composer-text',
    'aria-label': kind === 'ask' ? 'Message' : 'Edit message',
    placeholder: kind === 'ask' ? 'Ask Castor' : '',
    enterkeyhint: isTouch() ? 'enter' : 'send',
    value,
  });
}

/** What is attached, above the text. Each can be taken back. */
function createShelf({ changed, focus }) {
  const element = make('div', { class: 'attachments', hidden: true });
  let parts = [];
  const show = (now) => {
    parts = now;
    const remove = (part) => () => {
      show(parts.filter((p) => p !== part));
      focus();
    };
    element.replaceChildren(...parts.map((p) => drawAttachment(p, { remove: remove(p) })));
    element.hidden = parts.length === 0;
    changed();
  };
  const attach = (part) => {
    show([...parts, part]);
    announce(`${(part.media ?? part.file).name} attached`);
    focus();
  };
  const addFiles = async (list) => {
    for (const file of list) {
      try {
        attach(await partFrom(file));
      } catch (error) {
        notify(error.message, { kind: 'bad' });
      }
    }
  };
  return { element, show, attach, addFiles, parts: () => parts };
}

/** The button that adds files or opens the camera, and the input behind it. */
function createAdd({ attach, addFiles, focus }) {
  const input = make('input', {
    type: 'file',
    multiple: true,
    accept: ACCEPT,
    hidden: true,
    tabindex: -1,
    'aria-label': 'Files',
  });
  input.addEventListener('change', () => {
    addFiles([...input.files]);
    input.value = '';
  });
  const opener = button({ icon: 'plus', label: 'Add files', 'aria-haspopup': 'menu' });
  opener.addEventListener('click', () =>
    openMenu(opener, [
      { icon: 'clip', text: 'Pictures, sounds, clips, text', action: () => input.click() },
      { icon: 'camera', text: 'Camera', action: () => fromCamera(attach).then(focus) },
    ]),
  );
  return [opener, input];
}

/** The button that sends or, while an answer is on its way, stops it. */
function createGo({ submit, stop }) {
  const element = button({ icon: 'send', label: 'Send', class: 'send', disabled: true });
  let busy = false;
  element.addEventListener('click', () => (busy ? stop?.() : submit()));
  const setBusy = (now) => {
    busy = now;
    element.setAttribute('aria-label', now ? 'Stop' : 'Send');
    element.replaceChildren(icon(now ? 'stop' : 'send'));
    element.title = now ? 'Stop (Esc)' : 'Send';
    element.classList.toggle('busy', now);
  };
  return { element, setBusy, isBusy: () => busy };
}

/** The box around all of it; a click beside the text is meant for the text. */
function createBox(kind, shelf, text, bar) {
  const label = kind === 'ask' ? 'New message' : 'Edit message';
  const box = make(
    'div',
    { class: `composer ${kind}`, role: 'group', 'aria-label': label },
    shelf,
    text,
    make('div', { class: 'composer-bar' }, bar),
  );
  box.addEventListener('mousedown', (event) => {
    if (event.target !== box && !event.target.classList.contains('composer-bar')) return;
    event.preventDefault();
    text.focus();
  });
  return box;
}

/**
 * @param {{
 *   kind: 'ask' | 'edit', id?: string, parts?: import('../talk/tree.js').Part[],
 *   send: (parts: object[]) => void, cancel?: () => void, stop?: () => void,
 *   changed?: (parts: object[]) => void, up?: () => void, tools?: HTMLElement[], ends?: HTMLElement[],
 * }} given `tools` and `ends` stand left and right in the bar
 */
export function createComposer(given) {
  const { kind, id, parts = [], send, cancel, stop, changed = () => {}, up } = given;
  const words = parts.filter((p) => p.text !== undefined && !p.file).map((p) => p.text);
  const text = createText(kind, id, words.join(''));
  const focus = () => text.focus();
  const collect = () => {
    const written = text.value.trim();
    return [...shelf.parts(), ...(written ? [{ text: written }] : [])];
  };
  const refresh = () => {
    text.style.height = 'auto';
    if (text.scrollHeight) text.style.height = `${Math.min(text.scrollHeight, TALLEST)}px`;
    go.element.disabled = !go.isBusy() && collect().length === 0;
    changed(collect());
  };
  const shelf = createShelf({ changed: refresh, focus });
  const { attach, addFiles } = shelf;
  const submit = () => {
    const all = collect();
    if (go.isBusy() || all.length === 0) return;
    text.value = '';
    shelf.show([]);
    send(all);
  };
  const go = createGo({ submit, stop });
  const microphone = () => fromMicrophone(box, attach).then(focus);
  const mic = button({ icon: 'mic', label: 'Record sound', onclick: microphone });
  text.addEventListener('input', refresh);
  const edit = () => text.value === '' && shelf.parts().length === 0 && up?.();
  listen(text, { submit, up: edit, cancel, paste: addFiles });
  const leave = button({ text: 'Cancel', onclick: cancel });
  const again = button({ text: 'Send', class: 'primary', onclick: submit });
  const ends = kind === 'ask' ? [...(given.ends ?? []), mic, go.element] : [mic, leave, again];
  const add = createAdd({ attach, addFiles, focus });
  const space = make('span', { class: 'space' });
  const box = createBox(kind, shelf.element, text, [...add, given.tools, space, ends]);
  shelf.show(parts.filter((part) => part.media || part.file));

  return {
    element: box,
    addFiles,
    attach,
    microphone,
    parts: collect,
    written: () => text.value,
    write: (now) => {
      text.value = now;
      refresh();
    },
    focus: () => {
      text.focus();
      text.setSelectionRange(text.value.length, text.value.length);
    },
    setBusy: (now) => {
      go.setBusy(now);
      refresh();
    },
  };
}
