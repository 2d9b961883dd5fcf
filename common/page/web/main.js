// The page comes alive: the data are read, the players begin, and the address says where the reader is.
//
// Invariant: whatever fails here, the static part of the page stays as it is.

import { h, mark } from './icons.js';
import { decode } from './model.js';
import { verdictOf } from './text.js';
import { Player } from './player.js';

/**
 * A link: `#ID@STEP`, `#ID.RUN@STEP`, `#ID.RUN+RUN@STEP`. Runs and steps count from 1. The comparing player has the id
 * `beside`.
 */
const LINK = /^#([A-Za-z0-9_-]+)(?:\.(\d+(?:\+\d+)*))?(?:@(\d+))?$/;

/** The place that is shown now, as a link. */
function linkOf(/** @type {any} */ player) {
  const runs = player.choice === player.first ? '' : `.${player.choice}`;
  return `#${player.closest('section.show').id}${runs}@${player.stop + 1}`;
}

/** Follows the link in the address, and returns whether it led to a player. */
function follow(/** @type {(id: string) => void} */ open) {
  const [, id, runs, step] = location.hash.match(LINK) ?? [];
  const section = id && document.getElementById(id);
  /** @type {any} */
  const player = section && section.matches('section.show') && section.querySelector('event-loop-player');
  if (!player?.tracks) return false;
  open(id);
  player.restore(runs ? runs.split('+').map((it) => Number(it) - 1) : [], Number(step ?? 1) - 1);
  return true;
}

/** Tabs over the sections: several recordings are first seen beside each other. */
function tabs(/** @type {HTMLElement[]} */ sections) {
  const buttons = new Map();
  const open = (id) => {
    if (!buttons.has(id)) return;
    for (const section of sections) section.classList.toggle('not-chosen', section.id !== id);
    for (const [name, button] of buttons) button.setAttribute('aria-pressed', String(name === id));
  };
  const bar = h('div', { class: 'tabs', role: 'group', 'aria-label': 'What is shown' }, sections.map((section) => {
    const player = /** @type {any} */ (section.querySelector('event-loop-player'));
    const [recording] = player.recordings;
    const name = section.id === 'beside' ? ['beside each other'] : [mark(verdictOf(recording.runs[0].verdict)), ` ${recording.server}`];
    const button = h('button', { type: 'button', 'aria-pressed': 'false', onclick: () => {
      open(section.id);
      player.moved();
    } }, name);
    buttons.set(section.id, button);
    return button;
  }));
  sections[0].before(bar);
  return open;
}

/** Begins a player for each section, and with several of them one for all. */
function begin(recordings) {
  const sections = [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('section.show'))];
  /** @type {any[]} */
  const players = sections.map((section) => section.querySelector('event-loop-player'));
  players.forEach((player, at) => player.start([recordings[Number(player.dataset.recording ?? at)]]));
  if (sections.length < 2) return () => {};
  /** @type {any} */
  const beside = document.createElement('event-loop-player');
  const section = h('section', { class: 'show', id: 'beside' }, h('h2', {}, 'Beside each other'), beside);
  sections[0].before(section);
  beside.start(recordings);
  const open = tabs([section, ...sections]);
  open('beside');
  return open;
}

async function main() {
  const data = document.getElementById('recordings');
  const first = document.querySelector('event-loop-player');
  if (!data || !first) return;
  if (new URLSearchParams(location.search).has('talk')) document.documentElement.classList.add('talk');
  try {
    const recordings = await decode(data.textContent);
    customElements.define('event-loop-player', Player);
    const open = begin(recordings);
    follow(open);
    addEventListener('hashchange', () => follow(open));
    document.addEventListener('moved', (event) => history.replaceState(null, '', linkOf(event.target)));
    document.documentElement.classList.add('alive');
  } catch (error) {
    console.error(error);
    first.before(h('p', { class: 'note', role: 'alert' }, `The player did not start: ${error}. The run is below as a picture and a table.`));
  }
}

await main();
