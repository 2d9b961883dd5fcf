// The page of the course comes alive: each player begins with its recordings, and '?talk' makes slides of the parts.
//
// Invariant: whatever fails here, the static page stays as it is. Nothing starts by itself.

import { beginBeside } from './beside.js';
import { choosing } from './choosing.js';
import { h } from './icons.js';
import { decode } from './model.js';
import { Player } from './player.js';
import { sixty } from './sixty.js';
import { talk } from './talk.js';

/** How far outside the window a player begins, in pixels. */
const AHEAD = 700;

/**
 * The players begin when they come near the window, or on a slide that is shown: a page of many players opens at once, and
 * until then each run stands there as a table. `data-recording` names what a player shows: the number of a recording, or
 * several: `0 2 3`.
 */
function beginBook(/** @type {any[]} */ recordings) {
  const waiting = new Set(/** @type {NodeListOf<any>} */ (document.querySelectorAll('event-loop-player[data-recording]')));
  const begin = (/** @type {any} */ player) => {
    if (!waiting.delete(player)) return;
    near.unobserve(player);
    player.start(player.dataset.recording.split(' ').map((it) => recordings[Number(it)]));
    const { start } = player.dataset;
    if (start) player.show(start === 'part' ? Math.max(0, player.partStop) : player.stopOfStep(Number(start)));
  };
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) begin(target);
  }, { rootMargin: `${AHEAD}px` });
  for (const player of waiting) near.observe(player);
  document.addEventListener('slide', (event) => {
    for (const player of /** @type {Element} */ (event.target).querySelectorAll('event-loop-player')) {
      begin(player);
      // Once the slide has its size, what is shown is scrolled to.
      requestAnimationFrame(() => player.stops && player.show(player.stop));
    }
  });
}

async function openBook() {
  const data = document.getElementById('recordings');
  const main = document.querySelector('main.book');
  if (!data || !main) return;
  try {
    const recordings = await decode(data.textContent);
    customElements.define('event-loop-player', Player);
    beginBook(recordings);
    sixty(recordings);
    document.documentElement.classList.add('alive');
    performance.mark('alive');
  } catch (error) {
    console.error(error);
    main.prepend(h('p', { class: 'note', role: 'alert' }, `The players did not start: ${error}. Each run is below as a picture and a table.`));
  }
  choosing();
  await beginBeside().catch((error) => console.error(error));
  if (new URLSearchParams(location.search).has('talk')) talk();
}

await openBook();
