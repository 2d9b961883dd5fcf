//! What to change in a server: the advice that the harness and the explorer give alike.
//!
//! Invariant: each piece is a clause in the imperative without a full stop, so that it fits behind what was seen.

/// Connections wait in the accept queue, and no event will come for them.
pub const ACCEPT_UNTIL_EAGAIN: &str = "accept until EAGAIN; after a batch limit, accept again at once, without an event; \
     after EMFILE, accept again when a connection is closed, or after a short time";
/// `accept` failed with EMFILE or ENFILE.
pub const RETRY_ACCEPT: &str =
    "leave the clients in the accept queue, and accept again when a file descriptor is free, and after a while";
/// Input is left in a socket after its edge.
pub const READ_UNTIL_EAGAIN: &str = "read until EAGAIN or 0 (in several turns, if that is much)";
/// A short write, or EAGAIN at a write.
pub const KEEP_THE_REST: &str = "keep what write() did not take, and send it when the socket is writable";
/// An operation of io_uring completed, and no other one took its place.
pub const START_THE_NEXT: &str = "each completion, and each end of a multishot, has to start the next operation";
/// A call returned EINTR.
pub const WAIT_AGAIN: &str = "an interruption is no error: wait again";
/// A connection was reset, or its client has gone.
pub const END_THAT_ONE: &str = "end that connection and no other";

/// EPOLLONESHOT was not armed again; `purpose` is `reading` or `writing`.
pub fn not_armed_again(fd: i32, mask: impl std::fmt::Display, purpose: &str) -> String {
    format!("EPOLLONESHOT disarmed fd {fd} (mask {mask}), and the server did not arm it again for {purpose}.")
}

/// A file descriptor is registered, and not for reading.
pub fn no_read_interest(fd: i32, mask: impl std::fmt::Display) -> String {
    format!(
        "fd {fd} is registered for {mask}, without IN: reading was paused and not resumed when there was room for \
         output."
    )
}
