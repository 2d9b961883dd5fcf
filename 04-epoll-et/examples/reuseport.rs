//! Workers that share nothing: this chapter's server, unchanged, runs once per thread. Each has its own listener on the
//! same port (SO_REUSEPORT). The kernel chooses the listener by a hash of the two addresses.
//!
//! `--demo` shows how evenly the kernel spreads the clients, and what that costs: when a listener closes, the
//! connections in its accept queue are lost. A single shared queue would keep them.
//!
//! Invariant: every listener is open before the address is printed. A listener that opens or closes later would change
//! which listener a client gets.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[path = "../src/server.rs"]
mod server;
#[cfg(target_os = "linux")]
mod support;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    common_server::not_on_this_platform("reuseport", "epoll", "Linux")
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{self, ErrorKind, Read};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::process::ExitCode;
    use std::time::Duration;

    use anyhow::{Context, Result, ensure};
    use common_server::{Args, Given, Opt, Shutdown, Takes, listen_beside, main_with};

    use crate::server::Server;
    use crate::support::run_all;

    const CONNECTIONS: usize = 1000;
    const MIGRATE: &str = "/proc/sys/net/ipv4/tcp_migrate_req";
    /// Bounds the wait for a reset that is already on its way.
    const BACKSTOP: Duration = Duration::from_secs(30);
    const OPTIONS: &[Opt] = &[
        Opt { name: "--workers", takes: Takes::Number(1, 64), help: "threads, and listeners (default 4)" },
        Opt { name: "--demo", takes: Takes::Nothing, help: "measure the spread, close a listener, and exit" },
    ];

    pub fn main() -> ExitCode {
        main_with("reuseport", OPTIONS, new, |workers| run_all(workers, Server::run))
    }

    fn new(args: Args, given: Given, shutdown: Shutdown) -> Result<(SocketAddr, Vec<Server>)> {
        let workers = given.number("--workers").unwrap_or(4);
        if given.has("--demo") {
            demo(workers.max(2))?;
            std::process::exit(0);
        }
        let listeners = listeners(args, workers)?;
        let addr = listeners[0].local_addr()?;
        let mut shutdowns = Vec::new();
        while shutdowns.len() + 1 < workers {
            shutdowns.push(shutdown.another().context("another descriptor for the shutdown signal")?);
        }
        // The original has to outlive its duplicates. So this thread keeps it, because this thread joins the others.
        let shutdowns = std::iter::once(shutdown).chain(shutdowns);
        let servers = listeners.into_iter().zip(shutdowns).map(|(listener, shutdown)| Server::new(listener, shutdown));
        Ok((addr, servers.collect::<Result<_>>()?))
    }

    fn listeners(args: Args, count: usize) -> Result<Vec<TcpListener>> {
        let mut listeners = vec![listen_beside(args.addr, args.backlog)?];
        let addr = listeners[0].local_addr()?;
        while listeners.len() < count {
            listeners.push(listen_beside(addr, args.backlog)?);
        }
        Ok(listeners)
    }

    fn demo(workers: usize) -> Result<()> {
        let args = Args { addr: SocketAddr::from(([127, 0, 0, 1], 0)), backlog: 4096 };
        let mut listeners = listeners(args, workers)?;
        let addr = listeners[0].local_addr()?;
        println!("{workers} listeners on one port, {CONNECTIONS} connections, none accepted yet");
        let clients: Vec<TcpStream> =
            (0..CONNECTIONS).map(|_| TcpStream::connect(addr)).collect::<io::Result<_>>().context("connect")?;

        let closed = listeners.remove(0);
        println!("listener 1 closes, with what its queue holds");
        drop(closed);
        let queued: Vec<usize> = listeners.iter().map(drain).collect::<io::Result<_>>()?;
        let lost = clients.iter().map(was_reset).collect::<io::Result<Vec<bool>>>()?;
        let lost = lost.into_iter().filter(|lost| *lost).count();
        let migrates = std::fs::read_to_string(MIGRATE).is_ok_and(|value| value.trim() == "1");
        for (at, queued) in queued.iter().enumerate() {
            println!("listener {}: {queued} accepted", at + 2);
        }
        println!("reset: {lost} clients, which had connected and could have sent already");
        println!("net.ipv4.tcp_migrate_req is {}", if migrates { "1: queues move to the others" } else { "0" });
        let kept: usize = queued.iter().sum();
        ensure!(kept + lost == CONNECTIONS, "{kept} accepted and {lost} reset are not all");
        Ok(())
    }

    /// Accepts all queued clients, and closes each connection with a FIN.
    fn drain(listener: &TcpListener) -> io::Result<usize> {
        let mut accepted = 0;
        loop {
            match listener.accept() {
                Ok(_) => accepted += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(accepted),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the client sees the end: a reset, or the FIN of the listener that accepted it.
    fn was_reset(mut client: &TcpStream) -> io::Result<bool> {
        client.set_read_timeout(Some(BACKSTOP))?;
        match client.read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(true),
            Err(error) => Err(error),
            Ok(_) => Ok(false),
        }
    }
}
