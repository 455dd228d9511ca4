/** The line on top: the list's button, the model, the theme, and what can be done with a chat. */

import { changeSettings, modelOf, on, state } from '../talk/session.js';
import { button, make } from './dom.js';
import { icon } from './icons.js';
import { openMenu } from './overlay.js';
import { toggleSidebar } from './sidebar.js';

const THEMES = { system: 'screen', light: 'sun', dark: 'moon' };

/** The theme that was chosen: system, light or dark. */
export const currentTheme = () => document.documentElement.dataset.theme ?? 'system';

/** Chooses a theme, for this browser. */
export function useTheme(theme) {
  if (theme === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem('castor/theme', theme);
  } catch {
    // it holds for this page
  }
}

const nameOf = (model) => model.displayName || model.name.replace(/^models\//, '');

/** The model's name, and the menu to choose another. */
function createPicker() {
  const title = make('span', { class: 'model-name' }, 'Castor');
  const picker = make(
    'button',
    { type: 'button', class: 'model-picker', 'aria-label': 'Model', 'aria-haspopup': 'menu' },
    title,
    icon('chevron', 'icon chevron'),
  );
  const choice = (model) => ({
    text: nameOf(model),
    hint:
      model.description || `context of ${model.inputTokenLimit?.toLocaleString('en') ?? '?'} tokens`,
    chosen: model === modelOf(state.current),
    action: () => changeSettings({ model: model.name }),
  });
  picker.addEventListener('click', () => openMenu(picker, state.models.map(choice)));
  on('settings', () => {
    const model = modelOf(state.current);
    title.textContent = model ? nameOf(model) : 'Castor';
    picker.setAttribute('aria-label', `Model: ${title.textContent}`);
    picker.disabled = state.models.length < 1;
  });
  return picker;
}

function createThemeButton() {
  const names = { system: 'Like the system', light: 'Light', dark: 'Dark' };
  const theme = button({ icon: THEMES[currentTheme()], label: 'Theme', class: 'theme' });
  const use = (name) => {
    useTheme(name);
    theme.replaceChildren(icon(THEMES[name]));
  };
  const choice = ([name, picture]) => ({
    icon: picture,
    text: names[name],
    chosen: name === currentTheme(),
    action: () => use(name),
  });
  theme.addEventListener('click', () => openMenu(theme, Object.entries(THEMES).map(choice)));
  return theme;
}

/**
 * @param {HTMLElement} host
 * @param {{newChat: () => void, openSettings: () => void, openCode: () => void,
 *   exportTalk: (talk: object) => void}} page
 */
export function createHeader(host, { newChat, openSettings, openCode, exportTalk }) {
  const more = button({ icon: 'more', label: 'More', 'aria-haspopup': 'menu' });
  more.addEventListener('click', () => {
    const kept = state.talks.has(state.current.id);
    openMenu(more, [
      { icon: 'gear', text: 'Settings', action: openSettings },
      { icon: 'code', text: 'Get code', action: openCode },
      ...(kept
        ? [{ icon: 'save', text: 'Export this chat', action: () => exportTalk(state.current) }]
        : []),
    ]);
  });
  host.append(
    button({
      icon: 'menu',
      label: 'Open sidebar',
      class: 'open-sidebar',
      onclick: () => toggleSidebar(true),
    }),
    button({ icon: 'compose', label: 'New chat', class: 'header-new', onclick: newChat }),
    createPicker(),
    make('span', { class: 'space' }),
    button({ icon: 'code', text: 'Get code', class: 'quiet wide-only', onclick: openCode }),
    createThemeButton(),
    more,
  );
}
