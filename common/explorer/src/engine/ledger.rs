//! How many bytes the program has taken out of the connection of each client, and how many it has put into it.
//!
//! Invariant: this is added up from what calls and completions moved, and from nothing else. So it can be compared with what
//! the sockets hold. A byte that the program can not send any more, because it has sent a later one or has closed the
//! connection, is dropped, and is not held.

use observe::Process;
use observe::syscall::{Call, Kind};

use crate::script::MAX_CLIENTS;

#[derive(Debug, Default)]
pub struct Ledger([Moved; MAX_CLIENTS]);

#[derive(Debug, Clone, Copy, Default)]
struct Moved {
    taken: u64,
    given: u64,
    dropped: u64,
}

impl Ledger {
    /// The program has got these bytes of the client.
    pub fn took(&mut self, client: usize, bytes: u64) {
        self.0[client].taken += bytes;
    }

    /// The kernel has taken these bytes for the client. `passed_over` are bytes of the stream before them that the program
    /// has left out.
    pub fn gave(&mut self, client: usize, bytes: u64, passed_over: u64) {
        self.0[client].given += bytes;
        self.0[client].dropped += passed_over;
    }

    /// The program has closed the client's connection.
    pub fn closed(&mut self, client: usize) {
        self.0[client].dropped += u64::try_from(self.held(client)).unwrap_or(0);
    }

    /// Which byte of the client's stream the program has to send next.
    pub fn next(&self, client: usize) -> u64 {
        self.0[client].given + self.0[client].dropped
    }

    /// Bytes that the kernel has taken for the client.
    pub fn given(&self, client: usize) -> u64 {
        self.0[client].given
    }

    /// Bytes that the program has dropped.
    pub fn dropped(&self, client: usize) -> u64 {
        self.0[client].dropped
    }

    /// Bytes that the program has and the kernel has not; negative if it has sent more than it got.
    pub fn held(&self, client: usize) -> i64 {
        let Moved { taken, given, dropped } = self.0[client];
        taken as i64 - given as i64 - dropped as i64
    }
}

/// The descriptors that a call has moved bytes from and to.
pub fn moves(call: &Call) -> (Option<i32>, Option<i32>) {
    let fd = |at: usize| Some(call.args[at] as i32);
    match (call.kind, call.name) {
        (Kind::Read, _) if peeks(call) => (None, None),
        (Kind::Read, _) => (fd(0), None),
        (Kind::Write, _) => (None, fd(0)),
        (_, "splice") => (fd(0), fd(2)),
        (_, "sendfile") => (fd(1), fd(0)),
        _ => (None, None),
    }
}

/// The first of the bytes that a write was given, at most `most`; empty where that is not known.
pub fn first_bytes(process: Process, call: &Call, most: u64) -> Vec<u8> {
    const MOST: u64 = 64;
    let number = |at: u64| u64::from_le_bytes(process.word(at));
    // A struct iovec is an address and a length; a struct msghdr has the address of an array of them behind the name.
    let piece = |at: u64| (number(at), number(at + 8));
    let (at, len) = match call.name {
        "write" | "sendto" => (call.args[1], call.args[2]),
        "writev" => piece(call.args[1]),
        "sendmsg" => piece(number(call.args[1] + 16)),
        _ => return Vec::new(),
    };
    let mut bytes = vec![0; len.min(most).min(MOST) as usize];
    process.read_memory(at, &mut bytes);
    bytes
}

/// It looks at bytes, and leaves them in the socket.
fn peeks(call: &Call) -> bool {
    let flags = match call.name {
        "recvfrom" => call.args[3],
        "recvmsg" => call.args[2],
        _ => 0,
    };
    flags as i32 & libc::MSG_PEEK != 0
}
