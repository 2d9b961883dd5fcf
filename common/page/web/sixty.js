// Sixty seconds: captions that drive a player over recorded runs.
//
// Invariant: nothing starts by itself, and nothing is spoken before it is asked for. A caption stands there as text,
// whether it is spoken or not.

import { h, icon } from './icons.js';

/** A voice may be slower than the caption's time; after so many milliseconds more, the next caption comes anyway. */
const PATIENCE_WITH_VOICE = 9000;

/** A voice of this machine: what a reader listens to is not sent anywhere. */
function localVoice() {
  return globalThis.speechSynthesis?.getVoices().find((it) => it.localService && /^en\b/i.test(it.lang)) ?? null;
}

/** Builds the stage above the captions, if the page has them. */
export function sixty(/** @type {any[]} */ recordings) {
  const list = /** @type {HTMLElement|null} */ (document.querySelector('ol.captions'));
  const stage = /** @type {HTMLElement|null} */ (document.querySelector('.stage'));
  if (list && stage) new Stage(stage, list, recordings);
}

class Stage {
  constructor(/** @type {HTMLElement} */ element, /** @type {HTMLElement} */ list, /** @type {any[]} */ recordings) {
    this.element = element;
    this.recordings = recordings;
    this.seconds = Number(list.dataset.seconds);
    this.items = /** @type {HTMLElement[]} */ ([...list.children]);
    this.now = 0;
    this.playing = false;
    this.voice = false;
    /** The timers of the caption that plays. @type {number[]} */
    this.timers = [];
    /** A player for each recording, made when its caption first comes. @type {Map<string, any>} */
    this.players = new Map();
    this.furnish();
    // What is not laid out cannot be scrolled to.
    element.hidden = false;
    this.show(0, false);
  }

  furnish() {
    const button = (name, label, act, sign = name) => h('button', { type: 'button', class: `stage-${name}`, title: label, 'aria-label': label, onclick: act }, icon(sign));
    this.buttons = {
      restart: button('restart', 'From the start', () => this.restart(), 'first'),
      back: button('back', 'One caption back', () => this.go(this.now - 1)),
      play: button('play', 'Play the sixty seconds', () => (this.playing ? this.pause() : this.play())),
      next: button('next', 'One caption on', () => this.go(this.now + 1)),
    };
    this.speaker = h('button', { type: 'button', class: 'stage-voice', 'aria-pressed': 'false', hidden: true, onclick: () => this.toggleVoice() }, icon('voice'), ' read aloud');
    const synthesis = globalThis.speechSynthesis;
    const look = () => { this.speaker.hidden = !localVoice(); };
    look();
    // Some browsers know their voices only after a while.
    synthesis?.addEventListener?.('voiceschanged', look);
    this.place = h('output', { class: 'position' });
    this.caption = h('div', { class: 'caption-box', 'aria-live': 'polite' });
    this.screen = h('div', { class: 'screen' }, h('h3', { class: 'unseen' }, 'The recorded run'));
    this.element.append(this.caption,
      h('div', { class: 'controls player-controls', role: 'group', 'aria-label': 'Sixty seconds' }, ...Object.values(this.buttons), this.speaker, this.place),
      this.screen);
    for (const [at, item] of this.items.entries()) {
      const title = item.querySelector('b');
      title.replaceChildren(h('button', { type: 'button', class: 'link', onclick: () => this.go(at) }, title.textContent));
    }
    addEventListener('pagehide', () => this.pause());
  }

  /** The player of a caption, the only one that is seen. */
  playerOf(/** @type {HTMLElement} */ item) {
    const place = item.dataset.recording;
    if (!this.players.has(place)) {
      /** @type {any} */
      const player = document.createElement('event-loop-player');
      this.screen.append(player);
      player.start([this.recordings[Number(place)]]);
      // The caption is what is said.
      player.say.setAttribute('aria-live', 'off');
      this.players.set(place, player);
    }
    for (const [other, player] of this.players) player.hidden = other !== place;
    return this.players.get(place);
  }

  /** Shows a caption. If it plays, its rows come one after the other in the caption's time; otherwise the last one is shown. */
  show(/** @type {number} */ at, /** @type {boolean} */ plays) {
    this.stopTimers();
    this.now = at;
    const item = this.items[at];
    const [from, to] = [Number(item.dataset.from), Number(item.dataset.to)];
    this.caption.setAttribute('aria-live', plays && this.voice ? 'off' : 'polite');
    this.caption.replaceChildren(h('b', {}, item.querySelector('b').textContent), ' ', h('span', {}, item.querySelector('.caption').textContent));
    this.place.textContent = `${at + 1} of ${this.items.length}`;
    for (const other of this.items) other.toggleAttribute('aria-current', other === item);
    if (item.hasAttribute('aria-current')) item.setAttribute('aria-current', 'step');
    this.buttons.back.setAttribute('aria-disabled', String(at === 0));
    this.buttons.next.setAttribute('aria-disabled', String(at === this.items.length - 1));
    const player = this.playerOf(item);
    player.show(plays ? from : to);
    if (!plays) return;
    const pace = (this.seconds * 1000) / (to - from + 1.5);
    for (let row = from + 1; row <= to; row++) this.after(pace * (row - from), () => player.show(row));
    this.waitFor = new Set(['time']);
    if (this.voice) this.speak(item.querySelector('.caption').textContent);
    this.after(this.seconds * 1000, () => this.done('time'));
  }

  speak(/** @type {string} */ text) {
    const utterance = new SpeechSynthesisUtterance(text);
    utterance.voice = localVoice();
    utterance.lang = utterance.voice?.lang ?? 'en';
    this.waitFor.add('voice');
    const at = this.now;
    const end = () => this.now === at && this.done('voice');
    utterance.addEventListener('end', end);
    utterance.addEventListener('error', end);
    this.after(this.seconds * 1000 + PATIENCE_WITH_VOICE, end);
    speechSynthesis.speak(utterance);
  }

  /** The caption's time or its voice has ended: with the last of them the next caption comes. */
  done(/** @type {string} */ what) {
    if (!this.playing || !this.waitFor.delete(what) || this.waitFor.size) return;
    if (this.now < this.items.length - 1) this.show(this.now + 1, true);
    else this.pause();
  }

  play() {
    this.playing = true;
    this.face('pause', 'Pause');
    const atEnd = this.now === this.items.length - 1;
    this.show(atEnd ? 0 : this.now, true);
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.face('play', 'Play the sixty seconds');
    this.show(this.now, false);
  }

  restart() {
    if (this.playing) this.show(0, true);
    else this.go(0);
  }

  /** Goes to a caption by hand, which stops the playing. */
  go(/** @type {number} */ at) {
    this.pause();
    this.show(Math.max(0, Math.min(at, this.items.length - 1)), false);
  }

  toggleVoice() {
    this.voice = !this.voice;
    this.speaker.setAttribute('aria-pressed', String(this.voice));
    if (!this.voice) speechSynthesis.cancel();
    if (this.playing) this.show(this.now, true);
  }

  face(/** @type {'play'|'pause'} */ name, /** @type {string} */ label) {
    const { play } = this.buttons;
    play.replaceChildren(icon(name));
    play.setAttribute('aria-label', label);
    play.title = label;
  }

  after(/** @type {number} */ milliseconds, /** @type {() => void} */ act) {
    this.timers.push(setTimeout(act, milliseconds));
  }

  stopTimers() {
    for (const timer of this.timers) clearTimeout(timer);
    this.timers = [];
    this.waitFor = new Set();
    if (globalThis.speechSynthesis?.speaking || globalThis.speechSynthesis?.pending) speechSynthesis.cancel();
  }
}
