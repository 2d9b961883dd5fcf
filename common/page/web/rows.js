// The rows: every event of a run in a table, with a strip of the lanes beside each.
//
// Invariant: every event has a row. A fold hides rows that repeat the rows before them, says how many, and opens.

import { h, s } from './icons.js';
import { ringText, rowText } from './text.js';
import { arrowOf } from './lanes.js';
import { kernelName, placeText } from './model.js';

/** @import { Look, State } from './model.js' */

/** Where the lanes stand in the strip of a row, and how high a row is. */
const LANE = { client: 26, socket: 84, kernel: 138, program: 190 };
const WIDTH = 220;
const HEIGHT = 22;

/** The rows of one run. */
export class Rows {
  /** @param {Look} look @param {string} name of the run @param {(position: number) => void} go is told the position that was chosen */
  constructor(look, name, go) {
    this.look = look;
    /** The folds that are open, by the row at which they start. */
    this.open = new Set();
    const several = look.events.some((event) => event.thread > 0);
    this.rows = look.events.map((event, at) => this.row(event, at, several, go));
    this.folds = look.folds.map((fold) => this.foldRow(fold));
    const kernel = { ring: 'ring', kqueue: 'kqueue', epoll: 'epoll' }[kernelName(look)] ?? 'wait';
    const heads = [['client', 'client'], ['socket', 'socket'], ['kernel', kernel], ['program', 'program']];
    const names = heads.map(([lane, name]) => s('text', { x: LANE[lane], y: 15, 'text-anchor': 'middle' }, name));
    this.table = h('table', { class: 'rows' },
      h('thead', {}, h('tr', {}, h('th', { scope: 'col', class: 'index' }, '#'),
        h('th', { scope: 'col', class: 'strip-head' }, h('span', { class: 'unseen' }, 'lanes'), s('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, 'aria-hidden': 'true' }, names)),
        h('th', { scope: 'col' }, 'what happens'), h('th', { scope: 'col', class: 'place' }, 'line'))),
      h('tbody', {}, this.rows.flatMap((row, at) => [...this.folds.filter((fold) => fold.from === at).map((fold) => fold.element), row.element])));
    this.element = h('div', { class: 'rows-box', tabindex: 0, role: 'region', 'aria-label': `Every event: ${name}` }, this.table);
    this.fold();
  }

  row(event, at, several, go) {
    const who = several && event.event === 'call' ? `${event.thread}: ` : '';
    const button = h('button', { type: 'button', class: 'event', tabindex: -1, onclick: () => go(at) }, 
      ringText(event) ? h('span', { class: 'ring-text' }, `${who}${ringText(event)}: `) : null, `${event.placed ? '» ' : ''}${ringText(event) ? '' : who}${rowText(event)}`);
    const kind = event.event === 'call' && event.value < 0 ? 'call refused' : event.event;
    const classes = [kind, event.placed ? 'placed' : '', event.wrong ? 'wrong' : ''].filter(Boolean);
    const element = h('tr', {}, h('td', { class: 'index' }, String(at + 1)),
      h('td', { class: 'strip' }, strip(this.look, at)), h('td', { class: 'what' }, button), h('td', { class: 'place' }, placeText(event.event === 'call' ? this.look.places[at] : null)));
    return { element, button, classes };
  }

  foldRow(fold) {
    const from = fold.start + fold.period;
    const to = fold.start + fold.period * fold.times;
    const these = fold.period === 1 ? 'the row above' : `the ${fold.period} rows above`;
    const button = h('button', { type: 'button', class: 'unfold', 'aria-expanded': 'false', onclick: () => {
      if (!this.open.delete(fold.start)) this.open.add(fold.start);
      this.fold();
    } }, `${these}, ${fold.times - 1} times more (${to - from} rows)`);
    const element = h('tr', { class: 'fold' }, h('td', { class: 'index' }), h('td', { class: 'strip' }, strip(this.look, to - 1, false)), h('td', { class: 'what' }, button), h('td', { class: 'place' }));
    return { start: fold.start, from, to, button, element };
  }

  /** Hides what is folded. */
  fold() {
    for (const fold of this.folds) {
      const open = this.open.has(fold.start);
      fold.button.setAttribute('aria-expanded', String(open));
      for (let at = fold.from; at < fold.to; at++) this.rows[at].element.hidden = !open;
    }
  }

  /** Whether a step stops at this position: not within a fold that is closed, but at its end. */
  stopsAt(/** @type {number} */ position) {
    return !this.folds.some((fold) => !this.open.has(fold.start) && position >= fold.from && position < fold.to - 1);
  }

  /** Shows a position, and marks the rows of a line. */
  show(/** @type {number} */ position, /** @type {Set<number>} */ chosen, /** @type {number|null} */ part) {
    this.rows.forEach(({ element, button, classes }, at) => {
      const now = at === position;
      const wanted = [...classes, now ? 'now' : '', at > position ? 'later' : '', chosen.has(at) ? 'chosen' : '', at === part ? 'part' : ''].filter(Boolean).join(' ');
      if (element.className !== wanted) element.className = wanted;
      if (now) element.setAttribute('aria-current', 'step');
      else element.removeAttribute('aria-current');
      button.tabIndex = now ? 0 : -1;
    });
    this.seen = this.rows[position]?.element;
    for (const fold of this.folds) {
      const inside = !this.open.has(fold.start) && position >= fold.from && position < fold.to;
      fold.element.className = `fold${inside ? ' now' : ''}${fold.from > position ? ' later' : ''}`;
      if (inside) this.seen = fold.element;
    }
  }

  /** Scrolls the box, and nothing else, so that the row is seen with what comes before and after it. */
  reveal() {
    if (!this.seen) return;
    const box = this.element;
    const top = this.seen.offsetTop;
    const head = this.table.tHead.offsetHeight;
    if (top < box.scrollTop + head + 2 * HEIGHT || top > box.scrollTop + box.clientHeight - 3 * HEIGHT) {
      box.scrollTop = top - box.clientHeight / 2;
    }
  }
}

const thickness = (bytes, per, most) => Math.min(most, 4 + per * Math.log2(bytes + 1));

function block(lane, width, kind) {
  return s('rect', { class: kind, x: LANE[lane] - width / 2, y: 0, width, height: HEIGHT });
}

/** The strip of a row: what each lane holds after this event, and what passes between two of them. */
function strip(look, at, moves = true) {
  const event = look.events[at];
  const state = look.states[at];
  const sum = (field) => state.connections.reduce((all, it) => all + (it[field] ?? 0), 0);
  const parts = Object.values(LANE).map((x) => s('line', { class: 'lane', x1: x, x2: x, y1: 0, y2: HEIGHT }));
  if (sum('client_unread')) parts.push(block('client', thickness(sum('client_unread'), 1.6, 40), 'unread-client'));
  if (sum('unread')) parts.push(block('socket', thickness(sum('unread'), 2.2, 46), 'unread'));
  if (state.accept_queue) parts.push(s('rect', { class: 'queued', x: LANE.socket - 8, y: 4, width: 16, height: HEIGHT - 8 }));
  if (state.connections.some((it) => it.fin_arrived && it.fd !== null)) parts.push(s('circle', { class: 'fin', cx: LANE.socket, cy: HEIGHT / 2, r: 3.5 }));
  if ([...state.epolls, ...state.kqueues].some((it) => it.ready)) parts.push(block('kernel', 14, 'ready'));
  const flying = Math.min(4, state.rings.reduce((all, it) => all + it.in_flight.length, 0));
  for (let dot = 0; dot < flying; dot++) parts.push(s('circle', { class: 'in-flight', cx: LANE.kernel + (dot - (flying - 1) / 2) * 7, cy: HEIGHT / 2, r: 2.6 }));
  const sleeps = event.event === 'rest' || (event.event !== 'call' && state.threads.length > 0 && state.threads.every((it) => it.sleeps));
  parts.push(block('program', 8, sleeps ? 'sleeps' : 'runs'));
  if (sum('held')) parts.push(block('program', thickness(sum('held'), 1.2, 34), 'held'));
  const arrow = moves ? arrowOf(event) : null;
  if (arrow) parts.push(arrowPath(arrow));
  if (event.event === 'step' && event.client !== null) parts.push(s('circle', { class: 'acts', cx: LANE.client, cy: HEIGHT / 2, r: 4 }));
  return s('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, 'aria-hidden': 'true' }, parts);
}

function arrowPath(/** @type {{from: string, to: string, kind: string, both?: boolean}} */ { from, to, both, kind }) {
  const middle = HEIGHT / 2;
  const way = LANE[to] > LANE[from] ? 1 : -1;
  const [start, end] = [LANE[from] + 7 * way, LANE[to] - 9 * way];
  const head = (x, back) => `M${x - 5 * back} ${middle - 4}L${x} ${middle}L${x - 5 * back} ${middle + 4}`;
  return s('path', { class: kind, d: `M${start} ${middle}H${end}${head(end, way)}${both ? head(start, -way) : ''}` });
}
