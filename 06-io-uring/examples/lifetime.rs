//! The bug that completions invite: a receive into memory that is gone before the bytes come. An echo server with a `--bug`:
//!
//! - `none`: a connection owns its buffer until the operation has landed.
//! - `stack`: the buffer is a local variable of the function that starts the receive, and that has returned.
//! - `freed`: the buffer is dropped when the receive has been queued, so the allocator gives it to the next connection.
//!
//! With one client all three work, most of the time, and neither valgrind nor a sanitizer sees what the kernel writes. Two
//! clients at a time get each other's bytes. The debugging aid is `--memory pages`: each buffer is a mapping of its own,
//! which a free takes away, so that the kernel has nowhere to write: the bug is an EFAULT on the operation that has it.
//!
//! Invariant: with `--bug none` the buffer of an operation in flight is in `connections`, in the entry of its socket.

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    common_server::not_on_this_platform("lifetime", "io_uring", "Linux")
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    common_server::main_with("lifetime", linux::OPTIONS, linux::Server::new, linux::Server::run)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::mem::ManuallyDrop;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, FromRawFd};
    use std::ptr;

    use anyhow::{Context, Result, bail};
    use common_server::{Args, Connections, Given, Opt, Shutdown, Takes, listen};
    use io_uring::types::Fd;
    use io_uring::{opcode, squeue};

    use uring::queues::Queues;

    const ACCEPT: u8 = 0;
    const SIGNAL: u8 = 1;
    const RECEIVE: u8 = 2;
    const SEND: u8 = 3;
    const BUFFER: usize = 16 * 1024;

    pub const OPTIONS: &[Opt] = &[
        Opt {
            name: "--bug",
            takes: Takes::OneOf(&["none", "stack", "freed"]),
            help: "where the buffer is (default none)",
        },
        Opt { name: "--memory", takes: Takes::OneOf(&["heap", "pages"]), help: "what it is made of (default heap)" },
    ];

    /// A buffer's memory; dropping it gives it back.
    enum Memory {
        Heap(Box<[u8]>),
        Pages(*mut u8),
    }

    impl Memory {
        fn new(pages: bool) -> Result<Self> {
            if !pages {
                return Ok(Self::Heap(vec![0; BUFFER].into()));
            }
            let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            // SAFETY: a new mapping, at an address of the kernel's choice.
            match unsafe { libc::mmap(ptr::null_mut(), BUFFER, protection, flags, -1, 0) } {
                libc::MAP_FAILED => Err(std::io::Error::last_os_error()).context("mmap"),
                base => Ok(Self::Pages(base.cast())),
            }
        }

        fn address(&mut self) -> *mut u8 {
            match self {
                Self::Heap(bytes) => bytes.as_mut_ptr(),
                Self::Pages(base) => *base,
            }
        }
    }

    impl Drop for Memory {
        fn drop(&mut self) {
            if let Self::Pages(base) = self {
                // SAFETY: the mapping is this one's. (That the kernel may still write there is what this program shows.)
                unsafe { libc::munmap(base.cast(), BUFFER) };
            }
        }
    }

    struct Connection {
        /// Owns the descriptor that operations name.
        _stream: TcpStream,
        _memory: Option<Memory>,
        address: *mut u8,
        owed: std::ops::Range<usize>,
    }

    pub struct Server {
        queues: Queues,
        listener: TcpListener,
        shutdown: Shutdown,
        connections: Connections<Connection>,
        bug: String,
        pages: bool,
    }

    impl Server {
        pub fn new(args: Args, given: Given, shutdown: Shutdown) -> Result<(SocketAddr, Self)> {
            let listener = listen(args.addr, args.backlog)?;
            listener.set_nonblocking(false)?;
            let (addr, queues, connections) =
                (listener.local_addr()?, Queues::open(256, 2048)?, Connections::default());
            let bug = given.word("--bug").unwrap_or("none").to_owned();
            let pages = given.word("--memory") == Some("pages");
            Ok((addr, Self { queues, listener, shutdown, connections, bug, pages }))
        }

        fn push(&mut self, entry: squeue::Entry, what: u8, fd: i32) -> Result<()> {
            // SAFETY: true with `--bug none`. The others break this promise, in a process that is there for it.
            unsafe { self.queues.push(entry, what, fd as usize) }.context("io_uring_enter")
        }

        fn accept(&mut self) -> Result<()> {
            let fd = self.listener.as_raw_fd();
            let accept = opcode::Accept::new(Fd(fd), ptr::null_mut(), ptr::null_mut()).flags(libc::SOCK_CLOEXEC);
            self.push(accept.build(), ACCEPT, fd)
        }

        #[inline(never)]
        fn receive(&mut self, fd: i32) -> Result<()> {
            let mut local = [0u8; BUFFER];
            let mut memory = Memory::new(self.pages)?;
            let address = if self.bug == "stack" { local.as_mut_ptr() } else { memory.address() };
            self.push(opcode::Recv::new(Fd(fd), address, BUFFER as u32).build(), RECEIVE, fd)?;
            let Some(connection) = self.connections.get_mut(fd) else { return Ok(()) };
            connection.address = address;
            // The bugs: here `local` ends, or `memory` does.
            connection._memory = (self.bug == "none").then_some(memory);
            Ok(())
        }

        fn send(&mut self, fd: i32) -> Result<()> {
            let Some(connection) = self.connections.get_mut(fd) else { return Ok(()) };
            let address = connection.address.wrapping_add(connection.owed.start);
            let send = opcode::Send::new(Fd(fd), address, connection.owed.len() as u32);
            self.push(send.flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL).build(), SEND, fd)
        }

        pub fn run(self) -> Result<()> {
            // What is in flight at the end is the kernel's to cancel, and it may touch its memory until then.
            let mut server = ManuallyDrop::new(self);
            let Self { queues, shutdown, .. } = &mut *server;
            queues.push_signal(shutdown, SIGNAL)?;
            server.accept()?;
            loop {
                server.queues.wait(-1).context("io_uring_enter")?;
                while let Some(done) = server.queues.land() {
                    let fd = done.index as i32;
                    match (done.what, done.result) {
                        (SIGNAL, _) => return Ok(()),
                        (ACCEPT, accepted) => {
                            let fd = accepted.context("accept")? as i32;
                            // SAFETY: made for this completion, so it has no other owner.
                            let stream = unsafe { TcpStream::from_raw_fd(fd) };
                            let (address, owed) = (ptr::null_mut(), 0..0);
                            let connection = Connection { _stream: stream, _memory: None, address, owed };
                            server.connections.insert(fd, connection);
                            server.receive(fd)?;
                            server.accept()?;
                        }
                        (what, Err(error)) if error.raw_os_error() == Some(libc::EFAULT) => {
                            let what = if what == RECEIVE { "receive" } else { "send" };
                            bail!("fd {fd}: the buffer of its {what} was freed while the kernel had it: {error}");
                        }
                        (what, Ok(n)) if n > 0 => {
                            let Some(connection) = server.connections.get_mut(fd) else { continue };
                            let owed = connection.owed.clone();
                            connection.owed = if what == RECEIVE { 0..n } else { owed.start + n..owed.end };
                            if connection.owed.is_empty() { server.receive(fd)? } else { server.send(fd)? }
                        }
                        _ => drop(server.connections.remove(fd)),
                    }
                }
            }
        }
    }
}
