// What is written on rows and cells. The sentences come with the data: Rust writes them, for the table and for the player.
//
// Invariant: a verdict has one name, one letter and one shape everywhere, the same as in the static part of the page.

/** @import { Event, Op } from './model.js' */

const VERDICTS = {
  ok: ['P', 'ok', 'passes'],
  'lost-wakeup': ['L', 'bad', 'lost wakeup'],
  'no-eof': ['E', 'bad', 'no EOF'],
  truncated: ['T', 'bad', 'truncated'],
  'wrong-bytes': ['W', 'bad', 'wrong bytes'],
  exited: ['X', 'bad', 'exited'],
  spinning: ['S', 'bad', 'spinning'],
  'non-deterministic': ['?', 'unknown', 'non-deterministic'],
};

/** How a verdict is shown. @returns {{letter: string, kind: 'ok'|'bad'|'unknown', words: string}} */
export function verdictOf(/** @type {string} */ name) {
  const [letter, kind, words] = VERDICTS[name] ?? ['?', 'unknown', name];
  return { letter, kind, words };
}

/** `5,000`. The same in every locale, so that the page is the same everywhere. */
export function number(/** @type {number} */ value) {
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ',');
}

/** `1 byte`, `5,000 bytes`, `2 connections`. */
export function count(/** @type {number} */ value, /** @type {string} */ noun) {
  return `${number(value)} ${noun}${value === 1 ? '' : 's'}`;
}

/** `64 KiB` for a capacity. */
export function size(/** @type {number} */ value) {
  if (value < 1024) return `${value} B`;
  return value < 1024 * 1024 ? `${Math.round(value / 1024)} KiB` : `${(value / 1024 / 1024).toFixed(1)} MiB`;
}

/** `RECV c0 = 5`. */
export function opText(/** @type {Op} */ op) {
  const who = op.client === null ? '' : ` c${op.client}`;
  return `${op.operation}${who}${op.result === null ? '' : ` = ${op.result}`}`;
}

/** The operations of a list, or `nothing`. */
export function opsText(/** @type {Op[]} */ ops) {
  return ops.length ? ops.map(opText).join(', ') : 'nothing';
}

const READS = /^(read|readv|recv|recvfrom|recvmsg)$/;
const WRITES = /^(write|writev|send|sendto|sendmsg|sendfile|splice)$/;

/** What a call does, in one word. */
export function deed(/** @type {Event} */ call) {
  if (call.ring) return 'ring';
  if (call.wait) return 'wait';
  if (READS.test(call.name)) return 'read';
  if (WRITES.test(call.name)) return 'write';
  if (/^accept4?$/.test(call.name)) return 'accept';
  if (/^(epoll_ctl|kevent)$/.test(call.name)) return 'register';
  return /^(close|shutdown)$/.test(call.name) ? 'close' : 'other';
}

/** The text of a row, the same as in the static table. */
export function rowText(/** @type {Event} */ event) {
  switch (event.event) {
    case 'call': {
      const colon = /^accept/.test(event.name) ? '' : ':';
      return `${event.name}(${event.arguments}) = ${event.result}${event.out ? `${colon} ${event.out}` : ''}`;
    }
    case 'step':
      return event.implied ? `(${event.step})` : event.step;
    case 'rest':
      return event.wrong ? 'sleeps for ever' : 'sleeps';
    default:
      return `thread ${event.thread} before thread ${event.instead_of}`;
  }
}

/** What a row of the ring adds to it. */
export function ringText(/** @type {Event} */ event) {
  if (!event.ring) return '';
  const { submitted, completed } = event.ring;
  const parts = [submitted.length ? `submits ${opsText(submitted)}` : '', completed.length ? `completed ${opsText(completed)}` : ''];
  return parts.filter(Boolean).join('; ');
}
