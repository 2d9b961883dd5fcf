//! A picture of a server at one moment: what its processes do, what they have open, what waits in its sockets.
//!
//! Invariant: each process has its own table of file descriptors here, as it has in the kernel. Number 7 of the parent
//! and number 7 of a child are two things, and a descriptor is always named with its process.

use std::net::SocketAddr;

use crate::mask::Mask;
use crate::syscall::Call;

/// One thread of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thread {
    /// Thread id.
    pub tid: i32,
    /// As in proc(5): R running, S sleeping, T stopped, Z gone.
    pub state: char,
    /// The system call it sleeps in.
    pub call: Option<Call>,
    /// Voluntary and involuntary context switches so far.
    pub switches: u64,
}

impl Thread {
    /// Whether it has ended and nobody has waited for it yet.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// Whether a signal, or a tracer, has stopped it.
    pub fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }
}

/// A thread that has worked for a while and has made no system call meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Computing {
    /// Thread id.
    pub tid: i32,
    /// The processor's time that it was seen to use, in milliseconds.
    pub ms: u64,
}

/// How often one thread has gone to sleep by itself: each of its wakeups ends in a voluntary context switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wakeups {
    /// Thread id.
    pub tid: i32,
    /// Its name, as in `ps -L`.
    pub name: String,
    /// Voluntary context switches so far.
    pub count: u64,
}

/// CPU time and wakeups since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Activity {
    /// User and system time in clock ticks (10 ms).
    pub ticks: u64,
    /// Voluntary context switches: each wakeup ends in one.
    pub wakeups: u64,
}

impl Activity {
    /// User and system time in milliseconds, to the clock tick.
    pub fn cpu_ms(&self) -> u64 {
        const MS_PER_TICK: u64 = 10;
        self.ticks * MS_PER_TICK
    }

    /// What came after `before`. Never negative: a thread that ended takes its numbers with it.
    pub fn since(&self, before: Self) -> Self {
        Self { ticks: self.ticks.saturating_sub(before.ticks), wakeups: self.wakeups.saturating_sub(before.wakeups) }
    }
}

/// What one process has open.
#[derive(Debug, Clone, Default)]
pub struct Descriptors {
    /// All its file descriptors.
    pub open: Vec<i32>,
    /// Of those, the sockets: inode and number.
    pub sockets: Vec<(u64, i32)>,
    /// Its epoll instances.
    pub epolls: Vec<Epoll>,
    /// Its io_urings.
    pub rings: Vec<Ring>,
}

impl Descriptors {
    /// Whether it has this socket open, or in the table of an io_uring.
    pub fn has_socket(&self, inode: u64) -> bool {
        let in_ring = self.rings.iter().any(|ring| ring.sockets.contains(&inode));
        in_ring || self.sockets.iter().any(|(socket, _)| *socket == inode)
    }
}

/// An epoll instance.
#[derive(Debug, Clone)]
pub struct Epoll {
    /// Its file descriptor.
    pub fd: i32,
    /// What it watches.
    pub registrations: Vec<Registration>,
}

/// One registration in an epoll instance, as in `/proc/PID/fdinfo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    /// The watched file descriptor.
    pub fd: i32,
    /// The events that were asked for, with the flags.
    pub mask: Mask,
    /// What the server wants to be told with an event.
    pub data: u64,
}

/// An io_uring, as in `/proc/PID/fdinfo`.
#[derive(Debug, Clone)]
pub struct Ring {
    /// Its file descriptor.
    pub fd: i32,
    /// Operations that were put into the submission queue and not handed over to the kernel.
    pub not_submitted: u32,
    /// Completions that wait in the completion queue.
    pub not_taken: u32,
    /// A thread of the kernel's takes the submissions (IORING_SETUP_SQPOLL).
    pub polled: bool,
    /// Operations that wait for their socket.
    pub armed: usize,
    /// Inodes of sockets that have a place in its table of direct descriptors. (Only newer kernels show them.)
    pub sockets: Vec<u64>,
}

impl Ring {
    /// Reads its `fdinfo`.
    pub fn parse(fd: i32, info: &str) -> Self {
        let polls = info.lines().skip_while(|line| !line.starts_with("PollList")).skip(1);
        let armed = polls.take_while(|line| line.trim_start().starts_with("op=")).count();
        let inode = |line: &str| line.split_once("socket:[")?.1.split_once(']')?.0.parse().ok();
        let value = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<i64>().ok());
        let between = |head: &str, tail: &str| {
            let (head, tail) = (value(head).unwrap_or(0) as u32, value(tail).unwrap_or(0) as u32);
            tail.wrapping_sub(head)
        };
        Self {
            fd,
            not_submitted: between("SqHead:", "SqTail:"),
            not_taken: between("CqHead:", "CqTail:"),
            polled: value("SqThread:").is_some_and(|thread| thread >= 0),
            armed,
            sockets: info.lines().filter_map(inode).collect(),
        }
    }

    /// What waits in its two queues, in words.
    pub fn queues(&self) -> String {
        match (self.not_submitted, self.not_taken) {
            (0, 0) => "nothing waits in its two queues".into(),
            (submissions, completions) => format!(
                "{submissions} operations wait in its submission queue, and {completions} completions in its completion queue"
            ),
        }
    }
}

/// What a thread that sleeps in poll or select has passed to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WaitSet {
    /// The thread.
    pub tid: i32,
    /// Select: how many descriptors the call looks at. A bit at or past this number is not seen.
    pub nfds: Option<i32>,
    /// The descriptors with what was asked for each; `PRI` stands for select's third set.
    pub asked: Vec<(i32, Mask)>,
}

impl WaitSet {
    /// What was asked for a descriptor.
    pub fn of(&self, fd: i32) -> Option<Mask> {
        let of_it = self.asked.iter().filter(|(it, _)| *it == fd);
        of_it.map(|(_, mask)| *mask).reduce(|one, other| Mask(one.0 | other.0))
    }
}

/// One process of the server.
#[derive(Debug, Clone, Default)]
pub struct ProcessView {
    /// Its id.
    pub pid: i32,
    /// Its threads.
    pub threads: Vec<Thread>,
    /// What it has open.
    pub descriptors: Descriptors,
    /// Its program's name.
    pub name: String,
    /// What its threads wait for in poll and select.
    pub sets: Vec<WaitSet>,
}

/// Who has a socket open, and under which number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub pid: i32,
    /// Its file descriptor.
    pub fd: i32,
}

/// One TCP socket with the server's port on one end.
#[derive(Debug, Clone)]
pub struct Socket {
    /// The processes of the server that have it open: none for a connection in the accept queue, and several where a
    /// child has inherited it.
    pub holders: Vec<Holder>,
    /// A file stands for it: its inode is not 0. A connection in the accept queue has no file yet, a closed one has
    /// none any more. A socket that has a file and no holder is kept alive by the kernel, for an operation in flight.
    pub held: bool,
    /// It listens; `rx` then counts the connections in the accept queue.
    pub listening: bool,
    /// The server's end, for a listener too.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Bytes that arrived and were not read, or connections not accepted.
    pub rx: u32,
    /// Bytes sent and not acknowledged.
    pub tx: u32,
}

impl Socket {
    /// Who works with it: the last one, because a parent often keeps a copy of what its child works with.
    pub fn holder(&self) -> Option<Holder> {
        self.holders.last().copied()
    }
}

/// A picture of the server at one moment.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The process that was started, and its descendants.
    pub processes: Vec<ProcessView>,
    /// All its sockets on the server's port: listeners, connections, and connections not accepted yet.
    pub sockets: Vec<Socket>,
    /// The other ends of its connections, where they are on this machine; from the same reading of the table, so that
    /// what has left one end has reached the other.
    pub peers: Vec<Socket>,
}

impl View {
    /// All threads of all processes.
    pub fn threads(&self) -> impl Iterator<Item = &Thread> {
        self.processes.iter().flat_map(|process| &process.threads)
    }

    /// Every thread sleeps.
    pub fn asleep(&self) -> bool {
        self.threads().next().is_some() && self.threads().all(|thread| thread.state == 'S')
    }

    /// The call that the event loop sleeps in: the first thread's wait, or that of any other.
    pub fn wait(&self) -> Option<&Call> {
        self.threads().filter_map(|thread| thread.call.as_ref()).find(|call| call.is_wait())
    }

    /// The server's end of the connection from this client's port.
    pub fn connection(&self, client: SocketAddr) -> Option<&Socket> {
        self.sockets.iter().find(|socket| !socket.listening && socket.remote.port() == client.port())
    }

    /// The other end of the connection from this client's address: the client's own socket.
    pub fn peer(&self, client: SocketAddr) -> Option<&Socket> {
        self.peers.iter().find(|socket| socket.local.port() == client.port())
    }

    /// Connections that wait to be accepted, over all listeners.
    pub fn accept_queue(&self) -> u32 {
        self.sockets.iter().filter(|socket| socket.listening).map(|socket| socket.rx).sum()
    }

    /// All registrations with epoll, with the process that they were found in.
    pub fn registrations(&self) -> impl Iterator<Item = (&ProcessView, &Registration)> {
        self.processes.iter().flat_map(|process| {
            let all = process.descriptors.epolls.iter().flat_map(|epoll| &epoll.registrations);
            all.map(move |registration| (process, registration))
        })
    }

    /// How a socket is registered with an epoll instance of a process that holds it.
    pub fn registration(&self, socket: &Socket) -> Option<&Registration> {
        let watches = |process: &ProcessView, fd: i32| socket.holders.contains(&Holder { pid: process.pid, fd });
        self.registrations().find(|(process, watch)| watches(process, watch.fd)).map(|(_, watch)| watch)
    }

    /// All io_urings.
    pub fn rings(&self) -> impl Iterator<Item = &Ring> {
        self.processes.iter().flat_map(|process| &process.descriptors.rings)
    }

    /// Operations of its io_urings that wait for their socket.
    pub fn armed(&self) -> usize {
        self.rings().map(|ring| ring.armed).sum()
    }

    /// Open file descriptors of all its processes.
    pub fn open_fds(&self) -> usize {
        self.processes.iter().map(|process| process.descriptors.open.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_io_urings_fdinfo_is_read() {
        let info = "SqMask:\t0x7f\nSqHead:\t12\nSqTail:\t12\nCqHead:\t11\nCqTail:\t11\n\
                    UserFiles:\t2\n    0: socket:[4242]\n    1: <none>\nPollList:\n  op=13, task_works=0\n  op=22, task_works=0\nCqOverflowList:\n";
        let ring = Ring::parse(3, info);
        assert_eq!((ring.not_submitted, ring.not_taken, ring.polled), (0, 0, false));
        assert_eq!((ring.armed, &ring.sockets), (2, &vec![4242]));
        assert_eq!(ring.queues(), "nothing waits in its two queues");
        let ring = Ring::parse(3, &info.replace("SqTail:\t12", "SqTail:\t14"));
        assert_eq!(
            ring.queues(),
            "2 operations wait in its submission queue, and 0 completions in its completion queue"
        );
    }
}
