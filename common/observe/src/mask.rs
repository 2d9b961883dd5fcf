//! Event masks of epoll and poll, in words.
//!
//! Invariant: a mask is shown in one order everywhere, so that two of them can be compared by eye.

use std::fmt;

/// The events of an epoll registration, or of an epoll event; poll's `events` are the lower half of the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mask(pub u32);

/// Linux's numbers, which do not depend on the architecture. Other systems have no epoll, and no name for them.
const NAMES: [(Mask, &str); 10] = [
    (Mask::IN, "IN"),
    (Mask::PRI, "PRI"),
    (Mask::OUT, "OUT"),
    (Mask::RDHUP, "RDHUP"),
    (Mask::ERR, "ERR"),
    (Mask::HUP, "HUP"),
    (Mask::NVAL, "NVAL"),
    (Mask(0x1000_0000), "EXCLUSIVE"),
    (Mask::ONESHOT, "ONESHOT"),
    (Mask::ET, "ET"),
];

impl Mask {
    /// EPOLLIN: there is something to read.
    pub const IN: Self = Self(0x1);
    /// EPOLLPRI: there is urgent data.
    pub const PRI: Self = Self(0x2);
    /// EPOLLOUT: there is room to write.
    pub const OUT: Self = Self(0x4);
    /// EPOLLONESHOT: one event disarms the registration.
    pub const ONESHOT: Self = Self(0x4000_0000);
    /// EPOLLET: an event is reported once, and not for as long as it lasts.
    pub const ET: Self = Self(0x8000_0000);
    /// EPOLLERR: an error, or something in the error queue.
    pub const ERR: Self = Self(0x8);
    /// EPOLLHUP: both directions have ended.
    pub const HUP: Self = Self(0x10);
    /// POLLNVAL: the file descriptor is not open.
    pub const NVAL: Self = Self(0x20);
    /// EPOLLRDHUP: the other end has sent FIN.
    pub const RDHUP: Self = Self(0x2000);
    /// EPOLLMSG, which never comes: the stand-in for kqueue marks a registration with it whose ONESHOT is not the
    /// program's wish, because each event arms it again at once (`05-kqueue/src/sys/linux/calls.rs`).
    const LEVEL: Self = Self(0x400);
    /// EPOLLERR and EPOLLHUP, which the kernel adds to every registration.
    const IMPLIED: Self = Self(0x18);

    /// From poll's `events` or `revents`.
    pub fn of_poll(events: i16) -> Self {
        Self(u32::from(events as u16))
    }

    /// From the bits of an epoll registration, or of a call that makes one: what the program has asked for.
    pub fn of_epoll(bits: u32) -> Self {
        let of_stand_in = if bits & Self::LEVEL.0 != 0 { Self::LEVEL.0 | Self::ONESHOT.0 } else { 0 };
        Self(bits & !of_stand_in)
    }

    /// From its words, as `Display` writes them.
    pub fn parse(text: &str) -> Option<Self> {
        let bit = |word: &str| NAMES.iter().find(|(_, name)| *name == word).map(|(bit, _)| bit.0);
        text.split('|').map(bit).try_fold(0, |mask, bit| Some(mask | bit?)).map(Self)
    }

    /// Whether any of these bits are in the mask.
    pub fn has(self, bits: Self) -> bool {
        self.0 & bits.0 != 0
    }

    /// Only what was asked for: without what the kernel adds to every registration.
    pub fn asked_for(self) -> Self {
        Self(self.0 & !Self::IMPLIED.0)
    }
}

impl fmt::Display for Mask {
    /// As the manual page of `epoll_ctl` writes it, without EPOLL: `IN|OUT|ET`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<&str> = NAMES.iter().filter(|(bit, _)| self.has(*bit)).map(|(_, name)| *name).collect();
        f.write_str(if named.is_empty() { "nothing".to_owned() } else { named.join("|") }.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_reads_like_its_manual_page() {
        assert_eq!(Mask(0x8000_2005).to_string(), "IN|OUT|RDHUP|ET");
        assert_eq!(Mask(0x4000_0018).asked_for().to_string(), "ONESHOT");
        assert_eq!(Mask(0).to_string(), "nothing");
        assert_eq!(Mask::of_epoll(0x4000_2419).asked_for().to_string(), "IN|RDHUP");
        assert_eq!(Mask::of_epoll(0x4000_2019).asked_for().to_string(), "IN|RDHUP|ONESHOT");
        assert_eq!(Mask::parse("IN|OUT|RDHUP|ET"), Some(Mask(0x8000_2005)));
        assert_eq!((Mask::parse("nothing"), Mask::parse("IN|"), Mask::parse("In")), (None, None, None));
        assert_eq!(Mask::of_poll(-1).to_string(), "IN|PRI|OUT|RDHUP|ERR|HUP|NVAL");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_bits_are_those_of_the_kernels_headers() {
        let header = [libc::EPOLLIN, libc::EPOLLOUT, libc::EPOLLONESHOT, libc::EPOLLET].map(|bit| Mask(bit as u32));
        assert_eq!([Mask::IN, Mask::OUT, Mask::ONESHOT, Mask::ET], header);
    }
}
