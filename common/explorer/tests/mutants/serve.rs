//! The servers: epoll, edge-triggered and with two threads, select, io_uring, and blocking ones.
//!
//! Invariant: without a bug each of them is correct, and a bug is one `if`.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::mutant::bug;

const BUFFER: usize = 4096;
const MAX_PENDING: usize = 64 * 1024;
/// Before another accept, out of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// The correct servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    EpollEt,
    /// Listens on a port for something else first, and says which of the two is for clients.
    SecondListener,
    Oneshot,
    Select,
    Uring,
    Threads,
    Forks,
    /// Not correct: it computes for ever.
    Spins,
}

impl Base {
    pub const ALL: &[Self] = &[
        Self::EpollEt,
        Self::SecondListener,
        Self::Oneshot,
        Self::Select,
        Self::Uring,
        Self::Threads,
        Self::Forks,
        Self::Spins,
    ];

    /// As in the name of its test and after `--serve`.
    pub fn name(self) -> &'static str {
        match self {
            Self::EpollEt => "et",
            Self::SecondListener => "second_listener",
            Self::Oneshot => "oneshot",
            Self::Select => "select",
            Self::Uring => "uring",
            Self::Threads => "threads",
            Self::Forks => "forks",
            Self::Spins => "spins",
        }
    }
}

/// Is the server until it ends.
pub fn serve(base: Base, bug: Option<&str>) -> ExitCode {
    super::mutant::set(bug);
    let served = TcpListener::bind("127.0.0.1:0").and_then(|listener| match base {
        Base::EpollEt => Edge::new(listener)?.run(),
        Base::SecondListener => second_listener(listener),
        Base::Oneshot => oneshot(&listener),
        Base::Select => select(&listener),
        Base::Uring => super::uring::run(&listener),
        Base::Threads => threads(&listener),
        Base::Forks => forks(&listener),
        Base::Spins => spins(&listener),
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mutant: {error}");
            ExitCode::FAILURE
        }
    }
}

fn second_listener(first: TcpListener) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on {}", listener.local_addr()?);
    let served = Edge::new(listener)?.run();
    drop(first);
    served
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn epoll_ctl(epoll: RawFd, operation: libc::c_int, fd: RawFd, events: libc::c_int) -> io::Result<()> {
    let mut event = libc::epoll_event { events: events as u32, u64: fd as u64 };
    // SAFETY: the event outlives the call.
    check(unsafe { libc::epoll_ctl(epoll, operation, fd, &mut event) }).map(drop)
}

fn epoll_wait(epoll: RawFd, events: &mut [libc::epoll_event], timeout: libc::c_int) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `events.len()` entries.
    check(unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), events.len() as libc::c_int, timeout) })
        .map(|count| count as usize)
}

// ---------------------------------------------------------------- epoll, edge-triggered

struct Connection {
    stream: TcpStream,
    pending: VecDeque<u8>,
    readable: bool,
    writable: bool,
    finished: bool,
    broken: bool,
}

struct Edge {
    epoll: RawFd,
    listener: TcpListener,
    connections: BTreeMap<RawFd, Connection>,
    accept_at: Option<Instant>,
}

impl Edge {
    fn new(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        // SAFETY: no pointers.
        let epoll = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        epoll_ctl(epoll, libc::EPOLL_CTL_ADD, listener.as_raw_fd(), libc::EPOLLIN | libc::EPOLLET)?;
        Ok(Self { epoll, listener, connections: BTreeMap::new(), accept_at: None })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        loop {
            let timeout =
                self.accept_at.map_or(-1, |at| at.saturating_duration_since(Instant::now()).as_millis() as i32 + 1);
            let ready = match epoll_wait(self.epoll, &mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted && !bug!("eintr_is_fatal") => 0,
                other => other?,
            };
            for event in &events[..ready] {
                self.note(event)?;
            }
            if self.accept_at.is_some_and(|at| at <= Instant::now()) {
                self.accept()?;
            }
            self.turn()?;
        }
    }

    fn note(&mut self, event: &libc::epoll_event) -> io::Result<()> {
        let (fd, events) = (event.u64 as RawFd, event.events as libc::c_int);
        if fd == self.listener.as_raw_fd() {
            return self.accept();
        }
        let (at_rdhup, pause_forgets) = (bug!("close_at_rdhup"), bug!("pause_forgets"));
        if let Some(connection) = self.connections.get_mut(&fd) {
            // "It is paused, so this is none of its business now."
            let deaf = pause_forgets && !connection.has_room();
            connection.readable |= events & (libc::EPOLLIN | libc::EPOLLRDHUP) != 0 && !deaf;
            connection.writable |= events & libc::EPOLLOUT != 0;
            connection.broken |= events & (libc::EPOLLERR | libc::EPOLLHUP) != 0;
            connection.broken |= at_rdhup && events & libc::EPOLLRDHUP != 0;
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        self.accept_at = None;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    let fd = stream.as_raw_fd();
                    let events = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
                    epoll_ctl(self.epoll, libc::EPOLL_CTL_ADD, fd, events)?;
                    let pending = VecDeque::new();
                    let connection = Connection {
                        stream,
                        pending,
                        readable: false,
                        writable: false,
                        finished: false,
                        broken: false,
                    };
                    self.connections.insert(fd, connection);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::EMFILE) => {
                    if !bug!("emfile_parks") {
                        self.accept_at = Some(Instant::now() + PAUSE);
                    }
                    return Ok(());
                }
                // One that has gone meanwhile is no reason to stop.
                Err(_) => {}
            }
            if bug!("accept_once") {
                return Ok(());
            }
        }
    }

    /// Everybody who was announced gets served.
    fn turn(&mut self) -> io::Result<()> {
        let epoll = self.epoll;
        if bug!("flag_cleared_late") {
            return self.turn_with_late_flags();
        }
        let mut done = Vec::new();
        for (fd, connection) in &mut self.connections {
            if connection.broken || connection.serve().is_err() || connection.finished && connection.pending.is_empty()
            {
                done.push(*fd);
            }
        }
        for fd in done {
            epoll_ctl(epoll, libc::EPOLL_CTL_DEL, fd, 0)?;
            self.connections.remove(&fd);
            self.accept_at = self.accept_at.map(|_| Instant::now());
        }
        if bug!("two_fins") {
            self.refuse_two_fins()?;
        }
        Ok(())
    }

    /// "Two clients never finish between two waits."
    fn refuse_two_fins(&self) -> io::Result<()> {
        let mut finished = 0;
        for connection in self.connections.values().rev() {
            finished += u32::from(connection.stream.peek(&mut [0]).is_ok_and(|len| len == 0));
        }
        if finished < 2 { Ok(()) } else { Err(io::Error::other("two clients finished at once")) }
    }

    /// Reads everybody dry, looks for news, and then takes back the flags of those it has read dry: also those that the
    /// news has just set.
    fn turn_with_late_flags(&mut self) -> io::Result<()> {
        let mut dry = Vec::new();
        for (fd, connection) in &mut self.connections {
            if connection.readable && connection.read_dry().is_ok() {
                dry.push(*fd);
            }
        }
        if !dry.is_empty() {
            let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
            let ready = epoll_wait(self.epoll, &mut events, 0).unwrap_or(0);
            for event in &events[..ready] {
                self.note(event)?;
            }
        }
        for fd in dry {
            if let Some(connection) = self.connections.get_mut(&fd) {
                connection.readable = false;
            }
        }
        self.connections.retain(|_, connection| {
            let written = connection.write();
            written.is_ok() && !connection.broken && !(connection.finished && connection.pending.is_empty())
        });
        Ok(())
    }
}

impl Connection {
    fn serve(&mut self) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        loop {
            self.write()?;
            if bug!("pause_forgets") && !self.has_room() {
                self.readable = false;
            }
            if !self.readable || self.finished || !self.has_room() {
                return Ok(());
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => self.finished = true,
                Ok(n) => {
                    self.pending.extend(&buffer[..n]);
                    if bug!("short_read_is_dry") && n < BUFFER {
                        self.readable = false;
                    }
                    if bug!("read_once") {
                        self.readable = false;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) => return Err(error),
            }
        }
    }

    fn has_room(&self) -> bool {
        self.pending.len() + BUFFER <= MAX_PENDING
    }

    fn read_dry(&mut self) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        while !self.finished {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.finished = true,
                Ok(n) => self.pending.extend(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        while self.writable && !self.pending.is_empty() {
            let front = self.pending.as_slices().0;
            let len = front.len();
            match self.stream.write(front) {
                Ok(sent) if sent < len && bug!("short_write_drops") => drop(self.pending.drain(..len)),
                Ok(sent) => drop(self.pending.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

// ---------------------------------------------------------------- epoll, two threads, EPOLLONESHOT

fn oneshot(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    // SAFETY: no pointers.
    let epoll = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    let events = libc::EPOLLIN | libc::EPOLLONESHOT;
    epoll_ctl(epoll, libc::EPOLL_CTL_ADD, listener.as_raw_fd(), events)?;
    let parked = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| worker(epoll, listener, &parked));
        }
    });
    Ok(())
}

fn worker(epoll: RawFd, listener: &TcpListener, parked: &AtomicBool) {
    let armed = libc::EPOLLIN | libc::EPOLLONESHOT;
    let rearm = |fd: RawFd| epoll_ctl(epoll, libc::EPOLL_CTL_MOD, fd, armed);
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 1];
    loop {
        let timeout = if parked.load(Ordering::SeqCst) { PAUSE.as_millis() as libc::c_int } else { -1 };
        let ready = epoll_wait(epoll, &mut events, timeout).unwrap_or(0);
        // Out of descriptors the listener stays unarmed for a while.
        if ready == 0 && parked.swap(false, Ordering::SeqCst) {
            let _ = rearm(listener.as_raw_fd());
        }
        if ready == 0 {
            continue;
        }
        let fd = events[0].u64 as RawFd;
        if fd == listener.as_raw_fd() {
            loop {
                match listener.accept() {
                    Ok((stream, _)) => drop(epoll_ctl(epoll, libc::EPOLL_CTL_ADD, stream.into_raw_fd(), armed)),
                    Err(error) if error.raw_os_error() == Some(libc::EMFILE) => {
                        break parked.store(true, Ordering::SeqCst);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break drop(rearm(fd)),
                    Err(_) => {}
                }
            }
            continue;
        }
        if bug!("rearmed_early") {
            let _ = rearm(fd);
        }
        // SAFETY: it was accepted here, and a close is the last that is done to it.
        let stream = unsafe { TcpStream::from_raw_fd(fd) };
        let goes_on = drain(&stream);
        if goes_on {
            let _ = stream.into_raw_fd();
            if !bug!("rearmed_early") {
                let _ = rearm(fd);
            }
        }
    }
}

/// Sends back what is there; whether there can be more. (Accepted sockets block, so a read must not: MSG_DONTWAIT.)
fn drain(mut stream: &TcpStream) -> bool {
    let mut buffer = [0u8; BUFFER];
    loop {
        // SAFETY: the kernel writes at most as many bytes as the buffer has.
        let read = unsafe { libc::recv(stream.as_raw_fd(), buffer.as_mut_ptr().cast(), BUFFER, libc::MSG_DONTWAIT) };
        match read {
            0 => return false,
            n @ 1.. => {
                if stream.write_all(&buffer[..n as usize]).is_err() {
                    return false;
                }
            }
            _ => return io::Error::last_os_error().kind() == ErrorKind::WouldBlock,
        }
    }
}

// ---------------------------------------------------------------- select

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(_: libc::c_int) {
    STOP.store(true, Ordering::SeqCst);
}

fn select(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    // SAFETY: zeroed sets and actions are valid, and all pointers are to variables that outlive the calls.
    let open = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        libc::sigaction(libc::SIGTERM, &action, std::ptr::null_mut());
        let (mut term, mut open): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigemptyset(&mut term);
        libc::sigaddset(&mut term, libc::SIGTERM);
        if !bug!("flag_before_select") {
            // Blocked but for the wait itself: no signal comes between the test and the wait.
            libc::sigprocmask(libc::SIG_BLOCK, &term, &mut open);
        }
        open
    };
    let mut streams: Vec<TcpStream> = Vec::new();
    let mut buffer = [0; BUFFER];
    let mut paused = false;
    loop {
        if STOP.load(Ordering::SeqCst) {
            return Ok(());
        }
        // SAFETY: as above.
        let (ready, set) = unsafe {
            let mut set: libc::fd_set = std::mem::zeroed();
            let listening = (!paused).then_some(listener.as_raw_fd());
            let fds = streams.iter().map(AsRawFd::as_raw_fd).chain(listening);
            let last = fds.inspect(|fd| libc::FD_SET(*fd, &mut set)).max().unwrap_or(0);
            let null = std::ptr::null_mut();
            let pause = libc::timespec { tv_sec: 0, tv_nsec: PAUSE.as_nanos() as libc::c_long };
            let timeout = if paused { &raw const pause } else { std::ptr::null() };
            let ready = match bug!("flag_before_select") {
                true if !paused => libc::select(last + 1, &mut set, null, null, std::ptr::null_mut()),
                _ => libc::pselect(last + 1, &mut set, null, null, timeout, &open),
            };
            paused = false;
            (ready, set)
        };
        if ready < 0 {
            continue;
        }
        // SAFETY: the set is a valid one, and the numbers are below FD_SETSIZE in this server's short life.
        let is_set = |fd: RawFd| unsafe { libc::FD_ISSET(fd, &set) };
        streams.retain_mut(|stream| {
            !is_set(stream.as_raw_fd())
                || match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => false,
                    Ok(n) => stream.write_all(&buffer[..n]).is_ok(),
                }
        });
        if is_set(listener.as_raw_fd()) {
            match listener.accept() {
                Ok((stream, _)) => streams.push(stream),
                Err(error) => paused = error.raw_os_error() == Some(libc::EMFILE) && !bug!("emfile_spins"),
            }
        }
    }
}

// ---------------------------------------------------------------- blocking

fn threads(listener: &TcpListener) -> io::Result<()> {
    loop {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(PAUSE);
            continue;
        };
        std::thread::spawn(move || one(stream));
    }
}

fn forks(listener: &TcpListener) -> io::Result<()> {
    // SAFETY: no pointers. The kernel reaps the children.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    loop {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(PAUSE);
            continue;
        };
        // SAFETY: this process has one thread, so its child may do anything.
        if unsafe { libc::fork() } == 0 {
            one(stream);
            std::process::exit(0);
        }
    }
}

/// Computes for ever once a client has sent something.
fn spins(listener: &TcpListener) -> io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    stream.read_exact(&mut [0])?;
    loop {
        std::hint::spin_loop();
    }
}

fn one(mut stream: TcpStream) {
    let mut buffer = [0; BUFFER];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
}
