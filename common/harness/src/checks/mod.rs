//! The checks, a file for each group.
//!
//! Invariant: a group's order is from the plainest to the hardest, so that the first failure is the one to look at first.

use crate::check::Check;

mod close;
mod drain;
mod echo;
mod fairness;
mod faults;
mod fd_setsize;
mod idle;
mod interleaving;
mod lifetime;
mod scale;
mod start;
mod wakeup;
mod write;

/// The groups in the order in which they are shown.
pub const GROUPS: &[(&str, &[Check])] = &[
    ("echo", echo::CHECKS),
    ("drain", drain::CHECKS),
    ("wakeup", wakeup::CHECKS),
    ("close", close::CHECKS),
    ("write", write::CHECKS),
    ("fd_setsize", fd_setsize::CHECKS),
    ("faults", faults::CHECKS),
    ("idle", idle::CHECKS),
    ("interleaving", interleaving::CHECKS),
    ("fairness", fairness::CHECKS),
    ("scale", scale::CHECKS),
    ("lifetime", lifetime::CHECKS),
    ("start", start::CHECKS),
];

/// All checks, in order.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    GROUPS.iter().flat_map(|(_, checks)| checks.iter())
}

/// Some of each group, quick ones, in which each of the catalogue's plainer bugs shows: what `cargo test` runs on a variant.
/// All are run on it by `cargo lab check --all`, and by the test with VARIANTS=all in its environment.
pub const QUICK: &[&str] = &[
    "echo::one_byte_comes_back",
    "echo::messages_around_every_usual_buffer_size_come_back",
    "echo::sixty_four_connections_keep_their_bytes_apart",
    "drain::a_burst_of_connects_in_one_wakeup_is_all_accepted",
    "drain::a_burst_of_bytes_in_one_wakeup_is_all_read",
    "drain::many_bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished",
    "wakeup::the_newest_connection_is_heard_first",
    "wakeup::those_who_stay_are_heard_whoever_leaves",
    "wakeup::bytes_sent_right_after_the_connect_are_heard",
    "wakeup::reading_goes_on_after_back_pressure",
    "close::fin_alone_is_answered_with_fin",
    "close::fin_right_behind_64_kib_loses_nothing",
    "close::a_reset_ends_that_connection_alone",
    "close::connections_that_were_reset_are_freed",
    "write::a_paused_reader_is_not_disconnected",
    "write::a_client_that_never_reads_leaves_others_served",
    "write::small_pieces_sent_while_the_server_cannot_write_stay_in_order",
    "fd_setsize::a_connection_past_fd_1023_is_served_or_closed_at_once",
    "faults::out_of_descriptors_the_server_rests",
    "faults::queued_clients_are_served_as_soon_as_others_leave",
    "faults::a_stop_and_a_continue_are_survived",
    "idle::a_hundred_idle_connections_cost_nothing",
    "idle::a_stuck_client_that_has_finished_costs_nothing",
    "interleaving::bytes_and_fin_between_any_two_calls_are_answered",
    "fairness::four_clients_that_flood_do_not_keep_a_fifth_waiting",
    "lifetime::large_messages_of_two_connections_are_not_mixed",
    "start::bad_arguments_are_refused_with_the_usage",
    "start::one_line_on_stdout_says_where_it_listens",
    "start::every_socket_is_blocking_or_not_as_its_model_needs",
    "start::sigint_ends_a_server_with_connections",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_ones_exist() {
        for name in QUICK {
            assert!(checks().any(|check| check.full_name() == *name), "{name}");
        }
    }
}
