/** Line icons on a grid of 24, drawn for this page. A path in {braces} is filled. */

const PATHS = {
  menu: 'M4 7h16M4 12h16M4 17h10',
  sidebar: 'M5 4.5h14a1.5 1.5 0 0 1 1.5 1.5v12a1.5 1.5 0 0 1-1.5 1.5H5A1.5 1.5 0 0 1 3.5 18V6A1.5 1.5 0 0 1 5 4.5zM9.5 4.5v15',
  compose: 'M12 4.5H6A1.5 1.5 0 0 0 4.5 6v12A1.5 1.5 0 0 0 6 19.5h12a1.5 1.5 0 0 0 1.5-1.5v-6M10 14l.6-3 7.9-7.9a1.5 1.5 0 0 1 2.1 0l.3.3a1.5 1.5 0 0 1 0 2.1L13 13.4z',
  search: 'M10.5 4.5a6 6 0 1 0 0 12 6 6 0 0 0 0-12zM15 15l4.5 4.5',
  plus: 'M12 5v14M5 12h14',
  close: 'M6 6l12 12M18 6L6 18',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  more: '{M5.5 12m-1.6 0a1.6 1.6 0 1 0 3.2 0 1.6 1.6 0 1 0-3.2 0M12 12m-1.6 0a1.6 1.6 0 1 0 3.2 0 1.6 1.6 0 1 0-3.2 0M18.5 12m-1.6 0a1.6 1.6 0 1 0 3.2 0 1.6 1.6 0 1 0-3.2 0}',
  send: 'M12 19.5V5M5.5 11.5L12 5l6.5 6.5',
  stop: '{M8.5 7h7a1.5 1.5 0 0 1 1.5 1.5v7a1.5 1.5 0 0 1-1.5 1.5h-7A1.5 1.5 0 0 1 7 15.5v-7A1.5 1.5 0 0 1 8.5 7z}',
  down: 'M12 5v14M5.5 12.5L12 19l6.5-6.5',
  chevron: 'M7 10l5 5 5-5',
  left: 'M14.5 6.5L9 12l5.5 5.5',
  right: 'M9.5 6.5L15 12l-5.5 5.5',
  clip: 'M19 11.5l-7.3 7.3a4.6 4.6 0 0 1-6.5-6.5l7.7-7.7a3.1 3.1 0 0 1 4.4 4.4l-7.6 7.6a1.5 1.5 0 0 1-2.2-2.1l6.6-6.7',
  mic: 'M12 3.5a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0v-5a3 3 0 0 0-3-3zM5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3',
  camera: 'M4.5 7.5h3l1.7-2.5h5.6l1.7 2.5h3A1.5 1.5 0 0 1 21 9v9a1.5 1.5 0 0 1-1.5 1.5h-15A1.5 1.5 0 0 1 3 18V9a1.5 1.5 0 0 1 1.5-1.5zM12 9.8a3.6 3.6 0 1 0 0 7.2 3.6 3.6 0 0 0 0-7.2z',
  brush: 'M14.5 5.5l4 4-8.3 8.3c-1.6 1.6-4.6 1.9-6.2 1.7 1.3-1 .8-2.5 1.7-3.9zM12.3 7.7l4 4M14.5 5.5l1.6-1.6a1.6 1.6 0 0 1 2.3 0l1.7 1.7a1.6 1.6 0 0 1 0 2.3l-1.6 1.6',
  drafts: 'M9 3.5h9.5A1.5 1.5 0 0 1 20 5v11M6 6.5h9a1.5 1.5 0 0 1 1.5 1.5v11a1.5 1.5 0 0 1-1.5 1.5H6A1.5 1.5 0 0 1 4.5 19V8A1.5 1.5 0 0 1 6 6.5zM8 11h5M8 14.5h3.5',
  copy: 'M9.5 8.5h8A1.5 1.5 0 0 1 19 10v8.5a1.5 1.5 0 0 1-1.5 1.5h-8A1.5 1.5 0 0 1 8 18.5V10a1.5 1.5 0 0 1 1.5-1.5zM15.5 8.5V5.5A1.5 1.5 0 0 0 14 4H6.5A1.5 1.5 0 0 0 5 5.5V14a1.5 1.5 0 0 0 1.5 1.5H8',
  edit: 'M5 19l.8-3.8L16.3 4.7a1.6 1.6 0 0 1 2.3 0l.7.7a1.6 1.6 0 0 1 0 2.3L8.8 18.2zM14.2 6.8l3 3',
  again: 'M19 12a7 7 0 1 1-2.3-5.2L19.5 9.3M19.5 4.8v4.5H15',
  up: 'M7.5 10.5L11 4a2.3 2.3 0 0 1 2.3 2.7l-.5 2.8h4.9a1.8 1.8 0 0 1 1.8 2.1l-1.1 6.4a1.8 1.8 0 0 1-1.8 1.5H7.5zM7.5 10.5h-3v9h3',
  thumbdown: 'M16.5 13.5L13 20a2.3 2.3 0 0 1-2.3-2.7l.5-2.8H6.3a1.8 1.8 0 0 1-1.8-2.1l1.1-6.4a1.8 1.8 0 0 1 1.8-1.5h9.1zM16.5 13.5h3v-9h-3',
  tune: 'M4 7.5h9M17 7.5h3M15 5.5v4M4 16.5h3M11 16.5h9M9 14.5v4',
  speak: 'M4.5 9.8v4.4h3.3l4.2 3.8V6L7.8 9.8zM15.5 9a4.2 4.2 0 0 1 0 6M18 6.5a7.8 7.8 0 0 1 0 11',
  quiet: 'M4.5 9.8v4.4h3.3l4.2 3.8V6L7.8 9.8zM16 9.5l5 5M21 9.5l-5 5',
  code: 'M8.5 7.5L4 12l4.5 4.5M15.5 7.5L20 12l-4.5 4.5M13.5 5l-3 14',
  save: 'M12 4v11M7 10.5l5 5 5-5M4.5 19.5h15',
  load: 'M12 15.5V4.5M7 9l5-5 5 5M4.5 19.5h15',
  pin: 'M9 4.5h6l-.7 5.5 3.2 3.5h-11L9.7 10zM12 13.5V20',
  trash: 'M5 7h14M10 7V5h4v2M7 7l.8 12.5h8.4L17 7M10.5 10.5v5.5M13.5 10.5v5.5',
  gear: 'M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM12 3.5v2.2M12 18.3v2.2M3.5 12h2.2M18.3 12h2.2M6 6l1.55 1.55M16.45 16.45L18 18M6 18l1.55-1.55M16.45 7.55L18 6',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.8v2M12 19.2v2M2.8 12h2M19.2 12h2M5.5 5.5l1.4 1.4M17.1 17.1l1.4 1.4M5.5 18.5l1.4-1.4M17.1 6.9l1.4-1.4',
  moon: 'M19.5 14.2A8 8 0 0 1 9.8 4.5a8 8 0 1 0 9.7 9.7z',
  screen: 'M5 5h14a1.5 1.5 0 0 1 1.5 1.5v8A1.5 1.5 0 0 1 19 16H5a1.5 1.5 0 0 1-1.5-1.5v-8A1.5 1.5 0 0 1 5 5zM9 20h6M12 16v4',
  help: 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM9.5 9.7a2.5 2.5 0 1 1 3.6 2.2c-.8.4-1.1.9-1.1 1.7M12 16.6v.1',
  warn: 'M12 4.5l8.5 15h-17zM12 10v4.5M12 17v.1',
  shield: 'M12 3.5l7 2.5v5.5c0 4.3-3 7.5-7 9-4-1.5-7-4.7-7-9V6zM12 8.5v4M12 15.5v.1',
  tool: 'M14.5 6.5a4.5 4.5 0 0 1 5.7-1.7l-2.9 2.9.5 2 2 .5 2.5-2.5a4.5 4.5 0 0 1-6.2 5L9 19.8a2 2 0 0 1-2.9-2.9l7.2-7.1a4.5 4.5 0 0 1 1.2-3.3z',
  spark: 'M12 4c.6 4.6 3.4 7.4 8 8-4.6.6-7.4 3.4-8 8-.6-4.6-3.4-7.4-8-8 4.6-.6 7.4-3.4 8-8z',
  eye: 'M3 12c2.3-4 5.3-6 9-6s6.7 2 9 6c-2.3 4-5.3 6-9 6s-6.7-2-9-6zM12 9.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6z',
  ear: 'M4 12h1.5M8 8.5v7M12 5v14M16 9v6M19.5 11.5v1',
  film: 'M5 5h14a1 1 0 0 1 1 1v12a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1zM10.5 9v6l4.5-3z',
  file: 'M7 3.5h6.5L18 8v11a1.5 1.5 0 0 1-1.5 1.5h-9A1.5 1.5 0 0 1 6 19V5a1.5 1.5 0 0 1 1-1.5zM13.5 3.5V8H18',
  picture: 'M5 4.5h14A1.5 1.5 0 0 1 20.5 6v12a1.5 1.5 0 0 1-1.5 1.5H5A1.5 1.5 0 0 1 3.5 18V6A1.5 1.5 0 0 1 5 4.5zM3.5 16l4.5-4.5 4 4 3-3 5.5 5M15.5 8.8v.1',
  forward: 'M5 12h13M12.5 6.5L18 12l-5.5 5.5',
  flip: 'M5 12a7 7 0 0 1 12-5l2 2M19 5v4h-4M19 12a7 7 0 0 1-12 5l-2-2M5 19v-4h4',
  key: 'M15.5 4.5a4.5 4.5 0 1 0-4.2 6.1L4.5 17.5v2.5h3v-2h2v-2h2l1.5-1.7a4.5 4.5 0 0 0 2.5-9.8zM16 8v.1',
};

/**
 * An icon, which screen readers skip.
 * @param {keyof typeof PATHS | string} name
 * @param {string} [kind] a class
 */
export function icon(name, kind = 'icon') {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', kind);
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(space, 'path');
  const filled = PATHS[name].startsWith('{');
  path.setAttribute('d', filled ? PATHS[name].slice(1, -1) : PATHS[name]);
  if (filled) path.setAttribute('class', 'filled');
  svg.append(path);
  return svg;
}

/** The mark of the page: two stars on one orbit. */
export function mark(kind = 'mark') {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  svg.setAttribute('viewBox', '0 0 32 32');
  svg.setAttribute('class', kind);
  svg.setAttribute('aria-hidden', 'true');
  const shapes = [
    ['ellipse', { cx: 16, cy: 16, rx: 12.2, ry: 7.6, transform: 'rotate(-35 16 16)', class: 'orbit' }],
    ['circle', { cx: 7.6, cy: 21.8, r: 6, class: 'star' }],
    ['circle', { cx: 25.6, cy: 9.2, r: 3.9, class: 'companion' }],
  ];
  for (const [tag, attributes] of shapes) {
    const shape = document.createElementNS(space, tag);
    for (const [name, value] of Object.entries(attributes)) shape.setAttribute(name, value);
    svg.append(shape);
  }
  return svg;
}
