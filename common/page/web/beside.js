// Any two chapters beside each other: the rows of the chosen pair take the place of the one that stands in the page.
//
// Invariant: whatever fails here, that one stays. What is folded is what `pieces` in beside/mod.rs would fold.

import { h } from './icons.js';
import { unpack } from './model.js';

/**
 * @typedef {string|[string, string]} CodeToken a text, or its colour's class and the text
 * @typedef {{name: string, lines: CodeToken[][], sections: string[], notes: (string|null)[]}} Chapter
 * @typedef {[number, [number, number][]|null]} ChangedLine
 * @typedef {[number, number, number] | [ChangedLine|null, ChangedLine|null]} PairRow
 * @typedef {[number|null, number|null, PairRow[]]} PairBlock
 */

const AROUND = 2;
const FOLDED = 3;

/** A line in its colours. */
function codeOf(/** @type {CodeToken[]} */ line, /** @type {[number, number][]} */ marks) {
  const out = [];
  let marked = null;
  let end = 0;
  line.forEach((token, at) => {
    const begin = marks.find((it) => it[0] === at);
    if (begin) {
      marked = h('mark');
      end = begin[1];
      out.push(marked);
    }
    const shown = typeof token === 'string' ? document.createTextNode(token) : h('span', { class: token[0] }, token[1]);
    if (marked && at < end) marked.append(shown);
    else out.push(shown);
  });
  return out;
}

/** Lines that are the same in both. */
function sameLines(/** @type {Chapter} */ left, from, to, count) {
  return Array.from({ length: count }, (_, at) => h('div', { class: 'row' },
    h('code', { 'data-n': from + at + 1, 'data-m': to + at + 1 }, codeOf(left.lines[from + at], []))));
}

function changedLine(/** @type {string} */ name, /** @type {Chapter} */ chapter, /** @type {ChangedLine|null} */ side) {
  if (!side) return [];
  const [line, marks] = side;
  const attributes = marks ? { 'data-n': line + 1 } : { 'data-n': line + 1, class: 'whole' };
  return [h(name, attributes, codeOf(chapter.lines[line], marks ?? []))];
}

/** The rows of a block, with the folds. */
function rowsOf(/** @type {Chapter} */ left, /** @type {Chapter} */ right, /** @type {PairRow[]} */ rows) {
  return rows.flatMap((row, at) => {
    if (row.length === 2) {
      return [h('div', { class: 'row' }, changedLine('del', left, row[0]), changedLine('ins', right, row[1]))];
    }
    const [from, to, count] = row;
    const before = at === 0 ? 0 : Math.min(AROUND, count);
    const after = at + 1 === rows.length ? 0 : Math.min(AROUND, count - before);
    const hidden = count - before - after;
    if (hidden < FOLDED) return sameLines(left, from, to, count);
    return [
      ...sameLines(left, from, to, before),
      h('details', { class: 'same' }, h('summary', {}, `${hidden} lines that are the same`), sameLines(left, from + before, to + before, hidden)),
      ...sameLines(left, from + before + hidden, to + before + hidden, after),
    ];
  });
}

/** A note, in which words between backticks are code. */
function noteOf(/** @type {Chapter} */ chapter, /** @type {number|null} */ section, /** @type {string} */ kind) {
  const note = section === null ? null : chapter.notes[section];
  if (!note) return [];
  const parts = note.split('`').map((part, at) => (at % 2 ? h('code', {}, part) : part));
  return [h('p', { class: 'function-note' }, h('span', { class: kind }, chapter.name), ' ', parts)];
}

/** The same block, with its sides changed. */
function turned(/** @type {PairBlock} */ [left, right, rows]) {
  return [right, left, rows.map((row) => (row.length === 2 ? [row[1], row[0]] : [row[1], row[0], row[2]]))];
}

function blockOf(/** @type {Chapter} */ left, /** @type {Chapter} */ right, /** @type {PairBlock} */ [a, b, rows]) {
  const names = [...new Set([a === null ? [] : left.sections[a], b === null ? [] : right.sections[b]].flat())];
  const alone = a === null ? right.name : left.name;
  const how = a === null || b === null ? `, in ${alone} alone` : rows.length === 1 && rows[0].length === 3 ? ', the same in both' : '';
  return h('div', { class: 'function' }, h('h3', {}, h('code', {}, names.join(' and ')), how),
    noteOf(left, a, 'left-name'), noteOf(right, b, 'right-name'), rowsOf(left, right, rows));
}

/** Lets a reader choose the two. */
export async function beginBeside() {
  const place = /** @type {HTMLElement|null} */ (document.querySelector('chapters-beside'));
  const data = document.getElementById('beside-data');
  if (!place || !data) return;
  /** @type {{chapters: Chapter[], pairs: Record<string, PairBlock[]>}} */
  const { chapters, pairs } = await unpack(data.textContent);
  const choice = [Number(place.dataset.left), Number(place.dataset.right)];
  const show = () => {
    const [a, b] = choice;
    const blocks = a < b ? pairs[`${a}-${b}`] : pairs[`${b}-${a}`].map(turned);
    place.replaceChildren(
      h('h3', {}, h('span', { class: 'left-name' }, chapters[a].name), ' beside ', h('span', { class: 'right-name' }, chapters[b].name)),
      ...blocks.map((block) => blockOf(chapters[a], chapters[b], block)));
  };
  const pickers = choice.map((chosen, side) => h('select', { onchange: (event) => {
    const before = choice[side];
    choice[side] = Number(event.target.value);
    // The same one on both sides: they change places.
    if (choice[0] === choice[1]) choice[1 - side] = before;
    pickers.forEach((picker, at) => { picker.value = String(choice[at]); });
    show();
  } }, chapters.map((chapter, at) => h('option', { value: at, ...(at === chosen ? { selected: '' } : {}) }, chapter.name))));
  const folds = h('button', { type: 'button', onclick: () => {
    const all = [...place.querySelectorAll('details')];
    const open = all.some((it) => !it.open);
    all.forEach((it) => { it.open = open; });
  } }, 'Unfold or fold all');
  place.before(h('p', { class: 'choose-two' }, h('label', {}, 'Left ', pickers[0]), ' ', h('label', {}, 'Right ', pickers[1]), ' ', folds));
}
