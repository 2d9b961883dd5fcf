//! Every byte comes back, whatever the sizes.
//!
//! Invariant: each check compares every byte with the byte that the connection sent at that offset. A client sends and
//! reads at the same time. A client that sends first and reads later sends no more than the socket buffers hold.

use std::time::{Duration, Instant};

use harness_macros::check;

use crate::client::{Client, ConnectOptions, echo_all};
use crate::failure::{Step, Stop, Symptom};
use crate::trial::Trial;

/// One connection, one byte without a newline, and then a second one.
#[check(clause = 2, quick)]
fn one_byte_comes_back(trial: &mut Trial<'_>) -> Step {
    let mut client = trial.connect()?;
    client.echo(1)?;
    client.echo(1)
}

/// One byte five times, and then as many bytes as usual buffers have, each to a server at rest: what the server has written
/// does not wait in its socket.
#[check(clause = 2, quick)]
fn an_answer_is_not_held_back(trial: &mut Trial<'_>) -> Step {
    const TIMES: u32 = 5;
    let mut client = trial.connect()?;
    client.echo(1)?;
    trial.step(format!("c0 sends a byte and reads it back, {TIMES} times, with a rest before each"));
    for _ in 0..TIMES {
        trial.rest()?;
        client.plan(1);
        trial.expect_at_once(&mut client)?;
    }
    // A read that fills its buffer says nothing of what comes next.
    trial.step("c0 sends 512 bytes to 64 KiB and reads them back, each power of two once");
    for power in 9..=16 {
        trial.rest()?;
        client.plan(1 << power);
        trial.expect_at_once(&mut client)?;
    }
    Ok(())
}

/// Commands of other servers, and what a terminal sends for an interrupt.
const WORDS: &[&[u8]] = &[
    b"quit",
    b"QUIT",
    b"exit",
    b"bye",
    b"close",
    b"stop",
    b"shutdown",
    b"logout",
    b"end",
    b"help",
    b"ping",
    b".",
    b" ",
    b"\n",
    b"GET / HTTP/1.0\r\n",
    b"\x03",
    b"\x04",
    b"\x1a",
    b"\xff\xf4\xff\xfd\x06",
];
const ENDS: &[&[u8]] = &[b"", b"\n", b"\r\n", b"\0"];

/// Each byte alone, and words that are commands to other servers, alone and as a line: all come back, and mean nothing.
#[check(clause = 2)]
fn no_byte_and_no_word_is_a_command(trial: &mut Trial<'_>) -> Step {
    let mut client = trial.connect()?;
    trial.step("c0 sends each of the 256 bytes alone, and reads it back");
    let looked_at = [Symptom::Truncated, Symptom::Reset, Symptom::EofLost, Symptom::ReadLost, Symptom::WriteLost];
    match words(trial, &mut client) {
        // It did echo others, so it looks at them.
        Err(Stop::Fail(failure)) if client.received > 0 && looked_at.contains(&failure.symptom) => {
            Err(Stop::Fail(failure).because(
                "An echo server does not look at what it sends back. A connection ends with FIN, and not with a word.",
            ))
        }
        result => result,
    }
}

/// Each byte, and each word with each end, in a round trip of its own.
fn words(trial: &Trial<'_>, client: &mut Client) -> Step {
    (0..=u8::MAX).try_for_each(|byte| client.echo_words(&[byte]))?;
    for word in WORDS {
        let shown = word.escape_ascii();
        trial.step(format!("c0 sends '{shown}' alone and with \\n, \\r\\n and \\0 behind it, and reads each back"));
        ENDS.iter().try_for_each(|end| client.echo_words(&[*word, *end].concat()))?;
    }
    client.echo(1)
}

/// 1 to 131,073 bytes on one connection: one less than each usual buffer, as many, and one more.
#[check(clause = 2, quick)]
fn messages_around_every_usual_buffer_size_come_back(trial: &mut Trial<'_>) -> Step {
    let mut client = trial.connect()?;
    client.echo(1)?;
    client.echo(100)?;
    for size in (6..=17).map(|power| 1 << power) {
        for bytes in [size - 1, size, size + 1] {
            client.echo(bytes)?;
        }
    }
    Ok(())
}

/// 500 round trips of 1 byte on one connection.
#[check(clause = 2)]
fn single_bytes_come_back_one_by_one_in_order(trial: &mut Trial<'_>) -> Step {
    let mut client = trial.connect()?;
    trial.step("c0 sends a byte and reads it back, 500 times");
    for _ in 0..500 {
        client.plan(1);
        echo_all(std::slice::from_mut(&mut client))?;
    }
    Ok(())
}

/// 2,000 messages of 1 to 97 bytes are sent before the client reads anything, half of them while the server is stopped.
#[check(clause = 2)]
fn many_small_messages_before_the_first_read_come_back_in_order(trial: &mut Trial<'_>) -> Step {
    let mut client = trial.connect()?;
    let mut send = |trial: &Trial<'_>| {
        trial.step("c0 sends 1,000 messages of 1 to 97 bytes");
        (0..1000).try_for_each(|i| client.send_quietly(1 + i * 31 % 97))
    };
    send(trial)?;
    // A server that cannot be stopped reads them as they come.
    let stopped = match trial.freeze() {
        Err(Stop::Skip { .. }) => false,
        other => other.map(|()| true)?,
    };
    send(trial)?;
    if stopped {
        trial.thaw()?;
    }
    client.expect_echo()
}

/// 256 KiB are written before the first read: the socket buffers can hold them.
#[check(clause = 2)]
fn what_was_sent_whole_before_the_first_read_comes_back(trial: &mut Trial<'_>) -> Step {
    let mut client = trial.connect()?;
    client.send(256 * 1024)?;
    client.expect_echo()
}

/// 40 rounds of 1 byte, 200,000, 3 and 65,536 on a connection that stays.
#[check(clause = 2)]
fn tiny_and_large_messages_take_turns_on_one_connection(trial: &mut Trial<'_>) -> Step {
    let mut client = trial.connect()?;
    for _ in 0..40 {
        for bytes in [1, 200_000, 3, 65_536] {
            client.echo(bytes)?;
        }
    }
    Ok(())
}

/// 64 clients send pieces of different sizes in turn, and each gets its own bytes.
#[check(clause = 2, quick)]
fn sixty_four_connections_keep_their_bytes_apart(trial: &mut Trial<'_>) -> Step {
    let count = trial.up_to(64, 8)?;
    let mut clients = trial.connect_many(count)?;
    trial.step("each sends 20 pieces of 1 to 3,000 bytes, in turn with the others");
    for round in 0..20 {
        for client in &mut clients {
            client.send_quietly(1 + (u64::from(client.id) * 577 + round * 1009) % 3000)?;
        }
        // The echoes are read only now and then, so most pieces reach a server that still has earlier pieces.
        if round % 5 == 4 {
            echo_all(&mut clients)?;
        }
    }
    trial.step("all of them close, one after the other, and the rest goes on");
    while let Some(client) = clients.pop() {
        drop(client);
        clients.iter_mut().for_each(|client: &mut Client| client.plan(10));
        echo_all(&mut clients)?;
    }
    Ok(())
}

/// As many bytes as usual buffers have, 256 bytes to 128 KiB, on a connection that stays open; a new client after each.
#[check(clause = 6)]
fn a_message_that_just_fills_a_buffer_leaves_others_served(trial: &mut Trial<'_>) -> Step {
    let mut client = trial.connect()?;
    // And what people have for a round number, a packet's payload, a frame.
    let others = [1000, 1460, 1500, 4000, 10_000, 65_535];
    for bytes in (8..=17).map(|power| 1 << power).chain(others) {
        client.echo(bytes)?;
        // A loop that reads until a read is short has emptied the socket by now, and reads once more.
        trial.probe()?;
    }
    client.echo(1)
}

/// Full duplex: the client sends and reads at once, 64 MiB in all.
#[check(clause = 2)]
fn a_stream_of_64_mib_comes_back_while_it_is_sent(trial: &mut Trial<'_>) -> Step {
    trial.connect()?.echo(64 << 20)
}

const GIB: u64 = 1 << 30;

/// The advice for a stream that failed after gigabytes.
fn at_the_edge(stop: Stop) -> Stop {
    match stop {
        Stop::Fail(failure) if failure.symptom != Symptom::Exited => Stop::Fail(failure).because(
            "The stream stopped where it passes 2 GiB or 4 GiB: a counter of 31 or 32 bits wraps there. Count a \
             connection's bytes in 64 bits, or only what is owed.",
        ),
        other => other,
    }
}

/// One stream of more than 4 GiB, with pending bytes as it crosses 2^31 and 2^32: a counter of 31 or 32 bits wraps
/// there.
#[check(clause = 2, long)]
fn more_than_4_gib_on_one_connection_come_back(trial: &mut Trial<'_>) -> Step {
    const NEAR: u64 = 16 << 20;
    const A_TIME: u64 = 16 << 10;
    const SMALL: usize = 8 << 10;
    const LARGE: usize = 1 << 20;
    // A receive buffer of fixed size: a buffer that the kernel sizes holds tens of megabytes by then, and no bytes are
    // pending.
    let mut client = trial.connect_with(ConnectOptions::receive_buffer(256 << 10))?;
    let (process, port) = (trial.server()?.process, client.local.port());
    let send_buffer = |bytes| process.is_some_and(|process| process.narrow_connection(port, bytes));
    for edge in [2 * GIB, 4 * GIB] {
        client.echo(edge - NEAR - client.sent)?;
        // With a small receive buffer the server always has pending bytes.
        send_buffer(SMALL);
        let stuck = client.send_until_stuck(NEAR);
        trial.unless_cut_off(stuck)?;
        trial.step("c0 goes on to send, and reads so slowly that the server always owes something");
        client.plan(2 * NEAR);
        while client.received < edge {
            client.receive_quietly(A_TIME).map_err(at_the_edge)?;
            while client.write_some(A_TIME as usize).map_err(at_the_edge)? > 0 {}
        }
        client.expect_echo().map_err(at_the_edge)?;
        send_buffer(LARGE);
    }
    Ok(())
}

/// Messages that end one byte before 2 GiB and 4 GiB, exactly there, and one byte after. Each is echoed before the
/// next.
#[check(clause = 2, long)]
fn messages_that_end_at_2_and_at_4_gib_come_back(trial: &mut Trial<'_>) -> Step {
    let mut client = trial.connect()?;
    for edge in [2 * GIB, 4 * GIB] {
        client.echo(edge - 1 - client.sent)?;
        for _ in 0..3 {
            client.echo(1).map_err(at_the_edge)?;
        }
        client.echo(100_000).map_err(at_the_edge)?;
    }
    Ok(())
}

/// 70,000 round trips of 1 byte on one connection: a number of 16 bits that counts reads, writes or messages comes round.
#[check(clause = 2, long)]
fn seventy_thousand_messages_on_one_connection_come_back(trial: &mut Trial<'_>) -> Step {
    const MESSAGES: u32 = 70_000;
    const NEEDED: u32 = 1 << 16;
    const LONGEST: Duration = Duration::from_secs(180);
    let mut client = trial.connect()?;
    trial.step(format!("c0 sends a byte and reads it back, {MESSAGES} times"));
    let start = Instant::now();
    for count in 0..MESSAGES {
        if start.elapsed() > LONGEST && count <= NEEDED {
            return Err(Stop::skip(format!("only {count} round trips came about in {} s", LONGEST.as_secs())));
        }
        client.plan(1);
        echo_all(std::slice::from_mut(&mut client)).map_err(|stop| match count {
            65_530..=65_540 => stop.because("It worked 65,536 times, more or less: a number of 16 bits wraps there."),
            _ => stop,
        })?;
    }
    Ok(())
}
