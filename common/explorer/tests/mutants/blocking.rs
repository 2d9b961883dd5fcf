//! Servers that block: a thread or a process for each connection, and a server that computes for ever.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use super::serve::{BUFFER, PAUSE};

pub fn threads(listener: &TcpListener) -> io::Result<()> {
    loop {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(PAUSE);
            continue;
        };
        std::thread::spawn(move || echo(stream));
    }
}

pub fn forks(listener: &TcpListener) -> io::Result<()> {
    // SAFETY: no pointers. The kernel reaps the children.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    loop {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(PAUSE);
            continue;
        };
        // SAFETY: this process has one thread, so its child may do anything.
        if unsafe { libc::fork() } == 0 {
            echo(stream);
            std::process::exit(0);
        }
    }
}

/// Computes for ever once a client has sent something.
pub fn spins(listener: &TcpListener) -> io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    stream.read_exact(&mut [0])?;
    loop {
        std::hint::spin_loop();
    }
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; BUFFER];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
}
