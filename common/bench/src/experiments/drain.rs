//! What does a missed drain look like from outside?
//!
//! **Varied:** where a small server on edge-triggered epoll stops to read: at EAGAIN; at a short read, the shortcut of
//! epoll(7); or after one read of 4 KiB. The third is the bug: what is behind the 4 KiB stays unread until the next
//! message of that connection brings another edge.
//!
//! **Held:** the load. 500 connections send 2,500 messages a second in all, by the clock and not when an answer has come
//! (open loop), so a slow answer does not hold back what follows. One message in 201 has 6 KiB, and all others 64 bytes.
//!
//! **Counted:** for each message, the time from the moment when it was due until its last byte came back; and the
//! server's CPU time per message (CLOCK_THREAD_CPUTIME_ID of its thread).
//!
//! **Why it can be trusted:** no message is left out, whoever was late: the time begins when the message was due, so the
//! client's own delay counts against every server alike. The servers differ in one line and take turns. The first is
//! measured twice, and the two figures show the noise. Every percentile is one of a sorted list, and no estimate.

use std::collections::VecDeque;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use figures::{Axis, Chart, Outcome, Series, Verdict};
use rustix::event::{Timespec, epoll};

use crate::cores::{Place, move_to};
use crate::stats::{Spread, noise, ratio, too_noisy};
use crate::waits::thread_cpu;
use crate::{Experiment, Need, Session};

/// Both ends are in this process. So a connection's next message is due 200 ms later.
const CONNECTIONS: usize = 500;
const EACH_SECOND: u32 = 2_500;
const SMALL: usize = 64;
const LARGE: usize = 6 * 1024;
/// What the server reads at once.
const BUFFER: usize = 4 * 1024;
/// One message in so many is large. The number moves the large ones from connection to connection.
const LARGE_EVERY: usize = 201;
/// A client that has waited so long for an answer is not going to get one.
const PATIENCE: Duration = Duration::from_secs(20);
const PERCENTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("longest", 1.0)];
/// What the server's epoll calls its listener, and the socket that ends it.
const LISTENER: u64 = u64::MAX;
const STOP: u64 = u64::MAX - 1;
const P50: usize = 0;
const P999: usize = 3;
/// The tail has grown if it is this many times as long.
const TAIL: f64 = 3.0;

/// The experiment.
pub const EXPERIMENT: Experiment =
    Experiment { name: "drain", needs: &[Need::Descriptors(2 * CONNECTIONS as u64 + 100)], run };

/// One turn of one server.
#[derive(Clone)]
struct Turn {
    /// Microseconds, for each of `PERCENTILES`.
    latencies: [f64; 5],
    /// Microseconds of CPU time for a message.
    cpu: f64,
}

/// Where the server stops to read.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stops {
    AtEagain,
    AtShortRead,
    AfterOneRead,
}

struct Contestant {
    name: &'static str,
    stops: Stops,
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const CONTESTANTS: [Contestant; 4] = [
    Contestant { name: "drains, again", stops: Stops::AtEagain },
    Contestant { name: "misses one drain", stops: Stops::AfterOneRead },
    Contestant { name: "short-read drain", stops: Stops::AtShortRead },
    Contestant { name: "drains", stops: Stops::AtEagain },
];

fn run(session: &Session) -> Result<Outcome> {
    let (rounds, time) = if session.quick() { (3, 0.4) } else { (9, 1.6) };
    let time = Duration::from_secs_f64(time);
    let contestants = CONTESTANTS;
    let found = session.turns(&contestants, rounds, |contestant| {
        let (mut latencies, cpu) = serve_and_load(contestant.stops, time, session)?;
        let cpu = cpu.as_secs_f64() * 1e6 / latencies.len() as f64;
        latencies.sort_unstable();
        let at = |share: f64| latencies[((latencies.len() as f64 * share).ceil() as usize).max(1) - 1];
        Ok(Turn { latencies: PERCENTILES.map(|(_, share)| at(share).as_secs_f64() * 1e6), cpu })
    })?;
    let of = |index: usize, value: fn(&Turn) -> f64| found[index].iter().map(value).collect::<Vec<f64>>();
    let ratios = |value: fn(&Turn) -> f64| ratio(&of(1, value), &of(3, value)).median;
    let (middle, tail) = (ratios(|it| it.latencies[P50]), ratios(|it| it.latencies[P999]));
    let (cpu, short) = (ratios(|it| it.cpu), ratio(&of(2, |it| it.cpu), &of(3, |it| it.cpu)).median);
    let noise = noise(&of(0, |it| it.cpu), &of(3, |it| it.cpu));
    let p999 = |index: usize| Spread::of(&of(index, |it| it.latencies[P999])).median / 1000.0;
    let text = format!(
        "with the missed drain p50 is {middle:.2} times as long, p99.9 {tail:.0} times ({:.1} ms instead of {:.1} ms), \
         and the CPU time is {cpu:.2} times as much (noise {:.0} %)",
        p999(1),
        p999(3),
        noise * 100.0
    );
    let verdict = if let Some(nothing) = too_noisy(noise, "the same server") {
        nothing
    } else if tail < TAIL {
        Verdict::DoesNot(format!("p99.9 grew only {tail:.1} times"))
    } else if middle > 2.0 {
        Verdict::DoesNot(format!("p50 grew too, {middle:.1} times"))
    } else if cpu > 1.0 + noise {
        Verdict::DoesNot(format!("the CPU time shows it: {cpu:.2} times as much"))
    } else {
        Verdict::Holds
    };
    let notes = vec![
        format!(
            "a missed drain leaves out the read that returns EAGAIN; to drain until a short read leaves it out too, and costs {short:.2} times as much"
        ),
        format!(
            "one of {LARGE_EVERY} messages has {} KiB; what is left of it waits for the next message of its connection, which is due {} ms later",
            LARGE / 1024,
            CONNECTIONS as u32 * 1000 / EACH_SECOND
        ),
    ];
    let names = contestants[1..].iter().map(|contestant| contestant.name);
    let latency = Chart {
        name: "latency".into(),
        title: "The tail of a missed drain".into(),
        x: Axis::named("percentile", PERCENTILES.map(|(name, _)| name)),
        y: Axis::log("latency (µs)"),
        series: (1..contestants.len())
            .map(|index| Series {
                name: contestants[index].name.into(),
                points: (0..PERCENTILES.len())
                    .map(|place| {
                        let values: Vec<f64> = found[index].iter().map(|turn| turn.latencies[place]).collect();
                        Spread::of(&values).at(place as f64)
                    })
                    .collect(),
            })
            .collect(),
        limits: Vec::new(),
    };
    let points =
        (1..contestants.len()).map(|index| Spread::of(&of(index, |it| it.cpu)).at((index - 1) as f64)).collect();
    let cpu = Chart {
        name: "cpu".into(),
        title: "The CPU time of the same servers".into(),
        x: Axis::named("server", names),
        y: Axis::linear("CPU time per message (µs)"),
        series: vec![Series { name: "CPU time".into(), points }],
        limits: Vec::new(),
    };
    Ok(Outcome { verdict, found: text, charts: vec![latency, cpu], notes })
}

/// The server in a thread, and the client in this one; the server's CPU time.
fn serve_and_load(stops: Stops, time: Duration, session: &Session) -> Result<(Vec<Duration>, Duration)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    let (stop, stopped) = UnixStream::pair()?;
    move_to(Place::Client);
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            move_to(Place::Server);
            serve(&listener, &stopped, stops)
        });
        let latencies = load(addr, time, session);
        // Readable for the server from now on.
        drop(stop);
        let cpu = server.join().map_err(|_| anyhow!("the server panicked"))?;
        Ok((latencies?, cpu?))
    })
}

fn serve(listener: &TcpListener, stop: &UnixStream, stops: Stops) -> Result<Duration> {
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut streams: Vec<TcpStream> = Vec::new();
    listener.set_nonblocking(true)?;
    epoll::add(&set, listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    epoll::add(&set, stop, epoll::EventData::new_u64(STOP), epoll::EventFlags::IN)?;
    let (mut buffer, mut events) = ([0; BUFFER], Vec::with_capacity(256));
    loop {
        events.clear();
        match epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll_wait"),
        }
        for event in &events {
            match event.data.u64() {
                STOP => return Ok(thread_cpu()),
                LISTENER => {
                    while let Ok((stream, _)) = listener.accept() {
                        stream.set_nonblocking(true)?;
                        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
                        epoll::add(&set, &stream, epoll::EventData::new_u64(streams.len() as u64), flags)?;
                        streams.push(stream);
                    }
                }
                index => echo(&streams[index as usize], &mut buffer, stops)?,
            }
        }
    }
}

/// The lesson: where it stops.
fn echo(mut stream: &TcpStream, buffer: &mut [u8], stops: Stops) -> Result<()> {
    loop {
        let count = match stream.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            // The client ends with a reset.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error).context("read"),
        };
        // A socket has room for all that is under way here.
        stream.write_all(&buffer[..count]).context("write")?;
        match stops {
            Stops::AtEagain => {}
            Stops::AtShortRead if count == buffer.len() => {}
            Stops::AtShortRead | Stops::AfterOneRead => return Ok(()),
        }
    }
}

/// A connection, and the messages whose answers have not come.
struct Client {
    stream: TcpStream,
    /// When each was due, and how many of its bytes are missing.
    waiting: VecDeque<(Instant, usize)>,
    /// Bytes that are due and found no room.
    unsent: usize,
}

impl Client {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        while self.unsent > 0 {
            match self.stream.write(&bytes[..self.unsent.min(bytes.len())]) {
                Ok(count) => self.unsent -= count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("write"),
            }
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], latencies: &mut Vec<Duration>) -> Result<()> {
        loop {
            let mut count = match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("read"),
            };
            while count > 0 {
                let (due, missing) = self.waiting.front_mut().context("more bytes came back than were sent")?;
                let taken = count.min(*missing);
                (count, *missing) = (count - taken, *missing - taken);
                if *missing == 0 {
                    latencies.push(due.elapsed());
                    self.waiting.pop_front();
                }
            }
        }
    }
}

/// Sends for `time`, and waits for the last answers.
fn load(addr: SocketAddr, time: Duration, session: &Session) -> Result<Vec<Duration>> {
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut clients = Vec::new();
    for number in 0..CONNECTIONS {
        let stream = TcpStream::connect(addr).with_context(|| format!("connection {number}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&set, &stream, epoll::EventData::new_u64(number as u64), flags)?;
        clients.push(Client { stream, waiting: VecDeque::new(), unsent: 0 });
    }
    let (bytes, mut buffer) = (vec![b'x'; LARGE], vec![0; LARGE]);
    let total = (f64::from(EACH_SECOND) * time.as_secs_f64()) as usize;
    let pause = Duration::from_secs(1) / EACH_SECOND;
    let start = Instant::now() + pause;
    let (mut sent, mut rounds, mut latencies) = (0, 0u32, Vec::with_capacity(total + CONNECTIONS));
    let mut events = Vec::with_capacity(CONNECTIONS);
    // At the end each connection gets one small message more, so that nothing is left unread for ever.
    while latencies.len() < total + CONNECTIONS {
        let now = Instant::now();
        while sent < total + CONNECTIONS && start + pause * sent as u32 <= now {
            let large = sent % LARGE_EVERY == LARGE_EVERY - 1 && sent < total;
            let (client, size) = (&mut clients[sent % CONNECTIONS], if large { LARGE } else { SMALL });
            client.waiting.push_back((start + pause * sent as u32, size));
            client.unsent += size;
            client.send(&bytes)?;
            sent += 1;
        }
        ensure!(now < start + time + PATIENCE, "{} answers have not come", total + CONNECTIONS - latencies.len());
        if rounds.is_multiple_of(64) {
            session.check()?;
        }
        rounds += 1;
        let next = (start + pause * sent as u32).saturating_duration_since(Instant::now());
        let timeout = if sent < total + CONNECTIONS { next } else { Duration::from_millis(50) };
        let timeout = Timespec { tv_sec: timeout.as_secs() as _, tv_nsec: timeout.subsec_nanos() as _ };
        events.clear();
        match epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll_wait"),
        }
        for event in &events {
            let client = &mut clients[event.data.u64() as usize];
            client.receive(&mut buffer, &mut latencies)?;
            client.send(&bytes)?;
        }
    }
    // No time to wait for: the ports are free again at once.
    for client in &clients {
        socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO))?;
    }
    Ok(latencies)
}
