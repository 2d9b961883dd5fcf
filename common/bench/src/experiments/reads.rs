//! What does a read of 4 KiB from a file cost, and how many does a core make?
//!
//! **Varied:** the reads that are in flight at once, 1 to 128; from the page cache, or from the disk (O_DIRECT); by
//! pread, a ring, a ring with registered buffers and file, and the same with SQPOLL.
//!
//! **Held:** random blocks of one file. Each read has a buffer of its own. pread has one read in flight by its nature: its
//! line is drawn over all depths, so that the others can be compared with it.
//!
//! **Counted:** reads for each second of CPU time (the core's own price), and reads for each second of the clock. The CPU
//! time is the whole process's, also of the kernel's threads that work for it (SQPOLL, io-wq): a core that spins counts.
//!
//! **Why it can be trusted:** each block holds its number, and a read is counted after its block was found to be the right
//! one. All ways take turns. `ring` is measured twice, which shows the noise.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use figures::{Axis, Chart, Limit, Outcome, Series, Verdict};
use io_uring::types::{Fd, Fixed};
use io_uring::{IoUring, opcode};
use rustix::time::{ClockId, clock_gettime};

use crate::cores::{Place, move_to};
use crate::stats::{Spread, noise, ratio};
use crate::{Experiment, Need, Session, session};

const BLOCK: usize = 4096;
const PREAD: &str = "pread";
const RING: &str = "ring";
const FIXED: &str = "ring, fixed";
const SQPOLL: &str = "fixed, SQPOLL";
const AGAIN: &str = "ring again";
/// What is said of NVMe disks and SQPOLL: reads for each second of a core.
const CLAIMED: f64 = 7e6;

/// A quarter is "about the same": how the memory of a file lies makes that much from run to run.
const TIE: f64 = 0.25;

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment { name: "reads", needs: &[], run };

struct Cell {
    way: &'static str,
    direct: bool,
    depth: usize,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = if self.direct { "O_DIRECT" } else { "cached" };
        write!(f, "{from}, {}, {} at a time", self.way, self.depth)
    }
}

/// Reads for each second.
#[derive(Clone, Copy)]
struct Rate {
    of_cpu: f64,
    of_clock: f64,
}

/// The file, removed whatever happens.
struct Blocks {
    path: PathBuf,
    count: u64,
}

impl Drop for Blocks {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn run(session: &Session) -> Result<Outcome> {
    let mut notes = Vec::new();
    let mib = if session.quick() { 64 } else { 256 };
    let blocks = fill(session, mib)?;
    let cached = OpenOptions::new().read(true).open(&blocks.path)?;
    let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&blocks.path);
    notes.push(format!("{mib} MiB in {}", place(&blocks)));
    let direct = match direct {
        Ok(file) => Some(file),
        Err(error) => {
            notes.push(format!("O_DIRECT is left out: this file system does not open a file so: {error} (TMPDIR)"));
            None
        }
    };
    let ring = session::missing(Need::IoUring);
    notes.extend(ring.iter().map(|why| format!("the rings are left out: {why}")));
    let cells = cells(session.quick(), ring.is_none(), direct.is_some());
    // The kernel's thread of SQPOLL needs a processor of its own, if there is one.
    move_to(Place::Anywhere);
    let (rounds, time) = if session.quick() { (3, 0.05) } else { (5, 0.2) };
    let time = Duration::from_secs_f64(time);
    let mut denied: Vec<String> = Vec::new();
    let rates = session.turns(&cells, rounds, |cell| {
        let file = if cell.direct { direct.as_ref().context("no file")? } else { &cached };
        match measure(file, blocks.count, cell, time, session) {
            Ok(rate) => Ok(Some(rate)),
            Err(error) => {
                session.check()?;
                denied.push(format!("{} is left out: {error:#}", cell.way));
                Ok(None)
            }
        }
    })?;
    denied.sort();
    denied.dedup();
    notes.extend(denied);
    let found: Vec<(&Cell, Vec<Rate>)> = cells
        .iter()
        .zip(rates)
        .filter_map(|(cell, rates)| Some((cell, rates.into_iter().collect::<Option<Vec<Rate>>>()?)))
        .collect();
    Ok(outcome(&found, notes))
}

fn cells(quick: bool, rings: bool, direct: bool) -> Vec<Cell> {
    let depths: &[usize] = if quick { &[1, 8, 32, 128] } else { &[1, 2, 4, 8, 16, 32, 64, 128] };
    let ways: &[&'static str] = if rings { &[PREAD, RING, AGAIN, FIXED, SQPOLL] } else { &[PREAD] };
    let mut cells = Vec::new();
    for direct in if direct { &[false, true][..] } else { &[false] } {
        for &depth in depths {
            let ways = ways.iter().filter(|way| depth == 1 || **way != PREAD);
            cells.extend(ways.map(|&way| Cell { way, direct: *direct, depth }));
        }
    }
    cells
}

fn outcome(found: &[(&Cell, Vec<Rate>)], mut notes: Vec<String>) -> Outcome {
    let values = |way: &str, direct: bool, depth: usize| -> Option<Vec<f64>> {
        let of = found.iter().find(|(cell, _)| cell.way == way && cell.direct == direct && cell.depth == depth)?;
        Some(of.1.iter().map(|rate| rate.of_cpu).collect())
    };
    let most = found.iter().map(|(cell, _)| cell.depth).max().unwrap_or(1);
    let mut charts = Vec::new();
    for direct in [false, true] {
        if found.iter().any(|(cell, _)| cell.direct == direct) {
            charts.extend(pair(found, direct, most));
        }
    }
    let best = found.iter().map(|(_, rates)| median(rates, |rate| rate.of_cpu)).fold(0.0, f64::max);
    if best < CLAIMED {
        notes.push(format!(
            "the claim of 7 to 10 million reads for each second of a core is far off: the best here is {:.2} million",
            best / 1e6
        ));
    }
    // The price of a pread against that of the ring's read: above 1, the ring is cheaper.
    let against = |direct: bool, depth: usize| Some(ratio(&values(RING, direct, depth)?, &values(PREAD, direct, 1)?));
    let Some(cached) = against(false, most) else {
        return Outcome {
            charts,
            notes,
            ..Outcome::skipped("io_uring is denied here, so pread has nothing to be compared with")
        };
    };
    let noise = values(AGAIN, false, most).zip(values(RING, false, most)).map_or(0.0, |(a, b)| noise(&a, &b));
    notes.push(format!("the same ring measured twice differs by up to {:.1} %", noise * 100.0));
    let mut text = format!(
        "at {most} in flight a ring makes {:.2} times the reads of pread for the same CPU time, cached",
        cached.median
    );
    let disk = against(true, most);
    if let Some(disk) = disk {
        text += &format!(", and {:.2} times from the disk", disk.median);
    }
    let cheaper = |spread: Spread| spread.median > 1.0 + noise.max(TIE);
    let verdict = match (cheaper(cached), disk.map(cheaper)) {
        (true, Some(true) | None) => Verdict::Holds,
        (false, Some(true)) => {
            Verdict::HoldsIf("the disk has to be read: from the cache, a ring and pread cost about the same".into())
        }
        (true, Some(false)) => {
            Verdict::HoldsIf("the file is cached: from this disk, a ring and pread cost about the same".into())
        }
        (false, _) => Verdict::DoesNot("a ring and pread cost about the same, or pread costs less".into()),
    };
    Outcome { verdict, found: text, charts, notes }
}

fn median(rates: &[Rate], value: fn(&Rate) -> f64) -> f64 {
    Spread::of(&rates.iter().map(value).collect::<Vec<_>>()).median
}

/// Reads for each second of CPU time, and of the clock.
fn pair(found: &[(&Cell, Vec<Rate>)], direct: bool, most: usize) -> [Chart; 2] {
    let chart = |name: &str, title: &str, label: &str, value: fn(&Rate) -> f64, limits: Vec<Limit>| {
        let mut series: Vec<Series> = [PREAD, RING, FIXED, SQPOLL].map(Series::new).into();
        for (cell, rates) in found.iter().filter(|(cell, _)| cell.direct == direct) {
            let Some(series) = series.iter_mut().find(|series| series.name == cell.way) else { continue };
            let spread = Spread::of(&rates.iter().map(value).collect::<Vec<_>>());
            series.points.push(spread.at(cell.depth as f64));
            if cell.way == PREAD {
                series.points.push(spread.at(most as f64));
            }
        }
        series.retain(|series| !series.points.is_empty());
        let (x, y) = (Axis::log("reads in flight"), Axis::log(label));
        Chart { name: name.into(), title: title.into(), x, y, series, limits }
    };
    let claimed = vec![Limit::at_y("claimed of NVMe with SQPOLL", CLAIMED)];
    let (cpu, clock) = ("reads per second of a core", "reads per second");
    match direct {
        false => [
            chart("cached", "4 KiB from the page cache, for the CPU time", cpu, |it| it.of_cpu, claimed),
            chart("cached-clock", "4 KiB from the page cache, by the clock", clock, |it| it.of_clock, vec![]),
        ],
        true => [
            chart("direct", "4 KiB with O_DIRECT, for the CPU time", cpu, |it| it.of_cpu, claimed),
            chart("direct-clock", "4 KiB with O_DIRECT, by the clock", clock, |it| it.of_clock, vec![]),
        ],
    }
}

/// Each block begins with its number.
fn fill(session: &Session, mib: u64) -> Result<Blocks> {
    let path = std::env::temp_dir().join(format!("measure-reads-{}", std::process::id()));
    let blocks = Blocks { path, count: mib << 20 >> 12 };
    let mut file = File::create_new(&blocks.path).with_context(|| format!("make {}", blocks.path.display()))?;
    let mut chunk = Vec::new();
    for first in (0..blocks.count).step_by(256) {
        session.check()?;
        chunk.clear();
        for block in first..blocks.count.min(first + 256) {
            chunk.extend(block.to_le_bytes());
            chunk.resize(chunk.len() + BLOCK - 8, block as u8);
        }
        let written = file.write_all(&chunk);
        written.with_context(|| format!("write {mib} MiB to {} (TMPDIR)", blocks.path.display()))?;
    }
    file.sync_all()?;
    Ok(blocks)
}

/// The kind of the file system: what a disk does depends on it.
fn place(blocks: &Blocks) -> String {
    const KINDS: [(u64, &str); 6] = [
        (0xef53, "ext4"),
        (0x5846_5342, "xfs"),
        (0x9123_683e, "btrfs"),
        (0x0102_1994, "tmpfs (memory)"),
        (0x794c_7630, "overlayfs"),
        (0x2fc1_2fc1, "zfs"),
    ];
    let kind = rustix::fs::statfs(&blocks.path).map(|it| it.f_type as u64 & 0xffff_ffff);
    let known = kind.ok().and_then(|kind| KINDS.iter().find(|(number, _)| *number == kind));
    format!("the temporary directory, {}", known.map_or("of an unknown file system", |(_, name)| name))
}

/// A buffer for each read in flight, aligned as O_DIRECT wants it.
#[repr(C, align(4096))]
#[derive(Clone)]
struct Buffer([u8; BLOCK]);

fn right(buffer: &Buffer, block: u64) -> Result<()> {
    let found = u64::from_le_bytes(buffer.0[..8].try_into()?);
    ensure!(found == block, "block {block} was asked for, and {found} came");
    Ok(())
}

/// Random blocks (xorshift).
struct Random(u64, u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % self.1
    }
}

fn measure(file: &File, blocks: u64, cell: &Cell, time: Duration, session: &Session) -> Result<Rate> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15, blocks);
    if cell.way != PREAD {
        return rings(file, &mut random, cell, time, session);
    }
    let mut buffer = Box::new(Buffer([0; BLOCK]));
    let (start, cpu) = (Instant::now(), process_cpu());
    let mut reads = 0;
    while !is_over(start, cpu, time) {
        session.check()?;
        for _ in 0..32 {
            let block = random.next();
            file.read_exact_at(&mut buffer.0, block * BLOCK as u64).context("pread")?;
            right(&buffer, block)?;
            reads += 1;
        }
    }
    Ok(rate(reads, start, cpu))
}

fn rings(file: &File, random: &mut Random, cell: &Cell, time: Duration, session: &Session) -> Result<Rate> {
    let depth = cell.depth;
    // Leaked on an error only: the kernel may still write to them then.
    let mut buffers = std::mem::ManuallyDrop::new(vec![Buffer([0; BLOCK]); depth]);
    let mut ring = match cell.way {
        SQPOLL => IoUring::builder().setup_sqpoll(10).build(depth as u32).context("io_uring_setup with SQPOLL")?,
        _ => uring::queues::open(depth as u32, 2 * depth as u32)?,
    };
    let registered = cell.way == FIXED || cell.way == SQPOLL;
    let addresses: Vec<*mut u8> = buffers.iter_mut().map(|buffer| buffer.0.as_mut_ptr()).collect();
    if registered {
        let all: Vec<_> = addresses.iter().map(|it| libc::iovec { iov_base: it.cast(), iov_len: BLOCK }).collect();
        // SAFETY: the buffers live until every read has ended, or are leaked.
        unsafe { ring.submitter().register_buffers(&all) }
            .context("register buffers, which count as locked memory (ulimit -l)")?;
        ring.submitter().register_files(&[file.as_raw_fd()]).context("register a file")?;
    }
    let mut wanted = vec![0; depth];
    let mut free: Vec<usize> = (0..depth).collect();
    let (start, cpu) = (Instant::now(), process_cpu());
    let mut reads = 0;
    loop {
        let over = reads > 0 && (is_over(start, cpu, time) || session.check().is_err());
        for index in if over { Vec::new() } else { std::mem::take(&mut free) } {
            wanted[index] = random.next();
            let (offset, length) = (wanted[index] * BLOCK as u64, BLOCK as u32);
            let entry = match registered {
                false => opcode::Read::new(Fd(file.as_raw_fd()), addresses[index], length).offset(offset).build(),
                true => opcode::ReadFixed::new(Fixed(0), addresses[index], length, index as u16).offset(offset).build(),
            };
            let entry = entry.user_data(index as u64);
            // SAFETY: the buffer lives, and its index is not in `free` before this read has completed.
            while unsafe { ring.submission().push(&entry) }.is_err() {
                ring.submitter().squeue_wait().context("io_uring_enter")?;
            }
        }
        if over && free.len() == depth {
            let rate = rate(reads, start, cpu);
            drop(ring);
            drop(std::mem::ManuallyDrop::into_inner(buffers));
            return Ok(rate);
        }
        match ring.submit_and_wait(1) {
            Err(error) if error.raw_os_error() != Some(libc::EINTR) => return Err(error).context("io_uring_enter"),
            _ => {}
        }
        for done in ring.completion() {
            let index = done.user_data() as usize;
            ensure!(done.result() == BLOCK as i32, "a read gave {} and not {BLOCK}", done.result());
            right(&buffers[index], wanted[index])?;
            free.push(index);
            reads += 1;
        }
    }
}

/// Where O_DIRECT waits for the disk, a read takes little CPU time. Where the machine is busy, it takes long.
fn is_over(start: Instant, cpu_before: Duration, time: Duration) -> bool {
    let elapsed = start.elapsed();
    elapsed >= 10 * time || elapsed >= time && process_cpu() - cpu_before >= time / 10
}

fn rate(reads: u64, start: Instant, cpu_before: Duration) -> Rate {
    let cpu = process_cpu() - cpu_before;
    Rate { of_cpu: reads as f64 / cpu.as_secs_f64(), of_clock: reads as f64 / start.elapsed().as_secs_f64() }
}

/// The CPU time of all threads, of those that have ended too.
fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
