//! Zero-copy sends: the network card reads the bytes where they are. So a send completes twice: when the socket has taken
//! the bytes, and with a notification when nobody needs them any more, which may be as late as the peer's acknowledgement.
//!
//! Invariant: bytes stay where they are until all sends from there are over: until the notification, or until the send has
//! completed without IORING_CQE_F_MORE, which says that none will come. A connection sends from one of its `PLACES` at a
//! time, and receives while one of them is free; so a client that does not read holds that many buffers. (With a single
//! one, each send would wait for the acknowledgement of the one before, and a small window for the peer's timers.) A receive
//! takes a buffer of the group, and the group gets a new one: lent out, all could be with clients that do not read.
//!
//! Up to `SMALL` bytes an ordinary send is cheaper: pages have to be pinned, and a second completion comes. On loopback
//! nothing is saved at any size: the receiver keeps what it got, so the kernel copies before it delivers. At its end the
//! server prints how many notifications said so.

#[cfg(target_os = "linux")]
#[path = "support/direct.rs"]
mod direct;

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    common_server::not_on_this_platform("send_zc", "io_uring", "Linux")
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    common_server::main("send_zc", linux::Server::new, linux::Server::run)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::mem::{self, ManuallyDrop};
    use std::net::TcpListener;
    use std::ptr;

    use anyhow::{Context, Result};
    use common_server::Shutdown;
    use io_uring::types::Fixed;
    use io_uring::{cqueue, opcode, squeue};

    use crate::direct::{ACCEPT, DirectListener, OWN, SIGNAL};
    use uring::queues::{Completion, Queues, is_transient};

    const RECEIVE: u8 = OWN;
    const SEND: u8 = OWN + 1;
    const PROVIDE: u8 = OWN + 2;
    const GROUP: u16 = 0;
    const BUFFERS: u16 = 32;
    const BUFFER: usize = 32 * 1024;
    /// Sent with a copy.
    const SMALL: usize = 8 * 1024;
    /// IORING_SEND_ZC_REPORT_USAGE: the notification says whether a copy was made after all.
    const REPORT_USAGE: u16 = 8;
    const COPIED: i32 = 1 << 31;

    const PLACES: usize = 4;

    #[derive(Default)]
    struct Connection {
        places: [Place; PLACES],
        /// From this one, and how much of it has gone.
        sending: Option<(usize, usize)>,
        receiving: bool,
        /// FIN or an error: closed when nothing is in flight.
        over: bool,
    }

    #[derive(Default)]
    struct Place {
        bytes: Box<[u8]>,
        /// Sends that have not completed for the last time.
        sends: usize,
    }

    pub struct Server {
        // Never dropped (see `run`).
        queues: Queues,
        direct: DirectListener,
        buffers: Vec<Box<[u8]>>,
        connections: Vec<Connection>,
        /// Their receive found no buffer.
        starved: Vec<usize>,
        notified: u64,
        copied: u64,
    }

    impl Server {
        pub fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Self> {
            let mut queues = Queues::open(256, 2048)?;
            queues.require(&[("SEND_ZC", opcode::SendZc::CODE, "6.0")])?;
            let direct = DirectListener::open(&mut queues, listener, shutdown, false)?;
            let buffers = (0..BUFFERS).map(|_| Box::default()).collect();
            let (connections, starved) = (Vec::new(), Vec::new());
            let mut server = Self { queues, direct, buffers, connections, starved, notified: 0, copied: 0 };
            (0..BUFFERS).try_for_each(|buffer| server.provide(buffer).map(drop))?;
            Ok(server)
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
                        SIGNAL => {
                            eprintln!("{} notifications, {} of them of a copy", server.notified, server.copied);
                            return Ok(());
                        }
                        ACCEPT => server.accepted(done)?,
                        RECEIVE => server.received(slot, done)?,
                        SEND => server.sent(slot / PLACES, slot % PLACES, done)?,
                        _ => {}
                    }
                }
            }
        }

        fn push(&mut self, entry: squeue::Entry, what: u8, slot: usize) -> Result<()> {
            // SAFETY: entries point to boxes that lie in `buffers` until a receive has named them, and in `connections` until
            // their send needs them no more.
            unsafe { self.queues.push(entry, what, slot) }.context("io_uring_enter")
        }

        /// Puts a new buffer in the place of the one that a receive has filled, and returns that.
        fn provide(&mut self, buffer: u16) -> Result<Box<[u8]>> {
            let mut new = vec![0; BUFFER].into_boxed_slice();
            let provide = opcode::ProvideBuffers::new(new.as_mut_ptr(), BUFFER as i32, 1, GROUP, buffer).build();
            let filled = mem::replace(&mut self.buffers[buffer as usize], new);
            self.push(provide, PROVIDE, 0)?;
            Ok(filled)
        }

        fn accepted(&mut self, done: Completion) -> Result<()> {
            let Some(slot) = self.direct.accepted(&mut self.queues, done)? else { return Ok(()) };
            if slot >= self.connections.len() {
                self.connections.resize_with(slot + 1, Connection::default);
            }
            self.receive(slot)
        }

        fn receive(&mut self, slot: usize) -> Result<()> {
            self.connections[slot].receiving = true;
            let receive =
                opcode::Recv::new(Fixed(slot as u32), ptr::null_mut(), BUFFER as u32).buf_group(GROUP).build();
            self.push(receive.flags(squeue::Flags::BUFFER_SELECT), RECEIVE, slot)
        }

        fn received(&mut self, slot: usize, done: Completion) -> Result<()> {
            let buffer = done.buffer();
            let bytes: Box<[u8]> = match (done.result, buffer) {
                (Ok(n), Some(buffer)) if n <= SMALL => {
                    let bytes = self.buffers[buffer as usize][..n].into();
                    let same = self.buffers[buffer as usize].as_mut_ptr();
                    let provide = opcode::ProvideBuffers::new(same, BUFFER as i32, 1, GROUP, buffer).build();
                    self.push(provide, PROVIDE, 0)?;
                    bytes
                }
                (Ok(n), Some(buffer)) => {
                    let mut bytes = self.provide(buffer)?.into_vec();
                    bytes.truncate(n);
                    bytes.into()
                }
                (Err(error), _) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.starved.push(slot);
                    return Ok(());
                }
                (Err(error), _) if is_transient(&error) => return self.receive(slot),
                _ => {
                    self.connections[slot].over = true;
                    Box::default()
                }
            };
            let connection = &mut self.connections[slot];
            connection.receiving = false;
            let free = connection.places.iter().position(|place| place.sends == 0);
            match free.filter(|_| !bytes.is_empty()) {
                Some(place) => {
                    connection.places[place].bytes = bytes;
                    connection.sending = Some((place, 0));
                    self.send(slot)
                }
                None => self.next(slot),
            }
        }

        fn send(&mut self, slot: usize) -> Result<()> {
            let connection = &mut self.connections[slot];
            let Some((place, sent)) = connection.sending else { return Ok(()) };
            connection.places[place].sends += 1;
            let bytes = &connection.places[place].bytes[sent..];
            let (socket, flags) = (Fixed(slot as u32), libc::MSG_WAITALL | libc::MSG_NOSIGNAL);
            let entry = if bytes.len() <= SMALL {
                opcode::Send::new(socket, bytes.as_ptr(), bytes.len() as u32).flags(flags).build()
            } else {
                let send = opcode::SendZc::new(socket, bytes.as_ptr(), bytes.len() as u32);
                send.flags(flags).zc_flags(REPORT_USAGE).build()
            };
            self.push(entry, SEND, slot * PLACES + place)
        }

        fn sent(&mut self, slot: usize, place: usize, done: Completion) -> Result<()> {
            let connection = &mut self.connections[slot];
            if !done.more() {
                connection.places[place].sends -= 1;
            }
            if cqueue::notif(done.flags) {
                self.notified += 1;
                self.copied += u64::from(done.raw == COPIED);
            } else {
                let (_, before) = connection.sending.take().expect("a send that landed was under way");
                let sent = match done.result {
                    Err(error) if !is_transient(&error) => {
                        connection.over = true;
                        0
                    }
                    result => before + result.unwrap_or(0),
                };
                if sent < connection.places[place].bytes.len() && !connection.over {
                    connection.sending = Some((place, sent));
                    return self.send(slot);
                }
            }
            if connection.places[place].sends == 0 && connection.sending.is_none_or(|(from, _)| from != place) {
                connection.places[place] = Place::default();
            }
            self.next(slot)
        }

        /// Receives again if there is room for it, and closes what is over.
        fn next(&mut self, slot: usize) -> Result<()> {
            let connection = &mut self.connections[slot];
            if connection.receiving || connection.sending.is_some() {
                return Ok(());
            }
            if !connection.over && connection.places.iter().any(|place| place.sends == 0) {
                self.receive(slot)
            } else if connection.over && connection.places.iter().all(|place| place.sends == 0) {
                *connection = Connection::default();
                self.direct.close(&mut self.queues, slot)
            } else {
                Ok(())
            }
        }
    }
}
