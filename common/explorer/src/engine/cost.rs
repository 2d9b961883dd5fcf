//! What a wait makes the kernel do: the descriptors that it looks at, and the bytes that it copies.
//!
//! Invariant: this is what the system call's interface demands of any kernel. A set that stays in the kernel (epoll) costs
//! nothing here, and a timeout is not counted.

use observe::Process;
use observe::decode;
use observe::syscall::{Call, Kind};

use crate::record::Cost;

/// At the entry of a call: how many descriptors it asks about. The sets are overwritten at its exit.
pub fn asks_about(process: Process, call: &Call) -> u64 {
    let mut fds: Vec<i32> = match call.kind {
        Kind::Poll => decode::poll_set(process, call).into_iter().map(|(fd, _)| fd).collect(),
        Kind::Select => decode::select_set(process, call).into_iter().map(|(fd, _)| fd).collect(),
        _ => return 0,
    };
    if call.kind == Kind::Select {
        // A descriptor that stands in two sets is looked at once.
        fds.sort_unstable();
        fds.dedup();
    }
    fds.len() as u64
}

/// Of a wait that has returned.
pub fn of(process: Process, call: &Call, asked: u64, value: i64) -> Option<Cost> {
    let returned = u64::try_from(value).unwrap_or(0);
    let ended_well = value >= 0;
    Some(match call.kind {
        Kind::Select => {
            let sets = call.args[1..4].iter().filter(|set| **set != 0).count() as u64;
            let bytes = sets * bitmap(process, call.args[0]);
            Cost { looked_at: asked, copied_in: bytes, copied_out: if ended_well { bytes } else { 0 } }
        }
        // A struct pollfd has 8 bytes; of each, `revents` is written back, when the wait is interrupted too.
        Kind::Poll => {
            let written = ended_well || value == -i64::from(libc::EINTR);
            let entries = call.args[1];
            Cost { looked_at: asked, copied_in: 8 * entries, copied_out: if written { 2 * entries } else { 0 } }
        }
        // It looks at what is in the ready list.
        Kind::EpollWait => {
            Cost { looked_at: returned, copied_in: 0, copied_out: size_of::<libc::epoll_event>() as u64 * returned }
        }
        // Submissions and completions stand in memory that both share.
        Kind::UringEnter => {
            const GETEVENTS_ARG: u64 = 24;
            let copied_in = if call.uring_argument().is_some() { GETEVENTS_ARG } else { 0 };
            Cost { looked_at: 0, copied_in, copied_out: 0 }
        }
        _ => return None,
    })
}

/// The bytes of each of select's sets: whole words for `nfds` bits, or for as many as the process's table has.
fn bitmap(process: Process, nfds: u64) -> u64 {
    let table = process.status().map_or(u64::MAX, |status| u64::from(status.fdsize));
    8 * nfds.min(table).div_ceil(64)
}
