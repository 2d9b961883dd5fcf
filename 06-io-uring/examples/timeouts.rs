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

    use uring::queues::{Completion, Queues};

    const RECEIVE: u8 = 0;
    const TIMEOUT: u8 = 1;
    const CANCEL: u8 = 2;

    pub fn run() -> Result<()> {
        let mut queues = Queues::open(16, 2048)?;

        let (_client, stream) = connected()?;
        let [receive, timeout] = with_timeout(&mut queues, &stream, Duration::from_millis(50))?;
        println!("silence for 50 ms: receive {receive}, timeout {timeout}");

        let (mut client, stream) = connected()?;
        client.write_all(b"hello")?;
        let [receive, timeout] = with_timeout(&mut queues, &stream, Duration::from_secs(60))?;
        println!("bytes in time: receive {receive}, timeout {timeout}");

        let (_client, stream) = connected()?;
        push(&mut queues, receive_from(&stream), RECEIVE)?;
        push(&mut queues, receive_from(&stream), RECEIVE)?;
        push(&mut queues, opcode::PollAdd::new(Fd(stream.as_raw_fd()), libc::POLLIN as u32).build(), RECEIVE)?;
        let all_of_it = CancelBuilder::fd(Fd(stream.as_raw_fd())).all();
        push(&mut queues, opcode::AsyncCancel2::new(all_of_it).build(), CANCEL)?;
        let landed = land(&mut queues, 4)?;
        let (found, cancelled): (Vec<_>, Vec<_>) = landed.iter().partition(|it| it.what == CANCEL);
        let cancelled: Vec<_> = cancelled.into_iter().map(said).collect();
        println!("cancel by descriptor: {} found; {}", said(found[0]), cancelled.join(" "));

        let (mut client, stream) = connected()?;
        client.set_nonblocking(true)?;
        push(&mut queues, receive_from(&stream), RECEIVE)?;
        queues.submit()?;
        drop(stream);
        println!("close with a receive in flight: {} at the peer", end_of_input(&mut client)?);
        push(&mut queues, opcode::AsyncCancel::new(u64::from(RECEIVE)).build(), CANCEL)?;
        land(&mut queues, 2)?;
        println!("and once that is cancelled: {}", end_of_input(&mut client)?);
        Ok(())
    }

    /// A receive that is cancelled when the time has passed: the timeout is linked behind the operation that it limits.
    fn with_timeout(queues: &mut Queues, stream: &TcpStream, time: Duration) -> Result<[String; 2]> {
        // Read when the entries are handed over, which is in `land`.
        let time = Timespec::from(time);
        push(queues, receive_from(stream).flags(Flags::IO_LINK), RECEIVE)?;
        push(queues, opcode::LinkTimeout::new(&time).build(), TIMEOUT)?;
        let landed = land(queues, 2)?;
        let of = |what| landed.iter().find(|it| it.what == what).map(said).context("each operation completes");
        Ok([of(RECEIVE)?, of(TIMEOUT)?])
    }

    fn receive_from(stream: &TcpStream) -> Entry {
        // One operation, one buffer, for good: this program has five.
        let buffer = Box::leak(Box::new([0u8; 64]));
        opcode::Recv::new(Fd(stream.as_raw_fd()), buffer.as_mut_ptr(), buffer.len() as u32).build()
    }

    fn push(queues: &mut Queues, entry: squeue::Entry, what: u8) -> Result<()> {
        // SAFETY: buffers are leaked; a timeout's time outlives the submission, which copies it.
        unsafe { queues.push(entry, what, 0) }.context("io_uring_enter")
    }

    fn land(queues: &mut Queues, count: usize) -> Result<Vec<Completion>> {
        let mut landed = Vec::new();
        while landed.len() < count {
            queues.wait(-1).context("io_uring_enter")?;
            landed.extend(std::iter::from_fn(|| queues.land()));
        }
        Ok(landed)
    }

    fn said(landed: &Completion) -> String {
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
