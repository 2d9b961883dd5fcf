//! Many events in one wait: everything that came before it has to be taken, because an edge is reported once.
//!
//! The means is a freeze: SIGSTOP, the client's steps, SIGCONT. What the client did then meets the server at once.

use crate::check::Check;
use crate::client::echo_all;
use crate::failure::Step;
use crate::trial::Trial;

const GROUP: &str = "drain";

pub const CHECKS: &[Check] = &[
    Check {
        group: GROUP,
        name: "a_burst_of_connects_in_one_wakeup_is_all_accepted",
        clause: 2,
        about: "8 clients connect and send a byte while the server is stopped; no further connect may be needed",
        alone: false,
        run: |trial| burst_of_connects(trial, 8),
    },
    Check {
        group: GROUP,
        name: "more_connects_than_any_batch_in_one_wakeup_are_all_accepted",
        clause: 2,
        about: "300 connects in one wake: a bounded accept loop has to come back by itself",
        alone: false,
        run: |trial| burst_of_connects(trial, 300),
    },
    Check {
        group: GROUP,
        name: "a_burst_of_bytes_in_one_wakeup_is_all_read",
        clause: 2,
        about: "64 KiB in 16 sends arrive while the server is stopped",
        alone: false,
        run: burst_of_bytes,
    },
];

fn burst_of_connects(trial: &mut Trial<'_>, count: u32) -> Step {
    trial.server()?;
    trial.freeze()?;
    let mut clients = trial.connect_many(count)?;
    trial.step(format!("each of the {count} sends 1 byte"));
    for client in &mut clients {
        client.plan(1);
        client.write_some(1)?;
    }
    trial.thaw()?;
    // No connect before the verdict: it would bring the missing edge.
    echo_all(&mut clients)
}

fn burst_of_bytes(trial: &mut Trial<'_>) -> Step {
    let mut client = trial.connect()?;
    client.echo(1)?;
    trial.freeze()?;
    for _ in 0..16 {
        client.send(4096)?;
    }
    trial.thaw()?;
    client.expect_echo()
}
