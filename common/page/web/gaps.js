// The gap picker: the server's calls in order, and a cell for each gap into which a step of a client was put.
//
// Invariant: a cell stands for a run that was made (Rust finds the gaps, for the static page too). What was not run has
// no cell.

import { h, mark } from './icons.js';
import { rowText, verdictOf } from './text.js';
import { placements } from './model.js';

/** @import { Gap, Recording } from './model.js' */

/** The run in which each step comes while the server sleeps, or -1. */
export function baseOf(/** @type {Recording} */ recording) {
  return recording.runs.findIndex((run) => !placements(run).length && !run.events.some((it) => it.fault));
}

/** The picker, or null if the recording has no gaps. `choose` is told the run. */
export function picker(/** @type {Recording} */ recording, /** @type {(run: number) => void} */ choose) {
  const { gaps } = recording;
  if (!gaps.length) return null;
  const base = baseOf(recording);
  const strips = [...new Set(gaps.map((gap) => gap.step))].map((step) => {
    const own = gaps.filter((gap) => gap.step === step);
    const name = recording.steps[step] ?? `step ${step + 1}`;
    return h('div', { class: 'strip-of-gaps', role: 'group', 'aria-label': `${name} arrives` },
      h('span', { class: 'step' }, name), h('span', { class: 'cells' }, cells(recording, own, choose)));
  });
  const words = [...new Set(gaps.map((gap) => gap.verdict))].map(verdictOf);
  return h('section', { class: 'gaps' },
    h('h3', {}, recording.gaps_title ?? ''),
    h('p', { class: 'note' }, 'A gap lies between two system calls of the server. Choose one to see the run in which the packet arrives there. ', cut(recording)),
    strips,
    h('p', { class: 'legend' }, words.map((it) => h('span', { class: 'key' }, mark(it), it.words)),
      base < 0 ? null : h('button', { type: 'button', class: 'quiet', 'data-run': base, 'aria-pressed': 'false', onclick: () => choose(base) }, 'each step while the server sleeps')));
}

function cut(recording) {
  if (!recording.bound) return 'Only the gaps that the search came to are here.';
  return recording.bound.complete ? '' : `Not every gap was run: ${recording.bound.cut ?? 'the search was cut'}.`;
}

/**
 * The gaps of one step, with the calls between them. Up to its placed step a run is the run without placements, so the
 * gaps lie between the calls of that one.
 */
function cells(recording, gaps, choose) {
  const calls = (run) => run.events.filter((it) => it.event === 'call');
  const base = recording.runs[baseOf(recording)];
  const parts = [];
  let shown = -1; // the number of the last call that is written
  for (const gap of gaps) {
    const own = calls(base ?? recording.runs[gap.run]);
    if (gap.calls > 0 && shown !== gap.calls - 1) parts.push(shown >= 0 ? h('span', { class: 'between' }, '…') : '', chip(own[gap.calls - 1]));
    parts.push(cell(recording, gap, choose), chip(own[gap.calls]));
    shown = gap.calls;
  }
  return parts;
}

/**
 * `recvfrom = EAGAIN`: short, because the cells are what is looked at. A wait has no result here: what it returns is what
 * a packet in the gap changes. Its timeout tells a look from a sleep.
 */
function chip(call) {
  if (!call) return h('span', { class: 'between' }, 'the end');
  const timeout = /timeout [^,)]*/.exec(call.arguments)?.[0];
  const text = !call.wait && call.name !== 'kevent' ? `${call.name} = ${call.result}` : timeout ? `${call.name}, ${timeout}` : call.name;
  return h('span', { class: 'between', title: rowText(call) }, text);
}

function cell(recording, /** @type {Gap} */ gap, choose) {
  const verdict = verdictOf(gap.verdict);
  const name = `${recording.steps[gap.step] ?? ''} before ${gap.before || 'the end'}: ${verdict.words}`;
  return h('button', { type: 'button', class: `gap ${verdict.kind}`, 'data-run': gap.run, 'aria-label': name, 'aria-pressed': 'false', title: name, onclick: () => choose(gap.run) }, mark(verdict));
}
