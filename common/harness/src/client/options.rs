//! Socket options that a client sets before its connect.
//!
//! Invariant: nothing is set by default, so that a server meets what an ordinary client brings.

/// Socket options that have to be set before the connect.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConnectOptions {
    /// SO_RCVBUF in bytes; the kernel doubles it.
    pub receive_buffer: Option<usize>,
    /// SO_SNDBUF in bytes; the kernel doubles it.
    pub send_buffer: Option<usize>,
    /// TCP_MAXSEG in bytes. The server's end learns of it, and sizes its own send buffer by it.
    pub max_segment: Option<u32>,
    /// What is sent goes at once: a congestion control that paces (bbr) sends by a timer, as fast as it believes the
    /// server to be, and a flood runs dry.
    pub unpaced: bool,
    /// Without TCP_NODELAY: what is sent in small pieces is held back while something is under way.
    pub nagle: bool,
}

impl ConnectOptions {
    /// The way back to this client is full after 70 KiB (congestion control cubic) to 200 KiB (bbr), where it takes 3
    /// MiB and more by default: Linux gives a socket room for a number of segments, which on loopback are of 64 KiB.
    /// How much it is for a given server, `Trial::more_than_fits` finds out.
    pub const NARROW: Self =
        Self { receive_buffer: Some(4096), send_buffer: None, max_segment: Some(1400), unpaced: false, nagle: false };
    /// Where the sender must not be what is slow.
    pub const UNPACED: Self =
        Self { receive_buffer: None, send_buffer: None, max_segment: None, unpaced: true, nagle: false };

    /// A receive buffer of this size, and all else by default.
    pub const fn receive_buffer(size: usize) -> Self {
        Self { receive_buffer: Some(size), send_buffer: None, max_segment: None, unpaced: false, nagle: false }
    }
}

/// Lets the window grow to what the receive buffer allows. The kernel sets a bound at the connect, from the buffer of
/// that time.
#[cfg(target_os = "linux")]
pub(super) fn unclamp(socket: &impl std::os::fd::AsRawFd) {
    // As wide as a window without scaling, which a small buffer has made this one.
    let widest: libc::c_int = 65_535;
    let fd = socket.as_raw_fd();
    let len = size_of_val(&widest) as libc::socklen_t;
    // SAFETY: the option is one int, which the kernel reads during the call.
    unsafe { libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP, (&raw const widest).cast(), len) };
}
