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

/**
 * @param {{
 *   kind: 'ask' | 'edit', id?: string, parts?: import('../talk/tree.js').Part[],
 *   send: (parts: object[]) => void, cancel?: () => void, stop?: () => void,
 *   changed?: (parts: object[]) => void, up?: () => void, tools?: HTMLElement[], ends?: HTMLElement[],
 * }} given `tools` and `ends` stand left and right in the bar
 */
export function createComposer(given) {
  const { kind, id, parts = [], send, cancel, stop, changed = () => {}, up } = given;
  let attached = parts.filter((part) => part.media || part.file);
  let busy = false;
  const written = parts
    .filter((p) => p.text !== undefined && !p.file)
    .map((p) => p.text)
    .join('');

  const text = make('textarea', {
    id,
    rows: 1,
    class: 'composer-text',
    'aria-label': kind === 'ask' ? 'Message' : 'Edit message',
    placeholder: kind === 'ask' ? 'Ask Castor' : '',
    enterkeyhint: isTouch() ? 'enter' : 'send',
    value: written,
  });
  const shelf = make('div', { class: 'attachments', hidden: true });
  const files = make('input', {
    type: 'file',
    multiple: true,
    accept: ACCEPT,
    hidden: true,
    tabindex: -1,
    'aria-label': 'Files',
  });

  const collect = () => {
    const words = text.value.trim();
    return [...attached, ...(words ? [{ text: words }] : [])];
  };
  const refresh = () => {
    text.style.height = 'auto';
    if (text.scrollHeight) text.style.height = `${Math.min(text.scrollHeight, TALLEST)}px`;
    shelf.hidden = attached.length === 0;
    go.disabled = !busy && collect().length === 0;
    changed(collect());
  };
  const redraw = () => {
    const remove = (part) => () => {
      attached = attached.filter((p) => p !== part);
      redraw();
      text.focus();
    };
    shelf.replaceChildren(
      ...attached.map((part) => drawAttachment(part, { remove: remove(part) })),
    );
    refresh();
  };
  const attach = (part) => {
    attached = [...attached, part];
    redraw();
    announce(`${(part.media ?? part.file).name} attached`);
    text.focus();
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
  const submit = () => {
    if (busy) return;
    const all = collect();
    if (all.length === 0) return;
    attached = [];
    text.value = '';
    redraw();
    send(all);
  };

  const add = button({ icon: 'plus', label: 'Add files', 'aria-haspopup': 'menu' });
  const mic = button({ icon: 'mic', label: 'Record sound' });
  const go = button({ icon: 'send', label: 'Send', class: 'send', disabled: true });
  add.addEventListener('click', () =>
    openMenu(add, [
      { icon: 'clip', text: 'Pictures, sounds, clips, text', action: () => files.click() },
      { icon: 'camera', text: 'Camera', action: () => fromCamera(attach).then(() => text.focus()) },
    ]),
  );
  files.addEventListener('change', () => {
    addFiles([...files.files]);
    files.value = '';
  });
  go.addEventListener('click', () => (busy ? stop?.() : submit()));

  const microphone = () => fromMicrophone(box, attach).then(() => text.focus());
  mic.addEventListener('click', microphone);
  text.addEventListener('input', refresh);
  listen(text, {
    submit,
    up: () => text.value === '' && attached.length === 0 && up?.(),
    cancel,
    paste: addFiles,
  });

  const ends =
    kind === 'ask'
      ? [...(given.ends ?? []), mic, go]
      : [
          mic,
          button({ text: 'Cancel', onclick: cancel }),
          button({ text: 'Send', class: 'primary', onclick: submit }),
        ];
  const box = make(
    'div',
    {
      class: `composer ${kind}`,
      role: 'group',
      'aria-label': kind === 'ask' ? 'New message' : 'Edit message',
    },
    shelf,
    text,
    make(
      'div',
      { class: 'composer-bar' },
      add,
      files,
      given.tools,
      make('span', { class: 'space' }),
      ends,
    ),
  );
  box.addEventListener('mousedown', (event) => {
    if (event.target !== box && !event.target.classList.contains('composer-bar')) return;
    event.preventDefault();
    text.focus();
  });
  redraw();

  return {
    element: box,
    addFiles,
    attach,
    microphone,
    chooseFiles: () => files.click(),
    parts: collect,
    written: () => text.value,
    write: (words) => {
      text.value = words;
      refresh();
    },
    focus: () => {
      text.focus();
      text.setSelectionRange(text.value.length, text.value.length);
    },
    isFocused: () => document.activeElement === text,
    setBusy: (now) => {
      busy = now;
      go.setAttribute('aria-label', now ? 'Stop' : 'Send');
      go.replaceChildren(icon(now ? 'stop' : 'send'));
      go.title = now ? 'Stop (Esc)' : 'Send';
      go.classList.toggle('busy', now);
      refresh();
    },
  };
}
