//! Every mutant: its base, its bug, what it does wrong, and the checks that have to catch it.
//!
//! A mutant is one item here, and the place in its base that asks for the bug: `if bug!("eof_ignored")`. What it fails
//! besides is recorded in consequences.toml.

use harness::Symptom::{self, *};

use super::mutant::{Caught, Mutant};
use super::serve::Base::{self, *};

const fn mutant(base: Base, bug: &'static str, what: &'static str, caught: &'static [Caught]) -> Mutant {
    Mutant { base, bug, what, caught, own: base.is_own() }
}

const fn caught(check: &'static str, symptom: Symptom, says: &'static str) -> Caught {
    Caught { check, symptom, says }
}

/// Plainest first, call by call.
pub const MUTANTS: &[Mutant] = &[
    mutant(
        EpollEt,
        "accept_once_per_edge",
        "accepts one connection for an edge",
        &[caught(
            "drain::a_burst_of_connects_in_one_wakeup_is_all_accepted",
            AcceptQueueNotDrained,
            "accept until EAGAIN",
        )],
    ),
    mutant(
        EpollEt,
        "accept_batch_forgotten",
        "accepts 16 for an edge and does not come back for more",
        &[caught(
            "drain::more_connects_than_any_batch_in_one_wakeup_are_all_accepted",
            AcceptQueueNotDrained,
            "accept until EAGAIN",
        )],
    ),
    mutant(
        EpollEt,
        "accept_batch_pauses",
        "accepts 64 for an edge and comes back for more after a pause",
        &[caught(
            "drain::more_connects_than_any_batch_in_one_wakeup_are_all_accepted",
            AcceptQueueNotDrained,
            "no reason to wait",
        )],
    ),
    mutant(
        EpollEt,
        "read_once_per_edge",
        "reads once for an edge",
        &[
            caught(
                "drain::many_bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished",
                EofLost,
                "the read that returns 0",
            ),
            caught("echo::what_was_sent_whole_before_the_first_read_comes_back", ReadLost, "bytes wait unread"),
        ],
    ),
    mutant(
        EpollEt,
        "sixteen_reads_per_edge",
        "reads up to 16 times for an edge, and does not come back for more",
        &[caught(
            "drain::more_bytes_than_any_batch_of_reads_in_one_wakeup_are_all_read",
            ReadLost,
            "bytes wait unread",
        )],
    ),
    mutant(
        EpollEt,
        "read_batch_pauses",
        "reads once for an edge and comes back for more after a pause",
        &[caught("drain::any_number_of_bytes_in_one_wakeup_is_all_read", Slow, "no reason to wait")],
    ),
    mutant(
        EpollEt,
        "short_read_is_drained",
        "takes a short read for the end of what there is, and misses the FIN behind it",
        &[
            caught(
                "drain::bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished",
                EofLost,
                "It took the short read for the end",
            ),
            caught("scale::thousands_of_events_in_one_wakeup_are_all_handled", EofLost, "sent FIN"),
        ],
    ),
    mutant(
        EpollEt,
        "close_at_rdhup",
        "closes at RDHUP, before it has read what came before the FIN",
        &[
            caught(
                "drain::bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished",
                Reset,
                "It closed when epoll_wait reported IN|OUT|RDHUP",
            ),
            caught("close::fins_of_many_clients_at_once_are_all_answered", Reset, "RDHUP (EV_EOF of kqueue) says"),
            caught(
                "drain::connects_bytes_fins_and_resets_in_one_wakeup_are_all_handled",
                Reset,
                "RDHUP (EV_EOF of kqueue) says",
            ),
            caught(
                "drain::a_client_that_came_and_finished_in_one_wakeup_is_served",
                Reset,
                "RDHUP (EV_EOF of kqueue) says",
            ),
        ],
    ),
    mutant(
        EpollEt,
        "rdhup_after_one_turn",
        "takes RDHUP for the end of the input once it has read for a turn",
        &[caught("drain::a_fin_behind_more_bytes_than_one_turn_reads_loses_none", Reset, "unread")],
    ),
    mutant(
        EpollEt,
        "news_taken_for_old",
        "drops what is announced of a connection that was just served: a flag cleared too late",
        &[caught(
            "wakeup::a_second_message_at_any_moment_after_the_first_is_heard",
            ReadLost,
            "edge that told of these bytes",
        )],
    ),
    mutant(
        EpollEt,
        "two_events_each",
        "has two events of a connection in one batch, and the second meets the descriptor's next owner",
        &[
            caught(
                "close::a_reset_while_output_is_owed_leaves_the_next_owner_alone",
                Reset,
                "the descriptor's last owner",
            ),
            caught("close::an_event_of_a_closed_connection_never_reaches_the_next_one", Reset, "last owner"),
        ],
    ),
    mutant(
        EpollEt,
        "herd",
        "has four threads that wait for one listener, and a connect wakes them all",
        &[caught("idle::a_connect_wakes_one_worker_and_not_all", Spinning, "EPOLLEXCLUSIVE")],
    ),
    mutant(
        EpollEt,
        "one_of_four_listens",
        "has four threads, of which one waits for the listener",
        &[caught("fairness::clients_that_come_at_once_are_shared_by_the_workers", Starved, "to wait for the listener")],
    ),
    mutant(
        EpollEt,
        "eof_ignored",
        "takes read's 0 for \"nothing yet\"",
        &[
            caught("close::fin_alone_is_answered_with_fin", EofLost, "the end of input was read, and is not acted on"),
            caught(
                "drain::bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished",
                EofLost,
                "the end of input was read, and is not acted on",
            ),
        ],
    ),
    mutant(
        EpollEt,
        "pause_not_resumed",
        "pauses reading while too much is owed, and never reads again: no edge comes for what is there",
        &[
            caught("wakeup::reading_goes_on_after_back_pressure", ReadLost, "edge"),
            caught("wakeup::a_client_that_reads_in_bursts_while_it_sends_is_never_left_waiting", ReadLost, "used up"),
        ],
    ),
    mutant(
        EpollEt,
        "write_edge_lost",
        "looks at OUT in an `else if` behind IN",
        &[caught("wakeup::input_and_room_for_output_in_one_wakeup_are_both_used", WriteLost, "came together with IN")],
    ),
    mutant(
        EpollEt,
        "short_write_dropped",
        "drops what a short write did not take",
        &[
            caught("write::a_slow_reader_gets_64_mib_byte_exact", WrongBytes, "short write's rest was dropped"),
            caught(
                "drain::a_backlog_larger_than_the_send_buffer_is_drained_after_a_wakeup",
                WriteLost,
                "not sent them back",
            ),
        ],
    ),
    mutant(
        EpollEt,
        "eagain_is_error",
        "closes when a write gets EAGAIN",
        &[caught("write::a_paused_reader_is_not_disconnected", Reset, "= EAGAIN for an error")],
    ),
    mutant(
        EpollEt,
        "emfile_forgotten",
        "stops accepting at EMFILE and waits for an edge that no queued client brings",
        &[
            caught(
                "faults::queued_clients_are_served_as_soon_as_others_leave",
                AcceptQueueNotDrained,
                "accept4(3) = EMFILE: there was no free descriptor",
            ),
            caught(
                "faults::queued_clients_are_served_when_the_limit_is_raised",
                AcceptQueueNotDrained,
                "accept4(3) = EMFILE",
            ),
        ],
    ),
    mutant(
        EpollEt,
        "no_budget",
        "drains one connection for as long as its client sends",
        &[
            caught("fairness::four_clients_that_flood_do_not_keep_a_fifth_waiting", Starved, "turn has to end"),
            caught("fairness::four_clients_that_flood_do_not_keep_a_new_one_waiting", Starved, "turn has to end"),
        ],
    ),
    mutant(
        EpollLt,
        "serves_at_accept",
        "accepts until EAGAIN, and serves each new client at once",
        &[caught(
            "fairness::a_burst_of_connects_does_not_keep_a_connected_client_waiting",
            Starved,
            "Accept a bounded number in each turn",
        )],
    ),
    mutant(
        EpollLt,
        "serves_at_accept_beside_a_thread",
        "has a second thread, which does nothing, accepts until EAGAIN, and serves each new client at once",
        &[caught(
            "fairness::a_burst_of_connects_does_not_keep_a_connected_client_waiting",
            Starved,
            "Accept a bounded number in each turn",
        )],
    ),
    mutant(
        EpollEt,
        "served_twice",
        "serves an old entry and a new event of the same descriptor in one turn",
        &[caught(
            "fairness::a_connection_and_the_listener_have_one_batch_in_each_turn",
            Starved,
            "serve each of them once",
        )],
    ),
    mutant(
        EpollEt,
        "hang_up_thread",
        "a thread sleeps in poll for each connection's hang-up, and holds its socket when it is closed",
        &[caught("close::fin_right_behind_64_kib_loses_nothing", EofLost, "another thread's wait still holds")],
    ),
    mutant(
        EpollEt,
        "reset_leaks",
        "does not close when a read fails",
        &[
            caught("faults::a_flood_of_resets_is_survived", Leak, "was not closed"),
            caught("idle::resets_leave_nothing_to_do", Leak, "was not closed"),
            caught("close::a_client_that_closes_with_unread_echoes_is_freed", Leak, "was not closed"),
            caught("close::a_reset_while_reading_is_paused_frees_the_descriptor", Leak, "was not closed"),
            caught("close::clients_that_vanish_before_they_are_accepted_are_survived", Leak, "was not closed"),
            caught("faults::connections_that_were_reset_before_their_accept_are_survived", Leak, "was not closed"),
        ],
    ),
    mutant(
        EpollEt,
        "blocking_sockets",
        "leaves accepted sockets blocking, and drains them",
        &[
            caught("write::twenty_clients_that_never_read_leave_others_served", Blocked, "lacks O_NONBLOCK"),
            caught("fd_setsize::a_connection_past_fd_1023_is_served_or_closed_at_once", Blocked, "lacks O_NONBLOCK"),
            caught("echo::a_message_that_just_fills_a_buffer_leaves_others_served", Blocked, "lacks O_NONBLOCK"),
        ],
    ),
    mutant(
        EpollEt,
        "flush_list_full",
        "has a list of 256 for who can be written to in one wait, and drops the rest",
        &[
            caught("drain::room_on_more_connections_than_any_batch_in_one_wakeup_is_all_used", WriteLost, "edge"),
            caught(
                "drain::room_on_thousands_of_connections_in_one_wakeup_is_all_used",
                WriteLost,
                "the event was dropped",
            ),
        ],
    ),
    mutant(
        EpollEt,
        "counts_in_31_bits",
        "compares totals of 31 bits, which wrap at 2 GiB",
        &[caught("echo::more_than_4_gib_on_one_connection_come_back", Spinning, "31 or 32 bits")],
    ),
    mutant(
        EpollEt,
        "counts_in_32_bits",
        "compares totals of 32 bits, which wrap at 4 GiB",
        &[caught("echo::more_than_4_gib_on_one_connection_come_back", Spinning, "31 or 32 bits")],
    ),
    mutant(
        EpollEt,
        "total_of_zero_is_eof",
        "takes a total of 32 bits that has come back to 0 for the end",
        &[caught("echo::messages_that_end_at_2_and_at_4_gib_come_back", Truncated, "31 or 32 bits")],
    ),
    mutant(
        EpollLt,
        "newest_forgotten",
        "names its newest client when it has no descriptor left, and forgets that client when any client leaves",
        &[caught(
            "faults::out_of_descriptors_the_newest_client_is_named",
            Contract,
            "forgotten only if it is that client",
        )],
    ),
    mutant(
        EpollLt,
        "reads_in_16_bits",
        "counts a connection's reads in 16 bits, and takes 0 for the end",
        &[caught("echo::seventy_thousand_messages_on_one_connection_come_back", Truncated, "16 bits")],
    ),
    mutant(
        EpollLt,
        "serial_of_16_bits",
        "numbers connections in 16 bits, and takes 0 for none",
        &[caught("scale::seventy_thousand_clients_come_and_go", ReadLost, "16 bits")],
    ),
    mutant(
        EpollLt,
        "table_of_2048",
        "has a table of 2,048 connections, by descriptor, and leaves alone whose number is higher",
        &[
            caught("fd_setsize::descriptors_past_every_power_of_two_are_served", ReadLost, "what is indexed by it"),
            caught("scale::ten_thousand_idle_connections_are_served", ReadLost, "in no epoll set"),
        ],
    ),
    mutant(
        EpollLt,
        "write_interest_left_on",
        "keeps OUT after the last byte was sent",
        &[caught("idle::a_drained_connection_costs_nothing_again", Spinning, "while bytes are owed")],
    ),
    mutant(
        EpollLt,
        "interest_noted_with_out_alone",
        "notes what it waits for only if OUT is in it, and asks for OUT the first time alone",
        &[caught("idle::a_drained_connection_costs_nothing_again", WriteLost, "")],
    ),
    mutant(
        EpollLt,
        "write_interest_left_by_out",
        "keeps OUT after the last byte was sent, unless there is something to read then",
        &[caught("idle::a_drained_connection_costs_nothing_again", Spinning, "while bytes are owed")],
    ),
    mutant(
        EpollLt,
        "eof_ignored",
        "takes read's 0 for \"nothing yet\"",
        &[caught("drain::bytes_and_fin_in_one_wakeup_are_echoed_and_then_finished", Spinning, "end of input")],
    ),
    mutant(
        EpollLt,
        "half_close_is_close",
        "closes at the client's FIN, whatever is owed",
        &[caught("close::fin_while_megabytes_are_owed_loses_nothing", Truncated, "the end of everything")],
    ),
    mutant(
        EpollLt,
        "interest_after_eof",
        "keeps IN after the client's FIN while output is owed",
        &[caught("idle::a_stuck_client_that_has_finished_costs_nothing", Spinning, "stop watching for input")],
    ),
    mutant(
        EpollLt,
        "pause_not_resumed",
        "pauses reading while too much is owed, and never asks for IN again",
        &[caught("wakeup::reading_goes_on_after_back_pressure", ReadLost, "reading was paused and not res")],
    ),
    mutant(
        EpollLt,
        "oneshot_not_rearmed",
        "does not arm EPOLLONESHOT again when the interest is the same as before",
        &[caught("wakeup::reading_goes_on_after_back_pressure", WriteLost, "EPOLLONESHOT disarmed")],
    ),
    mutant(
        EpollLt,
        "short_write_dropped",
        "drops what a short write did not take",
        &[
            caught("write::a_slow_reader_gets_64_mib_byte_exact", WrongBytes, "short write's rest was dropped"),
            caught("write::tiny_socket_buffers_in_both_directions_lose_nothing", WrongBytes, "short write's rest"),
        ],
    ),
    mutant(
        EpollLt,
        "reset_ends_server",
        "ends when a read says ECONNRESET",
        &[caught("close::a_reset_ends_that_connection_alone", Exited, "must not end a server")],
    ),
    mutant(
        EpollLt,
        "duplicate_kept",
        "keeps a duplicate of the newest connection's descriptor",
        &[
            caught("close::fin_alone_is_answered_with_fin", Spinning, "is not open any more"),
            caught("idle::a_server_without_clients_sleeps", Spinning, "is not open any more"),
        ],
    ),
    mutant(
        EpollLt,
        "duplicate_deregistered",
        "keeps a duplicate of the newest connection's descriptor, and deregisters and shuts down before it closes",
        &[caught("close::a_connection_that_has_ended_is_held_by_nobody", Leak, "a duplicate (dup, try_clone)")],
    ),
    mutant(
        EpollLt,
        "sigpipe_after_a_look",
        "asks for a connection's error (SO_ERROR) before it writes, with SIGPIPE at its default",
        &[caught("faults::a_reset_at_any_moment_of_a_turn_is_survived", Exited, "MSG_NOSIGNAL")],
    ),
    mutant(
        EpollLt,
        "emfile_forgotten",
        "keeps the listener registered at EMFILE",
        &[caught("faults::out_of_descriptors_the_server_rests", Spinning, "stop watching it until one is free")],
    ),
    mutant(
        EpollLt,
        "emfile_naps",
        "sleeps for 100 ms when an accept fails for lack of a descriptor",
        &[caught("faults::out_of_descriptors_those_connected_go_on", Slow, "sleeps outside of its wait")],
    ),
    mutant(
        EpollLt,
        "retry_by_time_alone",
        "accepts again when a pause has ended, and not when a close frees a descriptor",
        &[caught(
            "faults::a_descriptor_that_becomes_free_is_used_before_the_server_sleeps",
            AcceptQueueNotDrained,
            "tries again only when its pause ends",
        )],
    ),
    mutant(
        EpollLt,
        "emfile_is_fatal",
        "ends at EMFILE",
        &[caught("faults::out_of_descriptors_the_server_rests", Exited, "Too many open files")],
    ),
    mutant(
        EpollLt,
        "eintr_is_fatal",
        "ends when its wait says EINTR",
        &[
            caught("faults::a_stop_and_a_continue_are_survived", Exited, "Interrupted system call"),
            caught("faults::a_stop_with_bytes_under_way_is_survived", Exited, "A stop and a continue"),
            caught(
                "start::a_server_that_was_stopped_before_its_first_client_serves_it",
                Exited,
                "Interrupted system call",
            ),
        ],
    ),
    mutant(
        EpollLt,
        "unbounded_output",
        "owes as much as a client cares to send",
        &[caught("write::a_client_that_never_reads_costs_bounded_memory", Leak, "without a limit")],
    ),
    mutant(
        EpollLt,
        "memory_kept_at_close",
        "keeps a buffer of each connection that was stuck when it closes",
        &[caught("scale::memory_comes_back_when_nothing_is_owed", Leak, "grows from cycle to cycle")],
    ),
    mutant(
        EpollLt,
        "state_never_freed",
        "closes a connection, and never frees the 4 KiB that it had for it",
        &[caught("scale::two_thousand_clients_come_and_go_without_a_trace", Leak, "is never freed")],
    ),
    mutant(
        EpollLt,
        "shared_buffer",
        "keeps what it owes in one buffer for all",
        &[caught("lifetime::bytes_held_for_two_stuck_clients_are_not_mixed", WrongBytes, "ne buffer")],
    ),
    mutant(
        EpollLt,
        "buffer_each",
        "has a read buffer for each connection",
        &[caught("scale::an_idle_connection_costs_less_than_256_bytes", Leak, "A buffer for each connection")],
    ),
    mutant(
        EpollLt,
        "bad_args_exit1",
        "exits with 1 on bad arguments",
        &[caught("start::bad_arguments_are_refused_with_the_usage", Contract, "exit code 1 and not exit code 2")],
    ),
    mutant(
        EpollLt,
        "bind_panics",
        "panics when the address is in use",
        &[
            caught("start::an_address_in_use_is_said_in_one_line", Contract, "exit code 101"),
            caught("start::an_address_that_is_not_this_machines_is_said_in_one_line", Contract, "exit code 101"),
            caught("start::a_port_that_needs_root_is_said_in_one_line", Contract, "exit code 101"),
        ],
    ),
    mutant(
        EpollLt,
        "banner",
        "prints more than one line to stdout",
        &[caught("start::one_line_on_stdout_says_where_it_listens", Contract, "press ^C")],
    ),
    mutant(
        EpollLt,
        "signals_at_default",
        "leaves SIGTERM and SIGINT at their default",
        &[
            caught("start::sigterm_ends_an_idle_server", Contract, "signal 15"),
            caught("start::sigint_ends_a_server_with_connections", Contract, "ended with signal 2"),
            caught("start::a_signal_during_traffic_ends_the_server", Contract, "ended with signal 15"),
        ],
    ),
    mutant(
        EpollLt,
        "flag_not_seen",
        "sets a flag in the handler, and its wait goes on",
        &[
            caught("start::sigterm_ends_an_idle_server", Contract, "A flag that is set by a handler"),
            caught("start::a_signal_that_comes_before_the_wait_is_not_lost", Contract, "tested before the wait"),
        ],
    ),
    mutant(
        Select,
        "flag_before_wait",
        "sets a flag in the handler, and tests it before each wait",
        &[caught("start::a_signal_between_the_last_look_and_the_wait_is_not_lost", Contract, "comes in between")],
    ),
    mutant(
        EpollLt,
        "wakes_each_minute",
        "has a timeout of a minute for its wait, with nothing to do",
        &[caught("idle::a_server_without_clients_sleeps", Spinning, "waits without a timeout")],
    ),
    mutant(
        EpollLt,
        "lingers",
        "sets SO_LINGER with a time, and waits in close",
        &[caught("close::a_close_with_bytes_under_way_keeps_nobody_waiting", Blocked, "SO_LINGER")],
    ),
    mutant(
        EpollLt,
        "rest_sent_blocking",
        "leaves O_NONBLOCK off, once the client has finished, to send the rest of what is owed",
        &[caught("write::the_rest_for_a_client_that_has_finished_keeps_nobody_waiting", Blocked, "lacks O_NONBLOCK")],
    ),
    mutant(
        EpollLt,
        "iov_max",
        "writes all that is owed in one writev, however many pieces it has",
        &[caught("write::more_pieces_than_one_writev_takes_come_back", Truncated, "IOV_MAX")],
    ),
    mutant(
        EpollLt,
        "pending_bytes_wait",
        "sends pending bytes with a call that waits until all have room",
        &[caught("write::a_client_that_reads_a_little_and_rests_leaves_others_served", Blocked, "send")],
    ),
    mutant(
        EpollLt,
        "slow_reader_timeout",
        "ends a connection that owes bytes for three seconds",
        &[
            caught("write::a_reader_that_rests_is_not_thrown_out", Reset, "not read for some seconds"),
            caught("write::a_reader_that_rests_for_ten_seconds_is_not_thrown_out", Reset, "a time was over"),
        ],
    ),
    mutant(
        EpollLt,
        "retry_armed_twice",
        "starts one more timer with each accept that fails for lack of a descriptor",
        &[caught("faults::out_of_descriptors_attempts_stay_few", Spinning, "one timer")],
    ),
    mutant(
        Poll,
        "blocking_sockets",
        "leaves accepted sockets blocking",
        &[
            caught("write::a_client_that_never_reads_leaves_others_served", Blocked, "lacks O_NONBLOCK"),
            caught("start::every_socket_is_blocking_or_not_as_its_model_needs", Contract, "MSG_DONTWAIT"),
            caught("write::slow_readers_of_different_speeds_are_all_served", Blocked, "lacks O_NONBLOCK"),
        ],
    ),
    mutant(
        Poll,
        "naps_after_work",
        "waits 50 times for a millisecond after each event, before it waits without a timeout",
        &[caught("idle::a_round_trip_costs_few_wakeups", Spinning, "Wait without a timeout")],
    ),
    mutant(
        Poll,
        "closed_slot_left",
        "leaves a closed descriptor in the list: NVAL at every wait",
        &[caught("idle::coming_and_going_leaves_nothing_to_do", Spinning, "NVAL")],
    ),
    mutant(
        Poll,
        "slot_not_moved",
        "moves the last entry to a free place, and not its connection",
        &[
            caught("idle::coming_and_going_leaves_nothing_to_do", Spinning, "NVAL"),
            caught("idle::a_client_that_has_left_leaves_nothing_to_do", Spinning, "NVAL"),
        ],
    ),
    mutant(
        Poll,
        "interest_not_moved",
        "moves the last connection to a free place, and asks for input there, whatever was asked of it before",
        &[caught("close::bytes_owed_to_others_come_whoever_leaves", WriteLost, "the socket was full")],
    ),
    mutant(
        Poll,
        "events_compared_for_equality",
        "compares revents with ==",
        &[caught("close::connections_that_were_reset_are_freed", Leak, "was not closed")],
    ),
    mutant(
        Poll,
        "count_is_bound",
        "looks at as many entries as poll says are ready, from the first on",
        &[caught("echo::one_byte_comes_back", Spinning, "never sleeps")],
    ),
    mutant(
        Poll,
        "first_16_of_the_set",
        "serves the first 16 entries that are ready, and begins with the first again in the next turn",
        &[
            caught(
                "fairness::hundreds_of_clients_that_flood_do_not_keep_another_waiting",
                Starved,
                "begins with the first",
            ),
            caught("fairness::fifty_clients_that_pipeline_do_not_keep_another_waiting", Starved, "go on to the next"),
        ],
    ),
    mutant(
        EpollEt,
        "small_read_once_per_edge",
        "reads 4 KiB for an edge",
        &[
            caught("drain::a_burst_of_bytes_in_one_wakeup_is_all_read", ReadLost, "used up"),
            caught("drain::bursts_on_many_connections_in_one_wakeup_are_all_read", ReadLost, "used up"),
            caught("drain::a_second_burst_is_read_like_the_first", ReadLost, "used up"),
            caught("echo::many_small_messages_before_the_first_read_come_back_in_order", ReadLost, "used up"),
        ],
    ),
    mutant(
        EpollLt,
        "read_interest_left_on",
        "does not read a client that is owed much, and waits for its input all the same",
        &[caught("idle::a_client_that_never_reads_costs_nothing", Spinning, "stop watching for input")],
    ),
    mutant(
        EpollLt,
        "retry_never_ends",
        "looks for clients every 60 ms once it has had no descriptor left",
        &[caught("idle::once_there_are_descriptors_again_the_server_sleeps", Spinning, "planned only while")],
    ),
    mutant(
        EpollLt,
        "places_not_given_back",
        "has places for 4,000 connections, and gives none back",
        &[caught("lifetime::buffers_come_back_from_thousands_of_connections", ReadLost, "in no epoll set")],
    ),
    mutant(
        EpollLt,
        "owed_kept_for_the_next",
        "sends what it owed a client that has gone to the next one",
        &[
            caught(
                "lifetime::a_new_connection_gets_nothing_of_the_one_before_it",
                WrongBytes,
                "more to this connection",
            ),
            caught(
                "lifetime::resets_in_the_middle_of_sends_leave_a_stream_byte_exact",
                WrongBytes,
                "more to this connection",
            ),
        ],
    ),
    mutant(
        EpollEt,
        "quota_of_32_mib",
        "reads 32 MiB of a connection, and no more",
        &[caught("echo::a_stream_of_64_mib_comes_back_while_it_is_sent", ReadLost, "used up")],
    ),
    mutant(
        EpollLt,
        "quit_is_a_command",
        "ends a connection that says quit",
        &[caught("echo::no_byte_and_no_word_is_a_command", Truncated, "not with a word")],
    ),
    mutant(
        EpollLt,
        "bytes_never_freed",
        "keeps a copy of all that it reads",
        &[caught("lifetime::bytes_that_have_gone_leave_no_memory", Leak, "Free what held the bytes")],
    ),
    mutant(
        EpollLt,
        "owed_never_freed",
        "keeps what it owed to a client that has gone",
        &[caught("lifetime::bytes_that_have_gone_leave_no_memory", Leak, "Free what held the bytes")],
    ),
    mutant(
        EpollLt,
        "drained_never_freed",
        "keeps the memory of what it owed, once all is sent",
        &[caught("lifetime::bytes_that_have_gone_leave_no_memory", Leak, "Free what held the bytes")],
    ),
    mutant(
        EpollEt,
        "bound_for_all",
        "reads no more while all connections together are owed 16 MiB",
        &[caught(
            "write::hundreds_of_clients_that_never_read_leave_others_served",
            ReadLost,
            "Bound what each connection may",
        )],
    ),
    mutant(
        EpollEt,
        "count_kept_at_reset",
        "reads no more while all connections together are owed 64 MiB, and counts those that have gone",
        &[caught(
            "write::hundreds_of_clients_that_never_read_leave_others_served",
            ReadLost,
            "Bound what each connection may",
        )],
    ),
    mutant(
        EpollLt,
        "help_on_stderr",
        "prints its help to stderr",
        &[caught("start::help_is_printed_to_stdout", Contract, "on stdout")],
    ),
    mutant(
        EpollLt,
        "address_not_reused",
        "does not set SO_REUSEADDR",
        &[caught("start::the_port_is_free_again_after_a_stop", Exited, "SO_REUSEADDR")],
    ),
    mutant(
        EpollLt,
        "ipv4_alone",
        "makes an IPv4 socket for every address",
        &[caught("start::ipv6_is_served", Exited, "[::1]")],
    ),
    mutant(
        EpollLt,
        "resized_is_stopped",
        "stops at SIGWINCH, a terminal's new size",
        &[caught("faults::signals_that_are_ignored_by_default_change_nothing", Exited, "no request to stop")],
    ),
    mutant(
        Select,
        "full_is_fatal",
        "ends when a descriptor does not fit into its sets",
        &[caught("fd_setsize::clients_below_fd_1024_go_on_while_others_pass_it", Exited, "below 1024")],
    ),
    mutant(
        Select,
        "nfds_off_by_one",
        "passes the highest descriptor as nfds",
        &[
            caught("echo::one_byte_comes_back", ReadLost, "nfds is too small"),
            caught("wakeup::the_newest_connection_is_heard_first", ReadLost, "nfds is too small"),
        ],
    ),
    mutant(
        Select,
        "nfds_counted",
        "takes the number of connections for what the highest descriptor has grown by",
        &[caught(
            "fd_setsize::descriptors_with_gaps_between_them_are_served_like_others",
            ReadLost,
            "nfds is too small",
        )],
    ),
    mutant(
        Poll,
        "slot_by_number",
        "takes a descriptor's distance from the first one for its place in the list",
        &[caught(
            "fd_setsize::descriptors_with_gaps_between_them_are_served_like_others",
            ReadLost,
            "have gaps between them",
        )],
    ),
    mutant(
        Select,
        "nfds_after_any_close",
        "takes the next descriptor below a closed one for the highest, whichever was closed",
        &[
            caught("wakeup::the_highest_descriptor_is_heard_whoever_closes_below_it", ReadLost, "nfds is too small"),
            caught("wakeup::those_who_stay_are_heard_whoever_leaves", ReadLost, "nfds is too small"),
        ],
    ),
    mutant(
        Select,
        "set_not_rebuilt",
        "waits with the sets that the last wait wrote",
        &[
            caught("wakeup::each_connection_is_heard_in_turn_and_again_after_a_rest", ReadLost, "not rebuilt"),
            caught("wakeup::every_one_of_fifty_is_heard_in_any_order", ReadLost, "not rebuilt"),
            caught("wakeup::a_connection_that_was_silent_among_busy_ones_is_heard", ReadLost, "not rebuilt"),
        ],
    ),
    mutant(
        Select,
        "bit_beyond_the_set",
        "sets the bit of a descriptor past 1023",
        &[
            caught(
                "fd_setsize::a_connection_past_fd_1023_is_served_or_closed_at_once",
                Contract,
                "does not fit into an fd_set",
            ),
            caught("fd_setsize::a_listener_past_fd_1023_serves_or_says_why_it_cannot", Contract, "names the limit"),
        ],
    ),
    mutant(
        Select,
        "closed_slot_left",
        "leaves a closed descriptor in the set: EBADF for all",
        &[
            caught("close::connections_are_freed_in_whatever_order_they_end", Exited, "Bad file descriptor"),
            caught(
                "fd_setsize::new_clients_are_served_again_once_low_descriptors_are_free",
                Exited,
                "Bad file descriptor",
            ),
        ],
    ),
    mutant(
        Select,
        "line_for_each_refusal",
        "prints a line for each connection it refuses",
        &[caught("fd_setsize::a_flood_of_refused_connections_writes_few_lines", Contract, "A line for each refusal")],
    ),
    mutant(
        Select,
        "emfile_is_fatal",
        "ends at EMFILE",
        &[caught("faults::out_of_descriptors_the_server_rests", Exited, "Too many open files")],
    ),
    mutant(
        Select,
        "sigpipe_kills",
        "writes to a connection that was reset, with SIGPIPE at its default",
        &[
            caught("faults::a_reset_while_output_is_owed_is_survived", Exited, "MSG_NOSIGNAL"),
            caught("close::a_reset_of_a_stuck_client_that_had_finished_frees_the_descriptor", Exited, "ignore SIGPIPE"),
        ],
    ),
    // io_uring notes RLIMIT_NOFILE when the accept is submitted, so only a limit from the start bites, and the harness
    // starts only a server of our own with a limit.
    mutant(
        Uring,
        "accept_not_rearmed",
        "does not arm a multishot accept again after it ended with an error",
        &[caught(
            "faults::twice_as_many_clients_as_descriptors_are_all_served_in_turn",
            AcceptQueueNotDrained,
            "EMFILE",
        )],
    )
    .own(),
    mutant(
        Uring,
        "accept_armed_by_a_close_only",
        "arms the accept that ended with an error again when a connection ends, and at no other time",
        &[caught(
            "faults::queued_clients_are_served_when_the_limit_of_the_start_is_raised",
            AcceptQueueNotDrained,
            "EMFILE",
        )],
    )
    .own(),
    mutant(
        Uring,
        "dont_wait",
        "receives with MSG_DONTWAIT, and again at EAGAIN",
        &[caught("idle::a_hundred_idle_connections_cost_nothing", Spinning, "MSG_DONTWAIT")],
    ),
    mutant(
        Uring,
        "two_sends_in_flight",
        "has two sends in flight on one connection",
        &[caught(
            "write::small_pieces_sent_while_the_server_cannot_write_stay_in_order",
            WrongBytes,
            "Two sends were in flight",
        )],
    ),
    mutant(
        Uring,
        "short_write_dropped",
        "drops what a short send did not take",
        &[caught("write::a_slow_reader_gets_64_mib_byte_exact", WrongBytes, "short write's rest was dropped")],
    ),
    mutant(
        Uring,
        "buffer_lent_twice",
        "receives into a buffer that is still being sent from",
        &[
            caught(
                "lifetime::large_messages_of_two_connections_are_not_mixed",
                WrongBytes,
                "lent to two operations at once",
            ),
            caught("wakeup::bytes_sent_right_after_the_connect_are_heard", WrongBytes, "lent to two"),
        ],
    ),
    mutant(
        Uring,
        "buffers_256",
        "has 256 buffers, which connections share that are so far apart",
        &[caught(
            "lifetime::connections_share_no_buffer_however_far_apart_they_are",
            WrongBytes,
            "lent to two operations at once",
        )],
    ),
    mutant(
        Uring,
        "buffers_in_turn",
        "takes the next of 1,000 buffers for each receive, whoever may still have it",
        &[caught(
            "lifetime::bytes_held_while_thousands_of_reads_pass_are_kept",
            WrongBytes,
            "lent to two operations at once",
        )],
    ),
    mutant(
        Uring,
        "buffer_kept_at_failed_send",
        "keeps the buffer of a connection whose send failed",
        &[caught("lifetime::a_send_that_fails_gives_back_what_it_had", Leak, "goes back where a send fails too")],
    )
    .own(),
    mutant(
        Uring,
        "poll_left_at_failed_send",
        "cancels its multishot poll where a receive ends a connection, and not where a send fails",
        &[caught("lifetime::a_send_that_fails_gives_back_what_it_had", Leak, "came while POLL_ADD on fd")],
    ),
    mutant(
        Uring,
        "close_in_flight",
        "closes a connection with a multishot poll in flight on it",
        &[caught("close::fin_alone_is_answered_with_fin", EofLost, "Cancel what is in flight")],
    ),
    mutant(
        Uring,
        "close_after_shutdown",
        "shuts it down before, and leaves the poll in flight",
        &[caught("close::connections_are_freed_in_whatever_order_they_end", Leak, "Cancel what is in flight")],
    ),
    mutant(
        Uring,
        "fixed_length",
        "sends as many bytes as it had asked for, and not as many as came",
        &[
            caught("echo::one_byte_comes_back", WrongBytes, "memory that nothing was read into"),
            caught("echo::messages_around_every_usual_buffer_size_come_back", WrongBytes, "nothing was read into"),
            caught("echo::tiny_and_large_messages_take_turns_on_one_connection", WrongBytes, "nothing was read into"),
            caught(
                "lifetime::short_messages_after_long_ones_carry_no_old_bytes",
                WrongBytes,
                "more to this connection",
            ),
        ],
    ),
    mutant(
        Uring,
        "completions_dropped",
        "drops completions of sends from the 65th of a batch on",
        &[caught(
            "drain::room_on_more_connections_than_any_batch_in_one_wakeup_is_all_used",
            ReadLost,
            "No receive is in flight",
        )],
    ),
    mutant(
        Threads,
        "send_timeout",
        "has a thread for each connection, and a timeout for its send",
        &[caught("write::a_reader_that_rests_is_not_thrown_out", Reset, "SO_SNDTIMEO")],
    ),
    mutant(
        Threads,
        "not_joined",
        "has a thread for each connection, neither detached nor joined",
        &[caught("lifetime::threads_that_have_ended_are_joined", Leak, "detach")],
    ),
    mutant(
        Threads,
        "state_never_freed",
        "has a thread for each connection, and never frees the 4 KiB that it had for it",
        &[caught("scale::two_thousand_clients_come_and_go_without_a_trace", Leak, "is never freed")],
    ),
    mutant(
        Fork,
        "not_reaped",
        "has a process for each connection, and waits for none",
        &[caught("lifetime::children_that_have_ended_are_waited_for", Leak, "zombie")],
    ),
    mutant(
        Fork,
        "reaped_once_a_signal",
        "waits for one child for each SIGCHLD, which may stand for several",
        &[caught("lifetime::children_that_have_ended_are_waited_for", Leak, "zombie")],
    ),
    mutant(
        Uring,
        "need_wakeup_seen_early",
        "looks whether the kernel's thread sleeps (SQPOLL) before it publishes what it submits",
        &[caught("wakeup::a_submission_to_a_thread_that_falls_asleep_is_taken", WriteLost, "IORING_SQ_NEED_WAKEUP")],
    ),
    mutant(
        Threads,
        "part_sent_is_all",
        "takes what a blocking send took for all that it was given, whatever cut it short",
        &[caught("faults::a_send_that_a_stop_cuts_short_goes_on", WrongBytes, "it returns a part of its bytes")],
    ),
    mutant(
        Threads,
        "part_sent_is_error",
        "closes when a blocking send took less than it was given",
        &[caught("faults::a_send_that_a_stop_cuts_short_goes_on", Reset, "it returns a part of its bytes")],
    ),
    mutant(
        Threads,
        "eintr_ends_connection",
        "closes when a send with a timeout says EINTR",
        &[caught("faults::stops_while_bytes_trickle_are_survived", Reset, "or EINTR")],
    ),
    mutant(
        Workers,
        "eventfd_read_late",
        "empties the queue of a hand-over first, and reads its eventfd after that",
        &[caught(
            "wakeup::a_connection_handed_over_at_any_moment_is_heard",
            ReadLost,
            "read the descriptor first, and the queue after it",
        )],
    ),
    mutant(
        Pool,
        "armed_early",
        "arms a one-shot connection before it works on it, and again at the end: two threads, and the later one's mask stays",
        &[caught("wakeup::a_client_whose_thread_is_held_at_any_moment_is_heard", WriteLost, "Arm a connection once")],
    ),
    mutant(
        Pool,
        "armed_at_room",
        "arms a one-shot connection at once when it is told of room, and reads without the lock",
        &[caught(
            "wakeup::a_client_whose_thread_is_held_as_room_comes_keeps_its_order",
            WrongBytes,
            "another thread may read its next bytes and send them first",
        )],
    ),
    mutant(
        Pool,
        "not_armed_after_the_rest",
        "does not arm a one-shot connection again once it has sent the rest of what was owed",
        &[caught("wakeup::reading_goes_on_after_back_pressure", ReadLost, "EPOLLONESHOT disarmed")],
    ),
    mutant(
        Uring,
        "not_submitted",
        "waits for completions without handing over what it has put into the submission queue",
        &[caught("echo::one_byte_comes_back", ReadLost, "never handed over")],
    ),
    mutant(
        EpollLt,
        "low_water",
        "has SO_RCVLOWAT at 64",
        &[caught("echo::one_byte_comes_back", ReadLost, "has SO_RCVLOWAT at 64")],
    ),
    mutant(
        EpollLt,
        "corked",
        "sets TCP_CORK, and never takes it off",
        &[caught("echo::an_answer_is_not_held_back", Slow, "TCP_CORK is set on fd")],
    ),
    mutant(
        EpollLt,
        "lingers_not",
        "closes with SO_LINGER at 0 seconds",
        &[caught("close::fin_alone_is_answered_with_fin", Reset, "SO_LINGER")],
    ),
    mutant(
        Poll,
        "child_inherits",
        "starts a program that inherits a connection",
        &[caught("close::fin_alone_is_answered_with_fin", EofLost, "(sleep), which does nothing with it")],
    ),
    mutant(
        EpollLt,
        "second_listener",
        "has a second listening socket, from which nobody accepts",
        &[caught(
            "drain::a_burst_of_connects_in_one_wakeup_is_all_accepted",
            AcceptQueueNotDrained,
            "no thread waits for that one",
        )],
    ),
    mutant(
        EpollLt,
        "zero_length_read",
        "reads as much as it has room for, also nothing, and takes the 0 for the end",
        &[caught("write::a_paused_reader_is_not_disconnected", Reset, "A read of length 0 returns 0")],
    ),
    mutant(
        EpollLt,
        "waits_for_more",
        "keeps what it owes until it is 4 KiB",
        &[
            caught("echo::one_byte_comes_back", WriteLost, "it made no write at all"),
            caught("echo::single_bytes_come_back_one_by_one_in_order", WriteLost, "So few always fit"),
        ],
    ),
    mutant(
        Poll,
        "urgent_is_error",
        "asks poll for PRI, and takes it for an error",
        &[caught(
            "faults::urgent_data_neither_breaks_the_stream_nor_wakes_for_ever",
            Reset,
            "took urgent data for an error",
        )],
    ),
    mutant(
        OneByOne,
        "",
        "serves one client after the other",
        &[caught("echo::sixty_four_connections_keep_their_bytes_apart", Blocked, "It serves one client at a time")],
    ),
    mutant(
        Limited,
        "limit_not_lifted",
        "takes 32 clients at once, and none any more once it was full",
        &[caught(
            "faults::a_limit_of_connections_is_lifted_when_clients_leave",
            AcceptQueueNotDrained,
            "nobody waits for the listener any more",
        )],
    ),
    mutant(
        Limited,
        "reset_keeps_its_place",
        "does not count out a client that was reset",
        &[caught(
            "faults::a_limit_of_connections_is_lifted_when_clients_leave",
            AcceptQueueNotDrained,
            "one that leaves by reset does not",
        )],
    ),
    mutant(
        Limited,
        "pipe_never_closed",
        "opens a pipe for each connection and never closes it",
        &[caught("scale::two_thousand_clients_come_and_go_without_a_trace", Leak, "a pipe, an eventfd")],
    ),
    mutant(
        Limited,
        "every_second_stays_open",
        "closes only every second connection, and shuts the others down",
        &[caught("close::connections_that_were_reset_are_freed", Leak, "was not closed")],
    ),
];
