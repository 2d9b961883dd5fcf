// The recordings, and what is computed from a run before it is shown.
//
// Invariant: a position is an index into `states`, which are absolute. Whatever is shown at a position is computed from
// the run and the position alone, so going back shows exactly what was there before. A field that a recording does not
// have yet (no frames, no cost) is filled with its empty value here, and nowhere else.

import { deed, rowText, verdictOf } from './text.js';

/**
 * @typedef {{function: string, file: string, source: number|null, line: number|null}} Frame
 * @typedef {{operation: string, fd: number, client: number|null, result: number|null}} Op
 * @typedef {{client: number, fd: number|null, unread: number, fin_arrived: boolean, asked: number, sent: number,
 *   came_back: number, eof: boolean, left: boolean, client_unread: number, client_not_sent: number, not_sent: number, held: number,
 *   level: string, receive_room: number, send_room: number, client_receive_room: number}} Connection
 * @typedef {{fd: number, label: string, mask?: string, filter?: string, flags?: string}} Interest
 * @typedef {{thread: number, at: string, sleeps: boolean, frames: Frame[], meaning: number|null}} Thread
 * @typedef {{accept_queue: number, connections: Connection[], epolls: {fd: number, ready: boolean, interests: Interest[]}[],
 *   kqueues: {fd: number, ready: boolean, interests: Interest[]}[],
 *   rings: {fd: number, submitted: Op[], completed: Op[], in_flight: Op[]}[], threads: Thread[]}} State
 * @typedef {any} Event see RECORD.md
 * @typedef {{schedule: string, verdict: string, what: string, diagnosis: string, events: Event[], end: State|null}} Run
 * @typedef {{server: string, script_name: string, script: string, steps: string[], faults: string,
 *   sources: {path: string, text: string}[], no_frames: string|null, runs: Run[], passing: number|null,
 *   bound: {placements: number, complete: boolean, cut: string|null}|null, gaps: Gap[], gaps_title: string|null}} Recording
 * @typedef {{step: number, calls: number, before: string, run: number, verdict: string}} Gap computed by Rust
 */

/** @type {State} */
const NOTHING = { accept_queue: 0, connections: [], epolls: [], kqueues: [], rings: [], threads: [] };

/** Data of the page: JSON, compressed by gzip, in base64. @returns {Promise<any>} */
export async function unpack(/** @type {string} */ text) {
  const packed = Uint8Array.from(atob(text.trim()), (it) => it.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
  return JSON.parse(await new Response(stream).text());
}

/** Reads the recordings out of the page. @returns {Promise<Recording[]>} */
export async function decode(/** @type {string} */ text) {
  const recordings = await unpack(text);
  return (Array.isArray(recordings) ? recordings : [recordings]).map(whole);
}

/** The recording with every field that the player reads; a run's events by number become the events themselves. */
export function whole(/** @type {any} */ recording) {
  const eventsOf = (run) => run.events.map((it) => (typeof it === 'number' ? recording.events[it] : it));
  return {
    steps: [], faults: '', sources: [], no_frames: null, passing: null, bound: null, gaps: [], gaps_title: null, ...recording,
    runs: recording.runs.map((run) => ({ what: '', diagnosis: '', end: null, ...run, events: eventsOf(run) })),
  };
}

/** What is known of a run besides its events. */
export class Look {
  /** @param {Recording} recording @param {number} index */
  constructor(recording, index) {
    this.recording = recording;
    this.index = index;
    /** @type {Run} */
    this.run = recording.runs[index];
    this.events = this.run.events;
    this.verdict = verdictOf(this.run.verdict);
    this.states = statesOf(this.events);
    this.looked = lookedOf(this.events);
    this.folds = foldsOf(this.events);
    this.landmarks = landmarksOf(this.run, this.states);
    this.places = this.events.map((event, at) => placeOf(event, this.states[at], this.events, at));
  }

  get length() {
    return this.events.length;
  }
}

/** @type {Map<Run, Look>} */
const LOOKS = new Map();

/** The look at a run, computed once. */
export function look(/** @type {Recording} */ recording, /** @type {number} */ index) {
  const run = recording.runs[index];
  if (!LOOKS.has(run)) LOOKS.set(run, new Look(recording, index));
  return LOOKS.get(run);
}

function statesOf(events) {
  let last = NOTHING;
  return events.map((event) => {
    if (event.state) {
      const ring = event.ring ? [{ fd: event.fd ?? 0, ...event.ring, in_flight: [] }] : [];
      last = { ...NOTHING, ...event.state };
      if (!last.rings.length && ring.length) last.rings = ring;
    }
    return last;
  });
}

/** For each position, the descriptors that the waits have looked at so far. */
function lookedOf(events) {
  let sum = 0;
  return events.map((event) => (sum += event.cost?.looked_at ?? 0));
}

/** The frame that means something: of a call its own, of a step or a rest that of the thread that acts next. */
function placeOf(event, state, events, at) {
  const own = event.event === 'call' || event.event === 'rest' ? event : null;
  if (own?.frames?.length) return pick(own.frames, own.meaning);
  const last = events.slice(0, at + 1).findLast((it) => it.event === 'call' || it.event === 'preempted');
  const thread = state.threads.find((it) => it.thread === (last?.thread ?? 0)) ?? state.threads[0];
  if (thread?.frames?.length) return pick(thread.frames, thread.meaning);
  const earlier = events.slice(0, at).findLast((it) => it.event === 'call' && it.frames?.length);
  return earlier && event.event !== 'call' ? pick(earlier.frames, earlier.meaning) : null;
}

/** @returns {{frame: Frame, callers: Frame[], inner: Frame[]} | null} */
function pick(frames, meaning) {
  const at = meaning ?? frames.findIndex((it) => it.source !== null && it.source !== undefined);
  const frame = frames[at];
  return frame ? { frame, callers: frames.slice(at + 1), inner: frames.slice(0, at) } : null;
}

/** A function's name without its path; a closure has the name of the function that it stands in. */
function nameOf(frames) {
  const names = frames.map((it) => it.function.split('::{')[0].split('::').at(-1));
  return names.find((it) => it && !it.startsWith('{')) ?? frames[0].function;
}

/** `look:81 ‹ run:63`, for a row: a line that is called from several places is told apart by its caller. */
export function placeText(place) {
  if (!place) return '';
  const { frame, callers } = place;
  const text = (frames) => (frames[0].line === null ? nameOf(frames) : `${nameOf(frames)}:${frames[0].line}`);
  const caller = callers.findIndex((it) => it.source === frame.source && it.line !== null && nameOf([it]) !== nameOf([frame, ...callers]));
  const from = caller < 0 || frame.source === null || frame.source === undefined ? '' : ` ‹ ${text(callers.slice(caller))}`;
  return text([frame, ...callers]) + from;
}

/** The longest period of a repetition, in rows, and how often it has to come: as in the static table. */
const PERIOD = 4;
const FEWEST = 3;

/**
 * Rows that repeat the rows before them: `{start, period, times}`. The first round stays, and so does what comes after.
 * A step of a client is never folded.
 */
function foldsOf(events) {
  const keys = events.map((event, at) => {
    return event.event === 'call' ? `${event.thread} ${rowText(event)} ${JSON.stringify(event.ring ?? null)}` : `at ${at}`;
  });
  const folds = [];
  for (let at = 0; at < keys.length; ) {
    let best = { period: 1, times: 1 };
    for (let period = 1; period <= PERIOD; period++) {
      let end = at + period;
      while (end < keys.length && keys[end] === keys[end - period]) end++;
      const times = Math.floor((end - at) / period);
      if (times >= FEWEST && times * period > best.times * best.period) best = { period, times };
    }
    if (best.times > 1) folds.push({ start: at, ...best });
    at += best.period * best.times;
  }
  return folds;
}

/**
 * The positions worth a stop, each with the reason: steps of the script, faults, errors, the first write that the kernel
 * did not take, the last report of bytes that stay unread, and a rest at which something is missing.
 * @returns {Map<number, string>}
 */
function landmarksOf(run, states) {
  const marks = new Map();
  const refused = new Set();
  run.events.forEach((event, at) => {
    if (event.event === 'step' && event.placed) marks.set(at, 'the step that the schedule placed');
    else if (event.event === 'step' && event.fault) marks.set(at, 'a fault');
    else if (event.event === 'step' && !event.implied) marks.set(at, 'a step of the script');
    else if (event.event === 'rest' && event.wrong) marks.set(at, 'the server sleeps, and something is missing');
    else if (event.event === 'preempted') marks.set(at, 'another thread goes first');
    if (event.event !== 'call') return;
    const short = deed(event) === 'write' && event.client !== null && (event.result === 'EAGAIN' || isShort(event));
    if (short && !refused.has(event.client)) {
      refused.add(event.client);
      marks.set(at, 'the kernel does not take all of a write');
    } else if (event.value < 0 && event.result !== 'EAGAIN' && event.result !== 'EWOULDBLOCK') {
      marks.set(at, 'a call fails');
    }
  });
  const dropped = states.findIndex((state) => state.threads.length > 0 && state.connections.some((it) => lostOf(it) > 0));
  if (dropped >= 0) marks.set(dropped, 'bytes are dropped');
  const end = states[states.length - 1];
  if (run.verdict === 'lost-wakeup') {
    for (const connection of end?.connections.filter((it) => it.unread && it.fd !== null) ?? []) {
      const told = run.events.findLastIndex((it) => it.event === 'call' && it.wait && new RegExp(`\\bc${connection.client}\\b`).test(it.out));
      if (told >= 0) marks.set(told, `the last report of c${connection.client}'s bytes`);
    }
  }
  if (run.events.length) marks.set(run.events.length - 1, 'the end');
  return marks;
}

/**
 * The bytes that a client has sent and that are nowhere any more: those that the server has dropped. RECORD.md has the
 * law, and when it does not hold: a client that is gone is not followed, and the bytes of a server end with it.
 */
export function lostOf(/** @type {Connection} */ it) {
  const found = it.client_not_sent + it.unread + it.held + it.not_sent + it.client_unread + it.came_back;
  return it.left ? 0 : Math.max(0, it.sent - found);
}

/** Whether the kernel took less than it was given. The length is the last argument. */
function isShort(call) {
  const length = Number(call.arguments.match(/, (\d+)$/)?.[1] ?? NaN);
  return call.value >= 0 && call.value < length;
}

/** The placed steps of a run, each with the number of calls before it. */
export function placements(/** @type {Run} */ run) {
  let calls = 0;
  const found = [];
  for (const event of run.events) {
    if (event.event === 'call') calls++;
    else if (event.event === 'preempted') found.push({ step: null, calls, event });
    else if (event.event === 'step' && event.placed) found.push({ step: event.script_step ?? null, calls, event });
  }
  return found;
}

/** What tells a run from the others: `c0 send 5000 before epoll_wait(6, timeout 0)`. */
export function runName(/** @type {Recording} */ recording, /** @type {number} */ index) {
  const run = recording.runs[index];
  const placed = placements(run).map(({ event }) =>
    event.event === 'preempted' ? `thread ${event.thread} first` : `${event.step}${event.before ? ` before ${event.before}` : ''}`);
  return `${verdictOf(run.verdict).words}: ${placed.join('; ') || 'each step comes while the server sleeps'}`;
}

/** What the kernel's part of this run is called. */
export function kernelName(/** @type {Look} */ look) {
  if (look.states.some((it) => it.rings.length) || look.events.some((it) => it.ring)) return 'ring';
  if (look.states.some((it) => it.kqueues.length)) return 'kqueue';
  if (look.states.some((it) => it.epolls.length)) return 'epoll';
  const wait = look.events.find((it) => it.event === 'call' && it.wait);
  if (wait && /select/.test(wait.name)) return 'select';
  if (wait && /poll/.test(wait.name)) return 'poll';
  return wait && /io_uring/.test(wait.name) ? 'ring' : 'kernel';
}
