//! The exercises' servers, by the paths of their files.
//!
//! Written by `cargo lab docs` from the folders and from the chapter that each exercise.toml names.

use exercises::program::Main;

#[path = "../07_the_sets/solution.rs"]
mod solution_07;
#[path = "../08_nfds/solution.rs"]
mod solution_08;
#[path = "../09_fd_1024/solution.rs"]
mod solution_09;
#[path = "../10_signal_gap/solution.rs"]
mod solution_10;
#[path = "../11_hang_up/solution.rs"]
mod solution_11;
#[path = "../12_slots/solution.rs"]
mod solution_12;
#[path = "../13_write_interest/solution.rs"]
mod solution_13;
#[cfg(target_os = "linux")]
#[path = "../14_duplicate/solution.rs"]
mod solution_14;
#[cfg(target_os = "linux")]
#[path = "../15_one_reset/solution.rs"]
mod solution_15;
#[cfg(target_os = "linux")]
#[path = "../16_slow_reader/solution.rs"]
mod solution_16;
#[cfg(target_os = "linux")]
#[path = "../17_full_socket/solution.rs"]
mod solution_17;
#[cfg(target_os = "linux")]
#[path = "../18_broken_pipe/solution.rs"]
mod solution_18;
#[cfg(target_os = "linux")]
#[path = "../19_accept_queue/solution.rs"]
mod solution_19;
#[cfg(target_os = "linux")]
#[path = "../20_large_messages/solution.rs"]
mod solution_20;
#[cfg(target_os = "linux")]
#[path = "../21_short_read/solution.rs"]
mod solution_21;
#[cfg(target_os = "linux")]
#[path = "../22_goodbye/solution.rs"]
mod solution_22;
#[cfg(target_os = "linux")]
#[path = "../23_back_pressure/solution.rs"]
mod solution_23;
#[cfg(target_os = "linux")]
#[path = "../24_ready_flag/solution.rs"]
mod solution_24;
#[cfg(target_os = "linux")]
#[path = "../25_registration/solution.rs"]
mod solution_25;
#[cfg(target_os = "linux")]
#[path = "../26_oneshot/solution.rs"]
mod solution_26;
#[cfg(target_os = "linux")]
#[path = "../27_out_of_fds/solution.rs"]
mod solution_27;
#[cfg(target_os = "linux")]
#[path = "../28_firehose/solution.rs"]
mod solution_28;
#[cfg(target_os = "linux")]
#[path = "../29_the_herd/solution.rs"]
mod solution_29;
#[path = "../30_end_of_file/solution.rs"]
mod solution_30;
#[path = "../31_clear/solution.rs"]
mod solution_31;
#[path = "../32_second_event/solution.rs"]
mod solution_32;
#[cfg(target_os = "linux")]
#[path = "../33_one_buffer/solution.rs"]
mod solution_33;
#[cfg(target_os = "linux")]
#[path = "../34_early_free/solution.rs"]
mod solution_34;
#[cfg(target_os = "linux")]
#[path = "../35_short_send/solution.rs"]
mod solution_35;
#[cfg(target_os = "linux")]
#[path = "../36_multishot/solution.rs"]
mod solution_36;
#[cfg(target_os = "linux")]
#[path = "../37_no_buffers/solution.rs"]
mod solution_37;
#[cfg(target_os = "linux")]
#[path = "../38_the_chain/solution.rs"]
mod solution_38;
#[cfg(target_os = "linux")]
#[path = "../39_close_in_flight/solution.rs"]
mod solution_39;
#[path = "../07_the_sets/starter.rs"]
mod starter_07;
#[path = "../08_nfds/starter.rs"]
mod starter_08;
#[path = "../09_fd_1024/starter.rs"]
mod starter_09;
#[path = "../10_signal_gap/starter.rs"]
mod starter_10;
#[path = "../11_hang_up/starter.rs"]
mod starter_11;
#[path = "../12_slots/starter.rs"]
mod starter_12;
#[path = "../13_write_interest/starter.rs"]
mod starter_13;
#[cfg(target_os = "linux")]
#[path = "../14_duplicate/starter.rs"]
mod starter_14;
#[cfg(target_os = "linux")]
#[path = "../15_one_reset/starter.rs"]
mod starter_15;
#[cfg(target_os = "linux")]
#[path = "../16_slow_reader/starter.rs"]
mod starter_16;
#[cfg(target_os = "linux")]
#[path = "../17_full_socket/starter.rs"]
mod starter_17;
#[cfg(target_os = "linux")]
#[path = "../18_broken_pipe/starter.rs"]
mod starter_18;
#[cfg(target_os = "linux")]
#[path = "../19_accept_queue/starter.rs"]
mod starter_19;
#[cfg(target_os = "linux")]
#[path = "../20_large_messages/starter.rs"]
mod starter_20;
#[cfg(target_os = "linux")]
#[path = "../21_short_read/starter.rs"]
mod starter_21;
#[cfg(target_os = "linux")]
#[path = "../22_goodbye/starter.rs"]
mod starter_22;
#[cfg(target_os = "linux")]
#[path = "../23_back_pressure/starter.rs"]
mod starter_23;
#[cfg(target_os = "linux")]
#[path = "../24_ready_flag/starter.rs"]
mod starter_24;
#[cfg(target_os = "linux")]
#[path = "../25_registration/starter.rs"]
mod starter_25;
#[cfg(target_os = "linux")]
#[path = "../26_oneshot/starter.rs"]
mod starter_26;
#[cfg(target_os = "linux")]
#[path = "../27_out_of_fds/starter.rs"]
mod starter_27;
#[cfg(target_os = "linux")]
#[path = "../28_firehose/starter.rs"]
mod starter_28;
#[cfg(target_os = "linux")]
#[path = "../29_the_herd/starter.rs"]
mod starter_29;
#[path = "../30_end_of_file/starter.rs"]
mod starter_30;
#[path = "../31_clear/starter.rs"]
mod starter_31;
#[path = "../32_second_event/starter.rs"]
mod starter_32;
#[cfg(target_os = "linux")]
#[path = "../33_one_buffer/starter.rs"]
mod starter_33;
#[cfg(target_os = "linux")]
#[path = "../34_early_free/starter.rs"]
mod starter_34;
#[cfg(target_os = "linux")]
#[path = "../35_short_send/starter.rs"]
mod starter_35;
#[cfg(target_os = "linux")]
#[path = "../36_multishot/starter.rs"]
mod starter_36;
#[cfg(target_os = "linux")]
#[path = "../37_no_buffers/starter.rs"]
mod starter_37;
#[cfg(target_os = "linux")]
#[path = "../38_the_chain/starter.rs"]
mod starter_38;
#[cfg(target_os = "linux")]
#[path = "../39_close_in_flight/starter.rs"]
mod starter_39;

/// The servers of this platform.
pub const SERVERS: &[(&str, Main)] = &[
    ("07_the_sets/starter", starter_07::main),
    ("07_the_sets/solution", solution_07::main),
    ("08_nfds/starter", starter_08::main),
    ("08_nfds/solution", solution_08::main),
    ("09_fd_1024/starter", starter_09::main),
    ("09_fd_1024/solution", solution_09::main),
    ("10_signal_gap/starter", starter_10::main),
    ("10_signal_gap/solution", solution_10::main),
    ("11_hang_up/starter", starter_11::main),
    ("11_hang_up/solution", solution_11::main),
    ("12_slots/starter", starter_12::main),
    ("12_slots/solution", solution_12::main),
    ("13_write_interest/starter", starter_13::main),
    ("13_write_interest/solution", solution_13::main),
    #[cfg(target_os = "linux")]
    ("14_duplicate/starter", starter_14::main),
    #[cfg(target_os = "linux")]
    ("14_duplicate/solution", solution_14::main),
    #[cfg(target_os = "linux")]
    ("15_one_reset/starter", starter_15::main),
    #[cfg(target_os = "linux")]
    ("15_one_reset/solution", solution_15::main),
    #[cfg(target_os = "linux")]
    ("16_slow_reader/starter", starter_16::main),
    #[cfg(target_os = "linux")]
    ("16_slow_reader/solution", solution_16::main),
    #[cfg(target_os = "linux")]
    ("17_full_socket/starter", starter_17::main),
    #[cfg(target_os = "linux")]
    ("17_full_socket/solution", solution_17::main),
    #[cfg(target_os = "linux")]
    ("18_broken_pipe/starter", starter_18::main),
    #[cfg(target_os = "linux")]
    ("18_broken_pipe/solution", solution_18::main),
    #[cfg(target_os = "linux")]
    ("19_accept_queue/starter", starter_19::main),
    #[cfg(target_os = "linux")]
    ("19_accept_queue/solution", solution_19::main),
    #[cfg(target_os = "linux")]
    ("20_large_messages/starter", starter_20::main),
    #[cfg(target_os = "linux")]
    ("20_large_messages/solution", solution_20::main),
    #[cfg(target_os = "linux")]
    ("21_short_read/starter", starter_21::main),
    #[cfg(target_os = "linux")]
    ("21_short_read/solution", solution_21::main),
    #[cfg(target_os = "linux")]
    ("22_goodbye/starter", starter_22::main),
    #[cfg(target_os = "linux")]
    ("22_goodbye/solution", solution_22::main),
    #[cfg(target_os = "linux")]
    ("23_back_pressure/starter", starter_23::main),
    #[cfg(target_os = "linux")]
    ("23_back_pressure/solution", solution_23::main),
    #[cfg(target_os = "linux")]
    ("24_ready_flag/starter", starter_24::main),
    #[cfg(target_os = "linux")]
    ("24_ready_flag/solution", solution_24::main),
    #[cfg(target_os = "linux")]
    ("25_registration/starter", starter_25::main),
    #[cfg(target_os = "linux")]
    ("25_registration/solution", solution_25::main),
    #[cfg(target_os = "linux")]
    ("26_oneshot/starter", starter_26::main),
    #[cfg(target_os = "linux")]
    ("26_oneshot/solution", solution_26::main),
    #[cfg(target_os = "linux")]
    ("27_out_of_fds/starter", starter_27::main),
    #[cfg(target_os = "linux")]
    ("27_out_of_fds/solution", solution_27::main),
    #[cfg(target_os = "linux")]
    ("28_firehose/starter", starter_28::main),
    #[cfg(target_os = "linux")]
    ("28_firehose/solution", solution_28::main),
    #[cfg(target_os = "linux")]
    ("29_the_herd/starter", starter_29::main),
    #[cfg(target_os = "linux")]
    ("29_the_herd/solution", solution_29::main),
    ("30_end_of_file/starter", starter_30::main),
    ("30_end_of_file/solution", solution_30::main),
    ("31_clear/starter", starter_31::main),
    ("31_clear/solution", solution_31::main),
    ("32_second_event/starter", starter_32::main),
    ("32_second_event/solution", solution_32::main),
    #[cfg(target_os = "linux")]
    ("33_one_buffer/starter", starter_33::main),
    #[cfg(target_os = "linux")]
    ("33_one_buffer/solution", solution_33::main),
    #[cfg(target_os = "linux")]
    ("34_early_free/starter", starter_34::main),
    #[cfg(target_os = "linux")]
    ("34_early_free/solution", solution_34::main),
    #[cfg(target_os = "linux")]
    ("35_short_send/starter", starter_35::main),
    #[cfg(target_os = "linux")]
    ("35_short_send/solution", solution_35::main),
    #[cfg(target_os = "linux")]
    ("36_multishot/starter", starter_36::main),
    #[cfg(target_os = "linux")]
    ("36_multishot/solution", solution_36::main),
    #[cfg(target_os = "linux")]
    ("37_no_buffers/starter", starter_37::main),
    #[cfg(target_os = "linux")]
    ("37_no_buffers/solution", solution_37::main),
    #[cfg(target_os = "linux")]
    ("38_the_chain/starter", starter_38::main),
    #[cfg(target_os = "linux")]
    ("38_the_chain/solution", solution_38::main),
    #[cfg(target_os = "linux")]
    ("39_close_in_flight/starter", starter_39::main),
    #[cfg(target_os = "linux")]
    ("39_close_in_flight/solution", solution_39::main),
];
