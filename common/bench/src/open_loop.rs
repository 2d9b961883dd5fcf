//! A load whose arrivals do not wait for answers.
//!
//! A client that waits for its answer before it asks again sends less while the server is slow, and so leaves out the
//! very moments that a latency is about (coordinated omission). Here each message has a moment at which it is due, and
//! its latency counts from then, whatever came in between.
//!
//! Invariant: the moments are fixed by the seed and the rate before the first message is sent.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::load::Load;

/// What came of one run.
#[derive(Debug)]
pub struct Latencies {
    /// From the moment that a message was due until its echo was there, in nanoseconds.
    pub whole: Histogram<u64>,
    /// From that moment until the client had sent it: what the client itself is late.
    pub late: Histogram<u64>,
}

/// Moments of arrival, in nanoseconds from the start: a Poisson process, as of many clients that do not know of each
/// other.
#[derive(Debug)]
struct Arrivals {
    state: u64,
    at: f64,
    gap: f64,
}

impl Iterator for Arrivals {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        // SplitMix64: small, and good enough for gaps.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        // In (0, 1], so that its logarithm is finite.
        let uniform = ((bits >> 11) + 1) as f64 / (1u64 << 53) as f64;
        self.at -= uniform.ln() * self.gap;
        Some(self.at as u64)
    }
}

/// Sends messages of one byte for `time`, `rate` a second on average, on all connections in turn, and never sleeps.
#[cfg(target_os = "linux")]
pub fn run(load: &Load, rate: f64, time: Duration, seed: u64) -> Result<Latencies> {
    use std::io::{ErrorKind, Read, Write};
    use std::time::Instant;

    use anyhow::{Context, bail, ensure};
    use rustix::event::{Timespec, epoll};

    use crate::load::SILENCE;

    let sockets = load.sockets();
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (i, socket) in sockets.iter().enumerate() {
        socket.set_nonblocking(true)?;
        epoll::add(&set, socket, epoll::EventData::new_u64(i as u64), epoll::EventFlags::IN)?;
    }
    let mut arrivals = Arrivals { state: seed, at: 0.0, gap: 1e9 / rate };
    let mut due = arrivals.next().unwrap_or_default();
    // Of each connection the messages that are under way: echoes keep the order.
    let mut flying: Vec<VecDeque<u64>> = sockets.iter().map(|_| VecDeque::new()).collect();
    // Up to a minute, with three figures.
    let histogram = || Histogram::new_with_bounds(1, 60_000_000_000, 3);
    let (mut whole, mut late) = (histogram()?, histogram()?);
    let (mut next, mut under_way) = (0, 0u64);
    let mut buffer = [0; 4096];
    let mut events = Vec::with_capacity(64);
    let (start, end) = (Instant::now(), time.as_nanos() as u64);
    let now = || start.elapsed().as_nanos() as u64;
    while due < end || under_way > 0 {
        while due < end && due <= now() {
            (&sockets[next]).write_all(&[due as u8]).context("a message that the socket does not take")?;
            late.saturating_record(now().saturating_sub(due));
            flying[next].push_back(due);
            under_way += 1;
            next = (next + 1) % sockets.len();
            due = arrivals.next().unwrap_or(end);
        }
        events.clear();
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), Some(&at_once)) {
            Err(rustix::io::Errno::INTR) => continue,
            ready => ready?,
        };
        for event in &events {
            let i = event.data.u64() as usize;
            let n = match (&sockets[i]).read(&mut buffer) {
                Ok(0) => bail!("the server closed connection {i}"),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error).context("read"),
            };
            let came = now();
            for byte in &buffer[..n] {
                let sent = flying[i].pop_front().context("an echo that nobody asked for")?;
                ensure!(*byte == sent as u8, "the echo differs from what was sent");
                whole.saturating_record(came - sent);
                under_way -= 1;
            }
        }
        ensure!(now() < end + SILENCE.as_nanos() as u64, "{under_way} messages have no answer");
    }
    for socket in sockets {
        socket.set_nonblocking(false)?;
    }
    Ok(Latencies { whole, late })
}

/// Nothing is measured here.
#[cfg(not(target_os = "linux"))]
pub fn run(_load: &Load, _rate: f64, _time: Duration, _seed: u64) -> Result<Latencies> {
    let _ = VecDeque::<Arrivals>::new();
    anyhow::bail!("needs Linux")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_have_the_rate_and_are_the_same_for_a_seed() {
        let arrivals = |seed| Arrivals { state: seed, at: 0.0, gap: 1e6 }.take(100_000).collect::<Vec<u64>>();
        let first = arrivals(1);
        assert_eq!(first, arrivals(1));
        assert_ne!(first, arrivals(2));
        assert!(first.is_sorted());
        let mean = *first.last().unwrap() as f64 / 1e5;
        assert!((0.98e6..1.02e6).contains(&mean), "{mean}");
        // Of a Poisson process, 1/e of the gaps are longer than the mean.
        let long = first.windows(2).filter(|pair| pair[1] - pair[0] > 1_000_000).count() as f64 / 1e5;
        assert!((0.36..0.376).contains(&long), "{long}");
    }
}
