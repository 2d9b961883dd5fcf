// Slides: one at a time, each as large as the window allows, with the speaker's notes on a key.
//
// Invariant: nothing scrolls. What is too large for the window is made smaller until it fits.

import { h } from './icons.js';

/** The slides of a part: its children with the class `slide`, or the part as a whole. */
function slidesOf(/** @type {HTMLElement} */ part) {
  const slides = /** @type {HTMLElement[]} */ ([...part.children].filter((it) => it.classList.contains('slide')));
  return (slides.length ? slides : [null]).map((slide) => ({ part, slide }));
}

/** Makes the part as large as fits. Columns come and go with the size, so the sizes are tried one by one. */
function fitTalk(/** @type {HTMLElement} */ part) {
  const room = innerHeight - 60;
  for (let size = 2.2; size >= 0.3; size -= 0.05) {
    part.style.setProperty('zoom', size.toFixed(2));
    if (part.getBoundingClientRect().height <= room && part.scrollWidth <= part.clientWidth + 1) return;
  }
}

export function talk() {
  document.documentElement.classList.add('slides');
  const parts = /** @type {HTMLElement[]} */ ([...document.querySelectorAll('section.part')]);
  const all = parts.flatMap(slidesOf);
  const place = h('p', { class: 'talk-place', role: 'status' });
  document.body.append(place);
  let now = 0;
  let notes = false;
  const go = (/** @type {number} */ to) => {
    now = Math.max(0, Math.min(to, all.length - 1));
    const { part, slide } = all[now];
    for (const it of parts) it.classList.toggle('talk-now', it === part);
    for (const it of all) it.slide?.classList.toggle('talk-now', it.slide === slide);
    const aside = /** @type {HTMLElement} */ (part.querySelector('aside.notes'));
    if (aside) aside.hidden = !notes;
    place.textContent = `${now + 1} / ${all.length} · arrows: next and back · n: notes`;
    history.replaceState(null, '', `#${part.id}`);
    (slide ?? part).dispatchEvent(new CustomEvent('slide', { bubbles: true }));
    fitTalk(part);
  };
  const follow = () => {
    const wanted = location.hash && document.getElementById(location.hash.slice(1));
    const found = all.findIndex(({ part, slide }) => wanted && (slide ? slide.contains(wanted) || part === wanted : part.contains(wanted)));
    go(Math.max(0, found));
  };
  // A player has the arrows for itself while something in it has the focus.
  addEventListener('keydown', (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (/** @type {HTMLElement} */ (event.target).closest('event-loop-player, input, select, textarea')) return;
    if (event.key === 'ArrowRight' || event.key === 'PageDown') go(now + 1);
    else if (event.key === 'ArrowLeft' || event.key === 'PageUp') go(now - 1);
    else if (event.key === 'Home') go(0);
    else if (event.key === 'End') go(all.length - 1);
    else if (event.key === 'n') {
      notes = !notes;
      go(now);
    } else return;
    event.preventDefault();
  });
  addEventListener('resize', () => go(now));
  addEventListener('hashchange', follow);
  follow();
}
