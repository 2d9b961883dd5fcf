//! The kernel's state of a server and its clients at one moment.
//!
//! Invariant: each value was looked up, at the moment of its state. `held` alone is added up, from what calls and
//! completions moved; so the law of [`ConnectionState::lost`] compares two things that were learned apart.

use serde::{Deserialize, Serialize};

use super::event::Frame;

/// The kernel's state of the server at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The number of connections in the accept queue.
    pub accept_queue: u32,
    /// The clients' connections.
    pub connections: Vec<ConnectionState>,
    /// The server's epoll instances.
    pub epolls: Vec<EpollState>,
    /// The server's kqueues.
    pub kqueues: Vec<KqueueState>,
    /// The server's io_urings.
    pub rings: Vec<RingState>,
    /// The server's threads. Empty once the server has ended.
    pub threads: Vec<ThreadState>,
}

/// One connection, seen from both ends. In its order, this is the way of a byte.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionState {
    /// The client.
    pub client: usize,
    /// The server's file descriptor. `None` if the connection is not accepted yet, is closed, or has none (a direct
    /// descriptor of an io_uring).
    pub fd: Option<i32>,
    /// Bytes that the client was told to send.
    pub asked: u64,
    /// Bytes that the client's socket has taken.
    pub sent: u64,
    /// Bytes in the client's socket that are not sent yet: the server's socket has no room for them.
    pub client_not_sent: u64,
    /// Bytes in the server's socket that the server has not read, also before it has accepted the connection.
    pub unread: u64,
    /// Whether the client's FIN has arrived.
    pub fin_arrived: bool,
    /// Bytes that the program took, did not hand to the kernel, and can still send. It can not send them any more if it has
    /// sent later ones, or has closed the connection. Negative if the program sent more than it took.
    pub held: i64,
    /// Bytes in the server's socket that are not sent yet: the client's socket has no room for them.
    pub not_sent: u64,
    /// Bytes in the client's socket that the client has not read.
    pub client_unread: u64,
    /// Bytes that came back and were read, right or wrong.
    pub came_back: u64,
    /// Whether the client has seen the server's FIN.
    pub eof: bool,
    /// Whether the client has closed or reset the connection, or a fault has: its bytes are not followed any more.
    pub left: bool,
    /// What poll(2) says of the server's socket now: `IN|OUT`. Empty without a file descriptor.
    pub level: String,
    /// The receive buffer of the server's socket in bytes, as it was when the connection was accepted.
    pub receive_room: Option<u64>,
    /// The send buffer of the server's socket in bytes, as it was when the connection was accepted.
    pub send_room: Option<u64>,
    /// The receive buffer of the client's socket in bytes, as it was when the client connected.
    pub client_receive_room: Option<u64>,
}

impl ConnectionState {
    /// The bytes that the client has sent and that are nowhere any more. The law of conservation says that there are none, and
    /// only a server that drops bytes breaks it. Negative if there are more bytes than were sent. `None` if the bytes are not
    /// followed any more. While a thread is inside a write, or a send is in flight, the kernel may have taken bytes that count
    /// as held until it returns.
    pub fn lost(&self) -> Option<i64> {
        let in_sockets = self.client_not_sent + self.unread + self.not_sent + self.client_unread + self.came_back;
        (!self.left).then(|| self.sent as i64 - in_sockets as i64 - self.held)
    }
}

/// An epoll instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpollState {
    /// Its file descriptor.
    pub fd: i32,
    /// Whether its ready list has an event.
    pub ready: bool,
    /// Its registrations.
    pub interests: Vec<RegistrationState>,
}

/// A registration with an epoll instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationState {
    /// The descriptor.
    pub fd: i32,
    /// `listener`, `c0`, or empty.
    pub label: String,
    /// The events as in epoll_ctl(2), without the prefix EPOLL: `IN|RDHUP|ET`.
    pub mask: String,
}

/// A kqueue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KqueueState {
    /// Its file descriptor.
    pub fd: i32,
    /// Whether an event is pending.
    pub ready: bool,
    /// Its registrations.
    pub interests: Vec<KnoteState>,
}

/// A registration with a kqueue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnoteState {
    /// The identifier: a file descriptor, as a rule.
    pub fd: i32,
    /// `listener`, `c0`, or empty.
    pub label: String,
    /// The filter without the prefix EVFILT_: `READ`.
    pub filter: String,
    /// The flags without the prefix EV_: `CLEAR|DISABLE`; empty for none.
    pub flags: String,
}

/// An io_uring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingState {
    /// Its file descriptor.
    pub fd: i32,
    /// Operations that the program has queued and that the kernel has not taken.
    pub submitted: Vec<Operation>,
    /// Completions that the program has not taken.
    pub completed: Vec<Operation>,
    /// Operations that the kernel has taken and not completed.
    pub in_flight: Vec<Operation>,
}

/// An operation of an io_uring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its name without the prefix IORING_OP_: `RECV`.
    pub operation: String,
    /// The file descriptor that it is about.
    pub fd: Option<i32>,
    /// The client at the other end of it.
    pub client: Option<usize>,
    /// The result of a completion; negative for an error.
    pub result: Option<i64>,
}

/// A thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadState {
    /// Its number, from 0.
    pub thread: usize,
    /// The call in which it sleeps or which it is about to make: `epoll_wait(4)`.
    pub at: String,
    /// Whether it sleeps.
    pub sleeps: bool,
    /// Where in the source it makes this call, innermost first. Empty if unknown.
    pub frames: Vec<Frame>,
    /// The frame that means something to a reader, as in [`super::ServerCall::meaning`].
    pub meaning: Option<usize>,
}
