//! Registered files and buffers: what an operation would look up or pin each time is looked up and pinned once.
//!
//! Files: sockets are slots of the ring (see `support/direct.rs`). Buffers: the memory that receives use is registered too,
//! and each echo is a WRITE_FIXED from it. There is no receive into a registered buffer of the kernel's choice, so only
//! half of the way is fixed. A write has no MSG_NOSIGNAL: SIGPIPE has to be ignored, which Rust's runtime does.
//!
//! Invariant: a connection has one operation in flight, as in the chapter's server. A registered buffer is held for a
//! write that does not wait (RWF_NOWAIT), so all are back in the next turn; what the socket does not take is copied out and
//! sent from there with all the wait it needs.

#[cfg(target_os = "linux")]
#[path = "support/buffers.rs"]
mod buffers;
#[cfg(target_os = "linux")]
#[path = "support/direct.rs"]
mod direct;

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    common_server::not_on_this_platform("fixed", "io_uring", "Linux")
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    common_server::main("fixed", linux::Server::new, linux::Server::run)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::mem::{self, ManuallyDrop};
    use std::net::TcpListener;
    use std::ptr;

    use anyhow::{Context, Result};
    use common_server::Shutdown;
    use io_uring::types::Fixed;
    use io_uring::{opcode, squeue};

    use crate::buffers::{Buffers, GROUP, Held};
    use crate::direct::{ACCEPT, DirectListener, OWN, SIGNAL};
    use uring::queues::{Completion, Queues, is_transient};

    const RECEIVE: u8 = OWN;
    const WRITE: u8 = OWN + 1;
    const SEND: u8 = OWN + 2;
    /// The number of the one registered buffer: all of the memory that receives use.
    const REGISTERED: u16 = 0;

    /// What is owed to a connection.
    #[derive(Default)]
    enum Owed {
        #[default]
        Nothing,
        Held(Held),
        Rest(Box<[u8]>, usize),
    }

    pub struct Server {
        // Never dropped (see `run`).
        queues: Queues,
        direct: DirectListener,
        buffers: Buffers,
        connections: Vec<Owed>,
        /// Their receive found no buffer.
        starved: Vec<usize>,
    }

    impl Server {
        pub fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Self> {
            let mut queues = Queues::open(256, 2048)?;
            let buffers = Buffers::new(&queues.submitter())?;
            let all = buffers.all();
            // SAFETY: the memory is leaked, so it stays valid for as long as the ring may use it.
            unsafe { queues.submitter().register_buffers(&[all]) }.with_context(|| {
                format!("io_uring: register {} bytes, which count as locked memory (ulimit -l)", all.iov_len)
            })?;
            let direct = DirectListener::open(&mut queues, listener, shutdown, false)?;
            Ok(Self { queues, direct, buffers, connections: Vec::new(), starved: Vec::new() })
        }

        pub fn run(self) -> Result<()> {
            // What is in flight at the end is the kernel's to cancel, and it may touch its memory until then.
            let mut server = ManuallyDrop::new(self);
            loop {
                let Self { queues, direct, starved, .. } = &mut *server;
                direct.wait(queues, starved.is_empty())?;
                mem::take(&mut server.starved).into_iter().try_for_each(|slot| server.receive(slot))?;
                while let Some(done) = server.queues.land() {
                    let slot = done.index;
                    match done.what {
                        SIGNAL => return Ok(()),
                        ACCEPT => server.accepted(done)?,
                        RECEIVE => server.received(slot, done)?,
                        WRITE | SEND => server.sent(slot, done)?,
                        _ => {}
                    }
                }
            }
        }

        fn push(&mut self, entry: squeue::Entry, what: u8, slot: usize) -> Result<()> {
            // SAFETY: entries point to buffers that are held, and to boxes that lie in `connections` until they have landed.
            unsafe { self.queues.push(entry, what, slot) }.context("io_uring_enter")
        }

        fn accepted(&mut self, done: Completion) -> Result<()> {
            let Some(slot) = self.direct.accepted(&mut self.queues, done)? else { return Ok(()) };
            if slot >= self.connections.len() {
                self.connections.resize_with(slot + 1, Owed::default);
            }
            self.receive(slot)
        }

        fn receive(&mut self, slot: usize) -> Result<()> {
            let receive = opcode::Recv::new(Fixed(slot as u32), ptr::null_mut(), 0).buf_group(GROUP).build();
            self.push(receive.flags(squeue::Flags::BUFFER_SELECT), RECEIVE, slot)
        }

        fn received(&mut self, slot: usize, done: Completion) -> Result<()> {
            let held = self.buffers.received(&done);
            match (done.result, held) {
                (Ok(_), Some(held)) => self.send(slot, Owed::Held(held)),
                // The first of the next turn, when this turn's buffers are back.
                (Err(error), _) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.starved.push(slot);
                    Ok(())
                }
                (Err(error), _) if is_transient(&error) => self.receive(slot),
                _ => self.direct.close(&mut self.queues, slot),
            }
        }

        fn send(&mut self, slot: usize, owed: Owed) -> Result<()> {
            let socket = Fixed(slot as u32);
            let (entry, what) = match &owed {
                Owed::Nothing => return self.receive(slot),
                Owed::Held(held) => {
                    let bytes = self.buffers.bytes(held);
                    let write = opcode::WriteFixed::new(socket, bytes.as_ptr(), bytes.len() as u32, REGISTERED);
                    (write.rw_flags(libc::RWF_NOWAIT).build(), WRITE)
                }
                Owed::Rest(bytes, sent) => {
                    let bytes = &bytes[*sent..];
                    let send = opcode::Send::new(socket, bytes.as_ptr(), bytes.len() as u32);
                    (send.flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL).build(), SEND)
                }
            };
            self.connections[slot] = owed;
            self.push(entry, what, slot)
        }

        fn sent(&mut self, slot: usize, done: Completion) -> Result<()> {
            let sent = match done.result {
                Err(error) if is_transient(&error) => Ok(0),
                result => result,
            };
            let n = *sent.as_ref().unwrap_or(&0);
            let (rest, n) = match mem::take(&mut self.connections[slot]) {
                Owed::Held(held) => {
                    let rest = self.buffers.bytes(&held)[n..].into();
                    self.buffers.release(held);
                    (rest, 0)
                }
                Owed::Rest(bytes, before) => (bytes, before + n),
                Owed::Nothing => unreachable!("what landed was owed"),
            };
            match sent {
                Err(_) => self.direct.close(&mut self.queues, slot),
                Ok(_) if n == rest.len() => self.receive(slot),
                Ok(_) => self.send(slot, Owed::Rest(rest, n)),
            }
        }
    }
}
