// The lanes at one position: the clients, the sockets, the kernel's part, and the program.
//
// Invariant: drawn from the state at the position and from the one before it, and from nothing else.

import { h } from './icons.js';
import { count, deed, number, opText, rowText, size } from './text.js';
import { kernelName, lostOf, placeText } from './model.js';

/** @import { Look, State, Connection, Interest, Op } from './model.js' */

/** Marks what this event changed. */
const fresh = (now, before) => (before !== undefined && now !== before ? ' fresh' : '');

/** A bar for bytes. Its length is logarithmic: 3 bytes are seen, and so are 400,000. */
function bar(kind, bytes, capacity, label) {
  const whole = Math.log2((capacity || 1 << 20) + 1);
  const filled = h('span', { class: `filled ${kind}` });
  filled.style.width = `${bytes ? Math.min(100, Math.max(4, (Math.log2(bytes + 1) / whole) * 100)) : 0}%`;
  return h('span', { class: 'bar', role: 'img', 'aria-label': label }, filled);
}

/** One amount: its name, a bar, and the number. */
function amount(kind, name, bytes, before, capacity) {
  const room = capacity ? ` of ${size(capacity)}` : '';
  return h('div', { class: `amount ${kind}${bytes ? '' : ' nil'}${fresh(bytes, before)}` },
    h('span', { class: 'what' }, name),
    bar(kind, bytes, capacity, `${name}: ${count(bytes, 'byte')}`),
    h('span', { class: 'bytes' }, number(bytes), room ? h('span', { class: 'room' }, room) : null));
}

const badge = (text, kind = '') => h('span', { class: `badge ${kind}` }, text);

function clientLane(state, before) {
  const lines = state.connections.map((it) => {
    const old = before?.connections.find((other) => other.client === it.client);
    return h('div', { class: 'card' },
      h('div', { class: 'card-head' }, h('b', {}, `c${it.client}`),
        it.eof ? badge('saw FIN', 'fin') : null,
        h('span', { class: `aside${fresh(it.came_back, old?.came_back)}` }, `${number(it.came_back)} of ${number(it.asked)} back`)),
      amount('client', 'unread', it.client_unread ?? 0, old?.client_unread, it.client_receive_room),
      it.client_not_sent ? amount('client', 'to send', it.client_not_sent, old?.client_not_sent) : null);
  });
  return lane('clients', 'Clients', lines.length ? lines : [h('p', { class: 'nobody' }, 'none yet')]);
}

function socketLane(state, before) {
  const queue = h('div', { class: `card queue${fresh(state.accept_queue, before?.accept_queue)}` },
    h('div', { class: 'card-head' }, h('b', {}, 'accept queue'), h('span', { class: 'aside' }, String(state.accept_queue))),
    state.accept_queue ? h('div', { class: 'slots', 'aria-hidden': 'true' }, Array.from({ length: Math.min(8, state.accept_queue) }, () => h('span', { class: 'slot' }))) : null);
  const cards = state.connections.map((it) => socketCard(it, before?.connections.find((other) => other.client === it.client)));
  return lane('sockets', "Server's sockets", [queue, ...cards]);
}

function socketCard(/** @type {Connection} */ it, old) {
  const who = it.fd === null ? (old?.fd ?? null) !== null || it.eof ? 'closed' : 'no descriptor' : `fd ${it.fd}`;
  return h('div', { class: `card${fresh(it.fd, old?.fd)}` },
    h('div', { class: 'card-head' }, h('b', {}, who), ` c${it.client}`,
      it.fin_arrived && it.fd !== null ? badge('FIN', 'fin') : null,
      it.level ? h('span', { class: 'aside', title: 'what poll would say now' }, it.level.replaceAll('|', ' ')) : null),
    amount('socket', 'unread', it.unread, old?.unread, it.receive_room),
    amount('out', 'not sent', it.not_sent ?? 0, old?.not_sent, it.send_room));
}

/** The interest list, with a dot for each descriptor that poll would report now. */
function interestList(/** @type {Interest[]} */ interests, state) {
  return h('ul', { class: 'interests' }, interests.map((it) => {
    const connection = state.connections.find((other) => other.fd === it.fd);
    const readable = connection ? /\bIN\b/.test(connection.level ?? '') : it.label === 'listener' && state.accept_queue > 0;
    const mask = (it.mask ?? [it.filter, it.flags].filter(Boolean).join(' ')).replaceAll('|', ' ');
    return h('li', { class: readable ? 'readable' : '' }, h('b', {}, `${it.fd} ${it.label}`.trim()), ' ', mask, readable ? badge('readable', 'full') : null);
  }));
}

function readyList(it, old, name) {
  return h('div', { class: `ready ${it.ready ? 'full' : 'empty'}${fresh(it.ready, old?.ready)}` }, `${name}: `, h('b', {}, it.ready ? 'has an event' : 'empty'));
}

function opList(title, ops) {
  return h('div', { class: `ops${ops.length ? '' : ' nil'}` }, h('span', { class: 'what' }, title), ' ',
    ops.length ? ops.map((/** @type {Op} */ op) => h('span', { class: 'op' }, opText(op))) : h('span', {}, 'nothing'));
}

const KERNEL = { ring: 'The ring', kqueue: 'kqueue', epoll: 'epoll', select: 'select', poll: 'poll', kernel: "The kernel's part" };

function kernelLane(/** @type {Look} */ look, position) {
  const state = look.states[position];
  const before = position > 0 ? look.states[position - 1] : undefined;
  const event = look.events[position];
  const kind = kernelName(look);
  const parts = [];
  state.epolls.forEach((it, at) => {
    parts.push(h('div', { class: 'card' }, h('div', { class: 'card-head' }, h('b', {}, `fd ${it.fd}`), ' interest list'),
      interestList(it.interests, state), readyList(it, before?.epolls[at], 'ready list')));
  });
  state.kqueues.forEach((it, at) => {
    parts.push(h('div', { class: 'card' }, h('div', { class: 'card-head' }, h('b', {}, `fd ${it.fd}`), ' registered'),
      interestList(it.interests, state), readyList(it, before?.kqueues[at], 'events')));
  });
  state.rings.forEach((it) => {
    const own = event.event === 'call' && event.ring ? event.ring : null;
    parts.push(h('div', { class: 'card' }, h('div', { class: 'card-head' }, h('b', {}, `fd ${it.fd}`)),
      opList('submitted', own ? own.submitted : it.submitted), opList('in flight', it.in_flight), opList('completed', own ? own.completed : it.completed)));
  });
  if (kind === 'select' || kind === 'poll' || kind === 'kqueue') parts.push(setCard(look, position));
  if (look.looked[position]) {
    parts.push(h('p', { class: `looked${fresh(look.looked[position], look.looked[position - 1])}` }, 'descriptors looked at so far: ', h('b', {}, number(look.looked[position]))));
  }
  return lane('kernel', KERNEL[kind], parts.length ? parts : [h('p', { class: 'nobody' }, 'nothing registered')]);
}

/** What the last wait was given, and what it gave: a set, or changes and events, copied in and out with each call. */
function setCard(look, position) {
  const at = look.events.slice(0, position + 1).findLastIndex((it) => it.event === 'call' && (it.wait || it.name === 'kevent'));
  if (at < 0) return h('p', { class: 'nobody' }, 'no wait yet');
  const call = look.events[at];
  const [given, gave] = call.name === 'kevent' ? ['changes in', 'events out'] : ['copied in', 'copied out'];
  const bytes = (value) => (call.cost ? ` (${count(value, 'byte')})` : '');
  const list = call.name === 'kevent' ? call.arguments.match(/\[.*\]/)?.[0] ?? 'none' : call.arguments;
  return h('div', { class: `card${at === position ? ' fresh' : ''}` },
    h('div', { class: 'ops' }, h('span', { class: 'what' }, `${given}${bytes(call.cost?.copied_in)}`), ' ', h('span', { class: 'set' }, list)),
    h('div', { class: 'ops' }, h('span', { class: 'what' }, `${gave}${bytes(call.cost?.copied_out)}`), ' ', h('span', { class: 'set' }, call.out || (call.value === 0 ? 'none' : call.result))));
}

function programLane(/** @type {Look} */ look, position) {
  const state = look.states[position];
  const before = position > 0 ? look.states[position - 1] : undefined;
  const event = look.events[position];
  const threads = (state.threads.length ? state.threads : [{ thread: 0, at: '', sleeps: false }]).map((it) => {
    const acts = event.event === 'call' && event.thread === it.thread;
    const sleeps = it.sleeps && !acts;
    const name = state.threads.length > 1 ? `thread ${it.thread} ` : '';
    const does = acts ? rowText(event) : it.at ? `${sleeps ? 'in' : 'next:'} ${it.at}` : '';
    return h('div', { class: `card thread ${sleeps ? 'sleeps' : 'runs'}${event.event === 'rest' && event.wrong ? ' wrong' : ''}` },
      h('div', { class: 'card-head' }, h('b', {}, `${name}${sleeps ? (event.event === 'rest' && event.wrong ? 'sleeps for ever' : 'sleeps') : 'runs'}`),
        h('span', { class: 'aside' }, acts || event.event === 'rest' ? placeText(look.places[position]) : '')),
      h('div', { class: 'does' }, does));
  });
  const held = state.connections.filter((it) => it.held !== undefined).map((it) => {
    const old = before?.connections.find((other) => other.client === it.client);
    return amount('held', `holds c${it.client}`, it.held, old?.held);
  });
  const dropped = state.connections.filter((it) => state.threads.length && lostOf(it) > 0).map((it) => {
    const old = before?.connections.find((other) => other.client === it.client);
    return amount('dropped', `dropped c${it.client}`, lostOf(it), old && lostOf(old));
  });
  return lane('program', 'Program', [...threads, ...held, ...dropped]);
}

function lane(name, title, children) {
  return h('section', { class: `lane ${name}` }, h('h4', {}, title), children);
}

/** The four lanes at a position. */
export function lanes(/** @type {Look} */ look, /** @type {number} */ position) {
  const state = look.states[position];
  const before = position > 0 ? look.states[position - 1] : undefined;
  return [clientLane(state, before), socketLane(state, before), kernelLane(look, position), programLane(look, position)];
}

/**
 * What passes between two lanes at an event, with the class of its arrow, or null.
 * @returns {{from: string, to: string, kind: string, both?: boolean} | null}
 */
export function arrowOf(event) {
  if (event.event === 'step') {
    if (/ (reads|sees) /.test(event.step)) return { from: 'socket', to: 'client', kind: 'moves' };
    const acts = /^c\d+ (connect|send|shutdown|close|reset|goes)/.test(event.step);
    return acts ? { from: 'client', to: 'socket', kind: 'moves' } : null;
  }
  if (event.event !== 'call') return null;
  switch (deed(event)) {
    case 'ring':
      if (!event.ring.submitted.length) return event.ring.completed.length ? { from: 'kernel', to: 'program', kind: 'tells' } : null;
      return { from: 'program', to: 'kernel', kind: 'asks', both: event.ring.completed.length > 0 };
    case 'wait':
      return event.value > 0 ? { from: 'kernel', to: 'program', kind: 'tells' } : null;
    case 'read':
    case 'accept':
      return event.value >= 0 ? { from: 'socket', to: 'program', kind: 'takes' } : null;
    case 'write':
    case 'close':
      return event.value >= 0 && event.client !== null ? { from: 'program', to: 'socket', kind: 'takes' } : null;
    case 'register':
      return { from: 'program', to: 'kernel', kind: 'asks' };
    default:
      return null;
  }
}
