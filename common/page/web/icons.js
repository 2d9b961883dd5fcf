// How elements are made, and the pictures on buttons and cells.
//
// Invariant: text from a recording becomes text nodes and attributes only, never markup. No style attribute is written
// as text, because the page's Content-Security-Policy refuses it.

/** The namespace of SVG elements. */
const SVG = 'http://www.w3.org/2000/svg';

/**
 * @param {Element} element
 * @param {Record<string, any>} attributes `null` and `false` leave one out; a function listens to the event `onNAME`
 * @param {any[]} children
 */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ''));
  return element;
}

/** An HTML element. @returns {any} */
export function h(/** @type {string} */ name, /** @type {Record<string, any>} */ attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** An SVG element. @returns {any} */
export function s(/** @type {string} */ name, /** @type {Record<string, any>} */ attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

/** The outlines of the icons, each in a square of 24. */
const ICONS = {
  first: 'M5 4h3v16H5zM20 4v16L9 12z',
  back: 'M18 4v16L6 12z',
  play: 'M6 4l14 8-14 8z',
  pause: 'M6 4h4v16H6zM14 4h4v16h-4z',
  next: 'M6 4v16l12-8z',
  voice: 'M3 9h4l5-5v16l-5-5H3zM15 8a5.500 5.500 0 0 1 0 8M17.500 5a9.500 9.500 0 0 1 0 14',
  flag: 'M5 3h2v2h12l-3 5 3 5H7v6H5z',
  ask: 'M12 2a6 6 0 0 0-6 6h3a3 3 0 1 1 4.6 2.5C11.700 11.700 10.500 13 10.500 16h3c0-1.800.7-2.500 2-3.400A6 6 0 0 0 12 2zM10.500 18h3v3h-3z',
  list: 'M3 4h3v3H3zM9 4h12v3H9zM3 10.500h3v3H3zM9 10.500h12v3H9zM3 17h3v3H3zM9 17h12v3H9z',
};

/** An icon for a button; the button's name says what it does. */
export function icon(/** @type {keyof typeof ICONS} */ name) {
  return s('svg', { class: 'icon', viewBox: '0 0 24 24', 'aria-hidden': 'true' }, s('path', { d: ICONS[name] }));
}

/** The shapes of verdicts, each in a square of 24: a circle passes, an octagon is fatal, a diamond is not known. */
const SHAPES = {
  ok: 'M12 1.500a10.500 10.500 0 1 0 0 21 10.500 10.500 0 1 0 0-21z',
  bad: 'M7.600 1.500h8.800l6.100 6.100v8.800l-6.100 6.100H7.600L1.500 16.400V7.600z',
  unknown: 'M12 .8L23.200 12 12 23.200.8 12z',
};

/** A verdict as a letter in a shape. */
export function mark(/** @type {{letter: string, kind: 'ok'|'bad'|'unknown'}} */ verdict) {
  return s(
    'svg',
    { class: `mark ${verdict.kind}`, viewBox: '0 0 24 24', 'aria-hidden': 'true' },
    s('path', { d: SHAPES[verdict.kind] }),
    s('text', { x: 12, y: 16.6, 'text-anchor': 'middle' }, verdict.letter),
  );
}
