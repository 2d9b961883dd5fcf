//! What connections leave behind in the server's process: children that were not waited for, threads that were not
//! joined.
//!
//! Invariant: a number is compared with the same server's own after an earlier round. What a server keeps once (a pool,
//! a cache, the children of the last round) is no growth.

use super::Trial;
use super::verdict::gone;
use crate::client::Client;
use crate::failure::{Step, Stop, Symptom};

/// Clients of a round.
const ROUND: u32 = 40;
const ROUNDS: usize = 4;

const ZOMBIES: &str = "A child that has ended stays a zombie until its parent waits for it, and keeps its process id: ignore \
                       SIGCHLD (SA_NOCLDWAIT), or call waitpid with WNOHANG until it finds none. Signals of several ends \
                       come as one, so one waitpid for each SIGCHLD is too few.";
const NOT_JOINED: &str = "A thread that has ended keeps its stack until it is joined, or was detached: detach it \
                          (pthread_detach) where nobody joins it.";

impl Trial<'_> {
    /// Rounds of clients that come, are served and leave at once: what `count` counts must not go on growing by a client.
    fn expect_steady(&mut self, mut count: impl FnMut(&mut Self) -> Step<usize>, what: &str, cause: &str) -> Step {
        self.needs_proc()?;
        self.process()?;
        let mut counts: Vec<usize> = Vec::new();
        for round in 0..ROUNDS {
            let mut clients = self.connect_many(ROUND)?;
            self.echo_all(&mut clients, 10)?;
            self.leave_at_once(clients)?;
            self.rest()?;
            // A server may see to it at its next accept: what this one leaves is within the margin.
            for _ in 0..2 {
                self.probe()?;
                self.rest()?;
            }
            counts.push(count(self)?);
            // The first round is the server's to grow in.
            if round > 1 && !grew(counts[round - 1], counts[round]) {
                return Ok(());
            }
        }
        if !counts[1..].windows(2).all(|pair| grew(pair[0], pair[1])) {
            return Ok(());
        }
        let shown: Vec<String> = counts.iter().map(usize::to_string).collect();
        let what = format!("{what} after each {ROUND} clients that came and left: {}", shown.join(", "));
        Err(self.with_view(Symptom::Leak, what, cause))
    }

    /// The clients close. Children that serve one client each end while their parent is stopped, so that one SIGCHLD stands
    /// for all of them.
    fn leave_at_once(&mut self, clients: Vec<Client>) -> Step {
        let stopped = self.stop_the_parent(clients.len())?;
        self.step(format!("all {} close", clients.len()));
        drop(clients);
        self.await_ends()?;
        if stopped {
            self.await_children()?;
            self.thaw()?;
        }
        Ok(())
    }

    /// Stops the server's first process, if it has a child for each client; whether it did.
    #[cfg(target_os = "linux")]
    fn stop_the_parent(&mut self, clients: usize) -> Step<bool> {
        let one_each = self.children()?.into_iter().filter(|child| !child.is_zombie()).count() >= clients;
        if one_each {
            self.step("the server's first process is stopped (SIGSTOP), and its children are not");
            self.server()?.signal(rustix::process::Signal::STOP)?;
            self.frozen = true;
        }
        Ok(one_each)
    }

    /// Waits until each child has ended, or sleeps.
    #[cfg(target_os = "linux")]
    fn await_children(&mut self) -> Step {
        use std::time::{Duration, Instant};
        let end = Instant::now() + Duration::from_secs(5);
        let busy = |child: &observe::Process| !child.is_zombie() && child.threads().iter().any(|it| it.state != 'S');
        while self.children()?.iter().any(busy) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn children(&mut self) -> Step<Vec<observe::Process>> {
        let process = self.process()?;
        let mut processes = process.processes().unwrap_or_default();
        processes.retain(|child| child.pid != process.pid);
        Ok(processes)
    }

    #[cfg(not(target_os = "linux"))]
    fn stop_the_parent(&mut self, _clients: usize) -> Step<bool> {
        Ok(false)
    }

    #[cfg(not(target_os = "linux"))]
    fn await_children(&mut self) -> Step {
        Ok(())
    }

    /// Asserts that children which have ended are waited for.
    pub fn expect_no_zombies(&mut self) -> Step {
        let count = |trial: &mut Self| trial.process()?.zombies().ok_or_else(gone);
        self.expect_steady(count, "the server has children that have ended and were not waited for (zombies)", ZOMBIES)
    }

    /// Asserts that stacks of threads which have ended are given back.
    pub fn expect_threads_joined(&mut self) -> Step {
        let count = |trial: &mut Self| {
            let mappings = trial.process()?.mappings();
            mappings.filter(|count| *count > 0).ok_or_else(|| Stop::skip("needs /proc/PID/maps"))
        };
        self.expect_steady(count, "the server's address space has this many pieces", NOT_JOINED)
    }
}

/// By half a round or more: a signal that stands for two ends leaves fewer than all behind.
fn grew(before: usize, after: usize) -> bool {
    after >= before + ROUND as usize / 2
}
