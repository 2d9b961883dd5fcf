//! Clients that do not read, and clients that wait at the door.
//!
//! Invariant: what a foreign server does by its own policy (it turns clients away, it cuts off who does not read) is no
//! failure; its death is one.

use std::time::Duration;

use super::Trial;
use crate::client::{Client, ConnectOptions, send_all_until_stuck};
use crate::failure::{Step, Stop, Symptom, size};

/// More than both directions' socket buffers hold on Linux (8 to 9 MiB), so that the rest is in the server's own
/// memory. Nothing is judged by it: a server that takes all of it is not stuck, and how much a server may hold is the bound
/// of `write::a_client_that_never_reads_costs_bounded_memory`.
const FILL: u64 = 16 << 20;

impl Trial<'_> {
    /// Lets all of them send without reading until the server takes no more; returns what it took in all.
    pub fn fill(&mut self, clients: &mut [Client]) -> Step<u64> {
        self.fill_up_to(clients, FILL)
    }

    /// As `fill`, with at most `limit` bytes for each.
    pub fn fill_up_to(&mut self, clients: &mut [Client], limit: u64) -> Step<u64> {
        let who = match &*clients {
            [client] => format!("c{} sends", client.id),
            many => format!("{} clients send", many.len()),
        };
        self.log.step(format!("{who} without reading until the server takes no more"));
        let taken = send_all_until_stuck(clients, limit);
        let taken = self.unless_cut_off(taken)?;
        self.log.step(format!("the server takes {}", size(taken)));
        self.expect_owed(clients)?;
        Ok(taken)
    }

    /// Gives the connections that the server accepts from here on small send buffers, so that little is needed until one
    /// is stuck; whether that could be done.
    pub fn small_send_buffers(&mut self) -> Step<bool> {
        const SMALL: usize = 8 * 1024;
        let done = self.server()?.process.is_some_and(|process| process.narrow(SMALL));
        if done {
            self.log.step("the server's sockets have send buffers of 16 KiB from here on (a small tcp_wmem)");
        }
        Ok(done)
    }

    /// Bytes that a `NARROW` client has to send without reading so that the server reads them all, and cannot write
    /// them all on: less than what a server may hold for one connection, and more than its socket takes, which depends
    /// on the kernel's congestion control.
    pub fn more_than_fits(&mut self) -> Step<u64> {
        self.more_than_fits_by(64 * 1024)
    }

    /// As `more_than_fits`, so that the server holds at least `least` bytes.
    pub fn more_than_fits_by(&mut self, least: u64) -> Step<u64> {
        const STEP: u64 = 32 * 1024;
        // A socket that takes this much takes all that these checks are about.
        const MOST: u64 = 2 << 20;
        // Without /proc, what suits most.
        const USUAL: u64 = 200 * 1024;
        let mut client = self.connect_quietly(ConnectOptions::NARROW)?;
        loop {
            if client.sent >= MOST {
                self.expect_owed(std::slice::from_ref(&client))?;
                break;
            }
            let sent = client.send_quietly(STEP);
            self.unless_cut_off(sent)?;
            self.rest()?;
            match client.at_server() {
                None => return Ok(USUAL),
                // Where some are unread it reads no more, and holds all that it ever will.
                Some((unread, held)) if unread > 0 || held >= least => break,
                Some(_) => {}
            }
        }
        let enough = client.sent;
        client.reset_quietly();
        self.probe()?;
        Ok(enough)
    }

    /// A foreign server may cut off a client that does not read, instead of waiting for it: then the check is skipped.
    pub fn unless_cut_off<T>(&mut self, result: Step<T>) -> Step<T> {
        match result {
            Err(stop) if self.cuts_off(&stop)? => {
                Err(Stop::skip("it cuts off a client that does not read, by its own policy"))
            }
            other => other,
        }
    }

    /// Whether this is a foreign server's policy against a client that does not read, and not its death.
    pub fn cuts_off(&mut self, stop: &Stop) -> Step<bool> {
        const DYING: Duration = Duration::from_millis(200);
        let cut = matches!(stop, Stop::Fail(failure) if matches!(failure.symptom, Symptom::Reset | Symptom::Truncated));
        Ok(cut && !self.subject.own && self.server()?.wait_exit(DYING).is_none())
    }

    /// Each of these clients sends `bytes`, whether or not the server has a descriptor for it.
    pub fn knock(&mut self, clients: &mut [Client], bytes: u64) {
        self.log.step(format!("each of the {} sends {}", clients.len(), size(bytes)));
        for client in clients {
            client.plan(bytes);
            // One that a foreign server has turned away at once may say so here already; `admitted` sees to it.
            let _ = client.write_some(bytes as usize);
        }
    }

    /// The clients that knocked are served now. A foreign server may have turned some away instead: those are left out.
    pub fn admitted(&mut self, clients: Vec<Client>) -> Step<Vec<Client>> {
        let mut served = Vec::new();
        for mut client in clients {
            match client.expect_echo() {
                Ok(()) => served.push(client),
                Err(stop) if self.cuts_off(&stop)? => self.log.step(format!("c{} was turned away", client.id)),
                Err(stop) => return Err(stop),
            }
        }
        Ok(served)
    }
}
