// Several runs, one beside the other: which event of each is shown together.
//
// Invariant: a stop has one position per run, positions never go back from one stop to the next, and every event of
// every run stands in a stop.

import { rowText } from './text.js';

/** @import { Look } from './model.js' */

/**
 * @typedef {{at: number[], part: boolean}} Stop `at`: the position in each run; `part`: here the runs part
 */

/** What is compared of an event. */
function same(one, other) {
  return one && other && one.event === other.event && one.thread === other.thread && rowText(one) === rowText(other);
}

/** The number of events that all runs have in common at the start. */
function common(looks) {
  const shortest = Math.min(...looks.map((it) => it.length));
  for (let at = 0; at < shortest; at++) {
    if (looks.some((it) => !same(looks[0].events[at], it.events[at]))) return at;
  }
  return shortest;
}

/** Whether the runs have a step of the script in common at the start: two versions of one server. */
function isOneProgram(looks, prefix) {
  return looks[0].events.slice(0, prefix).some((it) => it.event === 'step');
}

/** For each step of the script, the position at which it comes in this run (or undefined). */
function stepsOf(look) {
  const found = new Map();
  look.events.forEach((event, at) => {
    if (event.event === 'step' && event.script_step !== null && event.script_step !== undefined && !found.has(event.script_step)) {
      found.set(event.script_step, at);
    }
  });
  return found;
}

/** What the clients have got: the same from every right server, whatever calls it made for that. */
function outcome(state) {
  return state.connections.map((it) => `${it.client} ${it.came_back} ${it.eof}`).join(';');
}

/** The position in each run before the next step of the script, for all steps in order. */
function segments(looks) {
  const steps = looks.map(stepsOf);
  const all = [...new Set(steps.flatMap((it) => [...it.keys()]))].sort((a, b) => a - b);
  const ends = all.map((step) => looks.map((it, track) => steps[track].get(step)));
  return [...ends, looks.map((it) => it.length)];
}

/**
 * The stops of these runs. Runs of one server, or of two versions of it, go together as long as they are equal, and the row at which they part is a
 * stop of its own. After it, and for different servers, the steps of the script come at the same stop in each run; a run
 * that has less to do waits for the others.
 * @param {Look[]} looks
 * @returns {Stop[]}
 */
export function align(looks) {
  if (looks.length === 1) return looks[0].events.map((_, at) => ({ at: [at], part: false }));
  const equal = common(looks);
  const oneServer = looks.every((it) => it.recording === looks[0].recording) || looks.length === 2 && isOneProgram(looks, equal);
  const prefix = oneServer ? equal : 0;
  /** @type {Stop[]} */
  const stops = [];
  let at = looks.map(() => -1);
  const stop = (next, part = false) => {
    if (next.some((it, track) => it !== at[track])) stops.push({ at: next, part });
    at = next;
  };
  for (let row = 0; row < prefix; row++) stop(looks.map(() => row));
  if (oneServer && looks.every((it) => prefix < it.length)) stop(looks.map(() => prefix), true);
  for (const ends of segments(looks)) {
    // Up to the step in every run, then the step itself in all of them together.
    const before = ends.map((end, track) => Math.max(at[track], end === undefined ? at[track] : end - 1));
    while (at.some((it, track) => it < before[track])) stop(at.map((it, track) => Math.min(it + 1, before[track])));
    const step = ends.map((end, track) => Math.min(looks[track].length - 1, Math.max(at[track], end ?? at[track])));
    stop(step);
  }
  if (!oneServer) partByOutcome(looks, stops);
  return stops;
}

/** Different servers part where, all of them at rest, the clients of one have got something else than those of another. */
function partByOutcome(looks, stops) {
  const found = stops.find(({ at }) => {
    if (!at.every((it, track) => looks[track].events[it].event === 'rest')) return false;
    const first = outcome(looks[0].states[at[0]]);
    return looks.some((it, track) => outcome(it.states[at[track]]) !== first);
  });
  if (found) found.part = true;
}
