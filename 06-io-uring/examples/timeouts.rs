//! An end for operations that have none: a linked timeout, and cancellation of all that is in flight on a descriptor.
//!
//! Invariant: whatever ends an operation, it completes exactly once, and its socket and memory are in use until then. So a
//! timeout is no answer to "may I free this", only its completion is; and a descriptor is closed after it.
//!
//! It takes no arguments, and prints what each step gave:
//!
//! ```text
//! silence for 50 ms: receive ECANCELED, timeout ETIME
//! bytes in time: receive 5, timeout ECANCELED
//! cancel by descriptor: 3 found; ECANCELED ECANCELED ECANCELED
//! close with a receive in flight: no FIN at the peer
//! and once that is cancelled: FIN
//! ```

#[cfg(target_os = "linux")]
#[path = "support/ring.rs"]
mod ring;

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    common_server::not_on_this_platform("timeouts", "io_uring", "Linux")
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    if let Some(argument) = std::env::args().nth(1) {
        eprintln!("timeouts: unknown argument '{argument}'\n\nusage: timeouts");
        return std::process::ExitCode::from(2);
    }
    match linux::run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("timeouts: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::time::Duration;

    use anyhow::{Context, Result};
    use io_uring::squeue::{Entry, Flags};
    use io_uring::types::{CancelBuilder, Fd, Timespec};
    use io_uring::{opcode, squeue};

    use crate::ring::{Landed, Ring};

    const RECEIVE: u8 = 0;
    const TIMEOUT: u8 = 1;
    const CANCEL: u8 = 2;

    pub fn run() -> Result<()> {
        let mut ring = Ring::new(16)?;

        let (_client, stream) = connected()?;
        let [receive, timeout] = with_timeout(&mut ring, &stream, Duration::from_millis(50))?;
        println!("silence for 50 ms: receive {receive}, timeout {timeout}");

        let (mut client, stream) = connected()?;
        client.write_all(b"hello")?;
        let [receive, timeout] = with_timeout(&mut ring, &stream, Duration::from_secs(60))?;
        println!("bytes in time: receive {receive}, timeout {timeout}");

        let (_client, stream) = connected()?;
        push(&mut ring, receive_from(&stream), RECEIVE)?;
        push(&mut ring, receive_from(&stream), RECEIVE)?;
        push(&mut ring, opcode::PollAdd::new(Fd(stream.as_raw_fd()), libc::POLLIN as u32).build(), RECEIVE)?;
        let all_of_it = CancelBuilder::fd(Fd(stream.as_raw_fd())).all();
        push(&mut ring, opcode::AsyncCancel2::new(all_of_it).build(), CANCEL)?;
        let landed = land(&mut ring, 4)?;
        let (found, cancelled): (Vec<_>, Vec<_>) = landed.iter().partition(|it| it.what == CANCEL);
        let cancelled: Vec<_> = cancelled.into_iter().map(said).collect();
        println!("cancel by descriptor: {} found; {}", said(found[0]), cancelled.join(" "));

        let (mut client, stream) = connected()?;
        client.set_nonblocking(true)?;
        push(&mut ring, receive_from(&stream), RECEIVE)?;
        ring.submit()?;
        drop(stream);
        println!("close with a receive in flight: {} at the peer", end_of_input(&mut client)?);
        push(&mut ring, opcode::AsyncCancel::new(u64::from(RECEIVE)).build(), CANCEL)?;
        land(&mut ring, 2)?;
        println!("and once that is cancelled: {}", end_of_input(&mut client)?);
        Ok(())
    }

    /// A receive that is cancelled when the time has passed: the timeout is linked behind the operation that it limits.
    fn with_timeout(ring: &mut Ring, stream: &TcpStream, time: Duration) -> Result<[String; 2]> {
        // Read when the entries are handed over, which is in `land`.
        let time = Timespec::from(time);
        push(ring, receive_from(stream).flags(Flags::IO_LINK), RECEIVE)?;
        push(ring, opcode::LinkTimeout::new(&time).build(), TIMEOUT)?;
        let landed = land(ring, 2)?;
        let of = |what| landed.iter().find(|it| it.what == what).map(said).context("each operation completes");
        Ok([of(RECEIVE)?, of(TIMEOUT)?])
    }

    fn receive_from(stream: &TcpStream) -> Entry {
        // One operation, one buffer, for good: this program has five.
        let buffer = Box::leak(Box::new([0u8; 64]));
        opcode::Recv::new(Fd(stream.as_raw_fd()), buffer.as_mut_ptr(), buffer.len() as u32).build()
    }

    fn push(ring: &mut Ring, entry: squeue::Entry, what: u8) -> Result<()> {
        // SAFETY: buffers are leaked; a timeout's time outlives the submission, which copies it.
        unsafe { ring.push(entry, what, 0) }.context("io_uring_enter")
    }

    fn land(ring: &mut Ring, count: usize) -> Result<Vec<Landed>> {
        let mut landed = Vec::new();
        while landed.len() < count {
            ring.wait(-1).context("io_uring_enter")?;
            landed.extend(std::iter::from_fn(|| ring.land()));
        }
        Ok(landed)
    }

    fn said(landed: &Landed) -> String {
        match &landed.result {
            Ok(n) => n.to_string(),
            Err(error) => match error.raw_os_error() {
                Some(libc::ECANCELED) => "ECANCELED".into(),
                Some(libc::ETIME) => "ETIME".into(),
                _ => error.to_string(),
            },
        }
    }

    fn end_of_input(client: &mut TcpStream) -> Result<&'static str> {
        match client.read(&mut [0]) {
            Ok(0) => Ok("FIN"),
            Ok(_) => Ok("bytes"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok("no FIN"),
            Err(error) => Err(error).context("read"),
        }
    }

    fn connected() -> Result<(TcpStream, TcpStream)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        Ok((TcpStream::connect(listener.local_addr()?)?, listener.accept()?.0))
    }
}
