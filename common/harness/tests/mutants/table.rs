//! The table: every mutant, the checks that catch it, and what else it breaks.

use std::fmt::Write;

use harness::Symptom;

use super::bug::Bug;
use super::serve::Base;

/// A server with a bug.
pub struct Mutant {
    pub base: Base,
    /// None: the base itself is the mistake.
    pub bug: Option<Bug>,
    /// What it does wrong.
    pub what: &'static str,
    /// The checks that have to fail, how, and words of the cause they have to name.
    pub caught: &'static [(&'static str, Symptom, &'static str)],
    /// Consequences: checks (or whole groups, as `drain::`) that may fail besides.
    pub also: &'static [&'static str],
}

impl Mutant {
    /// Held to this repository's own contract too.
    pub fn own(&self) -> bool {
        // io_uring notes RLIMIT_NOFILE when the accept is submitted: only a limit from the start bites, and the harness
        // starts only our own servers with one.
        own(self.base) || self.bug == Some(Bug::AcceptNotRearmed)
    }

    /// As in the test's name and after `--serve`.
    pub fn name(&self) -> String {
        let bug = self.bug.map(|bug| format!("{bug:?}")).unwrap_or_default();
        snake(&format!("{:?}{bug}", self.base))
    }
}

/// `EpollEt` as `epoll_et`.
pub fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// Those on io_uring and on blocking calls are started as foreign servers, which is half of the harness's ways to start one.
pub fn own(base: Base) -> bool {
    matches!(base, Select | Poll | EpollLt | EpollEt)
}

/// What `--serve NAME` stands for.
pub fn find(name: &str) -> (Base, Option<Bug>) {
    let correct = CORRECT.iter().find(|base| snake(&format!("{base:?}")) == name).map(|base| (*base, None));
    let mutant = || MUTANTS.iter().find(|mutant| mutant.name() == name).map(|mutant| (mutant.base, mutant.bug));
    correct.or_else(mutant).unwrap_or_else(|| panic!("there is no server '{name}'"))
}

/// The table as README.md shows it.
pub fn markdown() -> String {
    let mut table =
        String::from("| mutant | what it does | caught by (symptom) | may fail besides |\n|---|---|---|---|\n");
    for mutant in MUTANTS {
        let caught: Vec<_> = mutant.caught.iter().map(|(check, symptom, _)| format!("`{check}` ({symptom})")).collect();
        let (name, what, besides) = (mutant.name(), mutant.what, besides(mutant.also));
        let _ = writeln!(table, "| `{name}` | {what} | {} | {besides} |", caught.join("<br>"));
    }
    table
}

/// How many of each group: `drain 3, close all`.
fn besides(also: &[&str]) -> String {
    let of = |group: &str| also.iter().filter(|also| also.split("::").next() == Some(group)).count();
    let mut parts = Vec::new();
    for group in harness::checks::GROUPS {
        match of(group) {
            0 => {}
            _ if also.contains(&format!("{group}::").as_str()) => parts.push(format!("{group} all")),
            n => parts.push(format!("{group} {n}")),
        }
    }
    if parts.is_empty() { "nothing".into() } else { parts.join(", ") }
}

/// The bases that are right as they are.
pub const CORRECT: &[Base] = &[Base::Select, Base::Poll, Base::EpollLt, Base::EpollEt, Base::Uring, Base::Threads];

/// Run on every mutant, because they are quick; one or two of each group.
pub const FAST: &[&str] = &[
    "echo::one_byte_comes_back",
    "echo::single_bytes_come_back_one_by_one_in_order",
    "drain::a_burst_of_connects_in_one_wakeup_is_all_accepted",
    "drain::bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished",
    "wakeup::the_newest_connection_is_heard_first",
    "close::fin_alone_is_answered_with_fin",
    "close::connections_that_were_reset_are_freed",
    "faults::a_stop_and_a_continue_are_survived",
    "idle::a_server_without_clients_sleeps",
    "start::bad_arguments_are_refused_with_the_usage",
];

use Base::*;
use Symptom::*;

/// Plainest first, call by call.
pub const MUTANTS: &[Mutant] = &[
    Mutant {
        base: EpollEt,
        bug: Some(Bug::AcceptOncePerEdge),
        what: "accepts one connection for an edge",
        caught: &[(
            "drain::a_burst_of_connects_in_one_wakeup_is_all_accepted",
            AcceptQueueNotDrained,
            "accept until EAGAIN",
        )],
        also: &[
            "close::",
            "drain::",
            "echo::sixty_four_connections_keep_their_bytes_apart",
            "fairness::",
            "faults::",
            "fd_setsize::clients_below_fd_1024_go_on_while_others_pass_it",
            "fd_setsize::new_clients_are_served_again_once_low_descriptors_are_free",
            "idle::",
            "lifetime::",
            "scale::",
            "start::every_socket_is_blocking_or_not_as_its_model_needs",
            "start::sigint_ends_a_server_with_connections",
            "wakeup::",
            "write::slow_readers_of_different_speeds_are_all_served",
            "write::twenty_clients_that_never_read_leave_others_served",
        ],
    },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::AcceptBatchForgotten),
        what: "accepts 16 for an edge and does not come back for more",
        caught: &[(
            "drain::more_connects_than_any_batch_in_one_wakeup_are_all_accepted",
            AcceptQueueNotDrained,
            "accept until EAGAIN",
        )],
        also: &[
            "close::connections_are_freed_in_whatever_order_they_end",
            "close::connections_that_were_reset_are_freed",
            "close::fins_of_many_clients_at_once_are_all_answered",
            "drain::a_client_that_came_and_finished_in_one_wakeup_is_served",
            "drain::bursts_on_many_connections_in_one_wakeup_are_all_read",
            "echo::sixty_four_connections_keep_their_bytes_apart",
            "fairness::",
            "faults::a_flood_of_resets_is_survived",
            "faults::connections_that_were_reset_before_their_accept_are_survived",
            "fd_setsize::a_connection_past_fd_1023_is_served_or_closed_at_once",
            "fd_setsize::new_clients_are_served_again_once_low_descriptors_are_free",
            "idle::a_hundred_idle_connections_cost_nothing",
            "idle::coming_and_going_leaves_nothing_to_do",
            "lifetime::buffers_come_back_from_thousands_of_connections",
            "scale::two_thousand_clients_come_and_go_without_a_trace",
            "start::sigint_ends_a_server_with_connections",
            "wakeup::bytes_sent_right_after_the_connect_are_heard",
            "wakeup::every_one_of_fifty_is_heard_in_any_order",
        ],
    },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::ReadOncePerEdge),
        what: "reads once for an edge",
        caught: &[
            (
                "drain::many_bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished",
                EofLost,
                "The read that returns 0",
            ),
            ("echo::what_was_sent_whole_before_the_first_read_comes_back", ReadLost, "bytes wait unread"),
        ],
        also: &[
            "close::fin_right_behind_64_kib_loses_nothing",
            "close::fin_while_megabytes_are_owed_loses_nothing",
            "close::fins_of_many_clients_at_once_are_all_answered",
            "drain::",
            "echo::",
            "faults::a_stop_with_bytes_under_way_is_survived",
            "faults::out_of_descriptors_those_connected_go_on",
            "faults::urgent_data_neither_breaks_the_stream_nor_wakes_for_ever",
            "idle::a_drained_connection_costs_nothing_again",
            "idle::a_stuck_client_that_has_finished_costs_nothing",
            "lifetime::",
            "scale::memory_comes_back_when_nothing_is_owed",
            "scale::thousands_of_events_in_one_wakeup_are_all_handled",
            "start::a_signal_during_traffic_ends_the_server",
            "start::ipv6_is_served",
            "start::one_line_on_stdout_says_where_it_listens",
            "wakeup::a_client_that_reads_in_bursts_while_it_sends_is_never_left_waiting",
            "wakeup::input_and_room_for_output_in_one_wakeup_are_both_used",
            "wakeup::reading_goes_on_after_back_pressure",
            "write::",
        ],
    },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::ShortReadIsDrained),
        what: "takes a short read for the end of what there is, and misses the FIN behind it",
        caught: &[(
            "drain::bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished",
            EofLost,
            "The read that returns 0",
        )],
        also: &[
            "close::fins_of_many_clients_at_once_are_all_answered",
            "drain::a_client_that_came_and_finished_in_one_wakeup_is_served",
            "drain::connects_bytes_fins_and_resets_in_one_wakeup_are_all_handled",
            "drain::many_bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished",
            "faults::urgent_data_neither_breaks_the_stream_nor_wakes_for_ever",
            "idle::a_stuck_client_that_has_finished_costs_nothing",
            "scale::thousands_of_events_in_one_wakeup_are_all_handled",
        ],
    },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::CloseAtRdhup),
        what: "closes at RDHUP, before it has read what came before the FIN",
        caught: &[("drain::bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished", Reset, "no reason to close")],
        also: &[
            "close::fin_right_behind_64_kib_loses_nothing",
            "close::fin_while_megabytes_are_owed_loses_nothing",
            "close::fins_of_many_clients_at_once_are_all_answered",
            "drain::a_client_that_came_and_finished_in_one_wakeup_is_served",
            "drain::connects_bytes_fins_and_resets_in_one_wakeup_are_all_handled",
            "drain::many_bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished",
            "idle::a_stuck_client_that_has_finished_costs_nothing",
            "scale::thousands_of_events_in_one_wakeup_are_all_handled",
        ],
    },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::NewsTakenForOld),
        what: "drops what is announced of a connection that was just served: a flag cleared too late",
        caught: &[("wakeup::a_second_message_at_any_moment_after_the_first_is_heard", ReadLost, "their edge was lost")],
        also: &[
            "close::",
            "drain::",
            "echo::",
            "faults::",
            "lifetime::",
            "wakeup::",
            "write::a_client_that_never_reads_leaves_others_served",
            "write::twenty_clients_that_never_read_leave_others_served",
        ],
    },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::TwoEventsEach),
        what: "has two events of a connection in one batch, and the second meets the descriptor's next owner",
        caught: &[(
            "close::a_reset_while_output_is_owed_leaves_the_next_owner_alone",
            Reset,
            "the descriptor's last owner",
        )],
        also: &[
            "close::a_client_that_closes_with_unread_echoes_is_freed",
            "close::an_event_of_a_closed_connection_never_reaches_the_next_one",
            "close::fin_while_megabytes_are_owed_loses_nothing",
            "faults::queued_clients_are_served_as_soon_as_others_leave",
            "faults::twice_as_many_clients_as_descriptors_are_all_served_in_turn",
            "lifetime::a_new_connection_gets_nothing_of_the_one_before_it",
            "lifetime::buffers_come_back_from_thousands_of_connections",
            "scale::",
        ],
    },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::Herd),
        what: "has four threads that wait for one listener, and a connect wakes them all",
        caught: &[("idle::a_connect_wakes_one_worker_and_not_all", Spinning, "EPOLLEXCLUSIVE")],
        also: &[
            "fairness::a_burst_of_connects_does_not_keep_a_connected_client_waiting",
            "start::a_signal_between_the_last_look_and_the_wait_is_not_lost",
        ],
    },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::EofIgnored),
        what: "takes read's 0 for \"nothing yet\"",
        caught: &[
            ("close::fin_alone_is_answered_with_fin", EofLost, "The read that returns 0"),
            ("drain::bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished", EofLost, "The read that returns 0"),
        ],
        also: &[
            "close::",
            "drain::a_client_that_came_and_finished_in_one_wakeup_is_served",
            "drain::connects_bytes_fins_and_resets_in_one_wakeup_are_all_handled",
            "drain::many_bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished",
            "faults::",
            "fd_setsize::new_clients_are_served_again_once_low_descriptors_are_free",
            "idle::a_client_that_has_left_leaves_nothing_to_do",
            "idle::a_stuck_client_that_has_finished_costs_nothing",
            "idle::coming_and_going_leaves_nothing_to_do",
            "scale::",
            "wakeup::those_who_stay_are_heard_whoever_leaves",
        ],
    },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::PauseNotResumed),
        what: "pauses reading while too much is owed, and never reads again: no edge comes for what is there",
        caught: &[("wakeup::reading_goes_on_after_back_pressure", ReadLost, "edge")],
        also: &[
            "close::fin_while_megabytes_are_owed_loses_nothing",
            "drain::a_backlog_larger_than_the_send_buffer_is_drained_after_a_wakeup",
            "echo::a_stream_of_64_mib_comes_back_while_it_is_sent",
            "faults::a_stop_with_bytes_under_way_is_survived",
            "faults::out_of_descriptors_those_connected_go_on",
            "idle::a_drained_connection_costs_nothing_again",
            "lifetime::large_messages_of_two_connections_are_not_mixed",
            "scale::memory_comes_back_when_nothing_is_owed",
            "wakeup::a_client_that_reads_in_bursts_while_it_sends_is_never_left_waiting",
            "write::a_client_that_never_reads_costs_bounded_memory",
            "write::a_client_that_never_reads_leaves_others_served",
            "write::twenty_clients_that_never_read_leave_others_served",
        ],
    },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::WriteEdgeLost),
        what: "looks at OUT in an `else if` behind IN",
        caught: &[(
            "wakeup::input_and_room_for_output_in_one_wakeup_are_both_used",
            WriteLost,
            "came together with IN",
        )],
        also: &[
            "close::fin_while_megabytes_are_owed_loses_nothing",
            "echo::a_stream_of_64_mib_comes_back_while_it_is_sent",
            "idle::a_drained_connection_costs_nothing_again",
            "lifetime::bytes_held_for_two_stuck_clients_are_not_mixed",
            "lifetime::large_messages_of_two_connections_are_not_mixed",
            "scale::memory_comes_back_when_nothing_is_owed",
            "wakeup::a_client_that_reads_in_bursts_while_it_sends_is_never_left_waiting",
            "wakeup::reading_goes_on_after_back_pressure",
            "write::",
        ],
    },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::ShortWriteDropped),
        what: "drops what a short write did not take",
        caught: &[("write::a_slow_reader_gets_64_mib_byte_exact", WrongBytes, "short write's rest dropped")],
        also: &[
            "close::fin_while_megabytes_are_owed_loses_nothing",
            "drain::a_backlog_larger_than_the_send_buffer_is_drained_after_a_wakeup",
            "wakeup::a_client_that_reads_in_bursts_while_it_sends_is_never_left_waiting",
            "wakeup::input_and_room_for_output_in_one_wakeup_are_both_used",
            "wakeup::reading_goes_on_after_back_pressure",
            "write::",
        ],
    },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::EagainIsError),
        what: "closes when a write gets EAGAIN",
        caught: &[("write::a_paused_reader_is_not_disconnected", Reset, "no reason to close")],
        also: &[
            "close::a_reset_while_reading_is_paused_frees_the_descriptor",
            "close::fin_while_megabytes_are_owed_loses_nothing",
            "drain::a_backlog_larger_than_the_send_buffer_is_drained_after_a_wakeup",
            "echo::a_stream_of_64_mib_comes_back_while_it_is_sent",
            "wakeup::a_client_that_reads_in_bursts_while_it_sends_is_never_left_waiting",
            "wakeup::input_and_room_for_output_in_one_wakeup_are_both_used",
            "wakeup::reading_goes_on_after_back_pressure",
            "write::",
        ],
    },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::EmfileForgotten),
        what: "stops accepting at EMFILE and waits for an edge that no queued client brings",
        caught: &[("faults::queued_clients_are_served_as_soon_as_others_leave", AcceptQueueNotDrained, "EMFILE")],
        also: &[],
    },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::NoBudget),
        what: "drains one connection for as long as its client sends",
        caught: &[("fairness::four_clients_that_flood_do_not_keep_a_fifth_waiting", Starved, "turn has to end")],
        also: &[],
    },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::HangUpThread),
        what: "a thread sleeps in poll for each connection's hang-up, and holds its socket when it is closed",
        caught: &[("close::fin_right_behind_64_kib_loses_nothing", EofLost, "another thread's wait still holds")],
        also: &[
            "close::",
            "drain::",
            "idle::a_client_that_has_left_leaves_nothing_to_do",
            "idle::a_stuck_client_that_has_finished_costs_nothing",
            "lifetime::buffers_come_back_from_thousands_of_connections",
            "scale::an_idle_connection_costs_less_than_256_bytes",
            "scale::thousands_of_events_in_one_wakeup_are_all_handled",
            "start::a_signal_between_the_last_look_and_the_wait_is_not_lost",
            "wakeup::those_who_stay_are_heard_whoever_leaves",
        ],
    },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::ResetLeaks),
        what: "does not close when a read fails",
        caught: &[
            ("faults::a_flood_of_resets_is_survived", Leak, "was not closed"),
            ("idle::resets_leave_nothing_to_do", Leak, "was not closed"),
        ],
        also: &[
            "close::",
            "faults::connections_that_were_reset_before_their_accept_are_survived",
            "faults::queued_clients_are_served_as_soon_as_others_leave",
            "idle::a_client_that_has_left_leaves_nothing_to_do",
            "idle::coming_and_going_leaves_nothing_to_do",
            "scale::",
        ],
    },
    Mutant {
        base: EpollEt,
        bug: Some(Bug::BlockingSockets),
        what: "leaves accepted sockets blocking, and drains them",
        caught: &[
            ("write::twenty_clients_that_never_read_leave_others_served", Blocked, "lacks O_NONBLOCK"),
            ("fd_setsize::a_connection_past_fd_1023_is_served_or_closed_at_once", Blocked, "lacks O_NONBLOCK"),
        ],
        also: &[
            "close::",
            "drain::",
            "echo::",
            "fairness::",
            "faults::",
            "fd_setsize::clients_below_fd_1024_go_on_while_others_pass_it",
            "fd_setsize::new_clients_are_served_again_once_low_descriptors_are_free",
            "idle::",
            "lifetime::",
            "scale::",
            "start::",
            "start::a_signal_that_comes_before_the_wait_is_not_lost",
            "start::every_socket_is_blocking_or_not_as_its_model_needs",
            "start::sigint_ends_a_server_with_connections",
            "wakeup::",
            "write::a_client_that_never_reads_leaves_others_served",
            "write::slow_readers_of_different_speeds_are_all_served",
        ],
    },
    Mutant {
        base: EpollLt,
        bug: Some(Bug::WriteInterestLeftOn),
        what: "keeps OUT after the last byte was sent",
        caught: &[("idle::a_drained_connection_costs_nothing_again", Spinning, "while bytes are owed")],
        also: &["scale::memory_comes_back_when_nothing_is_owed"],
    },
    Mutant {
        base: EpollLt,
        bug: Some(Bug::EofIgnored),
        what: "takes read's 0 for \"nothing yet\"",
        caught: &[("drain::bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished", Spinning, "end of input")],
        also: &[
            "close::",
            "drain::a_client_that_came_and_finished_in_one_wakeup_is_served",
            "drain::connects_bytes_fins_and_resets_in_one_wakeup_are_all_handled",
            "drain::many_bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished",
            "faults::",
            "fd_setsize::new_clients_are_served_again_once_low_descriptors_are_free",
            "idle::",
            "scale::",
            "wakeup::those_who_stay_are_heard_whoever_leaves",
        ],
    },
    Mutant {
        base: EpollLt,
        bug: Some(Bug::HalfCloseIsClose),
        what: "closes at the client's FIN, whatever is owed",
        caught: &[("close::fin_while_megabytes_are_owed_loses_nothing", Truncated, "the end of everything")],
        also: &["idle::a_stuck_client_that_has_finished_costs_nothing"],
    },
    Mutant {
        base: EpollLt,
        bug: Some(Bug::InterestAfterEof),
        what: "keeps IN after the client's FIN while output is owed",
        caught: &[("idle::a_stuck_client_that_has_finished_costs_nothing", Spinning, "stop watching for input")],
        also: &[],
    },
    Mutant {
        base: EpollLt,
        bug: Some(Bug::PauseNotResumed),
        what: "pauses reading while too much is owed, and never asks for IN again",
        caught: &[("wakeup::reading_goes_on_after_back_pressure", ReadLost, "reading was paused and not res")],
        also: &[
            "close::fin_while_megabytes_are_owed_loses_nothing",
            "drain::a_backlog_larger_than_the_send_buffer_is_drained_after_a_wakeup",
            "faults::a_reset_while_output_is_owed_is_survived",
            "idle::a_drained_connection_costs_nothing_again",
            "idle::a_stuck_client_that_has_finished_costs_nothing",
            "lifetime::bytes_held_for_two_stuck_clients_are_not_mixed",
            "lifetime::large_messages_of_two_connections_are_not_mixed",
            "scale::memory_comes_back_when_nothing_is_owed",
            "wakeup::a_client_that_reads_in_bursts_while_it_sends_is_never_left_waiting",
            "wakeup::input_and_room_for_output_in_one_wakeup_are_both_used",
            "write::",
        ],
    },
    Mutant {
        base: EpollLt,
        bug: Some(Bug::OneshotNotRearmed),
        what: "does not arm EPOLLONESHOT again when the interest is the same as before",
        caught: &[("wakeup::reading_goes_on_after_back_pressure", WriteLost, "EPOLLONESHOT disarmed")],
        also: &[
            "close::a_reset_of_a_stuck_client_that_had_finished_frees_the_descriptor",
            "close::a_reset_while_output_is_owed_leaves_the_next_owner_alone",
            "close::a_reset_while_reading_is_paused_frees_the_descriptor",
            "close::fin_while_megabytes_are_owed_loses_nothing",
            "drain::a_backlog_larger_than_the_send_buffer_is_drained_after_a_wakeup",
            "faults::a_reset_while_output_is_owed_is_survived",
            "idle::a_drained_connection_costs_nothing_again",
            "idle::a_stuck_client_that_has_finished_costs_nothing",
            "idle::resets_leave_nothing_to_do",
            "lifetime::",
            "scale::memory_comes_back_when_nothing_is_owed",
            "wakeup::a_client_that_reads_in_bursts_while_it_sends_is_never_left_waiting",
            "wakeup::input_and_room_for_output_in_one_wakeup_are_both_used",
            "write::",
        ],
    },
    Mutant {
        base: EpollLt,
        bug: Some(Bug::ShortWriteDropped),
        what: "drops what a short write did not take",
        caught: &[("write::a_slow_reader_gets_64_mib_byte_exact", WrongBytes, "short write's rest dropped")],
        also: &[
            "close::fin_while_megabytes_are_owed_loses_nothing",
            "drain::a_backlog_larger_than_the_send_buffer_is_drained_after_a_wakeup",
            "echo::a_stream_of_64_mib_comes_back_while_it_is_sent",
            "idle::a_drained_connection_costs_nothing_again",
            "idle::a_stuck_client_that_has_finished_costs_nothing",
            "lifetime::",
            "scale::memory_comes_back_when_nothing_is_owed",
            "wakeup::a_client_that_reads_in_bursts_while_it_sends_is_never_left_waiting",
            "wakeup::input_and_room_for_output_in_one_wakeup_are_both_used",
            "wakeup::reading_goes_on_after_back_pressure",
            "write::",
        ],
    },
    Mutant {
        base: EpollLt,
        bug: Some(Bug::ResetEndsServer),
        what: "ends when a read says ECONNRESET",
        caught: &[("close::a_reset_ends_that_connection_alone", Exited, "must not end a server")],
        also: &[
            "close::",
            "drain::connects_bytes_fins_and_resets_in_one_wakeup_are_all_handled",
            "faults::",
            "fd_setsize::clients_below_fd_1024_go_on_while_others_pass_it",
            "idle::a_client_that_has_left_leaves_nothing_to_do",
            "idle::coming_and_going_leaves_nothing_to_do",
            "idle::resets_leave_nothing_to_do",
            "lifetime::",
            "scale::",
            "start::one_line_on_stdout_says_where_it_listens",
            "wakeup::those_who_stay_are_heard_whoever_leaves",
        ],
    },
    Mutant {
        base: EpollLt,
        bug: Some(Bug::DuplicateKept),
        what: "keeps a duplicate of the newest connection's descriptor",
        caught: &[
            ("close::fin_alone_is_answered_with_fin", Spinning, "is not open any more"),
            ("idle::a_server_without_clients_sleeps", Spinning, "is not open any more"),
        ],
        also: &[
            "close::",
            "drain::",
            "idle::",
            "scale::an_idle_connection_costs_less_than_256_bytes",
            "wakeup::those_who_stay_are_heard_whoever_leaves",
        ],
    },
    Mutant {
        base: EpollLt,
        bug: Some(Bug::EmfileForgotten),
        what: "keeps the listener registered at EMFILE",
        caught: &[("faults::out_of_descriptors_the_server_rests", Spinning, "stop watching it until one is free")],
        also: &["faults::twice_as_many_clients_as_descriptors_are_all_served_in_turn"],
    },
    Mutant {
        base: EpollLt,
        bug: Some(Bug::EmfileIsFatal),
        what: "ends at EMFILE",
        caught: &[("faults::out_of_descriptors_the_server_rests", Exited, "Too many open files")],
        also: &["faults::", "idle::once_there_are_descriptors_again_the_server_sleeps"],
    },
    Mutant {
        base: EpollLt,
        bug: Some(Bug::EintrIsFatal),
        what: "ends when its wait says EINTR",
        caught: &[("faults::a_stop_and_a_continue_are_survived", Exited, "Interrupted system call")],
        also: &[
            "close::a_reset_while_output_is_owed_leaves_the_next_owner_alone",
            "close::an_event_of_a_closed_connection_never_reaches_the_next_one",
            "close::clients_that_vanish_before_they_are_accepted_are_survived",
            "close::fins_of_many_clients_at_once_are_all_answered",
            "drain::",
            "fairness::",
            "faults::",
            "fd_setsize::clients_below_fd_1024_go_on_while_others_pass_it",
            "idle::resets_leave_nothing_to_do",
            "scale::ten_thousand_idle_connections_are_served",
            "scale::thousands_of_events_in_one_wakeup_are_all_handled",
            "start::",
            "wakeup::a_second_message_at_any_moment_after_the_first_is_heard",
            "wakeup::input_and_room_for_output_in_one_wakeup_are_both_used",
        ],
    },
    Mutant {
        base: EpollLt,
        bug: Some(Bug::UnboundedOutput),
        what: "owes as much as a client cares to send",
        caught: &[("write::a_client_that_never_reads_costs_bounded_memory", Leak, "no bound")],
        also: &[],
    },
    Mutant {
        base: EpollLt,
        bug: Some(Bug::SharedBuffer),
        what: "keeps what it owes in one buffer for all",
        caught: &[("lifetime::bytes_held_for_two_stuck_clients_are_not_mixed", WrongBytes, "bytes from offset")],
        also: &[
            "close::fin_while_megabytes_are_owed_loses_nothing",
            "drain::a_backlog_larger_than_the_send_buffer_is_drained_after_a_wakeup",
            "echo::a_stream_of_64_mib_comes_back_while_it_is_sent",
            "idle::a_drained_connection_costs_nothing_again",
            "idle::a_stuck_client_that_has_finished_costs_nothing",
            "lifetime::large_messages_of_two_connections_are_not_mixed",
            "lifetime::resets_in_the_middle_of_sends_leave_a_stream_byte_exact",
            "scale::memory_comes_back_when_nothing_is_owed",
            "wakeup::a_client_that_reads_in_bursts_while_it_sends_is_never_left_waiting",
            "wakeup::input_and_room_for_output_in_one_wakeup_are_both_used",
            "wakeup::reading_goes_on_after_back_pressure",
            "write::",
        ],
    },
    Mutant {
        base: EpollLt,
        bug: Some(Bug::BufferEach),
        what: "has a read buffer for each connection",
        caught: &[("scale::an_idle_connection_costs_less_than_256_bytes", Leak, "A buffer for each connection")],
        also: &[],
    },
    Mutant {
        base: EpollLt,
        bug: Some(Bug::BadArgsExit1),
        what: "exits with 1 on bad arguments",
        caught: &[("start::bad_arguments_are_refused_with_the_usage", Contract, "exit code 1 and not exit code 2")],
        also: &[],
    },
    Mutant {
        base: EpollLt,
        bug: Some(Bug::BindPanics),
        what: "panics when the address is in use",
        caught: &[("start::an_address_in_use_is_said_in_one_line", Contract, "exit code 101")],
        also: &["start::an_address_that_is_not_this_machines_is_said_in_one_line"],
    },
    Mutant {
        base: EpollLt,
        bug: Some(Bug::Banner),
        what: "prints more than one line to stdout",
        caught: &[("start::one_line_on_stdout_says_where_it_listens", Contract, "press ^C")],
        also: &[],
    },
    Mutant {
        base: EpollLt,
        bug: Some(Bug::SignalsAtDefault),
        what: "leaves SIGTERM and SIGINT at their default",
        caught: &[("start::sigterm_ends_an_idle_server", Contract, "signal 15")],
        also: &["start::"],
    },
    Mutant {
        base: EpollLt,
        bug: Some(Bug::FlagNotSeen),
        what: "sets a flag in the handler, and its wait goes on",
        caught: &[("start::sigterm_ends_an_idle_server", Contract, "A flag that is set by a handler")],
        also: &[
            "start::a_signal_that_comes_before_the_wait_is_not_lost",
            "start::sigint_ends_a_server_with_connections",
            "start::the_port_is_free_again_after_a_stop",
        ],
    },
    Mutant {
        base: Poll,
        bug: Some(Bug::BlockingSockets),
        what: "leaves accepted sockets blocking",
        caught: &[("write::a_client_that_never_reads_leaves_others_served", Blocked, "lacks O_NONBLOCK")],
        also: &[
            "start::every_socket_is_blocking_or_not_as_its_model_needs",
            "write::slow_readers_of_different_speeds_are_all_served",
            "write::twenty_clients_that_never_read_leave_others_served",
        ],
    },
    Mutant {
        base: Poll,
        bug: Some(Bug::ClosedSlotLeft),
        what: "leaves a closed descriptor in the list: NVAL at every wait",
        caught: &[("idle::coming_and_going_leaves_nothing_to_do", Spinning, "NVAL")],
        also: &[
            "faults::queued_clients_are_served_as_soon_as_others_leave",
            "faults::twice_as_many_clients_as_descriptors_are_all_served_in_turn",
            "idle::a_connect_wakes_one_worker_and_not_all",
            "idle::a_server_without_clients_sleeps",
            "idle::coming_and_going_leaves_nothing_to_do",
            "idle::resets_leave_nothing_to_do",
            "scale::an_idle_connection_costs_less_than_256_bytes",
        ],
    },
    Mutant {
        base: Poll,
        bug: Some(Bug::SlotNotMoved),
        what: "moves the last entry to a free place, and not its connection",
        caught: &[("idle::coming_and_going_leaves_nothing_to_do", Spinning, "NVAL")],
        also: &[
            "close::a_client_that_closes_with_unread_echoes_is_freed",
            "close::a_reset_while_output_is_owed_leaves_the_next_owner_alone",
            "close::an_event_of_a_closed_connection_never_reaches_the_next_one",
            "close::connections_that_were_reset_are_freed",
            "close::fin_while_megabytes_are_owed_loses_nothing",
            "drain::connects_bytes_fins_and_resets_in_one_wakeup_are_all_handled",
            "faults::a_flood_of_resets_is_survived",
            "faults::queued_clients_are_served_as_soon_as_others_leave",
            "faults::twice_as_many_clients_as_descriptors_are_all_served_in_turn",
            "idle::a_client_that_has_left_leaves_nothing_to_do",
            "idle::coming_and_going_leaves_nothing_to_do",
            "idle::resets_leave_nothing_to_do",
            "lifetime::a_new_connection_gets_nothing_of_the_one_before_it",
            "lifetime::bytes_held_for_two_stuck_clients_are_not_mixed",
            "scale::two_thousand_clients_come_and_go_without_a_trace",
            "wakeup::reading_goes_on_after_back_pressure",
            "write::a_client_that_never_reads_leaves_others_served",
        ],
    },
    Mutant {
        base: Poll,
        bug: Some(Bug::EventsComparedForEquality),
        what: "compares revents with ==",
        caught: &[("close::connections_that_were_reset_are_freed", Leak, "was not closed")],
        also: &[
            "close::",
            "faults::a_flood_of_resets_is_survived",
            "faults::connections_that_were_reset_before_their_accept_are_survived",
            "faults::queued_clients_are_served_as_soon_as_others_leave",
            "idle::a_client_that_has_left_leaves_nothing_to_do",
            "idle::coming_and_going_leaves_nothing_to_do",
            "idle::resets_leave_nothing_to_do",
            "scale::",
            "write::tiny_socket_buffers_in_both_directions_lose_nothing",
        ],
    },
    Mutant {
        base: Select,
        bug: Some(Bug::NfdsOffByOne),
        what: "passes the highest descriptor as nfds",
        caught: &[("echo::one_byte_comes_back", ReadLost, "nfds is too small")],
        also: &[
            "close::",
            "drain::",
            "echo::",
            "fairness::",
            "faults::",
            "fd_setsize::",
            "idle::",
            "lifetime::",
            "scale::",
            "start::",
            "wakeup::",
            "write::",
        ],
    },
    Mutant {
        base: Select,
        bug: Some(Bug::SetNotRebuilt),
        what: "waits with the sets that the last wait wrote",
        caught: &[("wakeup::each_connection_is_heard_in_turn_and_again_after_a_rest", ReadLost, "not rebuilt")],
        also: &[
            "close::",
            "drain::connects_bytes_fins_and_resets_in_one_wakeup_are_all_handled",
            "drain::many_bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished",
            "echo::a_message_that_just_fills_a_buffer_leaves_others_served",
            "echo::sixty_four_connections_keep_their_bytes_apart",
            "fairness::",
            "faults::",
            "fd_setsize::",
            "idle::",
            "lifetime::",
            "scale::",
            "start::",
            "wakeup::",
            "write::a_client_that_never_reads_leaves_others_served",
            "write::slow_readers_of_different_speeds_are_all_served",
            "write::twenty_clients_that_never_read_leave_others_served",
        ],
    },
    Mutant {
        base: Select,
        bug: Some(Bug::BitBeyondTheSet),
        what: "sets the bit of a descriptor past 1023",
        caught: &[(
            "fd_setsize::a_connection_past_fd_1023_is_served_or_closed_at_once",
            Contract,
            "does not fit into an fd_set",
        )],
        also: &["fd_setsize::"],
    },
    Mutant {
        base: Select,
        bug: Some(Bug::ClosedSlotLeft),
        what: "leaves a closed descriptor in the set: EBADF for all",
        caught: &[("close::connections_are_freed_in_whatever_order_they_end", Exited, "Bad file descriptor")],
        also: &[
            "close::",
            "drain::",
            "echo::a_message_that_just_fills_a_buffer_leaves_others_served",
            "echo::single_bytes_come_back_one_by_one_in_order",
            "echo::sixty_four_connections_keep_their_bytes_apart",
            "faults::",
            "fd_setsize::clients_below_fd_1024_go_on_while_others_pass_it",
            "fd_setsize::new_clients_are_served_again_once_low_descriptors_are_free",
            "idle::",
            "lifetime::",
            "scale::",
            "start::a_server_that_was_stopped_before_its_first_client_serves_it",
            "start::every_socket_is_blocking_or_not_as_its_model_needs",
            "start::one_line_on_stdout_says_where_it_listens",
            "wakeup::",
            "write::",
        ],
    },
    Mutant {
        base: Select,
        bug: Some(Bug::LineForEachRefusal),
        what: "prints a line for each connection it refuses",
        caught: &[("fd_setsize::a_flood_of_refused_connections_writes_few_lines", Contract, "A line for each refusal")],
        also: &[],
    },
    Mutant {
        base: Select,
        bug: Some(Bug::EmfileIsFatal),
        what: "ends at EMFILE",
        caught: &[("faults::out_of_descriptors_the_server_rests", Exited, "Too many open files")],
        also: &["faults::", "idle::once_there_are_descriptors_again_the_server_sleeps"],
    },
    Mutant {
        base: Select,
        bug: Some(Bug::SigpipeKills),
        what: "writes to a connection that was reset, with SIGPIPE at its default",
        caught: &[("faults::a_reset_while_output_is_owed_is_survived", Exited, "MSG_NOSIGNAL")],
        also: &[
            "close::a_reset_of_a_stuck_client_that_had_finished_frees_the_descriptor",
            "idle::resets_leave_nothing_to_do",
        ],
    },
    Mutant {
        base: Uring,
        bug: Some(Bug::AcceptNotRearmed),
        what: "does not arm a multishot accept again after it ended with an error",
        caught: &[(
            "faults::twice_as_many_clients_as_descriptors_are_all_served_in_turn",
            AcceptQueueNotDrained,
            "EMFILE",
        )],
        also: &[
            "scale::an_idle_connection_costs_less_than_256_bytes",
            "scale::ten_thousand_idle_connections_are_served",
        ],
    },
    Mutant {
        base: Uring,
        bug: Some(Bug::DontWait),
        what: "receives with MSG_DONTWAIT, and again at EAGAIN",
        caught: &[("idle::a_hundred_idle_connections_cost_nothing", Spinning, "MSG_DONTWAIT")],
        also: &["faults::", "idle::", "scale::"],
    },
    Mutant {
        base: Uring,
        bug: Some(Bug::TwoSendsInFlight),
        what: "has two sends in flight on one connection",
        caught: &[(
            "write::small_pieces_sent_while_the_server_cannot_write_stay_in_order",
            WrongBytes,
            "overtaken by later bytes",
        )],
        also: &[
            "close::fin_while_megabytes_are_owed_loses_nothing",
            "idle::a_drained_connection_costs_nothing_again",
            "idle::a_stuck_client_that_has_finished_costs_nothing",
            "lifetime::bytes_held_for_two_stuck_clients_are_not_mixed",
            "lifetime::large_messages_of_two_connections_are_not_mixed",
            "wakeup::a_client_that_reads_in_bursts_while_it_sends_is_never_left_waiting",
            "wakeup::input_and_room_for_output_in_one_wakeup_are_both_used",
            "wakeup::reading_goes_on_after_back_pressure",
            "write::",
        ],
    },
    Mutant {
        base: Uring,
        bug: Some(Bug::ShortWriteDropped),
        what: "drops what a short send did not take",
        caught: &[("write::a_slow_reader_gets_64_mib_byte_exact", WrongBytes, "short write's rest dropped")],
        also: &[
            "close::fin_while_megabytes_are_owed_loses_nothing",
            "idle::a_drained_connection_costs_nothing_again",
            "idle::a_stuck_client_that_has_finished_costs_nothing",
            "lifetime::bytes_held_for_two_stuck_clients_are_not_mixed",
            "lifetime::large_messages_of_two_connections_are_not_mixed",
            "wakeup::a_client_that_reads_in_bursts_while_it_sends_is_never_left_waiting",
            "wakeup::input_and_room_for_output_in_one_wakeup_are_both_used",
            "wakeup::reading_goes_on_after_back_pressure",
            "write::",
        ],
    },
    Mutant {
        base: Uring,
        bug: Some(Bug::BufferLentTwice),
        what: "receives into a buffer that is still being sent from",
        caught: &[("lifetime::large_messages_of_two_connections_are_not_mixed", WrongBytes, "Is one buffer shared")],
        also: &[
            "close::",
            "drain::a_client_that_came_and_finished_in_one_wakeup_is_served",
            "drain::bursts_on_many_connections_in_one_wakeup_are_all_read",
            "drain::connects_bytes_fins_and_resets_in_one_wakeup_are_all_handled",
            "echo::sixty_four_connections_keep_their_bytes_apart",
            "fairness::four_clients_that_flood_do_not_keep_a_new_one_waiting",
            "faults::",
            "fd_setsize::",
            "idle::a_hundred_idle_connections_cost_nothing",
            "idle::coming_and_going_leaves_nothing_to_do",
            "lifetime::",
            "scale::thousands_of_events_in_one_wakeup_are_all_handled",
            "scale::two_thousand_clients_come_and_go_without_a_trace",
            "wakeup::a_connection_that_was_silent_among_busy_ones_is_heard",
            "wakeup::a_second_message_at_any_moment_after_the_first_is_heard",
            "wakeup::bytes_sent_right_after_the_connect_are_heard",
            "write::slow_readers_of_different_speeds_are_all_served",
            "write::twenty_clients_that_never_read_leave_others_served",
        ],
    },
    Mutant {
        base: Uring,
        bug: Some(Bug::CloseInFlight),
        what: "closes a connection with a multishot poll in flight on it",
        caught: &[("close::fin_alone_is_answered_with_fin", EofLost, "Cancel what is in flight")],
        also: &[
            "close::",
            "drain::a_client_that_came_and_finished_in_one_wakeup_is_served",
            "drain::bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished",
            "drain::connects_bytes_fins_and_resets_in_one_wakeup_are_all_handled",
            "drain::many_bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished",
            "idle::a_client_that_has_left_leaves_nothing_to_do",
            "idle::a_stuck_client_that_has_finished_costs_nothing",
            "wakeup::those_who_stay_are_heard_whoever_leaves",
        ],
    },
    Mutant {
        base: Uring,
        bug: Some(Bug::CloseAfterShutdown),
        what: "shuts it down before, and leaves the poll in flight",
        caught: &[("close::connections_are_freed_in_whatever_order_they_end", Leak, "Cancel what is in flight")],
        also: &[],
    },
    Mutant {
        base: Uring,
        bug: Some(Bug::FixedLength),
        what: "sends as many bytes as it had asked for, and not as many as came",
        caught: &[("echo::one_byte_comes_back", WrongBytes, "memory that nothing was read into")],
        also: &[
            "close::",
            "drain::",
            "echo::",
            "fairness::",
            "faults::",
            "fd_setsize::",
            "idle::",
            "lifetime::",
            "scale::thousands_of_events_in_one_wakeup_are_all_handled",
            "scale::two_thousand_clients_come_and_go_without_a_trace",
            "start::a_server_that_was_stopped_before_its_first_client_serves_it",
            "wakeup::",
            "write::",
        ],
    },
    Mutant {
        base: OneByOne,
        bug: None,
        what: "serves one client after the other",
        caught: &[("echo::sixty_four_connections_keep_their_bytes_apart", Blocked, "lacks O_NONBLOCK")],
        also: &[
            "close::",
            "drain::",
            "echo::a_message_that_just_fills_a_buffer_leaves_others_served",
            "fairness::",
            "faults::",
            "fd_setsize::",
            "idle::",
            "lifetime::",
            "scale::thousands_of_events_in_one_wakeup_are_all_handled",
            "scale::two_thousand_clients_come_and_go_without_a_trace",
            "wakeup::",
            "write::a_client_that_never_reads_leaves_others_served",
            "write::slow_readers_of_different_speeds_are_all_served",
            "write::twenty_clients_that_never_read_leave_others_served",
        ],
    },
];
