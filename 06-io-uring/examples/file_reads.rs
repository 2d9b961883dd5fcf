//! 4 KiB reads at random places of a file, cached and with O_DIRECT, 1 to 128 at a time: pread(2), a ring, a ring with
//! registered buffers and file, and the same with SQPOLL. Each read is checked to have brought the right block.
//!
//! Invariant: `depth` reads are in flight, each with a buffer of its own, and a read is counted when its block was seen to
//! be the right one. The CPU time is that of all threads, the kernel's for this process too (SQPOLL, io-wq): a core that
//! spins is paid for.

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    common_server::not_on_this_platform("file_reads", "io_uring", "Linux")
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::{self, File, OpenOptions};
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{FileExt, OpenOptionsExt};
    use std::path::{Path, PathBuf};
    use std::process::ExitCode;
    use std::time::{Duration, Instant};

    use anyhow::{Context, Result, ensure};
    use io_uring::types::{Fd, Fixed};
    use io_uring::{IoUring, opcode};
    use uring::queues;

    const USAGE: &str = "usage: file_reads [--dir DIR] [--mib N] [--seconds S]

Random reads of 4 KiB from a file that it makes in DIR (default: the temporary directory) and removes.

  --mib N      the file's size, 1 to 65536 (default 256)
  --seconds S  for each figure, 0.01 to 60 (default 1)
";
    const BLOCK: usize = 4096;
    const DEPTHS: [usize; 4] = [1, 8, 32, 128];

    #[derive(Clone, Copy, PartialEq)]
    enum Way {
        Pread,
        Ring,
        Fixed,
        Sqpoll,
    }

    struct Figure {
        reads: f64,
        wall: f64,
        cpu: f64,
    }

    pub fn main() -> ExitCode {
        let (dir, mib, seconds) = match arguments() {
            Ok(Some(arguments)) => arguments,
            Ok(None) => {
                print!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            Err(wrong) => {
                eprint!("file_reads: {wrong}\n\n{USAGE}");
                return ExitCode::from(2);
            }
        };
        let path = dir.join(format!("file_reads-{}", std::process::id()));
        let result = table(&path, mib, Duration::from_secs_f64(seconds));
        let _ = fs::remove_file(&path);
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("file_reads: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    fn arguments() -> Result<Option<(PathBuf, u64, f64)>, String> {
        let (mut dir, mut mib, mut seconds) = (std::env::temp_dir(), 256, 1.0);
        let mut arguments = std::env::args().skip(1);
        while let Some(option) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{option} needs a value"));
            let number = |text: String, least: f64, most: f64| match text.parse::<f64>() {
                Ok(number) if (least..=most).contains(&number) => Ok(number),
                _ => Err(format!("'{text}' is not a number from {least} to {most}")),
            };
            match option.as_str() {
                "--help" => return Ok(None),
                "--dir" => dir = value()?.into(),
                "--mib" => mib = number(value()?, 1.0, 65_536.0)? as u64,
                "--seconds" => seconds = number(value()?, 0.01, 60.0)?,
                _ => return Err(format!("unknown argument '{option}'")),
            }
        }
        Ok(Some((dir, mib, seconds)))
    }

    fn table(path: &Path, mib: u64, time: Duration) -> Result<()> {
        let blocks = mib << 20 >> 12;
        fill(path, blocks).with_context(|| format!("write {mib} MiB to {} (--dir, --mib)", path.display()))?;
        println!("thousand reads of 4 KiB a second / the same for each core's time, from {mib} MiB\n");
        println!("{:24}{}", "", DEPTHS.map(|depth| format!("{:>16}", format!("{depth} at a time"))).concat());
        for (name, flags) in [("cached", 0), ("O_DIRECT", libc::O_DIRECT)] {
            let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
                Ok(file) => file,
                Err(error) => {
                    println!("{name}: skipped: this filesystem does not open a file so: {error} (--dir)");
                    continue;
                }
            };
            for (way, what) in [
                (Way::Pread, "pread"),
                (Way::Ring, "ring"),
                (Way::Fixed, "ring, fixed"),
                (Way::Sqpoll, "ring, fixed, SQPOLL"),
            ] {
                let mut row = format!("{:24}", format!("{name} {what}"));
                for depth in DEPTHS {
                    if way == Way::Pread && depth > 1 {
                        row += &format!("{:>16}", "-");
                        continue;
                    }
                    let Figure { reads, wall, cpu } = measure(&file, blocks, way, depth, time)?;
                    row += &format!("{:>16}", format!("{:.1} / {:.1}", reads / wall / 1e3, reads / cpu / 1e3));
                }
                println!("{row}");
            }
        }
        Ok(())
    }

    /// Each block begins with its number.
    fn fill(path: &Path, blocks: u64) -> Result<()> {
        let mut file = File::create(path)?;
        let mut chunk = Vec::new();
        for first in (0..blocks).step_by(256) {
            chunk.clear();
            for block in first..blocks.min(first + 256) {
                chunk.extend(block.to_le_bytes());
                chunk.resize(chunk.len() + BLOCK - 8, block as u8);
            }
            file.write_all(&chunk)?;
        }
        Ok(file.sync_all()?)
    }

    /// A buffer for each read in flight, aligned as O_DIRECT wants it, and the block that was asked for.
    #[repr(C, align(4096))]
    #[derive(Clone)]
    struct Buffer([u8; BLOCK]);

    fn check(buffer: &Buffer, block: u64) -> Result<()> {
        let found = u64::from_le_bytes(buffer.0[..8].try_into()?);
        ensure!(found == block, "block {block} was asked for, and {found} came");
        Ok(())
    }

    fn measure(file: &File, blocks: u64, way: Way, depth: usize, time: Duration) -> Result<Figure> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            // xorshift
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % blocks
        };
        // Leaked: after an error the kernel may still write to them.
        let buffers = vec![Buffer([0; BLOCK]); depth].leak();
        if way == Way::Pread {
            let (start, cpu) = (Instant::now(), cpu()?);
            let mut reads = 0;
            while start.elapsed() < time {
                for _ in 0..32 {
                    let block = random();
                    file.read_exact_at(&mut buffers[0].0, block * BLOCK as u64).context("pread")?;
                    check(&buffers[0], block)?;
                    reads += 1;
                }
            }
            return figure(reads, start, cpu);
        }
        let mut ring = open(way, depth as u32)?;
        if way != Way::Ring {
            let all: Vec<_> = buffers
                .iter_mut()
                .map(|it| libc::iovec { iov_base: it.0.as_mut_ptr().cast(), iov_len: BLOCK })
                .collect();
            // SAFETY: the buffers are leaked.
            unsafe { ring.submitter().register_buffers(&all) }
                .context("io_uring: register buffers, which count as locked memory (ulimit -l)")?;
            ring.submitter().register_files(&[file.as_raw_fd()]).context("io_uring: register a file")?;
        }
        let mut wanted = vec![0; depth];
        let mut free: Vec<usize> = (0..depth).collect();
        let (start, cpu) = (Instant::now(), cpu()?);
        let mut reads = 0;
        loop {
            let over = start.elapsed() >= time;
            for index in if over { Vec::new() } else { std::mem::take(&mut free) } {
                let (block, address) = (random(), buffers[index].0.as_mut_ptr());
                wanted[index] = block;
                let entry = match way {
                    Way::Ring => opcode::Read::new(Fd(file.as_raw_fd()), address, BLOCK as u32)
                        .offset(block * BLOCK as u64)
                        .build(),
                    _ => opcode::ReadFixed::new(Fixed(0), address, BLOCK as u32, index as u16)
                        .offset(block * BLOCK as u64)
                        .build(),
                };
                // SAFETY: the buffer is leaked, and its index is not in `free` before this read has completed.
                while unsafe { ring.submission().push(&entry.clone().user_data(index as u64)) }.is_err() {
                    ring.submitter().squeue_wait().context("io_uring_enter")?;
                }
            }
            if over && free.len() == depth {
                return figure(reads, start, cpu);
            }
            match ring.submit_and_wait(1) {
                Err(error) if error.raw_os_error() != Some(libc::EINTR) => return Err(error).context("io_uring_enter"),
                _ => {}
            }
            for done in ring.completion() {
                let index = done.user_data() as usize;
                ensure!(done.result() == BLOCK as i32, "a read gave {} and not {BLOCK}", done.result());
                check(&buffers[index], wanted[index])?;
                free.push(index);
                reads += 1;
            }
        }
    }

    fn open(way: Way, depth: u32) -> Result<IoUring> {
        if way != Way::Sqpoll {
            return queues::open(depth, 2 * depth);
        }
        let ring = IoUring::builder().setup_sqpoll(10).build(depth);
        ring.map_err(|error| common_server::io_uring_is_denied(&error)).context("io_uring_setup with SQPOLL")
    }

    fn figure(reads: u64, start: Instant, cpu_before: f64) -> Result<Figure> {
        Ok(Figure { reads: reads as f64, wall: start.elapsed().as_secs_f64(), cpu: cpu()? - cpu_before })
    }

    /// Seconds of CPU of all threads so far, of those that have ended too.
    fn cpu() -> Result<f64> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the struct outlives the call, which fills it in.
        match unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) } {
            0 => Ok(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9),
            _ => Err(std::io::Error::last_os_error()).context("clock_gettime"),
        }
    }
}
