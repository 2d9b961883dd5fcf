//! Zero-copy sends: the network card reads the bytes where they are. So a send completes twice: when the socket has taken
//! the bytes, and with a notification when nobody needs them any more, which may be as late as the peer's acknowledgement.
//!
//! Invariant: bytes stay where they are until all sends from there are over. A send is over with its notification, or when
//! it completes without IORING_CQE_F_MORE, which says that no notification will come. A connection sends from one of its
//! `PLACES` at a time, and receives while one of them is free; so a client that does not read holds that many buffers.
//! (With one place, each send would wait until the peer had acknowledged the one before.) A receive takes a buffer of the
//! group, and the group gets a new one: if buffers were only lent, clients that do not read could hold all of them.
//!
//! Two sends are made with a copy, and are faster so:
//! - Up to `SMALL` bytes: zero copy has to pin pages, and costs a second completion.
//! - To a peer whose receive window is under `WINDOW` bytes. A segment is at most half a window, and zero copy charges each
//!   segment whole pages. If the peer is on this machine, its receive buffer pays for them: a small one is full after one
//!   segment, and the next waits for TCP's persist timer. SO_RCVBUF 2304 made that 5 kB/s; with copies it is over 20 MB/s.
//!
//! On loopback nothing is saved at any size: the receiver keeps what it got, so the kernel copies before it delivers. At
//! its end the server prints how many notifications said so.

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
    use std::io;
    use std::mem::{self, ManuallyDrop, MaybeUninit};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, FromRawFd, RawFd};
    use std::ptr;

    use anyhow::{Context, Result};
    use common_server::{AcceptError, Connections, Notice, Retry, Shutdown};
    use io_uring::types::Fd;
    use io_uring::{cqueue, opcode, squeue};

    use uring::queues::{Completion, Queues, is_transient};

    const ACCEPT: u8 = 0;
    const SIGNAL: u8 = 1;
    const RECEIVE: u8 = 2;
    const SEND: u8 = 3;
    const PROVIDE: u8 = 4;

    const GROUP: u16 = 0;
    const BUFFERS: u16 = 32;
    const BUFFER: usize = 32 * 1024;
    /// The most bytes that are always sent with a copy.
    const SMALL: usize = 8 * 1024;
    /// The smallest receive window that zero copy is for: half of it is four pages, so a fifth page costs a quarter more.
    const WINDOW: usize = 32 * 1024;
    /// IORING_SEND_ZC_REPORT_USAGE: the notification says whether a copy was made after all.
    const REPORT_USAGE: u16 = 8;
    const COPIED: i32 = 1 << 31;

    const PLACES: usize = 4;

    struct Connection {
        /// Owns the descriptor that the operations name.
        stream: TcpStream,
        places: [Place; PLACES],
        /// The place that is being sent, and how much of it has gone.
        sending: Option<(usize, usize)>,
        receiving: bool,
        /// The peer's window was at least `WINDOW`. To ask is a system call, so the answer holds until the peer is slow.
        wide: bool,
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
        listener: TcpListener,
        shutdown: Shutdown,
        buffers: Vec<Box<[u8]>>,
        connections: Connections<Connection>,
        /// Connections whose receive found no buffer.
        starved: Vec<RawFd>,
        retry: Retry,
        out_of_fds: Notice,
        notified: u64,
        copied: u64,
    }

    impl Server {
        pub fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Self> {
            let queues = Queues::open(256, 2048)?;
            queues.require(&[("SEND_ZC", opcode::SendZc::CODE, "6.0")])?;
            listener.set_nonblocking(false)?;
            let mut server = Self {
                queues,
                listener,
                shutdown,
                buffers: (0..BUFFERS).map(|_| Box::default()).collect(),
                connections: Connections::default(),
                starved: Vec::new(),
                retry: Retry::default(),
                out_of_fds: Notice::default(),
                notified: 0,
                copied: 0,
            };
            (0..BUFFERS).try_for_each(|buffer| server.provide(buffer).map(drop))?;
            Ok(server)
        }

        pub fn run(self) -> Result<()> {
            // The kernel cancels what is in flight at the end. Until then it may touch that memory, so the memory stays.
            let mut server = ManuallyDrop::new(self);
            let Self { queues, shutdown, .. } = &mut *server;
            queues.push_signal(shutdown, SIGNAL)?;
            server.accept()?;
            loop {
                if server.retry.take_due() {
                    server.accept()?;
                }
                let timeout_ms = if server.starved.is_empty() { server.retry.timeout_ms() } else { 0 };
                server.queues.wait(timeout_ms).context("io_uring_enter")?;
                mem::take(&mut server.starved).into_iter().try_for_each(|fd| server.receive(fd))?;
                while let Some(done) = server.queues.land() {
                    let index = done.index;
                    match done.what {
                        SIGNAL => {
                            eprintln!("{} notifications, {} of them of a copy", server.notified, server.copied);
                            return Ok(());
                        }
                        ACCEPT => server.accepted(done.result)?,
                        RECEIVE => server.received(index as RawFd, done)?,
                        SEND => server.sent((index / PLACES) as RawFd, index % PLACES, done)?,
                        _ => {}
                    }
                }
            }
        }

        fn push(&mut self, entry: squeue::Entry, what: u8, index: usize) -> Result<()> {
            // SAFETY: an entry points to a box, if it points to memory at all. A box lies in `buffers` until a
            // receive has named it, and in `connections` until no send from it needs it any more.
            unsafe { self.queues.push(entry, what, index) }.context("io_uring_enter")
        }

        /// Puts a new buffer in the place of the one that a receive has filled, and returns the filled one.
        fn provide(&mut self, buffer: u16) -> Result<Box<[u8]>> {
            let mut new = vec![0; BUFFER].into_boxed_slice();
            let provide = opcode::ProvideBuffers::new(new.as_mut_ptr(), BUFFER as i32, 1, GROUP, buffer).build();
            let filled = mem::replace(&mut self.buffers[buffer as usize], new);
            self.push(provide, PROVIDE, 0)?;
            Ok(filled)
        }

        fn accept(&mut self) -> Result<()> {
            let fd = self.listener.as_raw_fd();
            let accept = opcode::Accept::new(Fd(fd), ptr::null_mut(), ptr::null_mut()).flags(libc::SOCK_CLOEXEC);
            self.push(accept.build(), ACCEPT, 0)
        }

        fn accepted(&mut self, result: io::Result<usize>) -> Result<()> {
            match result.map_err(AcceptError::from) {
                Ok(fd) => {
                    let fd = fd as RawFd;
                    // SAFETY: this completion is the first to name the new descriptor, so nobody else owns it.
                    let stream = unsafe { TcpStream::from_raw_fd(fd) };
                    let places = Default::default();
                    let connection =
                        Connection { stream, places, sending: None, receiving: false, wide: false, over: false };
                    self.connections.insert(fd, connection);
                    self.receive(fd)?;
                }
                Err(AcceptError::OutOfFds(error)) => {
                    self.out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
                    self.retry.later();
                    return Ok(());
                }
                Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
                Err(AcceptError::Drained | AcceptError::Aborted) => {}
            }
            self.accept()
        }

        fn receive(&mut self, fd: RawFd) -> Result<()> {
            self.connections.get_mut(fd).expect("nothing is in flight when it is closed").receiving = true;
            let receive = opcode::Recv::new(Fd(fd), ptr::null_mut(), BUFFER as u32).buf_group(GROUP).build();
            self.push(receive.flags(squeue::Flags::BUFFER_SELECT), RECEIVE, fd as usize)
        }

        fn received(&mut self, fd: RawFd, done: Completion) -> Result<()> {
            let (mut over, buffer) = (false, done.buffer());
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
                    self.starved.push(fd);
                    return Ok(());
                }
                (Err(error), _) if is_transient(&error) => return self.receive(fd),
                _ => {
                    over = true;
                    Box::default()
                }
            };
            let Some(connection) = self.connections.get_mut(fd) else { return Ok(()) };
            connection.receiving = false;
            connection.over |= over;
            let free = connection.places.iter().position(|place| place.sends == 0);
            match free.filter(|_| !bytes.is_empty()) {
                Some(place) => {
                    connection.places[place].bytes = bytes;
                    connection.sending = Some((place, 0));
                    self.send(fd)
                }
                None => self.next(fd),
            }
        }

        fn send(&mut self, fd: RawFd) -> Result<()> {
            let Some(connection) = self.connections.get_mut(fd) else { return Ok(()) };
            let Some((place, sent)) = connection.sending else { return Ok(()) };
            connection.places[place].sends += 1;
            let bytes = &connection.places[place].bytes[sent..];
            let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
            connection.wide = connection.wide || bytes.len() > SMALL && window(&connection.stream) >= WINDOW;
            let entry = if bytes.len() <= SMALL || !connection.wide {
                opcode::Send::new(Fd(fd), bytes.as_ptr(), bytes.len() as u32).flags(flags).build()
            } else {
                let send = opcode::SendZc::new(Fd(fd), bytes.as_ptr(), bytes.len() as u32);
                send.flags(flags).zc_flags(REPORT_USAGE).build()
            };
            self.push(entry, SEND, fd as usize * PLACES + place)
        }

        fn sent(&mut self, fd: RawFd, place: usize, done: Completion) -> Result<()> {
            let Some(connection) = self.connections.get_mut(fd) else { return Ok(()) };
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
                    return self.send(fd);
                }
            }
            if connection.places[place].sends == 0 && connection.sending.is_none_or(|(from, _)| from != place) {
                connection.places[place] = Place::default();
            }
            self.next(fd)
        }

        /// Receives again if a place is free for the bytes, and closes what is over.
        fn next(&mut self, fd: RawFd) -> Result<()> {
            let Some(connection) = self.connections.get_mut(fd) else { return Ok(()) };
            if connection.receiving || connection.sending.is_some() {
                return Ok(());
            }
            let in_use = connection.places.iter().filter(|place| place.sends > 0).count();
            if !connection.over && in_use < PLACES {
                return self.receive(fd);
            }
            if connection.over && in_use == 0 {
                self.connections.remove(fd);
                self.retry.now();
                return Ok(());
            }
            // The peer has not acknowledged what fills all places. Ask for its window before it is lent more.
            connection.wide = false;
            Ok(())
        }
    }

    /// How many bytes the peer takes beyond those it has acknowledged: its receive window.
    fn window(stream: &TcpStream) -> usize {
        let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
        let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes, which is the size of `info`, and both outlive the call.
        unsafe {
            libc::getsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &mut len)
        };
        // SAFETY: all of it is integers, which the kernel has filled in or which are zero still.
        unsafe { info.assume_init() }.tcpi_snd_wnd as usize
    }
}
