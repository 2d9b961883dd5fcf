// The page of the course comes alive: each player begins with its recordings, and '?talk' makes slides of the parts.
//
// Invariant: whatever fails here, the static page stays as it is. Nothing starts by itself.

import { beginBeside } from './beside.js';
import { h } from './icons.js';
import { decode } from './model.js';
import { Player } from './player.js';
import { talk } from './talk.js';

/** Begins the players. `data-recording` names what each shows: the number of a recording, or several: `0 2 3`. */
function beginBook(/** @type {any[]} */ recordings) {
  for (const player of /** @type {NodeListOf<any>} */ (document.querySelectorAll('event-loop-player[data-recording]'))) {
    player.start(player.dataset.recording.split(' ').map((it) => recordings[Number(it)]));
  }
}

async function openBook() {
  const data = document.getElementById('recordings');
  const main = document.querySelector('main.book');
  if (!data || !main) return;
  try {
    const recordings = await decode(data.textContent);
    customElements.define('event-loop-player', Player);
    beginBook(recordings);
    document.documentElement.classList.add('alive');
  } catch (error) {
    console.error(error);
    main.prepend(h('p', { class: 'note', role: 'alert' }, `The players did not start: ${error}. Each run is below as a picture and a table.`));
  }
  await beginBeside().catch((error) => console.error(error));
  if (new URLSearchParams(location.search).has('talk')) talk();
}

await openBook();
