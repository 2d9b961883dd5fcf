//! One blocking thread for each connection: the model before multiplexing, and the reason for the C10K problem.
//!
//! It shows how short a server is when the kernel's scheduler is its event loop. It also shows what each connection
//! then costs: a reserved stack, the part of it that is used, and the thread's stack in the kernel.
//!
//! Invariant: a connection belongs to one thread from its accept to its close. That thread waits only in this
//! connection's read or write. So a slow client stops its own thread and no other, and at most one buffer is pending.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use common_server::{AcceptError, Args, Given, Notice, Opt, Shutdown, Takes, listen, main_with};

/// The size in bytes of the buffer on each thread's stack.
const BUFFER: usize = 4096;
/// Rust's default for a thread. (C programs get 8 MiB, from `ulimit -s`.)
const STACK_KIB: usize = 2048;
/// The pause before the next accept. By then another process may have freed a descriptor, or the limit may be higher.
const RETRY: Duration = Duration::from_millis(250);

const OPTIONS: &[Opt] = &[Opt {
    name: "--stack",
    takes: Takes::Number(16, 1 << 20),
    help: "stack reserved for each thread, in KiB (default 2048)",
}];

fn main() -> ExitCode {
    main_with("thread_per_connection", OPTIONS, Server::new, Server::run)
}

struct Server {
    listener: TcpListener,
    shutdown: Shutdown,
    stack: usize,
}

/// Tells the accepting thread that a descriptor was freed.
#[derive(Default)]
struct Freed(Mutex<bool>, Condvar);

impl Server {
    fn new(args: Args, given: Given, shutdown: Shutdown) -> Result<(SocketAddr, Self)> {
        let listener = listen(args.addr, args.backlog)?;
        // This server waits in accept, read and write, so all of them block.
        listener.set_nonblocking(false)?;
        let stack = given.number("--stack").unwrap_or(STACK_KIB) * 1024;
        Ok((listener.local_addr()?, Self { listener, shutdown, stack }))
    }

    /// Two threads wait for two things without select: one waits for clients, the other for the signal.
    fn run(self) -> Result<()> {
        let mut signal = std::fs::File::from(self.shutdown.as_fd().try_clone_to_owned()?);
        let (ended, end) = std::sync::mpsc::channel();
        let on_signal = ended.clone();
        thread::spawn(move || ended.send(accept(&self.listener, self.stack)));
        thread::spawn(move || {
            // The signal's byte stays in the socket, so this read also finds an earlier signal.
            let read = signal.read_exact(&mut [0]).context("wait for a signal");
            on_signal.send(read)
        });
        // The return ends the process with all its threads, wherever they wait.
        end.recv().expect("both threads send before they end")
    }
}

fn accept(listener: &TcpListener, stack: usize) -> Result<()> {
    let freed = Arc::new(Freed::default());
    let (mut out_of_fds, mut out_of_threads) = (Notice::default(), Notice::default());
    loop {
        let stream = match listener.accept().map_err(AcceptError::from) {
            Ok((stream, _)) => stream,
            Err(AcceptError::Drained | AcceptError::Aborted) => continue,
            Err(AcceptError::OutOfFds(error)) => {
                out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
                freed.wait();
                continue;
            }
            Err(AcceptError::Broken(error)) => return Err(error).context("accept"),
        };
        let freed = freed.clone();
        let echo = move || {
            // The result is end of file, or an error of this connection. Neither concerns the other connections.
            let _ = echo(stream);
            freed.tell();
        };
        if let Err(error) = thread::Builder::new().stack_size(stack).spawn(echo) {
            out_of_threads.say(format_args!("no thread for a connection: {error}; connection closed"));
        }
    }
}

/// The whole lesson in one function. It owns the stream, so the connection closes when the function returns.
fn echo(mut stream: TcpStream) -> io::Result<()> {
    // On the BSDs an accepted socket inherits O_NONBLOCK from the listener.
    stream.set_nonblocking(false)?;
    let mut buffer = [0; BUFFER];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => stream.write_all(&buffer[..n])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Freed {
    fn tell(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.1.notify_one();
    }

    fn wait(&self) {
        let freed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.1.wait_timeout_while(freed, RETRY, |freed| !*freed);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}
