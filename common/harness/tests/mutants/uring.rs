//! The echo server on io_uring.
//!
//! Invariant (without a bug): a lane is a buffer with one operation in flight on it, and a connection has one lane. The
//! memory is never freed, so the kernel may write to it whenever it likes.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::mutant::bug;

const BUFFER: usize = 16 * 1024;
const RETRY: Duration = Duration::from_millis(250);
/// IORING_ENTER_GETEVENTS and IORING_ENTER_SQ_WAKEUP, which only `need_wakeup_seen_early` gives itself.
const GET_EVENTS: u32 = 1;
const SQ_WAKEUP: u32 = 2;
const ACCEPT: u64 = 0;
const WAKE: u64 = 1;
const RECV: u64 = 2;
const SEND: u64 = 3;
/// Tells nothing that is acted on.
const WATCH: u64 = u64::MAX;

struct Lane {
    stream: Rc<TcpStream>,
    memory: *mut u8,
    owed: Range<usize>,
    receiving: bool,
    sending: bool,
    /// The connection's second lane, which only `two_sends_in_flight` has.
    other: usize,
}

pub struct Server {
    ring: IoUring,
    listener: TcpListener,
    wake: UnixStream,
    lanes: Vec<Option<Lane>>,
    memory: Vec<*mut u8>,
    /// Receives so far, which only `buffers_in_turn` counts.
    receives: usize,
    accept_at: Option<Instant>,
    /// Only under `accept_armed_by_a_close_only`.
    starved: bool,
}

impl Server {
    pub fn new(listener: TcpListener, wake: UnixStream) -> io::Result<Self> {
        let ring = match bug!("need_wakeup_seen_early") {
            // The kernel's thread looks for work for 5 ms before it sleeps.
            true => IoUring::builder().setup_sqpoll(5).build(256)?,
            false => IoUring::new(256)?,
        };
        Ok(Self {
            ring,
            listener,
            wake,
            lanes: Vec::new(),
            memory: Vec::new(),
            receives: 0,
            accept_at: None,
            starved: false,
        })
    }

    pub fn run(mut self, listening: impl FnOnce()) -> io::Result<()> {
        let mut byte = 0u8;
        let wake = opcode::Recv::new(Fd(self.wake.as_raw_fd()), &mut byte, 1).build();
        self.push(wake, WAKE)?;
        self.arm_accept()?;
        listening();
        let mut asleep = true;
        loop {
            if self.accept_at.is_some_and(|at| at <= Instant::now()) {
                self.arm_accept()?;
            }
            let waited = match self.accept_at {
                // SAFETY: no argument is given.
                None if bug!("need_wakeup_seen_early") => unsafe {
                    let flags = GET_EVENTS | if asleep { SQ_WAKEUP } else { 0 };
                    self.ring.submitter().enter::<libc::sigset_t>(0, 1, flags, None)
                },
                // Waits for completions, and hands nothing over.
                None if bug!("not_submitted") && !self.lanes.is_empty() => {
                    const GETEVENTS: u32 = 1;
                    // SAFETY: no argument is passed besides numbers.
                    unsafe { self.ring.submitter().enter::<libc::sigset_t>(0, 1, GETEVENTS, None) }
                }
                None => self.ring.submit_and_wait(1),
                Some(at) => {
                    let timeout = Timespec::from(at.saturating_duration_since(Instant::now()));
                    self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout))
                }
            };
            match waited {
                Err(error) if !matches!(error.raw_os_error(), Some(libc::EINTR | libc::ETIME | libc::EBUSY)) => {
                    return Err(error);
                }
                _ => {}
            }
            let landed: Vec<_> = self.ring.completion().collect();
            // Looked at before the submissions that these completions cause are published, and used after.
            asleep = bug!("need_wakeup_seen_early") && self.ring.submission().need_wakeup();
            for (at, completion) in landed.into_iter().enumerate() {
                // All are taken from the queue, and who has been sent to goes into a list of fixed length.
                if bug!("completions_dropped") && at >= 64 && completion.user_data() & 3 == SEND {
                    continue;
                }
                let index = (completion.user_data() >> 2) as usize;
                if completion.user_data() == WATCH {
                    continue;
                }
                match completion.user_data() & 3 {
                    WAKE => return Ok(()),
                    ACCEPT => self.accepted(&completion)?,
                    RECV => self.received(index, completion.result())?,
                    _ => self.sent(index, completion.result())?,
                }
            }
        }
    }

    fn push(&mut self, entry: squeue::Entry, tag: u64) -> io::Result<()> {
        let entry = entry.user_data(tag);
        // SAFETY: what entries point to is never freed while the process runs.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }

    fn arm_accept(&mut self) -> io::Result<()> {
        self.accept_at = None;
        let accept = opcode::AcceptMulti::new(Fd(self.listener.as_raw_fd())).flags(libc::SOCK_CLOEXEC);
        self.push(accept.build(), ACCEPT)
    }

    fn accepted(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        let fd = completion.result();
        if fd >= 0 {
            // SAFETY: made for this completion, so nobody else owns it.
            let stream = Rc::new(unsafe { TcpStream::from_raw_fd(fd) });
            let first = self.add(stream.clone(), usize::MAX);
            if bug!("two_sends_in_flight") {
                let second = self.add(stream, first);
                self.lane(first).other = second;
            }
            if bug!("close_in_flight") || bug!("close_after_shutdown") || bug!("poll_left_at_failed_send") {
                // Multishot, so it goes on after the FIN that it reports.
                self.push(opcode::PollAdd::new(Fd(fd), 0).multi(true).build(), WATCH)?;
            }
            self.recv(first)?;
        }
        // The last completion of a multishot has no F_MORE: after an error it is over.
        if !cqueue::more(completion.flags()) && !bug!("accept_not_rearmed") {
            match fd {
                0.. => self.arm_accept()?,
                _ if bug!("accept_armed_by_a_close_only") => self.starved = true,
                _ => self.accept_at = Some(Instant::now() + RETRY),
            }
        }
        Ok(())
    }

    fn add(&mut self, stream: Rc<TcpStream>, other: usize) -> usize {
        let index = self.lanes.iter().position(Option::is_none).unwrap_or(self.lanes.len());
        if index == self.lanes.len() {
            self.lanes.push(None);
        }
        let buffer = match () {
            // One buffer for all, as a readiness server has. But here a receive needs its buffer before the bytes come.
            () if bug!("buffer_lent_twice") => 0,
            () if bug!("buffers_256") => index % 256,
            () => index,
        };
        let memory = self.buffer(buffer);
        self.lanes[index] = Some(Lane { stream, memory, owed: 0..0, receiving: false, sending: false, other });
        index
    }

    fn buffer(&mut self, number: usize) -> *mut u8 {
        while self.memory.len() <= number {
            self.memory.push(buffer());
        }
        self.memory[number]
    }

    fn lane(&mut self, index: usize) -> &mut Lane {
        self.lanes[index].as_mut().expect("an operation's lane lives as long as it")
    }

    fn recv(&mut self, index: usize) -> io::Result<()> {
        if bug!("buffers_in_turn") {
            self.receives += 1;
            self.lane(index).memory = self.buffer(self.receives % 1000);
        }
        let lane = self.lane(index);
        lane.receiving = true;
        // As a readiness server would: but then it is EAGAIN that completes, again and again.
        let flags = if bug!("dont_wait") { libc::MSG_DONTWAIT } else { 0 };
        let entry = opcode::Recv::new(Fd(lane.stream.as_raw_fd()), lane.memory, BUFFER as u32).flags(flags).build();
        self.push(entry, RECV | (index as u64) << 2)
    }

    fn send(&mut self, index: usize) -> io::Result<()> {
        let lane = self.lane(index);
        lane.sending = true;
        let (start, len) = (lane.owed.start, lane.owed.len() as u32);
        // WAITALL: the kernel goes on by itself after a short send.
        let whole = if bug!("short_write_dropped") { 0 } else { libc::MSG_WAITALL };
        let entry = opcode::Send::new(Fd(lane.stream.as_raw_fd()), lane.memory.wrapping_add(start), len)
            .flags(libc::MSG_NOSIGNAL | whole)
            .build();
        self.push(entry, SEND | (index as u64) << 2)
    }

    fn received(&mut self, index: usize, result: i32) -> io::Result<()> {
        let lane = self.lane(index);
        lane.receiving = false;
        let other = lane.other;
        match result {
            1.. => {
                // As a receive and a send linked with one length do: RECV is content with less, and the link goes on.
                lane.owed = 0..if bug!("fixed_length") { BUFFER } else { result as usize };
                self.send(index)?;
                // Its buffer is busy, so the next bytes go to another one; and then there are two sends.
                if self
                    .lanes
                    .get(other)
                    .is_some_and(|lane| bug!("two_sends_in_flight") && lane.as_ref().is_some_and(|lane| !lane.sending))
                {
                    self.recv(other)?;
                }
                Ok(())
            }
            _ if transient(result) => self.recv(index),
            _ => {
                if bug!("poll_left_at_failed_send") {
                    self.cancel_watch(index)?;
                }
                self.end(index)
            }
        }
    }

    fn sent(&mut self, index: usize, result: i32) -> io::Result<()> {
        let lane = self.lane(index);
        lane.sending = false;
        if result < 0 && !transient(result) {
            if bug!("buffer_kept_at_failed_send") {
                self.memory[index] = buffer();
            }
            return self.end(index);
        }
        lane.owed.start += result.max(0) as usize;
        if !lane.owed.is_empty() && !bug!("short_write_dropped") {
            return self.send(index);
        }
        let other = lane.other;
        match self.lanes.get(other) {
            Some(Some(other)) if other.receiving => Ok(()),
            _ => self.recv(index),
        }
    }

    fn cancel_watch(&mut self, index: usize) -> io::Result<()> {
        let fd = Fd(self.lane(index).stream.as_raw_fd());
        self.push(opcode::AsyncCancel2::new(CancelBuilder::fd(fd).all()).build(), WATCH)?;
        // The number is given up next.
        self.ring.submit().map(drop)
    }

    fn end(&mut self, index: usize) -> io::Result<()> {
        let other = self.lane(index).other;
        if bug!("close_after_shutdown") {
            let _ = self.lane(index).stream.shutdown(std::net::Shutdown::Both);
        }
        self.lanes[index] = None;
        match self.lanes.get_mut(other) {
            // What it sends is still owed; it ends with the next receive.
            Some(Some(lane)) if lane.sending || lane.receiving => lane.other = usize::MAX,
            Some(lane) => *lane = None,
            None => {}
        }
        if self.accept_at.is_some() || std::mem::take(&mut self.starved) {
            self.accept_at = Some(Instant::now());
        }
        Ok(())
    }
}

fn buffer() -> *mut u8 {
    Box::leak(vec![0u8; BUFFER].into_boxed_slice()).as_mut_ptr()
}

fn transient(result: i32) -> bool {
    matches!(-result, libc::EAGAIN | libc::EINTR)
}
