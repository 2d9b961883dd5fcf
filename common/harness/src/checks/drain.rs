//! Many events in one wait: everything that came before it has to be taken, because an edge is reported once.
//!
//! The means is a freeze: SIGSTOP, the client's steps, SIGCONT. What the client did then meets the server at once.

use crate::check::Check;
use crate::client::{Client, echo_all, expect_eof_all, send_all};
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
        about: "1,500 connects in one wake (300 to a foreign server): a bounded accept loop has to come back by itself, and so has \
                a multishot accept that ended",
        alone: false,
        run: more_than_any_batch,
    },
    Check {
        group: GROUP,
        name: "a_burst_of_bytes_in_one_wakeup_is_all_read",
        clause: 2,
        about: "64 KiB in 16 sends arrive while the server is stopped",
        alone: false,
        run: burst_of_bytes,
    },
    Check {
        group: GROUP,
        name: "any_number_of_bytes_in_one_wakeup_is_all_read",
        clause: 2,
        about: "sizes around every usual buffer, each in one wake of its own on one connection",
        alone: false,
        run: any_number_of_bytes,
    },
    Check {
        group: GROUP,
        name: "bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished",
        clause: 3,
        about: "10 bytes and FIN arrive as one event: the read that returns 0 has to be made as well",
        alone: false,
        run: |trial| bytes_and_fin(trial, &[10]),
    },
    Check {
        group: GROUP,
        name: "many_bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished",
        clause: 3,
        about: "FIN behind 1 byte to 200,000: RDHUP is news, and the bytes before it come first",
        alone: false,
        run: |trial| bytes_and_fin(trial, &[1, 4095, 4096, 16_384, 65_536, 65_537, 131_072, 200_000]),
    },
    Check {
        group: GROUP,
        name: "bursts_on_many_connections_in_one_wakeup_are_all_read",
        clause: 2,
        about: "32 KiB on each of 40 connections at once: more than one turn's work, on more than one connection",
        alone: false,
        run: bursts_on_many,
    },
    Check {
        group: GROUP,
        name: "a_second_burst_is_read_like_the_first",
        clause: 2,
        about: "three bursts, each in one wake, on the same connection: the edge has to come again after a full drain",
        alone: false,
        run: burst_after_burst,
    },
    Check {
        group: GROUP,
        name: "connects_bytes_fins_and_resets_in_one_wakeup_are_all_handled",
        clause: 2,
        about: "new clients, old clients with bytes, some finished, some reset: one wake, all in one batch",
        alone: false,
        run: mixed_batch,
    },
    Check {
        group: GROUP,
        name: "a_client_that_came_and_finished_in_one_wakeup_is_served",
        clause: 3,
        about: "connect, 3,000 bytes and FIN before the server could accept, 20 times over",
        alone: false,
        run: came_and_finished,
    },
    Check {
        group: GROUP,
        name: "a_backlog_larger_than_the_send_buffer_is_drained_after_a_wakeup",
        clause: 5,
        about: "a stopped server meets a full receive queue; reads, writes and pauses of one drain depend on each other",
        alone: false,
        run: full_queue,
    },
];

/// More than a completion queue of the usual size holds too; fewer where descriptors are scarce, or where nobody has said
/// whether they are: a foreign server on select has 1,024.
fn more_than_any_batch(trial: &mut Trial<'_>) -> Step {
    let count = if trial.subject.own && trial.needs_fds(1500).is_ok() { 1500 } else { 300 };
    burst_of_connects(trial, count)
}

fn burst_of_connects(trial: &mut Trial<'_>, count: u32) -> Step {
    trial.server()?;
    trial.freeze()?;
    let mut clients = trial.connect_many(count)?;
    trial.step(format!("each of the {count} sends 1 byte"));
    send_all(&mut clients, 1)?;
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

fn any_number_of_bytes(trial: &mut Trial<'_>) -> Step {
    let mut client = trial.connect()?;
    for around in [1, 1024, 4096, 8192, 16_384, 32_768, 65_536] {
        for bytes in [around - 1, around, around + 1].into_iter().filter(|bytes| *bytes > 0) {
            trial.freeze()?;
            client.send(bytes)?;
            trial.thaw()?;
            client.expect_echo()?;
        }
    }
    Ok(())
}

fn bytes_and_fin(trial: &mut Trial<'_>, sizes: &[u64]) -> Step {
    trial.server()?;
    for &bytes in sizes {
        let mut client = trial.connect()?;
        // Served once, so that accept is over and only bytes and FIN are in the batch.
        client.echo(1)?;
        trial.freeze()?;
        client.send(bytes)?;
        client.half_close()?;
        trial.thaw()?;
        client.expect_eof()?;
    }
    Ok(())
}

fn bursts_on_many(trial: &mut Trial<'_>) -> Step {
    let mut clients = trial.connect_many(40)?;
    trial.echo_all(&mut clients, 1)?;
    trial.freeze()?;
    trial.step("each of the 40 sends 32 KiB");
    send_all(&mut clients, 32 * 1024)?;
    trial.thaw()?;
    echo_all(&mut clients)
}

fn burst_after_burst(trial: &mut Trial<'_>) -> Step {
    let mut client = trial.connect()?;
    for bytes in [64 * 1024, 1, 64 * 1024] {
        trial.freeze()?;
        client.send(bytes)?;
        trial.thaw()?;
        client.expect_echo()?;
    }
    Ok(())
}

fn mixed_batch(trial: &mut Trial<'_>) -> Step {
    for _ in 0..5 {
        let mut old = trial.connect_many(12)?;
        trial.echo_all(&mut old, 100)?;
        trial.freeze()?;
        let mut new = trial.connect_many(12)?;
        trial.step(
            "4 of the old ones are reset, 4 send 5,000 bytes and FIN, 4 send 5,000 bytes; the new ones send 5,000",
        );
        old.drain(..4).for_each(Client::reset_quietly);
        send_all(&mut old, 5000)?;
        send_all(&mut new, 5000)?;
        for client in &mut old[..4] {
            client.half_close()?;
        }
        trial.thaw()?;
        expect_eof_all(&mut old[..4])?;
        echo_all(&mut old[4..])?;
        echo_all(&mut new)?;
    }
    Ok(())
}

fn came_and_finished(trial: &mut Trial<'_>) -> Step {
    trial.server()?;
    trial.freeze()?;
    let mut clients = trial.connect_many(20)?;
    trial.step("each of the 20 sends 3,000 bytes and FIN");
    send_all(&mut clients, 3000)?;
    for client in &mut clients {
        client.half_close()?;
    }
    trial.thaw()?;
    expect_eof_all(&mut clients)
}

fn full_queue(trial: &mut Trial<'_>) -> Step {
    let mut client = trial.connect()?;
    client.echo(1)?;
    trial.freeze()?;
    client.send_until_stuck(64 << 20)?;
    trial.thaw()?;
    // The server runs into its own full send buffer, stops reading, and has to find its way back from there.
    trial.settle()?;
    client.expect_echo()?;
    client.echo(1)
}
