//! As few requests as io_uring can do with: one accept for all connections and one receive for each, for as long as it
//! lives; from then on nothing is queued but sends.
//!
//! Invariant: a connection has at most one send in flight, so its bytes leave in the order in which they came. A buffer of
//! the ring is held for a send that does not wait and for nothing else, so all are back in the next turn, whatever clients
//! do. What such a send leaves, or what comes behind it, is copied out, and that ends the receive until all of it is sent:
//! back-pressure. A slot is closed when nothing is in flight on it, so that no completion can meet its next owner.

#[cfg(target_os = "linux")]
#[path = "support/buffers.rs"]
mod buffers;
#[cfg(target_os = "linux")]
#[path = "support/direct.rs"]
mod direct;

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    common_server::not_on_this_platform("multishot", "io_uring", "Linux")
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    common_server::main("multishot", linux::Server::new, linux::Server::run)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::mem::{self, ManuallyDrop};
    use std::net::TcpListener;

    use anyhow::{Context, Result};
    use common_server::Shutdown;
    use io_uring::types::Fixed;
    use io_uring::{opcode, squeue};

    use crate::buffers::{Buffers, GROUP, Held};
    use crate::direct::{ACCEPT, DirectListener, OWN, SIGNAL};
    use uring::queues::{Completion, Queues, is_transient, user_data};

    const RECV: u8 = OWN;
    const SEND: u8 = OWN + 1;
    const CANCEL: u8 = OWN + 2;

    #[derive(Default)]
    struct Connection {
        receiving: bool,
        cancelled: bool,
        starved: bool,
        finished: bool,
        broken: bool,
        sending: Sending,
        /// Came while `sending` was under way.
        behind: Vec<u8>,
    }

    #[derive(Default)]
    enum Sending {
        #[default]
        Nothing,
        /// From the buffer that it came in, without a wait.
        Held(Held),
        /// Copied out, and how much of it has gone; with all the wait it needs.
        Own(Box<[u8]>, usize),
    }

    pub struct Server {
        // Never dropped (see `run`).
        queues: Queues,
        direct: DirectListener,
        buffers: Buffers,
        connections: Vec<Connection>,
        /// Their receive found no buffer.
        starved: Vec<usize>,
    }

    impl Server {
        pub fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Self> {
            let mut queues = Queues::open(256, 2048)?;
            let buffers = Buffers::new(&queues.submitter())?;
            let direct = DirectListener::open(&mut queues, listener, shutdown, true)?;
            Ok(Self { queues, direct, buffers, connections: Vec::new(), starved: Vec::new() })
        }

        pub fn run(self) -> Result<()> {
            // What is in flight at the end is the kernel's to cancel, and it may touch its memory until then.
            let mut server = ManuallyDrop::new(self);
            loop {
                let Self { queues, direct, starved, .. } = &mut *server;
                direct.wait(queues, starved.is_empty())?;
                // In front of all that this turn starts, and when its buffers have come back: those who take most of them
                // could else take all of them again.
                for slot in mem::take(&mut server.starved) {
                    server.connections[slot].starved = false;
                    server.next(slot)?;
                }
                while let Some(done) = server.queues.land() {
                    let slot = done.index;
                    match done.what {
                        SIGNAL => return Ok(()),
                        ACCEPT => server.accepted(done)?,
                        RECV => server.received(slot, done)?,
                        SEND => server.sent(slot, done)?,
                        _ => {}
                    }
                }
            }
        }

        fn push(&mut self, entry: squeue::Entry, what: u8, slot: usize) -> Result<()> {
            // SAFETY: entries point to buffers that are held, and to boxes that lie in `sending` until the send has landed.
            unsafe { self.queues.push(entry, what, slot) }.context("io_uring_enter")
        }

        fn accepted(&mut self, done: Completion) -> Result<()> {
            let Some(slot) = self.direct.accepted(&mut self.queues, done)? else { return Ok(()) };
            if slot >= self.connections.len() {
                self.connections.resize_with(slot + 1, Connection::default);
            }
            self.connections[slot] = Connection::default();
            self.receive(slot)
        }

        fn receive(&mut self, slot: usize) -> Result<()> {
            (self.connections[slot].receiving, self.connections[slot].cancelled) = (true, false);
            self.push(opcode::RecvMulti::new(Fixed(slot as u32), GROUP).build(), RECV, slot)
        }

        fn received(&mut self, slot: usize, done: Completion) -> Result<()> {
            let connection = &mut self.connections[slot];
            connection.receiving = done.more();
            let held = self.buffers.received(&done);
            match (done.result, held) {
                (Ok(_), Some(held)) if matches!(connection.sending, Sending::Nothing) && !connection.broken => {
                    return self.send(slot, Sending::Held(held));
                }
                (Ok(_), Some(held)) => {
                    connection.behind.extend(self.buffers.bytes(&held));
                    self.buffers.release(held);
                }
                (Ok(_), None) => connection.finished = true,
                (Err(error), _) => match error.raw_os_error() {
                    Some(libc::ENOBUFS) => {
                        connection.starved = true;
                        self.starved.push(slot);
                    }
                    Some(libc::ECANCELED | libc::EINTR | libc::EAGAIN) => {}
                    _ => connection.broken = true,
                },
            }
            self.next(slot)
        }

        fn send(&mut self, slot: usize, sending: Sending) -> Result<()> {
            let (bytes, flags) = match &sending {
                Sending::Nothing => return Ok(()),
                Sending::Held(held) => (self.buffers.bytes(held), libc::MSG_DONTWAIT),
                Sending::Own(bytes, sent) => (&bytes[*sent..], libc::MSG_WAITALL),
            };
            let entry = opcode::Send::new(Fixed(slot as u32), bytes.as_ptr(), bytes.len() as u32);
            self.connections[slot].sending = sending;
            self.push(entry.flags(flags | libc::MSG_NOSIGNAL).build(), SEND, slot)
        }

        fn sent(&mut self, slot: usize, done: Completion) -> Result<()> {
            let connection = &mut self.connections[slot];
            let sent = match done.result {
                Err(error) if is_transient(&error) => Ok(0),
                result => result,
            };
            connection.broken |= sent.is_err();
            let (rest, sent) = match (mem::take(&mut connection.sending), sent.unwrap_or(0)) {
                (Sending::Held(held), sent) => {
                    let rest = self.buffers.bytes(&held)[sent..].into();
                    self.buffers.release(held);
                    (rest, 0)
                }
                (Sending::Own(bytes, before), sent) => (bytes, before + sent),
                (Sending::Nothing, _) => unreachable!("a send that landed was under way"),
            };
            if sent < rest.len() && !connection.broken {
                self.send(slot, Sending::Own(rest, sent))?;
            }
            self.next(slot)
        }

        /// What a connection needs after something of it has landed.
        fn next(&mut self, slot: usize) -> Result<()> {
            let connection = &mut self.connections[slot];
            if matches!(connection.sending, Sending::Nothing) && !connection.behind.is_empty() && !connection.broken {
                let behind = mem::take(&mut connection.behind).into_boxed_slice();
                self.send(slot, Sending::Own(behind, 0))?;
            }
            let connection = &mut self.connections[slot];
            let Connection { receiving, cancelled, starved, finished, broken, .. } = *connection;
            let owing = !matches!(connection.sending, Sending::Nothing);
            let pause = broken || matches!(connection.sending, Sending::Own(..)) || !connection.behind.is_empty();
            if receiving && pause && !cancelled {
                connection.cancelled = true;
                let receive = user_data(RECV, slot);
                self.push(opcode::AsyncCancel::new(receive).build(), CANCEL, slot)
            } else if receiving || owing || starved {
                Ok(())
            } else if finished || broken {
                *connection = Connection::default();
                self.direct.close(&mut self.queues, slot)
            } else {
                self.receive(slot)
            }
        }
    }
}
