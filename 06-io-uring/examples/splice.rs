//! splice: bytes go from the socket into a pipe and from the pipe into the socket, and never into the program's memory.
//!
//! io_uring has no asynchronous splice. It gives each splice to a worker thread, and on a silent socket the worker would
//! wait as long as the client is silent. The socket's O_NONBLOCK forbids that wait; SPLICE_F_NONBLOCK concerns the pipe
//! only. So sockets are non-blocking here, and a poll comes before every splice: readiness in disguise. Each echo costs
//! two hand-overs to a worker, which makes this the slowest server of the chapter.
//!
//! Three results of a splice look like the connection's end and are not:
//! - 0 bytes is not FIN yet: a splice stops at a byte of urgent data too, and never passes it. A receive can tell.
//! - EAGAIN: the socket's send buffer is full, or its receive queue is empty.
//! - ERESTARTSYS: a signal reached the worker, for example because the process was stopped and continued.
//!
//! Invariant: a connection has one operation in flight, and holds a pipe only while bytes are in it. The server opens
//! `PIPES` pipes at its start; a connection that finds none waits in a queue. If the socket does not take the bytes of a
//! pipe at once, the server reads them out of the pipe and sends them from memory. So clients that do not read keep no
//! pipe from the others.

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    common_server::not_on_this_platform("splice", "io_uring", "Linux")
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    common_server::main("splice", linux::Server::new, linux::Server::run)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::VecDeque;
    use std::io::{self, PipeReader, PipeWriter, Read};
    use std::mem::ManuallyDrop;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, FromRawFd};
    use std::ptr;

    use anyhow::{Context, Result};
    use common_server::{AcceptError, Connections, Notice, Retry, Shutdown};
    use io_uring::types::Fd;
    use io_uring::{opcode, squeue};

    use uring::queues::{self, Completion, Queues};

    const ACCEPT: u8 = 0;
    const SIGNAL: u8 = 1;
    const POLL: u8 = 2;
    const IN: u8 = 3;
    const OUT: u8 = 4;
    const SEND: u8 = 5;
    const POLL_OUT: u8 = 6;
    const RECEIVE: u8 = 7;

    const PIPES: usize = 8;
    /// The capacity of a pipe, unless the kernel was told otherwise.
    const CHUNK: u32 = 64 * 1024;
    /// The kernel's own errno for "interrupted by a signal". A system call turns it into EINTR, or starts again, before a
    /// program can see it. io_uring does so for send and receive, but hands out what a splice returned as it is.
    const ERESTARTSYS: i32 = 512;

    type Pipe = (PipeReader, PipeWriter);

    struct Connection {
        /// Owns the descriptor that the operations name.
        _stream: TcpStream,
        pipe: Option<Pipe>,
        in_pipe: usize,
        rest: Box<[u8]>,
        sent: usize,
    }

    pub struct Server {
        // Never dropped (see `run`).
        queues: Queues,
        listener: TcpListener,
        shutdown: Shutdown,
        connections: Connections<Connection>,
        pipes: Vec<Pipe>,
        /// Connections that are readable and have no pipe yet.
        queue: VecDeque<i32>,
        retry: Retry,
        out_of_fds: Notice,
    }

    impl Server {
        pub fn new(listener: TcpListener, shutdown: Shutdown) -> Result<Self> {
            let pipes = (0..PIPES).map(|_| io::pipe()).collect::<io::Result<_>>().context("pipes (ulimit -n)")?;
            Ok(Self {
                queues: Queues::open(256, 2048)?,
                listener,
                shutdown,
                connections: Connections::default(),
                pipes,
                queue: VecDeque::new(),
                retry: Retry::default(),
                out_of_fds: Notice::default(),
            })
        }

        fn push(&mut self, entry: squeue::Entry, what: u8, fd: i32) -> Result<()> {
            // SAFETY: if an entry points to memory at all, that is `rest`: a box which `connections`
            // keeps, and nobody else touches, until the connection's one operation has landed.
            unsafe { self.queues.push(entry, what, fd as usize) }.context("io_uring_enter")
        }

        fn accept(&mut self) -> Result<()> {
            let fd = self.listener.as_raw_fd();
            let accept = opcode::Accept::new(Fd(fd), ptr::null_mut(), ptr::null_mut())
                .flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
            self.push(accept.build(), ACCEPT, fd)
        }

        fn accepted(&mut self, result: io::Result<usize>) -> Result<()> {
            match result.map_err(AcceptError::from) {
                Ok(fd) => {
                    // SAFETY: this completion is the first to name the new descriptor, so nobody else owns it.
                    let stream = unsafe { TcpStream::from_raw_fd(fd as i32) };
                    let connection =
                        Connection { _stream: stream, pipe: None, in_pipe: 0, rest: Box::default(), sent: 0 };
                    self.connections.insert(fd as i32, connection);
                    self.poll(fd as i32)?;
                }
                Err(AcceptError::OutOfFds(error)) => {
                    self.out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
                    self.retry.later();
                    return Ok(());
                }
                Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
                Err(AcceptError::Drained) => return self.poll(self.listener.as_raw_fd()),
                Err(AcceptError::Aborted) => {}
            }
            self.accept()
        }

        fn poll(&mut self, fd: i32) -> Result<()> {
            self.push(opcode::PollAdd::new(Fd(fd), (libc::POLLIN | libc::POLLRDHUP) as u32).build(), POLL, fd)
        }

        /// Gives free pipes to the connections that wait for one, the longest wait first.
        fn lend(&mut self) -> Result<()> {
            while let (Some(fd), false) = (self.queue.front().copied(), self.pipes.is_empty()) {
                self.queue.pop_front();
                let Some(connection) = self.connections.get_mut(fd) else { continue };
                let pipe = connection.pipe.insert(self.pipes.pop().expect("not empty"));
                let splice = opcode::Splice::new(Fd(fd), -1, Fd(pipe.1.as_raw_fd()), -1, CHUNK);
                let splice = splice.flags(libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE).build();
                self.push(splice, IN, fd)?;
            }
            Ok(())
        }

        /// Starts the connection's next operation, which depends on what the last one gave.
        fn landed(&mut self, what: u8, fd: i32, result: io::Result<usize>) -> Result<()> {
            let Some(connection) = self.connections.get_mut(fd) else { return Ok(()) };
            let again = result.as_ref().is_err_and(is_transient);
            match (what, result) {
                (POLL, Ok(_)) => {
                    self.queue.push_back(fd);
                    Ok(())
                }
                (IN, result) if again || result.as_ref().is_ok_and(|n| *n == 0) => {
                    self.pipes.extend(connection.pipe.take());
                    connection.rest = vec![0; CHUNK as usize].into();
                    let (at, len) = (connection.rest.as_mut_ptr(), CHUNK);
                    self.push(opcode::Recv::new(Fd(fd), at, len).build(), RECEIVE, fd)
                }
                (RECEIVE, Ok(n @ 1..)) => {
                    (connection.rest, connection.sent) = (connection.rest[..n].into(), 0);
                    self.send(fd)
                }
                (RECEIVE, Err(_)) if again => {
                    connection.rest = Box::default();
                    self.poll(fd)
                }
                (IN, Ok(n @ 1..)) => {
                    connection.in_pipe = n;
                    self.splice_out(fd)
                }
                (OUT, Ok(n @ 1..)) if n < connection.in_pipe => {
                    connection.in_pipe -= n;
                    self.splice_out(fd)
                }
                (OUT, Ok(1..)) => {
                    connection.in_pipe = 0;
                    self.pipes.extend(connection.pipe.take());
                    self.poll(fd)
                }
                (OUT, result) if again || result.is_ok() => {
                    let mut rest = vec![0; std::mem::take(&mut connection.in_pipe)].into_boxed_slice();
                    let (reader, writer) = connection.pipe.take().expect("what goes out comes from a pipe");
                    (&reader).read_exact(&mut rest).context("read a pipe")?;
                    self.pipes.push((reader, writer));
                    (connection.rest, connection.sent) = (rest, 0);
                    self.send(fd)
                }
                (POLL_OUT, Ok(_)) => self.send(fd),
                (SEND, Err(_)) if again => {
                    self.push(opcode::PollAdd::new(Fd(fd), libc::POLLOUT as u32).build(), POLL_OUT, fd)
                }
                (SEND, Ok(n)) => {
                    connection.sent += n;
                    if connection.sent < connection.rest.len() {
                        return self.send(fd);
                    }
                    connection.rest = Box::default();
                    self.poll(fd)
                }
                (POLL, Err(_)) if again => self.poll(fd),
                // FIN with nothing owed, or the connection is broken.
                _ => self.close(fd),
            }
        }

        fn splice_out(&mut self, fd: i32) -> Result<()> {
            let connection = self.connections.get_mut(fd).expect("it has just landed");
            let (reader, _) = connection.pipe.as_ref().expect("what goes out comes from a pipe");
            let splice = opcode::Splice::new(Fd(reader.as_raw_fd()), -1, Fd(fd), -1, connection.in_pipe as u32);
            let splice = splice.flags(libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE).build();
            self.push(splice, OUT, fd)
        }

        fn send(&mut self, fd: i32) -> Result<()> {
            let connection = self.connections.get_mut(fd).expect("it has just landed");
            let rest = &connection.rest[connection.sent..];
            let send = opcode::Send::new(Fd(fd), rest.as_ptr(), rest.len() as u32);
            self.push(send.flags(libc::MSG_NOSIGNAL).build(), SEND, fd)
        }

        fn close(&mut self, fd: i32) -> Result<()> {
            if let Some(connection) = self.connections.remove(fd)
                && let Some((mut reader, writer)) = connection.pipe
            {
                // The pipe's next bytes are another connection's.
                let mut left = vec![0; connection.in_pipe];
                reader.read_exact(&mut left).context("empty a pipe")?;
                self.pipes.push((reader, writer));
            }
            self.retry.now();
            Ok(())
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
                server.lend()?;
                let timeout_ms = server.retry.timeout_ms();
                server.queues.wait(timeout_ms).context("io_uring_enter")?;
                while let Some(Completion { what, index, result, .. }) = server.queues.land() {
                    match what {
                        SIGNAL => return Ok(()),
                        ACCEPT => server.accepted(result)?,
                        POLL if index == server.listener.as_raw_fd() as usize => server.accept()?,
                        _ => server.landed(what, index as i32, result)?,
                    }
                }
            }
        }
    }

    /// Nothing has happened to the connection: the operation would have had to wait, or was interrupted.
    fn is_transient(error: &io::Error) -> bool {
        queues::is_transient(error) || error.raw_os_error() == Some(ERESTARTSYS)
    }
}
