//! One echo server over every readiness call.
//!
//! Invariant (without a bug): under level-triggering `readable` and `writable` are what the last wait said; under
//! edge-triggering they are what was announced and not yet taken back by EAGAIN, and a connection that could go on when
//! its turn ends stands in `unfinished`.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::mutant::bug;
use super::oddities;
use super::pollers::{Interest, Poller, Ready};
use super::serve::STOP;

const READ_BUFFER: usize = 64 * 1024;
const MAX_PENDING: usize = 256 * 1024;
const RETRY: Duration = Duration::from_millis(250);
/// A client that takes nothing for so long is thrown out, under `slow_reader_timeout`.
const SLOW: Duration = Duration::from_secs(3);
/// What all connections owe. Only `bound_for_all` and `count_kept_at_reset` look at it.
static OWED: AtomicUsize = AtomicUsize::new(0);
const READ: Interest = Interest { read: true, write: false };
const NOTHING: Interest = Interest { read: false, write: false };

struct Connection {
    stream: TcpStream,
    pending: VecDeque<u8>,
    interest: Interest,
    peer_finished: bool,
    /// Only under `pause_not_resumed`: it stopped reading because too much was owed.
    paused: bool,
    readable: bool,
    writable: bool,
    unfinished: bool,
    was_stuck: bool,
    _buffer: Vec<u8>,
    /// Only for bugs that count: bytes read and written.
    totals: (u64, u64),
    /// Only under `reads_in_16_bits`.
    reads: u16,
    /// Only under `iov_max`: what is pending, in pieces as they were read.
    pieces: VecDeque<usize>,
    /// Only under `slow_reader_timeout`.
    owes_since: Option<Instant>,
}

pub struct Server<P> {
    poller: P,
    listener: TcpListener,
    wake: UnixStream,
    connections: Vec<Option<Connection>>,
    /// Only under `duplicate_kept` and `duplicate_deregistered`: of the newest connection.
    duplicate: Option<TcpStream>,
    /// Only under `newest_forgotten`.
    newest: Option<SocketAddr>,
    /// Connections so far, as a number of 16 bits, for a bug that counts so.
    serial: u16,
    unfinished: Vec<RawFd>,
    buffer: Vec<u8>,
    accept_at: Option<Instant>,
    said_at: Option<Instant>,
    /// Only under `retry_armed_twice`.
    timers: Vec<Instant>,
    /// Only under `naps_after_work`: short waits that are still to come.
    naps: u32,
    /// Only under `memory_kept_at_close`.
    kept: Vec<Vec<u8>>,
    /// Only under `owed_kept_for_the_next`: what the last connection that ended was owed.
    left: VecDeque<u8>,
}

/// Whether the server serves each client as soon as it has accepted the client: "it would not have come for nothing".
fn serves_at_accept() -> bool {
    bug!("serves_at_accept") || bug!("serves_at_accept_beside_a_thread")
}

impl<P: Poller> Server<P> {
    pub fn new(mut poller: P, listener: TcpListener, wake: UnixStream) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        poller.add(listener.as_raw_fd(), READ)?;
        poller.add(wake.as_raw_fd(), READ)?;
        let buffer = vec![0; READ_BUFFER];
        let (connections, unfinished) = (Vec::new(), Vec::new());
        let (accept_at, said_at, timers) = (None, None, Vec::new());
        let (duplicate, naps, kept) = (None, 0, Vec::new());
        Ok(Self {
            poller,
            listener,
            wake,
            connections,
            duplicate,
            newest: None,
            serial: 0,
            unfinished,
            buffer,
            accept_at,
            said_at,
            timers,
            naps,
            kept,
            left: VecDeque::new(),
        })
    }

    /// Only under `one_of_four_listens`.
    pub fn unlisten(&mut self) {
        self.poller.remove(self.listener.as_raw_fd());
    }

    fn accept(&mut self) -> io::Result<()> {
        let batch = match () {
            () if bug!("accept_once_per_edge") => 1,
            () if bug!("accept_batch_forgotten") => 16,
            () if serves_at_accept() => usize::MAX,
            () => 64,
        };
        for _ in 0..batch {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let fd = stream.as_raw_fd();
                    self.register(stream);
                    if serves_at_accept() {
                        self.serve(Ready { fd, readable: true, ..Ready::default() })?;
                    }
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(()),
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) if !bug!("emfile_is_fatal") => {
                        match self.newest {
                            Some(newest) => self.say(&format!("accept: {error}; the last to come was {newest}")),
                            None => self.say(&format!("accept: {error}")),
                        }
                        // "Give it time": and everybody else.
                        if bug!("emfile_naps") {
                            std::thread::sleep(Duration::from_millis(100));
                        }
                        // "Try again when the listener is ready": it still is (level), or will not be again (edge).
                        if !bug!("emfile_forgotten") {
                            self.poller.set(self.listener.as_raw_fd(), NOTHING)?;
                            let retry = Instant::now() + RETRY;
                            // Beside the one that runs already.
                            if bug!("retry_armed_twice") {
                                self.timers.push(retry);
                                self.accept_at.get_or_insert(retry);
                            } else {
                                self.accept_at = Some(retry);
                            }
                        }
                        return Ok(());
                    }
                    Some(libc::EINTR | libc::ECONNABORTED | libc::EPROTO | libc::EPERM | libc::ETIMEDOUT) => {}
                    _ => return Err(error),
                },
            }
        }
        // A batch is right under level-triggering; an edge is used up.
        if self.poller.edge() && batch == 64 {
            // "Enough for now."
            let pause = if bug!("accept_batch_pauses") { RETRY } else { Duration::ZERO };
            self.accept_at = Some(Instant::now() + pause);
        }
        Ok(())
    }

    fn register(&mut self, stream: TcpStream) {
        let fd = stream.as_raw_fd();
        oddities::accepted(&stream);
        // Linux does not inherit O_NONBLOCK from the listener, and who believes it does forgets this.
        let nonblocking = stream.set_nonblocking(!bug!("blocking_sockets"));
        self.serial = self.serial.wrapping_add(1);
        let in_table = match () {
            () if bug!("table_of_2048") => fd < 2048,
            // 0 is the number of a place that is free.
            () if bug!("serial_of_16_bits") => self.serial != 0,
            // A new place for each, and none is given back.
            () if bug!("places_not_given_back") => self.serial <= 4000,
            () => true,
        };
        if let Err(error) = nonblocking.and_then(|()| if in_table { self.poller.add(fd, READ) } else { Ok(()) }) {
            self.say(&format!("fd {fd} refused: {error}"));
            if bug!("full_is_fatal") {
                std::process::exit(1);
            }
            return;
        }
        if !in_table {
            // "Nobody has so many."
            std::mem::forget(stream);
            return;
        }
        if bug!("newest_forgotten") {
            self.newest = stream.peer_addr().ok();
        }
        if bug!("duplicate_kept") || bug!("duplicate_deregistered") {
            self.duplicate = stream.try_clone().ok();
        }
        if bug!("lingers") {
            // "So that nothing is lost": close(2) waits, whether or not the socket blocks.
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::from_secs(5)));
        }
        if bug!("hang_up_thread") {
            watch_for_hang_up(fd);
        }
        let places = self.connections.len().max(fd as usize + 1);
        self.connections.resize_with(places, || None);
        self.connections[fd as usize] = Some(Connection {
            stream,
            pending: std::mem::take(&mut self.left),
            interest: READ,
            peer_finished: false,
            paused: false,
            readable: false,
            writable: false,
            unfinished: false,
            was_stuck: false,
            // Written to, because untouched memory costs nothing.
            _buffer: vec![1; if bug!("buffer_each") { 4096 } else { 0 }],
            totals: (0, 0),
            reads: 0,
            pieces: VecDeque::new(),
            owes_since: None,
        });
    }

    /// One line a second.
    fn say(&mut self, what: &str) {
        let quiet = self.said_at.is_some_and(|at| at.elapsed() < Duration::from_secs(1));
        if !quiet || bug!("line_for_each_refusal") {
            self.said_at = Some(Instant::now());
            eprintln!("{what}");
        }
    }

    fn serve(&mut self, ready: Ready) -> io::Result<()> {
        let edge = self.poller.edge();
        let Some(Some(connection)) = self.connections.get_mut(ready.fd as usize) else { return Ok(()) };
        connection.readable = ready.readable || edge && connection.readable;
        // `else if`: IN and OUT can come as one edge.
        let out = ready.writable && !(bug!("write_edge_lost") && ready.readable);
        connection.writable = out || edge && connection.writable;
        let served = match ready {
            _ if bug!("reset_leaks") && ready.gone => return Ok(()),
            _ if ready.gone => Err(io::ErrorKind::ConnectionReset.into()),
            // RDHUP looked at before IN.
            _ if ready.finished && bug!("close_at_rdhup") => Err(io::ErrorKind::UnexpectedEof.into()),
            // While paused, an event means "write", and nothing else; the input that waits brings no other edge.
            _ if edge && bug!("pause_not_resumed") && connection.paused => {
                let wrote = connection.write(&self.buffer);
                connection.paused = !connection.pending.is_empty();
                if wrote.is_ok() {
                    return Ok(());
                }
                wrote
            }
            _ => connection.write(&self.buffer).and_then(|()| match ready {
                // The handler for OUT writes and nothing else.
                Ready { readable: false, writable: true, .. } if bug!("pause_not_resumed") => Ok(()),
                _ => connection.read(edge, &mut self.buffer),
            }),
        };
        let mut owed = !connection.pending.is_empty();
        // "No more will come": but not all that came has been read.
        connection.peer_finished |= bug!("rdhup_after_one_turn") && ready.finished;
        if bug!("rest_sent_blocking") && owed && connection.peer_finished {
            // "So that everything is out before the close."
            let _ = connection.stream.set_nonblocking(false);
            connection.writable = true;
            let _ = connection.write(&self.buffer);
            owed = !connection.pending.is_empty();
        }
        match served {
            // FIN taken as "the client has gone".
            Ok(()) if connection.peer_finished && (!owed || bug!("half_close_is_close")) => self.close(ready.fd),
            Ok(()) => return self.update_interest(ready),
            // One client's error handed up to `main`.
            Err(error) if bug!("reset_ends_server") => return Err(error),
            Err(_) => self.close(ready.fd),
        }
        Ok(())
    }

    fn update_interest(&mut self, ready: Ready) -> io::Result<()> {
        let Some(Some(connection)) = self.connections.get_mut(ready.fd as usize) else { return Ok(()) };
        let (may_read, owed) = (connection.may_read(), !connection.pending.is_empty());
        connection.was_stuck |= owed;
        if self.poller.edge() {
            connection.paused = bug!("pause_not_resumed") && !may_read && owed;
            let may_go_on = connection.readable && may_read || connection.writable && owed;
            let forgets =
                bug!("read_once_per_edge") || bug!("sixteen_reads_per_edge") || bug!("small_read_once_per_edge");
            if may_go_on && !connection.unfinished && !forgets {
                connection.unfinished = true;
                self.unfinished.push(ready.fd);
            }
            return Ok(());
        }
        let interest = Interest {
            read: match () {
                // Only the handler for IN turns IN on.
                () if bug!("pause_not_resumed") && !ready.readable => connection.interest.read,
                // Level-triggered, end of input stays readable for ever.
                () if bug!("interest_after_eof") => may_read || connection.peer_finished,
                // Not read while much is owed: but a level is reported until it is.
                () if bug!("read_interest_left_on") => !connection.peer_finished,
                () => may_read,
            },
            // Turned on when needed, and never off.
            write: owed && (!bug!("waits_for_more") || connection.pending.len() >= 4096)
                || bug!("write_interest_left_on") && connection.interest.write
                // The handler for OUT writes, and leaves it to the handler for IN to say what is waited for.
                || bug!("write_interest_left_by_out") && connection.interest.write && !ready.readable,
        };
        if interest != connection.interest {
            if !bug!("interest_noted_with_out_alone") || interest.write {
                connection.interest = interest;
            }
            self.poller.set(ready.fd, interest)?;
        }
        Ok(())
    }

    fn close(&mut self, fd: RawFd) {
        if bug!("memory_kept_at_close") && self.connections[fd as usize].as_ref().is_some_and(|it| it.was_stuck) {
            // "For the next one": but it is never used again. Written to, because untouched memory costs nothing.
            self.kept.push(vec![1; READ_BUFFER]);
        }
        if let Some(connection) = &mut self.connections[fd as usize] {
            if !bug!("count_kept_at_reset") {
                OWED.fetch_sub(connection.pending.len(), Ordering::Relaxed);
            }
            if bug!("owed_never_freed") {
                std::mem::forget(std::mem::take(&mut connection.pending));
            }
            // The place is used again, as it is.
            if bug!("owed_kept_for_the_next") {
                self.left = std::mem::take(&mut connection.pending);
            }
        }
        if bug!("state_never_freed") {
            std::mem::forget(vec![1u8; 4096]);
        }
        self.poller.remove(fd);
        // "It has left": whoever it was.
        self.newest = None;
        if bug!("duplicate_deregistered")
            && let Some(connection) = &self.connections[fd as usize]
        {
            let _ = connection.stream.shutdown(std::net::Shutdown::Both);
        }
        self.connections[fd as usize] = None;
        if !bug!("retry_by_time_alone") {
            self.accept_at = self.accept_at.map(|_| Instant::now());
        }
    }

    pub fn run(mut self, listening: impl FnOnce()) -> io::Result<()> {
        listening();
        let mut ready = Vec::new();
        loop {
            ready.clear();
            // Looked at before the wait: and what comes in between?
            if bug!("flag_before_wait") && STOP.load(Ordering::SeqCst) {
                return Ok(());
            }
            match self.poller.wait(self.timeout_ms(), &mut ready) {
                // A stop and a continue, a debugger, a laptop's lid.
                Err(error) if error.kind() == io::ErrorKind::Interrupted && !bug!("eintr_is_fatal") => continue,
                waited => waited?,
            }
            self.naps = if ready.is_empty() { self.naps.saturating_sub(1) } else { 50 };
            if STOP.load(Ordering::SeqCst) {
                return Ok(());
            }
            let turns = std::mem::take(&mut self.unfinished);
            let accept_due = self.accept_is_due();
            if !bug!("served_twice") {
                self.forget_unfinished(&turns);
            }
            let reported: Vec<RawFd> = ready.iter().map(|event| event.fd).collect();
            if bug!("flush_list_full") {
                // Who can be written to goes into a list of fixed length, for later.
                ready.iter_mut().skip(256).for_each(|event| event.writable = false);
            }
            if bug!("two_events_each") {
                // As kqueue has it: first who can be read, then who can be written to, and a reset is both.
                let input = |event: &Ready| Ready { writable: false, gone: false, readable: true, ..*event };
                let reads: Vec<Ready> = ready.iter().filter(|event| event.readable).map(input).collect();
                ready.retain(|event| event.writable || event.gone);
                ready.iter_mut().for_each(|event| (event.readable, event.finished) = (false, false));
                ready.splice(0..0, reads);
            }
            for &event in &ready {
                if self.handle(event)? {
                    return Ok(());
                }
            }
            if bug!("news_taken_for_old") {
                // A quick look for new clients. Those who were just served can have nothing new.
                let mut news = Vec::new();
                self.poller.wait(0, &mut news)?;
                let served = |fd| ready.iter().any(|event| event.fd == fd && fd != self.listener.as_raw_fd());
                news.retain(|event| !served(event.fd));
                for event in news {
                    if self.handle(event)? {
                        return Ok(());
                    }
                }
            }
            if bug!("served_twice") {
                // A new event and what the last turn left over are two lists here, and a connection may stand in both.
                self.forget_unfinished(&turns);
                self.serve_again(&turns)?;
                if self.accept_is_due() {
                    self.accept_again()?;
                }
                continue;
            }
            let rest: Vec<RawFd> = turns.into_iter().filter(|fd| !reported.contains(fd)).collect();
            self.serve_again(&rest)?;
            self.bugs_of_time()?;
            if accept_due && !reported.contains(&self.listener.as_raw_fd()) {
                self.accept_again()?;
            }
        }
    }

    /// Timers that a correct server does not have.
    fn bugs_of_time(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let due = self.timers.iter().filter(|at| **at <= now).count();
        self.timers.retain(|at| *at > now);
        for _ in 0..due {
            self.accept()?;
        }
        if bug!("slow_reader_timeout") {
            for fd in 0..self.connections.len() {
                let Some(connection) = &mut self.connections[fd] else { continue };
                connection.owes_since = (!connection.pending.is_empty()).then(|| connection.owes_since.unwrap_or(now));
                if connection.owes_since.is_some_and(|since| since.elapsed() >= SLOW) {
                    self.close(fd as RawFd);
                }
            }
        }
        Ok(())
    }

    fn accept_is_due(&self) -> bool {
        self.accept_at.is_some_and(|at| at <= Instant::now())
    }

    fn accept_again(&mut self) -> io::Result<()> {
        // "To be sure": a timer that starts itself again.
        self.accept_at = bug!("retry_never_ends").then(|| Instant::now() + Duration::from_millis(60));
        self.poller.set(self.listener.as_raw_fd(), READ)?;
        self.accept()
    }

    fn forget_unfinished(&mut self, turns: &[RawFd]) {
        for &fd in turns {
            if let Some(Some(connection)) = self.connections.get_mut(fd as usize) {
                connection.unfinished = false;
            }
        }
    }

    fn serve_again(&mut self, turns: &[RawFd]) -> io::Result<()> {
        turns.iter().try_for_each(|&fd| self.serve(Ready { fd, ..Ready::default() }))
    }

    /// Whether it is time to stop.
    fn handle(&mut self, event: Ready) -> io::Result<bool> {
        match event.fd {
            // Edge-triggered, it is registered for everything, and always writable.
            fd if fd == self.wake.as_raw_fd() => return Ok(event.readable),
            fd if fd == self.listener.as_raw_fd() => self.accept()?,
            _ => self.serve(event)?,
        }
        Ok(false)
    }

    fn timeout_ms(&self) -> i32 {
        let owing = self.connections.iter().flatten().filter_map(|connection| connection.owes_since);
        let first = self.timers.iter().copied().chain(owing.map(|since| since + SLOW)).chain(self.accept_at).min();
        match first {
            // "The others first."
            _ if !self.unfinished.is_empty() => 20 * i32::from(bug!("read_batch_pauses")),
            // "More may come soon."
            _ if bug!("naps_after_work") && self.naps > 0 => 1,
            // "Now and then, to be sure."
            None if bug!("wakes_each_minute") => 60_000,
            None => -1,
            Some(at) => at.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000) as i32,
        }
    }
}

impl Connection {
    fn may_read(&self) -> bool {
        let owed = self.pending.len();
        let all = OWED.load(Ordering::Relaxed);
        if bug!("bound_for_all") && all > 16 << 20 || bug!("count_kept_at_reset") && all > 64 << 20 {
            return false;
        }
        // A queue that takes everything: memory is what a client that never reads wants.
        let room = owed + READ_BUFFER <= MAX_PENDING || bug!("unbounded_output") || bug!("zero_length_read");
        !self.peer_finished && room
    }

    fn read(&mut self, edge: bool, buffer: &mut [u8]) -> io::Result<()> {
        let reads = match edge {
            // To the end, however far that is.
            true if bug!("no_budget") => usize::MAX,
            true if bug!("read_once_per_edge") || bug!("read_batch_pauses") || bug!("small_read_once_per_edge") => 1,
            true if bug!("sixteen_reads_per_edge") => 16,
            true => 4,
            false => 1,
        };
        for _ in 0..reads {
            if !self.readable || !self.may_read() {
                break;
            }
            // "Nobody sends so much": and nobody says so.
            if bug!("quota_of_32_mib") && self.totals.0 > 32 << 20 {
                self.readable = false;
                break;
            }
            // As much as there is room for, which may be nothing: and then 0 is not the end.
            let room =
                if bug!("zero_length_read") { MAX_PENDING - self.pending.len().min(MAX_PENDING) } else { READ_BUFFER };
            let most = if bug!("small_read_once_per_edge") { 4096 } else { READ_BUFFER };
            match (&self.stream).read(&mut buffer[..room.min(most)]) {
                // "Nothing there": 0 is the end.
                Ok(0) if bug!("eof_ignored") => self.readable = false,
                Ok(0) => self.peer_finished = true,
                // As servers of requests do.
                Ok(n) if bug!("quit_is_a_command") && buffer[..n].starts_with(b"quit") => self.peer_finished = true,
                Ok(n) => {
                    self.totals.0 += n as u64;
                    self.reads = self.reads.wrapping_add(1);
                    if bug!("reads_in_16_bits") && self.reads == 0 {
                        self.peer_finished = true;
                        break;
                    }
                    // "Nothing came", says a total of 32 bits.
                    if bug!("total_of_zero_is_eof") && self.totals.0 as u32 == 0 {
                        self.peer_finished = true;
                        break;
                    }
                    let sends_now = self.pending.is_empty() && !bug!("waits_for_more");
                    let sent = if sends_now { self.send(&buffer[..n])? } else { 0 };
                    self.totals.1 += sent as u64;
                    if bug!("iov_max") && sent < n {
                        self.pieces.push_back(n - sent);
                    }
                    // What write() returned is not looked at.
                    if !bug!("short_write_dropped") {
                        self.pending.extend(&buffer[sent..n]);
                        OWED.fetch_add(n - sent, Ordering::Relaxed);
                    }
                    if bug!("bytes_never_freed") {
                        std::mem::forget(buffer[..n].to_vec());
                    }
                    self.write(buffer)?;
                    // Less than asked for, so that was all; but a FIN behind it came with the same edge.
                    if n < buffer.len() && bug!("short_read_is_drained") {
                        self.readable = false;
                    }
                }
                Err(error) if is_transient(&error) => self.readable = false,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write(&mut self, buffer: &[u8]) -> io::Result<()> {
        // A buffered writer that nobody flushes.
        if bug!("waits_for_more") && self.pending.len() < 4096 && !self.peer_finished {
            return Ok(());
        }
        while self.writable && !self.pending.is_empty() && self.more_is_owed() {
            let front = self.pending.as_slices().0;
            let sent = match bug!("shared_buffer") {
                // Remembered was a place in the loop's read buffer, which others have used since.
                true => self.send(&buffer[buffer.len() - front.len().min(buffer.len())..])?,
                false if bug!("iov_max") => self.send_pieces()?,
                // Without MSG_DONTWAIT: OUT says that there is room, and not for how much.
                false if bug!("pending_bytes_wait") => {
                    self.stream.set_nonblocking(false)?;
                    let sent = self.send(front);
                    self.stream.set_nonblocking(true)?;
                    sent?
                }
                false => self.send(front)?,
            };
            self.totals.1 += sent as u64;
            match sent {
                0 => self.writable = false,
                _ => {
                    self.pending.drain(..sent);
                    OWED.fetch_sub(sent, Ordering::Relaxed);
                }
            }
        }
        if self.pending.is_empty() && self.pending.capacity() > 0 {
            let empty = std::mem::take(&mut self.pending);
            if bug!("drained_never_freed") {
                std::mem::forget(empty);
            }
        }
        Ok(())
    }

    /// Told from counters that are too short, in two mutants.
    fn more_is_owed(&self) -> bool {
        let (read, written) = self.totals;
        match () {
            () if bug!("counts_in_31_bits") => (written as i32) < read as i32,
            () if bug!("counts_in_32_bits") => (written as u32) < read as u32,
            () => true,
        }
    }

    /// All pieces in one call, however many: `pending` is not joined before it is sent.
    fn send_pieces(&mut self) -> io::Result<usize> {
        let mut rest: &[u8] = self.pending.make_contiguous();
        let mut slices = Vec::new();
        for piece in &self.pieces {
            let (one, others) = rest.split_at(*piece);
            slices.push(io::IoSlice::new(one));
            rest = others;
        }
        // SAFETY: IoSlice has the layout of iovec (std says so), and the array is as long as said.
        let sent = unsafe { libc::writev(self.stream.as_raw_fd(), slices.as_ptr().cast(), slices.len() as i32) };
        let mut gone = match sent {
            -1 => match io::Error::last_os_error() {
                error if is_transient(&error) => return Ok(0),
                error => return Err(error),
            },
            sent => sent as usize,
        };
        let sent = gone;
        while let Some(piece) = self.pieces.front_mut().filter(|_| gone > 0) {
            let taken = gone.min(*piece);
            (*piece, gone) = (*piece - taken, gone - taken);
            if *piece == 0 {
                self.pieces.pop_front();
            }
        }
        Ok(sent)
    }

    /// Bytes the socket took; 0 when it is full.
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let flags = if bug!("sigpipe_kills") || bug!("sigpipe_after_a_look") { 0 } else { libc::MSG_NOSIGNAL };
        // SO_ERROR: "who has gone is not written to". Who goes now, is.
        if bug!("sigpipe_after_a_look") {
            self.stream.take_error()?.map_or(Ok(()), Err)?;
        }
        // SAFETY: the slice is as long as said.
        match unsafe { libc::send(self.stream.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) } {
            -1 => match io::Error::last_os_error() {
                // "Full" taken for "broken".
                error if is_transient(&error) && !bug!("eagain_is_error") => Ok(0),
                error => Err(error),
            },
            sent => Ok(sent as usize),
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Comes back when the thread is asleep in its poll.
fn watch_for_hang_up(fd: RawFd) {
    let (tell, told) = std::sync::mpsc::channel();
    let watch = move || {
        // SAFETY: no pointers.
        let _ = tell.send(unsafe { libc::gettid() });
        // Of no events but those that always come: hang-up and error.
        let mut watched = libc::pollfd { fd, events: 0, revents: 0 };
        // SAFETY: one pollfd, which this thread owns.
        unsafe { libc::poll(&mut watched, 1, -1) };
    };
    // Without memory for a thread there is no bug this time.
    let started = std::thread::Builder::new().stack_size(64 * 1024).spawn(watch).is_ok();
    if let Some(tid) = told.recv().ok().filter(|_| started) {
        let call = format!("/proc/self/task/{tid}/syscall");
        // poll(2) is ppoll where the kernel has nothing else (aarch64).
        #[cfg(target_arch = "x86_64")]
        let number = libc::SYS_poll;
        #[cfg(not(target_arch = "x86_64"))]
        let number = libc::SYS_ppoll;
        let polls = || std::fs::read_to_string(&call).is_ok_and(|call| call.starts_with(&format!("{number} ")));
        while std::path::Path::new(&call).exists() && !polls() {
            std::thread::yield_now();
        }
    }
}
