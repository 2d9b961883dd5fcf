//! Servers that are broken on purpose: what each lacks, and what it fails for that.
//!
//! Invariant: they keep the same contract as the other servers, but for what is declared here. None stands in
//! `VARIANTS`, so none is in a run that has to be green, unless somebody names it.

use crate::{Model, Symptom, Variant, variant};

/// Something that a server lacks on purpose.
#[derive(Debug, Clone, Copy)]
pub struct Lack {
    /// The end of a sentence that begins with "it lacks": a noun, and what comes of the lack. No full stop.
    pub what: &'static str,
    /// What a check may fail with for that. Lost bytes, for example, are missing in the middle or at the end.
    pub symptoms: &'static [Symptom],
    /// The checks that it fails for that, each as `group::name`.
    pub fails: &'static [&'static str],
    /// Those that it fails or passes, because that is a matter of speed: of how soon a client reads, for example.
    pub may_fail: &'static [&'static str],
}

impl Lack {
    /// Whether a check may fail for this.
    pub fn is_shown_by(&self, check: &str) -> bool {
        self.fails.contains(&check) || self.may_fail.contains(&check)
    }
}

/// What tutorials print, in the order of the chapters.
pub const BROKEN: &[Variant] = &[
    Variant { here: true, lacks: BLOCKING, ..variant("02-poll", "poll", "textbook_blocking", Model::Readiness) },
    Variant { lacks: EDGE, ..variant("04-epoll-et", "epoll-et", "textbook", Model::Readiness) },
];

const BLOCKING: &[Lack] = &[
    Lack {
        what: "O_NONBLOCK: one client that does not read stops the server in a write, and all others wait",
        symptoms: &[Symptom::Blocked, Symptom::Contract],
        fails: &[
            "write::a_client_that_never_reads_leaves_others_served",
            "write::a_client_that_reads_a_little_and_rests_leaves_others_served",
            "write::twenty_clients_that_never_read_leave_others_served",
            "write::slow_readers_of_different_speeds_are_all_served",
            "write::the_rest_for_a_client_that_has_finished_keeps_nobody_waiting",
            "lifetime::bytes_held_for_two_stuck_clients_are_not_mixed",
            "lifetime::bytes_held_while_thousands_of_reads_pass_are_kept",
            "lifetime::resets_in_the_middle_of_sends_leave_a_stream_byte_exact",
            "start::every_socket_is_blocking_or_not_as_its_model_needs",
        ],
        may_fail: &["start::sigint_ends_a_server_with_connections", "close::bytes_owed_to_others_come_whoever_leaves"],
    },
    Lack {
        what: "an answer to an accept that fails: without a free descriptor the server ends",
        symptoms: &[Symptom::Exited],
        fails: &[
            "faults::out_of_descriptors_the_server_rests",
            "faults::out_of_descriptors_attempts_stay_few",
            "faults::out_of_descriptors_those_connected_go_on",
            "faults::queued_clients_are_served_as_soon_as_others_leave",
            "faults::a_descriptor_that_becomes_free_is_used_before_the_server_sleeps",
            "faults::queued_clients_are_served_when_the_limit_is_raised",
            "faults::queued_clients_are_served_when_the_limit_of_the_start_is_raised",
            "faults::twice_as_many_clients_as_descriptors_are_all_served_in_turn",
            "idle::once_there_are_descriptors_again_the_server_sleeps",
            "interleaving::an_interruption_of_any_wait_is_survived",
            "interleaving::a_client_behind_an_aborted_one_is_accepted",
            "interleaving::a_client_queued_without_descriptors_is_served_once_one_is_free",
        ],
        may_fail: &[],
    },
];

const EDGE: &[Lack] = &[
    Lack {
        what: "a place for the bytes that a write does not take: a client that reads slowly loses them",
        symptoms: &[Symptom::WrongBytes, Symptom::WriteLost, Symptom::Truncated],
        fails: &[
            "drain::a_backlog_larger_than_the_send_buffer_is_drained_after_a_wakeup",
            "drain::room_on_more_connections_than_any_batch_in_one_wakeup_is_all_used",
            "wakeup::reading_goes_on_after_back_pressure",
            "wakeup::input_and_room_for_output_in_one_wakeup_are_both_used",
            "close::fin_while_megabytes_are_owed_loses_nothing",
            "close::bytes_owed_to_others_come_whoever_leaves",
            "write::a_paused_reader_is_not_disconnected",
            "write::a_client_that_reads_a_little_and_rests_leaves_others_served",
            "write::twenty_clients_that_never_read_leave_others_served",
            "write::a_client_that_never_reads_costs_bounded_memory",
            "write::a_slow_reader_gets_64_mib_byte_exact",
            "write::small_pieces_sent_while_the_server_cannot_write_stay_in_order",
            "write::more_pieces_than_one_writev_takes_come_back",
            "write::a_reader_that_rests_is_not_thrown_out",
            "write::the_rest_for_a_client_that_has_finished_keeps_nobody_waiting",
            "faults::a_send_that_a_stop_cuts_short_goes_on",
            "idle::a_drained_connection_costs_nothing_again",
            "idle::a_stuck_client_that_has_finished_costs_nothing",
            "interleaving::back_pressure_is_lifted_at_any_time",
            "scale::memory_comes_back_when_nothing_is_owed",
            "lifetime::bytes_held_for_two_stuck_clients_are_not_mixed",
            "lifetime::bytes_held_while_thousands_of_reads_pass_are_kept",
        ],
        may_fail: &[
            "echo::messages_around_every_usual_buffer_size_come_back",
            "echo::tiny_and_large_messages_take_turns_on_one_connection",
            "echo::a_stream_of_64_mib_comes_back_while_it_is_sent",
            "echo::more_than_4_gib_on_one_connection_come_back",
            "echo::messages_that_end_at_2_and_at_4_gib_come_back",
            "wakeup::a_client_that_reads_in_bursts_while_it_sends_is_never_left_waiting",
            "write::a_client_that_never_reads_leaves_others_served",
            "write::tiny_socket_buffers_in_both_directions_lose_nothing",
            "write::slow_readers_of_different_speeds_are_all_served",
            "faults::a_stop_with_bytes_under_way_is_survived",
            "faults::out_of_descriptors_those_connected_go_on",
            "faults::stops_while_bytes_trickle_are_survived",
            "fairness::a_connection_and_the_listener_have_one_batch_in_each_turn",
            "fairness::four_clients_that_flood_do_not_keep_a_fifth_waiting",
            "fairness::four_clients_that_flood_do_not_keep_a_new_one_waiting",
            "lifetime::large_messages_of_two_connections_are_not_mixed",
            "lifetime::resets_in_the_middle_of_sends_leave_a_stream_byte_exact",
        ],
    },
    Lack {
        what: "a second attempt to accept after EMFILE: clients that are queued by then wait until another one comes",
        symptoms: &[Symptom::AcceptQueueNotDrained],
        fails: &[
            "faults::queued_clients_are_served_as_soon_as_others_leave",
            "faults::a_descriptor_that_becomes_free_is_used_before_the_server_sleeps",
            "faults::queued_clients_are_served_when_the_limit_is_raised",
            "faults::queued_clients_are_served_when_the_limit_of_the_start_is_raised",
            "faults::twice_as_many_clients_as_descriptors_are_all_served_in_turn",
            "idle::once_there_are_descriptors_again_the_server_sleeps",
            "interleaving::a_client_queued_without_descriptors_is_served_once_one_is_free",
        ],
        may_fail: &[],
    },
    Lack {
        what: "an end to its turn: a client that sends without end keeps the others waiting",
        symptoms: &[Symptom::Starved],
        fails: &["fairness::a_connection_and_the_listener_have_one_batch_in_each_turn"],
        may_fail: &[
            "fairness::four_clients_that_flood_do_not_keep_a_fifth_waiting",
            "fairness::four_clients_that_flood_do_not_keep_a_new_one_waiting",
        ],
    },
];
