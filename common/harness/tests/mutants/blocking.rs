//! Servers without multiplexing: a thread for each connection, which is right, and one client after the other.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use super::mutant::bug;

/// A thread for each connection.
pub fn threads(listener: TcpListener, mut wake: UnixStream, ready: impl FnOnce()) -> io::Result<()> {
    ready();
    thread::spawn(move || {
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    if bug!("send_timeout") {
                        let _ = stream.set_write_timeout(Some(Duration::from_secs(3)));
                    }
                    let started = thread::Builder::new().stack_size(64 * 1024).spawn(move || echo(stream));
                    // pthread_create without a pthread_detach, and nobody joins it.
                    if bug!("not_joined") {
                        std::mem::forget(started);
                    }
                }
                // Out of descriptors, most likely.
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    });
    while matches!(wake.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::Interrupted) {}
    Ok(())
}

/// The first server in every book: the second client waits for the first to leave.
pub fn one_by_one(listener: &TcpListener, ready: impl FnOnce()) -> io::Result<()> {
    ready();
    loop {
        if let Ok((stream, _)) = listener.accept() {
            echo(stream);
        }
    }
}

pub fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 16 * 1024];
    if bug!("eintr_ends_connection") {
        // With a timeout of its own, a call that a stop has cut short is not made again by the kernel.
        let _ = stream.set_write_timeout(Some(Duration::from_secs(600)));
    }
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        let written = match () {
            // "The socket blocks, so it takes everything."
            () if bug!("part_sent_is_all") => stream.write(&buffer[..n]).map(drop),
            () if bug!("part_sent_is_error") => match stream.write(&buffer[..n]) {
                Ok(sent) if sent < n => Err(io::ErrorKind::WriteZero.into()),
                other => other.map(drop),
            },
            () if bug!("eintr_ends_connection") => write_once_each(&mut stream, &buffer[..n]),
            () => stream.write_all(&buffer[..n]),
        };
        if written.is_err() {
            break;
        }
    }
    if bug!("state_never_freed") {
        std::mem::forget(vec![1u8; 4096]);
    }
}

/// `write_all` goes on after EINTR, and this does not.
fn write_once_each(stream: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        bytes = &bytes[stream.write(bytes)?..];
    }
    Ok(())
}
