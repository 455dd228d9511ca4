/** Formulas: LaTeX to MathML with the vendored Temml, fetched when the first formula appears. */

const HERE = new URL('../vendor/temml/', import.meta.url);
const LIMITS = { throwOnError: false, trust: false, maxExpand: 300, maxSize: [12, 40] };
const LONGEST = 4000; // characters; longer formulas stay as they were written
let fetched = null;

/** The renderer, once. A classic script: it leaves one global. */
function fetchRenderer() {
  fetched ??= new Promise((resolve, reject) => {
    const sheet = document.createElement('link');
    sheet.rel = 'stylesheet';
    sheet.href = new URL('temml.css', HERE).href;
    const script = document.createElement('script');
    script.src = new URL('temml.min.js', HERE).href;
    script.onload = () => resolve(globalThis.temml);
    script.onerror = () => reject(new Error('the formula renderer could not be fetched'));
    document.head.append(sheet, script);
  });
  return fetched;
}

/**
 * Appends a formula; until the renderer is there, its LaTeX.
 * @param {Node} parent
 * @param {string} tex
 * @param {boolean} display on a line of its own
 */
export function drawMath(parent, tex, display) {
  const place = document.createElement('span');
  place.className = display ? 'math display' : 'math';
  place.textContent = tex;
  if (display) place.tabIndex = 0; // a wide one scrolls
  parent.appendChild(place);
  if (tex.length > LONGEST) return;
  if (globalThis.temml) render(place, tex, display);
  else
    fetchRenderer().then(
      () => render(place, tex, display),
      () => {},
    );
}

function render(place, tex, display) {
  globalThis.temml.render(tex, place, { ...LIMITS, displayMode: display, annotate: true });
  const error = place.querySelector('.temml-error');
  if (error)
    place.replaceChildren(Object.assign(document.createElement('code'), { textContent: tex }));
}
