//! A server without a free descriptor, and clients that wait for one.
//!
//! Invariant: the lack is seen, or the check is skipped. A limit is lowered while the server runs; where this keeps nobody
//! waiting, it holds from the start: an accept that is in flight knows only the limit of the moment when it was submitted
//! (io_uring).

use super::Trial;
use crate::client::{Client, ConnectOptions};
use crate::failure::{Step, Stop};
use crate::server::{Limits, Options};
use crate::subject::Model;

/// Clients that get the last descriptors.
pub const INSIDE: usize = 12;
/// Clients that come after those.
const OUTSIDE: usize = 6;

/// What a server has to do at a lack of descriptors.
pub const EMFILE: &str = "accept fails with EMFILE and the connection stays queued: stop watching the listener, and try again \
                          when a connection was closed, and after a while.";

impl Trial<'_> {
    /// A server without a free descriptor: the clients that it serves, and the clients in the accept queue, which sent a
    /// byte. `will_be_freed`: the clients inside are to leave, and to let the others in.
    pub fn fill_up(&mut self, will_be_freed: bool) -> Step<(Vec<Client>, Vec<Client>)> {
        self.suspect(EMFILE);
        let base = self.descriptors_without_clients()?;
        let (mut inside, each) = self.some_clients(base)?;
        let rest = INSIDE - inside.len();
        self.leave_room(rest * each)?;
        inside.extend(self.admit(rest)?);
        self.echo_all(&mut inside, 100)?;
        let mut outside = self.queue_up()?;
        // A process for each client has its descriptor there, and none becomes free in the one that accepts when clients
        // leave.
        let one_process = self.process()?.processes().is_some_and(|processes| processes.len() == 1);
        if outside.iter().all(Client::has_an_answer) && (one_process || !will_be_freed) {
            // The first clients took more descriptors than later ones: a pool that fills up, say.
            inside.append(&mut outside);
            self.leave_room(0)?;
            outside = self.queue_up()?;
        }
        match self.expect_lack(&mut inside, &outside) {
            Err(Stop::Skip(_)) if self.subject.model == Model::Completion && !outside.is_empty() => {
                inside.into_iter().chain(outside).for_each(Client::reset_quietly);
                self.full_from_the_start(base, each)
            }
            lack => lack.map(|()| (inside, outside)),
        }
    }

    /// The same with a limit that the server has from its start, which can be raised; it has so many descriptors without
    /// clients, and so many for each.
    pub fn full_from_the_start(&mut self, base: usize, each: usize) -> Step<(Vec<Client>, Vec<Client>)> {
        let limit = base + INSIDE * each;
        let limits = Limits { nofile: Some(limit as u64), raisable: true, ..Limits::default() };
        self.step(format!("the server starts with a limit of {limit} descriptors: room for {INSIDE} clients"));
        match self.start(&Options { limits, ..Options::default() }).map(drop) {
            Err(Stop::Fail(_)) if !self.subject.own => {
                return Err(Stop::skip("it does not start with so few descriptors (ulimit -n)"));
            }
            started => started?,
        }
        if self.descriptor_limit()? != limits.nofile {
            return Err(Stop::skip("it raises its own limit of descriptors when it starts"));
        }
        self.suspect(EMFILE);
        let mut inside = self.admit(INSIDE)?;
        self.echo_all(&mut inside, 100)?;
        let outside = self.queue_up()?;
        self.expect_lack(&mut inside, &outside)?;
        Ok((inside, outside))
    }

    /// The clients that get the last descriptors. A server of somebody else gets them one at a time, because it may need a
    /// descriptor for a moment as it grows. With the ninth thread that allocates, glibc reads /sys/devices/system/cpu/online,
    /// and a client that is accepted meanwhile would find no descriptor.
    fn admit(&mut self, count: usize) -> Step<Vec<Client>> {
        if self.subject.own {
            return self.connect_many(count as u32);
        }
        self.log.step(format!("{count} clients connect one at a time; each sends 1 byte and reads it back"));
        let served = |trial: &mut Self| {
            let mut client = trial.connect_quietly(ConnectOptions::default())?;
            client.plan(1);
            super::echo_all(std::slice::from_mut(&mut client))?;
            Ok(client)
        };
        (0..count).map(|_| served(self)).collect()
    }

    /// A few clients of a server that had `base` descriptors before, and how many it uses for each.
    fn some_clients(&mut self, base: usize) -> Step<(Vec<Client>, usize)> {
        // A foreign server may use several descriptors for a client, for example a pair of pipes. Several clients are
        // measured, because the first may get pipes that were opened for an earlier client.
        let first = if self.subject.own { 1 } else { 4 };
        let mut clients = self.connect_many(first)?;
        self.echo_all(&mut clients, 1)?;
        let each = self.descriptors()?.saturating_sub(base).div_ceil(clients.len()).max(1);
        Ok((clients, each))
    }

    /// The descriptors that the server has without clients, and those for each client.
    pub fn descriptors_for_clients(&mut self) -> Step<(usize, usize)> {
        let base = self.descriptors_without_clients()?;
        Ok((base, self.some_clients(base)?.1))
    }

    /// More clients; each sends a byte.
    pub fn queue_up(&mut self) -> Step<Vec<Client>> {
        let mut clients = self.connect_until_full(OUTSIDE as u32)?;
        self.knock(&mut clients, 1);
        // Before that, the server has not met the lack, and might see only what comes next.
        self.rest()?;
        Ok(clients)
    }
}
