//! A mutant's start: command line, signals, listener; then one of the bases.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use socket2::{Domain, Socket, Type};

use super::mutant::{self, bug};
use super::pollers::{Epoll, Poll, Select};
use super::readiness::Server;
use super::{blocking, forking, limited, pool, uring, workers};

/// The correct servers, each to be broken by a bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    Select,
    Poll,
    EpollLt,
    EpollEt,
    Uring,
    Threads,
    Fork,
    Workers,
    Pool,
    OneByOne,
    Limited,
}

impl Base {
    /// As a mutant's name begins.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Poll => "poll",
            Self::EpollLt => "epoll_lt",
            Self::EpollEt => "epoll_et",
            Self::Uring => "uring",
            Self::Threads => "threads",
            Self::Fork => "fork",
            Self::Workers => "workers",
            Self::Pool => "pool",
            Self::OneByOne => "one_by_one",
            Self::Limited => "limited",
        }
    }

    /// Servers on io_uring and on blocking calls are started as foreign servers, which is half of the harness's ways to
    /// start one.
    pub const fn is_own(self) -> bool {
        matches!(self, Self::Select | Self::Poll | Self::EpollLt | Self::EpollEt)
    }
}

const USAGE: &str = "usage: mutant [--addr ADDR:PORT] [--backlog N] [--help]";

/// Set by the handler of a server that has `flag_not_seen` or `flag_before_wait`.
pub static STOP: AtomicBool = AtomicBool::new(false);
static WAKE: AtomicI32 = AtomicI32::new(-1);

/// Is the server until it ends.
pub fn serve(base: Base, bug: Option<&str>, args: &[String]) -> ExitCode {
    mutant::set(bug);
    let addr = match parse(args) {
        Ok(Some(addr)) => addr,
        Ok(None) => {
            if bug!("help_on_stderr") {
                eprintln!("{USAGE}");
            } else {
                println!("{USAGE}");
            }
            return ExitCode::SUCCESS;
        }
        Err(what) => {
            eprintln!("mutant: {what}\n{USAGE}");
            // `exit(1)` for everything.
            return ExitCode::from(if bug!("bad_args_exit1") { 1 } else { 2 });
        }
    };
    match run(base, addr) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mutant: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(args: &[String]) -> Result<Option<SocketAddr>, String> {
    let mut addr = SocketAddr::from(([127, 0, 0, 1], 7000));
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let (option, value) = arg.split_once('=').map_or((arg.as_str(), None), |(o, v)| (o, Some(v.to_owned())));
        let mut value = || value.clone().or_else(|| args.next().cloned()).ok_or(format!("{option} needs a value"));
        match option {
            "--help" | "-h" => return Ok(None),
            "--addr" => {
                let value = value()?;
                addr = value.parse().map_err(|_| format!("--addr '{value}' is no address with a port"))?;
            }
            "--backlog" => {
                let value = value()?;
                value.parse::<std::num::NonZeroU16>().map_err(|_| format!("--backlog '{value}' is not 1 to 65535"))?;
            }
            _ => return Err(format!("unknown argument '{arg}'")),
        }
    }
    Ok(Some(addr))
}

fn run(base: Base, addr: SocketAddr) -> io::Result<()> {
    let listener = match listen(addr) {
        // `bind(..).unwrap()`.
        result if bug!("bind_panics") => result.unwrap(),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let what = format!("listen on {addr}: address in use (choose another port, or port 0 for a free one)");
            return Err(io::Error::other(what));
        }
        Err(error) => return Err(io::Error::other(format!("listen on {addr}: {error} (choose another address)"))),
        Ok(listener) => listener,
    };
    let (wake, signalled) = UnixStream::pair()?;
    signalled.set_nonblocking(true)?;
    WAKE.store(signalled.as_raw_fd(), Ordering::SeqCst);
    if !bug!("signals_at_default") {
        handle(libc::SIGINT, on_signal as *const () as usize);
        handle(libc::SIGTERM, on_signal as *const () as usize);
    }
    if bug!("resized_is_stopped") {
        handle(libc::SIGWINCH, on_signal as *const () as usize);
    }
    if bug!("sigpipe_kills") || bug!("sigpipe_after_a_look") {
        // Every program starts like this, unless its runtime ignores the signal as Rust's does.
        handle(libc::SIGPIPE, libc::SIG_DFL);
    }
    let addr = listener.local_addr()?;
    let ready = || {
        println!("listening on {addr}");
        if bug!("banner") {
            println!("echo server 1.0 ready, press ^C to stop");
        }
        let _ = io::stdout().flush();
    };
    match base {
        Base::Select => Server::new(Select::new(), listener, wake)?.run(ready),
        Base::Poll => Server::new(Poll::new(), listener, wake)?.run(ready),
        Base::EpollLt => {
            if bug!("serves_at_accept_beside_a_thread") {
                std::thread::spawn(|| {
                    loop {
                        std::thread::park();
                    }
                });
            }
            Server::new(Epoll::new(false)?, listener, wake)?.run(ready)
        }
        Base::EpollEt => {
            // A worker for each processor, and each waits for the listener.
            for _ in 0..if bug!("herd") || bug!("one_of_four_listens") { 3 } else { 0 } {
                let mut worker = Server::new(Epoll::new(true)?, listener.try_clone()?, wake.try_clone()?)?;
                if bug!("one_of_four_listens") {
                    worker.unlisten();
                }
                std::thread::spawn(move || worker.run(|| ()));
            }
            Server::new(Epoll::new(true)?, listener, wake)?.run(ready)
        }
        Base::Uring => uring::Server::new(listener, wake)?.run(ready),
        Base::Threads => blocking::threads(listener, wake, ready),
        Base::Fork => forking::run(&listener, &wake, ready),
        Base::Workers => workers::serve(listener, wake, ready),
        Base::Pool => pool::serve(listener, wake, ready),
        Base::OneByOne => blocking::one_by_one(&listener, ready),
        Base::Limited => limited::Server::new(listener, wake)?.run(ready),
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let domain = if bug!("ipv4_alone") { Domain::IPV4 } else { Domain::for_address(addr) };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.set_reuse_address(!bug!("address_not_reused"))?;
    socket.set_tcp_nodelay(true)?;
    if bug!("second_listener") {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(4096)?;
    if bug!("second_listener") {
        // One for a worker that was never started.
        let second = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        second.set_reuse_port(true)?;
        second.bind(&socket.local_addr()?)?;
        second.listen(4096)?;
        std::mem::forget(second);
    }
    Ok(socket.into())
}

pub fn handle(signal: libc::c_int, handler: usize) {
    // SAFETY: a zeroed sigaction is valid, and the handler is `on_signal` or SIG_DFL.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        libc::sigaction(signal, &action, std::ptr::null_mut());
    }
}

extern "C" fn on_signal(_signal: libc::c_int) {
    if bug!("flag_not_seen") || bug!("flag_before_wait") {
        // A flag that the loop tests when a wait has ended with events. One that ended with EINTR is done again.
        STOP.store(true, Ordering::SeqCst);
        return;
    }
    // SAFETY: one byte from a static, to a socket that never blocks and is open as long as the process.
    unsafe { libc::write(WAKE.load(Ordering::SeqCst), b"!".as_ptr().cast(), 1) };
}
