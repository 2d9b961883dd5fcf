//! Whether what a check is about came about.
//!
//! Invariant: a check whose situation did not come about is skipped, and says what was there instead. It does not pass:
//! nothing was tried. A server that treats those wrong who are there anyway has failed before that.

use super::Trial;
use crate::client::Client;
use crate::failure::{Step, Stop, size};

impl Trial<'_> {
    /// Skips the check if the server has taken from its clients all that they sent, and owes none of them anything.
    pub fn expect_owed(&mut self, clients: &[Client]) -> Step {
        if clients.iter().any(Client::is_owed) || self.server()?.exit_status().is_some() {
            return Ok(());
        }
        let sent: u64 = clients.iter().map(Client::outstanding).sum();
        Err(Stop::skip(format!(
            "nothing is owed: the sockets took all of the {} that clients sent and did not read",
            size(sent)
        )))
    }

    /// Skips the check if nobody waits although the server may open no descriptor more: those inside are served, and so
    /// are all `outside`, who came when there was none left.
    pub fn expect_lack(&mut self, inside: &mut [Client], outside: &[Client]) -> Step {
        if outside.iter().any(|client| !client.has_an_answer()) {
            return Ok(());
        }
        // It may have made room for them at the expense of these.
        if !inside.is_empty() {
            self.echo_all(inside, 1)?;
        }
        Err(Stop::skip(match outside.len() {
            0 => "its accept queue takes nobody who could wait while it has no descriptor".to_owned(),
            many => format!(
                "a limit of descriptors keeps nobody waiting: {many} clients came when its processes could open none, and \
                 were served (its connections are no descriptors of the process that accepts them)"
            ),
        }))
    }
}
