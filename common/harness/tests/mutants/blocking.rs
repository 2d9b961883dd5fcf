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
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
}
