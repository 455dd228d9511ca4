/** The settings of a chat, of this browser, and what can be done with all that is kept. */

import { fromJson, toJson } from '../talk/exports.js';
import { ratingLines } from '../talk/rating.js';
import { parseFunctions } from '../talk/request.js';
import { changeSettings, modelOf, show, state } from '../talk/session.js';
import { button, download, field, make } from './dom.js';
import { currentTheme, useTheme } from './header.js';
import { notify, openDialog } from './overlay.js';

const today = () => new Date().toISOString().slice(0, 10);

/** A number that may be left to the model: an empty field is null. */
function number(name, label, { min, max, step, fallback, help }) {
  const value = state.current.settings[name];
  const input = make('input', {
    type: 'number',
    min,
    max,
    step,
    value: value ?? '',
    placeholder: fallback ?? 'model’s own',
    inputmode: step === 1 ? 'numeric' : 'decimal',
  });
  const problem = make('p', { class: 'field-error', role: 'alert' });
  input.addEventListener('input', () => {
    const given = input.value === '' ? null : Number(input.value);
    const sound = input.validity.valid && !Number.isNaN(given);
    problem.textContent = sound
      ? ''
      : `${label} is ${min} to ${max ?? 'any number'}${step === 1 ? ', whole' : ''}.`;
    if (sound) changeSettings({ [name]: given });
  });
  const made = field(label, input, help);
  made.append(problem);
  return made;
}

/** A switch of a setting. */
function toggle(name, label, help) {
  const box = make('input', {
    type: 'checkbox',
    role: 'switch',
    class: 'switch',
    checked: state.current.settings[name],
    onchange: () => changeSettings({ [name]: box.checked }),
  });
  return make(
    'label',
    { class: 'toggle' },
    make('span', {}, make('b', {}, label), make('small', {}, help)),
    box,
  );
}

function systemField() {
  const area = make('textarea', {
    rows: 3,
    value: state.current.settings.system,
    placeholder: 'For example: Answer in one sentence.',
    oninput: () => changeSettings({ system: area.value }),
  });
  return field('System instruction', area, 'Of this chat only.');
}

function functionsField() {
  const area = make('textarea', {
    rows: 3,
    class: 'mono',
    spellcheck: 'false',
    value: state.current.settings.functions,
    placeholder: '[{"name": "get_weather", "description": "…", "parameters": {…}}]',
  });
  const problem = make('p', { class: 'field-error', role: 'alert' });
  area.addEventListener('input', () => {
    changeSettings({ functions: area.value });
    try {
      parseFunctions(area.value);
      problem.textContent = '';
    } catch (error) {
      problem.textContent = `Not sent yet: ${error.message}.`;
    }
  });
  const made = field('Functions', area, 'Declarations as JSON. You answer the calls yourself.');
  made.append(problem);
  return made;
}

function themeField() {
  const names = { system: 'System', light: 'Light', dark: 'Dark' };
  const choices = Object.entries(names).map(([theme, text]) => {
    const input = make('input', {
      type: 'radio',
      name: 'theme',
      value: theme,
      checked: theme === currentTheme(),
      onchange: () => useTheme(theme),
    });
    return make('label', {}, input, make('span', {}, text));
  });
  return make('fieldset', { class: 'segments' }, make('legend', {}, 'Theme'), choices);
}

/** Lets the user choose a file of chats and adds them. */
function importChats() {
  const input = make('input', { type: 'file', accept: 'application/json,.json' });
  input.addEventListener('change', async () => {
    try {
      const talks = await fromJson(await input.files[0].text());
      notify(talks.length === 1 ? 'One chat was added.' : `${talks.length} chats were added.`);
      if (talks.length) show(talks[0]);
    } catch (error) {
      notify(`Nothing was added: ${error.message}.`, { kind: 'bad' });
    }
  });
  input.click();
}

async function exportChats() {
  const text = await toJson([...state.talks.values()]);
  download(new Blob([text], { type: 'application/json' }), `castor-chats-${today()}.json`);
}

async function exportRatings() {
  const lines = await ratingLines();
  if (!lines) return notify('No answer has been rated yet.');
  download(new Blob([lines], { type: 'application/jsonl' }), `castor-ratings-${today()}.jsonl`);
}

/** Opens the settings. */
export function openSettings() {
  const model = modelOf(state.current) ?? {};
  openDialog({
    title: 'Settings',
    kind: 'side',
    body: [
      systemField(),
      make(
        'div',
        { class: 'field-grid' },
        number('temperature', 'Temperature', {
          min: 0,
          max: model.maxTemperature ?? 2,
          step: 'any',
          fallback: model.temperature,
        }),
        number('topP', 'Top P', { min: 0, max: 1, step: 'any', fallback: model.topP }),
        number('topK', 'Top K', { min: 1, step: 1, fallback: model.topK }),
        number('seed', 'Seed', { min: 0, step: 1, fallback: 'random' }),
        number('maxOutputTokens', 'Max output tokens', {
          min: 1,
          max: model.outputTokenLimit,
          step: 1,
          fallback: model.outputTokenLimit,
        }),
      ),
      make('h3', {}, 'Tools'),
      toggle('thinking', 'Show thinking', 'Of models that think.'),
      toggle('codeExecution', 'Code execution', 'The server runs code that the model writes.'),
      functionsField(),
      make('h3', {}, 'This browser'),
      themeField(),
      make(
        'div',
        { class: 'button-column' },
        button({ icon: 'save', text: 'Export all chats', onclick: exportChats }),
        button({ icon: 'load', text: 'Import chats', onclick: importChats }),
        button({ icon: 'up', text: 'Export ratings (JSONL)', onclick: exportRatings }),
      ),
      make('p', { class: 'field-help' }, 'Chats are kept in this browser and nowhere else.'),
    ],
  });
}
