//! An echo server with a thread for each client: `outside-echo PORT`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

fn main() {
    let port: u16 = std::env::args().nth(1).and_then(|port| port.parse().ok()).expect("usage: outside-echo PORT");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => drop(std::thread::spawn(move || echo(stream))),
            // Without a free descriptor, accept fails at once: the client waits in the queue, and the server rests.
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Until the client has finished, or has gone.
fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}
