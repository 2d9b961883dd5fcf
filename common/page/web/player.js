// The player: one run, or several beside each other, driven step by step.
//
// Invariant: what is shown is computed from the tracks, the stop, and the choices of the reader (open folds, a chosen
// line). No step changes anything that the step back does not change back.

import { h, icon, mark } from './icons.js';
import { align } from './align.js';
import { picker } from './gaps.js';
import { lanes } from './lanes.js';
import { look, placements, runName } from './model.js';
import { ask, questionAt } from './predict.js';
import { Rows } from './rows.js';
import { SourcePane } from './source.js';

/** @import { Recording, Look } from './model.js' */

/** Milliseconds for a step, by the name of the speed. */
const SPEEDS = { slow: 2400, normal: 1200, fast: 450 };
/** Servers beside each other at most: more are not read on any screen. */
const MOST = 6;

/** One run in the player: a column. */
class Track {
  constructor(/** @type {Recording} */ recording, /** @type {number} */ run, name = recording.server) {
    this.recording = recording;
    this.name = name;
    /** @type {Look} */
    this.look = look(recording, run);
    /** The rows of the line that was chosen in the source. @type {Set<number>} */
    this.chosen = new Set();
    /** What is on the page, once the column is made. @type {SourcePane} */
    this.source = null;
    /** @type {Rows} */
    this.rows = null;
    /** @type {HTMLElement} */
    this.lanes = null;
    /** @type {HTMLElement} */
    this.element = null;
  }
}

/** The run of another recording with the same schedule, or in which the same step comes before the same call. */
function counterpart(/** @type {Look} */ model, /** @type {Recording} */ recording) {
  const key = (run) => placements(run).map((it) => `${it.step} ${it.event.before ?? ''}`).join(';');
  const wanted = key(model.run);
  const found = recording.runs.findIndex((run) => key(run) === wanted);
  return Math.max(0, found);
}

/** What the colours and the keys mean. */
function help() {
  return h('details', { class: 'help' }, h('summary', {}, 'what the colours and the keys mean'),
    h('p', {}, 'Each row is a system call of the server or a step of a client. In the lanes beside it: a dashed bar at the client is what it has not read; in the socket a bar is unread bytes, a hollow box a connection in the accept queue, a dot a FIN; at the kernel a block is an event that a wait would report, a ring an operation in flight; the program is green while it runs and grey while it sleeps, and a violet bar is what it has taken and not given back. The bars are logarithmic. » is a step that the schedule placed.'),
    h('p', {}, 'Keys, while something in the player has the focus: arrow left and right for a step, Home and End, space to play, n for the next interesting row.'));
}

/** The element `event-loop-player`. */
export class Player extends HTMLElement {
  /** Builds the player in front of the static part. @param {Recording[]} recordings */
  start(recordings) {
    this.recordings = recordings.slice(0, MOST);
    this.several = this.recordings.length > 1;
    /** What the page calls each server, if not by its own name. */
    this.titles = this.dataset.titles?.split('|') ?? [];
    this.predicts = false;
    this.timer = 0;
    this.stop = 0;
    this.still = h('div', { class: 'static' });
    this.still.append(...this.childNodes);
    this.body = h('div', { class: 'player' });
    this.append(this.body, this.still);
    this.classList.add('upgraded');
    this.furnish();
    const first = this.track(this.recordings[0], 0);
    this.open([first, ...this.recordings.slice(1).map((it) => this.track(it, counterpart(first.look, it)))]);
    this.first = this.choice;
    this.addEventListener('keydown', (event) => this.key(event));
  }

  /** The runs that are shown, as a link names them: `1`, `3+1`. */
  get choice() {
    return this.tracks.map((it) => it.look.index + 1).join('+');
  }

  /** A column for a run of a recording. */
  track(/** @type {Recording} */ recording, /** @type {number} */ run) {
    return new Track(recording, run, this.titles[this.recordings.indexOf(recording)]);
  }

  /** What stays, whatever run is shown. */
  furnish() {
    const button = (name, label, act) => h('button', { type: 'button', class: `button-${name}`, onclick: act, title: label, 'aria-label': label }, icon(name));
    this.buttons = {
      first: button('first', 'To the start', () => this.hand(0)),
      back: button('back', 'One step back', () => this.hand(this.near(-1))),
      play: button('play', 'Play', () => this.toggle()),
      next: button('next', 'One step on', () => this.forward()),
      flag: button('flag', 'To the next interesting row', () => this.hand(this.interesting())),
    };
    this.speed = h('select', { 'aria-label': 'Speed' }, Object.keys(SPEEDS).map((it) => h('option', { value: it }, it)));
    this.speed.value = 'normal';
    this.speed.addEventListener('change', () => this.timer && this.play());
    this.scrub = h('input', { type: 'range', min: 0, value: 0, 'aria-label': 'Position', oninput: () => this.hand(Number(this.scrub.value)) });
    this.position = h('output', { class: 'position' });
    this.parting = h('button', { type: 'button', class: 'parting', onclick: () => this.hand(this.partStop) }, 'where they part');
    this.say = h('div', { class: 'say', 'aria-live': 'polite' });
    this.columns = h('div', { class: 'tracks' });
    this.runs = h('span', { class: 'runs' });
    const predict = h('input', { type: 'checkbox', onchange: () => {
      this.predicts = predict.checked;
      this.quit();
    } });
    const table = this.still.childElementCount
      ? h('button', { type: 'button', class: 'quiet', 'aria-pressed': 'false', onclick: () => table.setAttribute('aria-pressed', String(this.classList.toggle('with-static'))) }, icon('list'), ' the run as a table')
      : null;
    // Of several servers, the gaps are those of the first, if the page asks for them: it leads the others.
    const withGaps = !this.several || this.hasAttribute('data-gaps');
    this.gaps = withGaps ? picker(this.recordings[0], (run) => this.choose(run)) : null;
    this.body.append(...[this.gaps].filter(Boolean),
      h('div', { class: 'choices-bar' }, this.runs, h('label', { class: 'check' }, predict, ' ask me before a wait returns'), table),
      h('div', { class: 'controls', role: 'group', 'aria-label': `Player of ${this.several ? 'all' : this.recordings[0].server}` }, ...Object.values(this.buttons), this.speed, this.scrub, this.position, this.parting),
      this.say, this.columns, help());
  }

  /** Shows these tracks, from the first stop. */
  open(/** @type {Track[]} */ tracks) {
    this.pause();
    this.tracks = tracks;
    this.stops = align(tracks.map((it) => it.look));
    this.partStop = this.stops.findIndex((it) => it.part);
    this.parting.hidden = this.partStop < 0;
    this.marks = this.stops.map((stop, at) => this.reasonAt(stop, this.stops[at - 1]));
    this.scrub.max = this.stops.length - 1;
    this.runs.replaceChildren(...this.choosers());
    this.body.dataset.tracks = String(tracks.length);
    this.columns.replaceChildren(...tracks.map((track, at) => this.column(track, at)));
    for (const gap of this.gaps?.querySelectorAll('[data-run]') ?? []) {
      const chosen = Number(gap.dataset.run) === tracks[0].look.index;
      gap.setAttribute('aria-pressed', String(chosen));
      // Only the picker scrolls, where it is small.
      if (chosen) this.gaps.scrollTop = gap.offsetTop - this.gaps.clientHeight / 2;
    }
    this.show(0);
  }

  /** Why a stop is interesting, or an empty text. */
  reasonAt(stop, before) {
    if (stop.part) return 'here they part';
    const reasons = stop.at.map((at, track) => (at === before?.at[track] ? '' : this.tracks[track].look.landmarks.get(at)));
    return reasons.find(Boolean) ?? '';
  }

  /** The lists of runs: of a single recording its own and one to put beside it. */
  choosers() {
    if (this.several) return [];
    const [recording] = this.recordings;
    const options = () => recording.runs.map((_, at) => h('option', { value: at }, `${at + 1}. ${runName(recording, at)}`));
    const run = h('select', { onchange: () => this.choose(Number(run.value)) }, options());
    run.value = this.tracks[0].look.index;
    if (recording.runs.length < 2) return [];
    const beside = h('select', { onchange: () => this.beside(beside.value === '' ? null : Number(beside.value)) }, h('option', { value: '' }, 'nothing'), options());
    beside.value = this.tracks[1]?.look.index ?? '';
    const { passing } = recording;
    const near = passing !== null && this.tracks.length === 1 && this.tracks[0].look.index !== passing
      ? h('button', { type: 'button', onclick: () => this.beside(passing) }, 'beside the nearest run that passes')
      : null;
    return [h('label', {}, 'run ', run), h('label', {}, 'beside it ', beside), near].filter(Boolean);
  }

  /** Another run in the first track, at the step that was placed. */
  choose(/** @type {number} */ run) {
    const [recording] = this.recordings;
    if (this.several) this.trackRun(0, run);
    else this.open([this.track(recording, run), ...this.tracks.slice(1)]);
    const placed = this.tracks[0].look.events.findIndex((it) => it.placed);
    this.hand(placed < 0 ? 0 : this.stopOf(0, placed));
  }

  /** A second run of the same recording, or none, at the row at which they part. */
  beside(/** @type {number|null} */ run) {
    const [recording] = this.recordings;
    this.open(run === null ? [this.tracks[0]] : [this.tracks[0], this.track(recording, run)]);
    this.hand(Math.max(0, this.partStop));
  }

  /** Runs by their index, as in a link; what a recording does not have is ignored. */
  restore(/** @type {(number|null)[]} */ runs, /** @type {number} */ stop) {
    const has = (recording, run) => run !== null && run >= 0 && run < recording.runs.length;
    if (this.several) {
      this.open(this.recordings.map((it, at) => this.track(it, has(it, runs[at] ?? null) ? runs[at] : this.tracks[at].look.index)));
    } else {
      const wanted = runs.slice(0, 2).filter((run) => has(this.recordings[0], run));
      if (wanted.length) this.open(wanted.map((run) => this.track(this.recordings[0], run)));
    }
    this.show(stop);
  }

  column(/** @type {Track} */ track, /** @type {number} */ at) {
    const { look, recording } = track;
    // Unique, also where one run stands beside itself.
    const name = `${track.name}, run ${look.index + 1}${this.tracks.length > 1 ? `, column ${at + 1}` : ''}`;
    track.source = new SourcePane(look, name, (rows) => this.lineChosen(at, rows));
    track.rows = new Rows(look, name, (position) => this.hand(this.stopOf(at, position)));
    track.lanes = h('div', { class: 'lanes' });
    const head = h('h3', { class: 'track-head' }, mark(look.verdict), h('span', { class: 'track-name' }, track.name), h('span', { class: `verdict ${look.verdict.kind}` }, look.verdict.words));
    const run = this.several && recording.runs.length > 1
      ? h('select', { class: 'track-run', 'aria-label': `Run of ${track.name}`, onchange: () => this.trackRun(at, Number(run.value)) }, recording.runs.map((_, it) => h('option', { value: it, selected: it === look.index }, `${it + 1}. ${runName(recording, it)}`)))
      : null;
    const hint = this.tracks.length > 1 && !this.several ? h('p', { class: 'note' }, runName(recording, look.index)) : null;
    track.element = h('section', { class: 'track', 'aria-label': `${name}: ${look.verdict.words}` }, this.tracks.length > 1 || this.several ? [head, run, hint] : null,
      h('div', { class: 'panes' }, track.source.element, h('div', { class: 'run-pane' }, track.lanes, track.rows.element)));
    return track.element;
  }

  /** Another run in one of several tracks; the first one leads the others to the same schedule. */
  trackRun(at, run) {
    const track = this.track(this.recordings[at], run);
    this.open(this.tracks.map((it, other) => {
      if (other === at) return track;
      return at === 0 ? this.track(it.recording, counterpart(track.look, it.recording)) : it;
    }));
    this.hand(0);
  }

  /** The first stop at which a track has come to a position. */
  stopOf(/** @type {number} */ track, /** @type {number} */ position) {
    const found = this.stops.findIndex((it) => it.at[track] >= position);
    return found < 0 ? this.stops.length - 1 : found;
  }

  /** The stop at which a step of the script comes. */
  stopOfStep(/** @type {number} */ step) {
    return this.stopOf(0, this.tracks[0].look.events.findIndex((it) => it.script_step === step));
  }

  lineChosen(at, rows) {
    const track = this.tracks[at];
    track.chosen = new Set(rows);
    const now = this.stops[this.stop].at[at];
    this.hand(this.stopOf(at, rows.find((row) => row > now) ?? rows[0]));
  }

  /** Whether stepping stops here: one of the runs goes on, and not inside a fold. */
  isStop(at) {
    const { at: now, part } = this.stops[at];
    const before = this.stops[at - 1]?.at;
    return part || at === this.stops.length - 1 || now.some((it, track) => it !== before?.[track] && this.tracks[track].rows.stopsAt(it));
  }

  /** The next stop in a direction, over what is folded. */
  near(/** @type {1|-1} */ way) {
    let at = this.stop + way;
    while (at > 0 && at < this.stops.length - 1 && !this.isStop(at)) at += way;
    return Math.max(0, Math.min(at, this.stops.length - 1));
  }

  interesting() {
    const found = this.marks.findIndex((mark, at) => at > this.stop && mark);
    return found < 0 ? this.stops.length - 1 : found;
  }

  /** One step on. Where the reader wants to be asked, the question comes first. */
  forward() {
    const next = this.near(1);
    const question = this.predicts && !this.asking && next > this.stop ? this.question(next) : null;
    if (!question) return this.hand(next);
    this.pause();
    this.asking = ask(question, (right) => {
      this.quit();
      this.show(next, right === null ? '' : right ? 'Right. ' : 'No: this is what happened. ');
      this.buttons.next.focus();
      this.moved();
    });
    this.say.replaceChildren(this.asking);
    this.asking.querySelector('button').focus();
  }

  question(next) {
    const at = this.stops[next].at[0];
    return at === this.stops[this.stop].at[0] ? null : questionAt(this.tracks[0].look, at);
  }

  /** Takes the question away. */
  quit() {
    if (!this.asking) return;
    this.asking = null;
    this.show(this.stop);
  }

  /** Goes to a stop by hand: it is said aloud, and it stops the playing. */
  hand(/** @type {number} */ stop) {
    this.pause();
    this.asking = null;
    this.show(stop);
    this.moved();
  }

  /** Tells the page where the reader is, for the link. */
  moved() {
    this.dispatchEvent(new CustomEvent('moved', { bubbles: true }));
  }

  toggle() {
    if (this.timer) return this.pause();
    if (this.stop >= this.stops.length - 1) this.show(0);
    this.play();
  }

  play() {
    clearInterval(this.timer);
    this.say.setAttribute('aria-live', 'off');
    this.face('pause', 'Pause');
    this.timer = setInterval(() => {
      const next = this.near(1);
      if (this.predicts && next > this.stop && this.question(next)) return this.forward();
      this.show(next);
      if (next >= this.stops.length - 1) {
        this.pause();
        this.moved();
      }
    }, SPEEDS[this.speed.value]);
  }

  pause() {
    if (!this.timer) return;
    clearInterval(this.timer);
    this.timer = 0;
    this.say.setAttribute('aria-live', 'polite');
    this.face('play', 'Play');
  }

  face(name, label) {
    const { play } = this.buttons;
    play.replaceChildren(icon(name));
    play.setAttribute('aria-label', label);
    play.title = label;
  }

  /** Draws a stop. */
  show(/** @type {number} */ stop, prefix = '') {
    if (!this.stops.length) return;
    this.stop = Math.max(0, Math.min(stop || 0, this.stops.length - 1));
    const { at } = this.stops[this.stop];
    const before = this.stops[this.stop - 1]?.at;
    this.tracks.forEach((track, index) => {
      const position = at[index];
      const part = this.partStop >= 0 ? this.stops[this.partStop].at[index] : null;
      const idle = this.tracks.length > 1 && before?.[index] === position;
      track.element.classList.toggle('waits', idle);
      track.lanes.replaceChildren(...(position < 0 ? [] : lanes(track.look, position)));
      track.rows.show(position, track.chosen, part);
      track.source.show(position);
    });
    this.speak(prefix);
    // All is written before anything is measured: the browser lays the page out once.
    for (const track of this.tracks) {
      track.rows.reveal();
      track.source.reveal();
    }
    this.scrub.value = this.stop;
    this.scrub.setAttribute('aria-valuetext', `step ${this.stop + 1} of ${this.stops.length}`);
    this.position.textContent = `${this.stop + 1} of ${this.stops.length}`;
    const { first, back, next, flag } = this.buttons;
    const atStart = String(this.stop === 0);
    const atEnd = String(this.stop === this.stops.length - 1);
    for (const [button, off] of [[first, atStart], [back, atStart], [next, atEnd], [flag, atEnd]]) button.setAttribute('aria-disabled', off);
  }

  /** The sentences of this stop, one for each track. */
  speak(prefix) {
    const { at, part } = this.stops[this.stop];
    const why = this.marks[this.stop];
    this.say.classList.toggle('part', part);
    this.say.replaceChildren(...this.tracks.map((track, index) => {
      const event = track.look.events[at[index]];
      const idle = this.tracks.length > 1 && this.stops[this.stop - 1]?.at[index] === at[index];
      const wrong = event?.event === 'rest' && event.wrong;
      const who = this.tracks.length > 1 ? h('b', {}, `${this.several ? track.name : track.look.verdict.words}: `) : why ? h('span', { class: 'why' }, why) : null;
      const parts = part && index === 0 ? h('b', { class: 'parts' }, 'Here they part. ') : null;
      return h('p', { class: idle ? 'idle' : wrong ? 'wrong' : '' }, parts, who, prefix, event ? event.sentence ?? '' : 'It has not begun.', this.last(track, at[index]));
    }));
  }

  /** At the end of a failing run: what went wrong, and why. */
  last(track, position) {
    if (position !== track.look.length - 1 || track.look.verdict.kind === 'ok') return null;
    const { what, diagnosis } = track.look.run;
    return h('span', { class: 'diagnosis' }, [track.look.events[position].wrong ? '' : what, diagnosis].filter(Boolean).join(' '));
  }

  /** Keys work only while something in the player has the focus, and never instead of what the element does itself. */
  key(/** @type {KeyboardEvent} */ event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const target = /** @type {Element} */ (event.target);
    if (!this.body.contains(target) || target.closest('select, input[type="range"], fieldset')) return;
    const onControl = target.closest('button, input, summary, a');
    const acts = {
      ArrowRight: () => this.forward(),
      ArrowLeft: () => this.hand(this.near(-1)),
      Home: () => this.hand(0),
      End: () => this.hand(this.stops.length - 1),
      n: () => this.hand(this.interesting()),
    };
    if (!onControl) acts[' '] = () => this.toggle();
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }
}
