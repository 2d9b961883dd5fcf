//! The echo on mio: edge-triggered readiness, so each event is drained.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};

use anyhow::Result;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(usize::MAX);

/// A client, and what it has not taken yet.
struct Client {
    stream: TcpStream,
    pending: Vec<u8>,
}

impl Client {
    /// Echoes until the socket has no more bytes, or takes no more. Whether the connection goes on.
    fn serve(&mut self, buffer: &mut [u8]) -> bool {
        loop {
            if !self.pending.is_empty() {
                match self.stream.write(&self.pending) {
                    Ok(n) => drop(self.pending.drain(..n)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                    Err(_) => return false,
                }
                continue;
            }
            match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(n) => match self.stream.write(&buffer[..n]) {
                    Ok(written) => self.pending.extend_from_slice(&buffer[written..n]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => self.pending.extend_from_slice(&buffer[..n]),
                    Err(_) => return false,
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
    }
}

fn main() -> Result<()> {
    let mut listener = TcpListener::from_std(peers::listener()?);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut clients: HashMap<Token, Client> = HashMap::new();
    let mut buffer = vec![0; peers::BUFFER];
    let mut number = 0;
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    let _ = stream.set_nodelay(true);
                    let token = Token(number);
                    number += 1;
                    poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
                    clients.insert(token, Client { stream, pending: Vec::new() });
                }
            } else if let Some(client) = clients.get_mut(&event.token())
                && !client.serve(&mut buffer)
            {
                clients.remove(&event.token());
            }
        }
    }
}
