// "What will it return?": asked before a wait returns, answered by the record.
//
// Invariant: every choice is an outcome of a wait in this recording, and exactly one of them is what happened.

import { h, icon } from './icons.js';
import { opsText } from './text.js';

/** @import { Look } from './model.js' */

/** The choices that are shown at most. */
const CHOICES = 4;
const SLEEPS = 'It sleeps: there is nothing to report.';

/** What a wait came to, or null for other events. */
function outcomeOf(event) {
  if (event.event === 'rest') return SLEEPS;
  if (event.event !== 'call' || !event.wait) return null;
  if (event.ring) return event.ring.completed.length ? `Completed: ${opsText(event.ring.completed)}` : 'It returns, and nothing is completed.';
  if (event.value < 0) return `It fails with ${event.result}.`;
  if (event.value === 0) return 'It returns 0: nothing is ready.';
  return event.out || `It returns ${event.result}.`;
}

/** A number from a text, the same each time: the order of the choices must not tell the answer. */
function mixed(text) {
  let value = 2166136261;
  for (const it of text) value = Math.imul(value ^ it.codePointAt(0), 16777619);
  return value >>> 0;
}

/**
 * The question before the event at `position`, or null if nothing is to be asked there.
 * @returns {{asked: string, choices: string[], right: string} | null}
 */
export function questionAt(/** @type {Look} */ look, /** @type {number} */ position) {
  const event = look.events[position];
  const right = event && outcomeOf(event);
  if (!right) return null;
  const call = event.event === 'rest' ? event.sleeps[0] : `${event.name}(${event.arguments})`;
  const all = look.recording.runs.flatMap((run) => run.events).map(outcomeOf).filter(Boolean);
  const others = [...new Set([...all, SLEEPS])].filter((it) => it !== right);
  if (!others.length) return null;
  const near = others.sort((a, b) => mixed(`${position}${a}`) - mixed(`${position}${b}`)).slice(0, CHOICES - 1);
  const choices = [right, ...near].sort((a, b) => mixed(a + right) - mixed(b + right));
  return { asked: call ?? 'the wait', choices, right };
}

/** The question as buttons. `reveal` goes on; `done` is told whether the answer was right. */
export function ask(/** @type {{asked: string, choices: string[], right: string}} */ question, /** @type {(right: boolean|null) => void} */ answered) {
  return h('fieldset', { class: 'ask' },
    h('legend', {}, icon('ask'), ` What will ${question.asked} return?`),
    h('div', { class: 'choices' },
      question.choices.map((it) => h('button', { type: 'button', onclick: () => answered(it === question.right) }, it)),
      h('button', { type: 'button', class: 'link', onclick: () => answered(null) }, 'show it')));
}
