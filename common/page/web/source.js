// The source pane: the line that made the call is strong, its callers are faint.
//
// Invariant: a line that made a call of this run is a button, and leads to the rows of that line.

import { h } from './icons.js';

/** @import { Look } from './model.js' */

/** For each source, the rows of each line: a row counts for its meaning frame only. */
function rowsOfLines(/** @type {Look} */ look) {
  const lines = new Map();
  look.places.forEach((place, at) => {
    if (!place || look.events[at].event !== 'call' || place.frame.line === null) return;
    const key = `${place.frame.source} ${place.frame.line}`;
    if (!lines.has(key)) lines.set(key, []);
    lines.get(key).push(at);
  });
  return lines;
}

/** The source pane of one run. */
export class SourcePane {
  /** @param {Look} look @param {string} name of the run @param {(rows: number[]) => void} choose is told the rows of the line that was chosen */
  constructor(look, name, choose) {
    this.look = look;
    this.shown = -1;
    this.lines = [];
    const { sources, no_frames } = look.recording;
    this.why = h('p', { class: 'note' }, no_frames || 'Line unknown: this recording has no sources.');
    this.name = h('span', { class: 'file' });
    this.code = h('div', { class: 'code', tabindex: 0, role: 'region', 'aria-label': `Source: ${name}` });
    this.element = sources.length
      ? h('div', { class: 'source' }, h('p', { class: 'pane-head' }, this.name), this.code)
      : h('div', { class: 'source none' }, this.why);
    const rows = rowsOfLines(look);
    this.files = sources.map((source, at) => this.file(source, at, rows, choose));
    if (sources.length) this.open(0);
  }

  file(source, index, rows, choose) {
    const lines = source.text.replace(/\n$/, '').split('\n');
    return lines.map((text, at) => {
      const own = rows.get(`${index} ${at + 1}`);
      const number = own
        ? h('button', { type: 'button', class: 'number', 'aria-label': `Line ${at + 1}: ${own.length === 1 ? '1 row' : `${own.length} rows`}`, onclick: () => choose(own) }, String(at + 1))
        : h('span', { class: 'number' }, String(at + 1));
      const line = h('div', { class: own ? 'line hit' : 'line' }, number, h('code', {}, text || ' '));
      if (own) line.querySelector('code').addEventListener('click', () => choose(own));
      return line;
    });
  }

  open(index) {
    if (index === this.shown) return;
    this.shown = index;
    this.name.textContent = this.look.recording.sources[index].path;
    this.lines = this.files[index];
    this.code.replaceChildren(...this.lines);
  }

  /** Shows where the server is at a position. */
  show(/** @type {number} */ position) {
    if (!this.files.length) return;
    const place = this.look.places[position];
    const known = place && place.frame.source !== null && place.frame.source !== undefined;
    this.open(known ? place.frame.source : 0);
    const strong = known ? this.lines[place.frame.line - 1] : undefined;
    const faint = new Set((place?.callers ?? []).filter((it) => it.source === this.shown).map((it) => this.lines[it.line - 1]));
    for (const line of this.lines) {
      line.classList.toggle('at', line === strong);
      line.classList.toggle('caller', line !== strong && faint.has(line));
      if (line === strong) line.setAttribute('aria-current', 'true');
      else line.removeAttribute('aria-current');
    }
    this.name.textContent = this.look.recording.sources[this.shown].path + (known ? '' : ' (line unknown)');
    this.strong = strong;
  }

  /** Scrolls to the line. */
  reveal() {
    if (this.strong) this.code.scrollTop = this.strong.offsetTop - this.code.clientHeight * 0.4;
  }
}
