//! An answer that the server has written, and that waits in its socket.
//!
//! Invariant: that is seen and not measured: the server sleeps, its socket has bytes that were not delivered, and the
//! client's socket has room and nothing in it. On loopback, what is sent is there at once.

use std::time::{Duration, Instant};

use observe::{View, queues};

use super::Trial;
use crate::client::{Client, echo_all};
use crate::failure::{Failure, Step, Stop, Symptom};

/// Held back so long, it is no packet on its way. The kernel lets go of it after 200 ms.
const HELD: Duration = Duration::from_millis(50);
/// Whoever has nothing to see here is not waited for: the rest is judged as any echo.
const PATIENCE: Duration = Duration::from_secs(2);

impl Trial<'_> {
    /// Sends what is planned, and waits for the answer; fails if that is held back in the server's socket.
    pub fn expect_at_once(&mut self, client: &mut Client) -> Step {
        let server = self.server()?.addr;
        let start = Instant::now();
        let mut held_since = None;
        while client.received < client.planned && start.elapsed() < PATIENCE {
            client.write_some(usize::MAX)?;
            if client.read_some(1)? > 0 {
                continue;
            }
            let (at_client, at_server) = (queues(client.local, server), queues(server, client.local));
            let is_held = match (at_client, at_server) {
                (Some((0, 0)), Some((0, unsent))) => unsent > 0,
                _ => false,
            };
            match (is_held, held_since) {
                (false, _) => held_since = None,
                (true, None) => held_since = Some(Instant::now()),
                (true, Some(since)) if since.elapsed() > HELD => return Err(self.held_back(client)?),
                (true, Some(_)) => {}
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        echo_all(std::slice::from_mut(client))
    }

    fn held_back(&mut self, client: &Client) -> Step<Stop> {
        let port = self.server()?.addr.port();
        let view = self.process()?.view(port).unwrap_or_default();
        client.log.blame(client.local);
        let what = format!(
            "c{}'s answer is in the server's socket, and is not sent: the server has written it, and c{}'s socket is empty",
            client.id, client.id
        );
        let kernel = crate::diagnose::threads(&view);
        let failure = Failure::new(Symptom::Slow, what, why(&view, client));
        Ok(Stop::Fail(Box::new(Failure { kernel, is_fundamental: true, ..failure })))
    }
}

fn why(view: &View, client: &Client) -> String {
    let holder = view.connection(client.local).and_then(|socket| socket.holder());
    match holder.map(|holder| (holder.fd, observe::corked(holder))) {
        Some((fd, Some(true))) => format!(
            "TCP_CORK is set on fd {fd}, and stays set: the kernel sends full segments only, and what is left after 200 ms. \
             So each short answer takes 200 ms. Leave TCP_CORK alone, or take it off after each answer."
        ),
        _ => "The kernel was told that more would follow (MSG_MORE, SPLICE_F_MORE, or TCP_CORK for a while), and nothing did. \
              Say so only if there is more."
            .into(),
    }
}
