//! All starters and solutions in one program, so that they are built once: `exercises 19_accept_queue/starter [ARGUMENT]...`
//! is that server, with those arguments.
//!
//! Invariant: a server sees the command line that it would see as a program of its own.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

#[path = "../01_the_sets/solution.rs"]
mod solution_01;
#[path = "../02_nfds/solution.rs"]
mod solution_02;
#[path = "../03_fd_1024/solution.rs"]
mod solution_03;
#[path = "../04_signal_gap/solution.rs"]
mod solution_04;
#[path = "../05_hang_up/solution.rs"]
mod solution_05;
#[path = "../06_slots/solution.rs"]
mod solution_06;
#[path = "../07_write_interest/solution.rs"]
mod solution_07;
#[cfg(target_os = "linux")]
#[path = "../08_duplicate/solution.rs"]
mod solution_08;
#[cfg(target_os = "linux")]
#[path = "../09_one_reset/solution.rs"]
mod solution_09;
#[cfg(target_os = "linux")]
#[path = "../10_slow_reader/solution.rs"]
mod solution_10;
#[cfg(target_os = "linux")]
#[path = "../11_full_socket/solution.rs"]
mod solution_11;
#[cfg(target_os = "linux")]
#[path = "../12_broken_pipe/solution.rs"]
mod solution_12;
#[cfg(target_os = "linux")]
#[path = "../14_large_messages/solution.rs"]
mod solution_14;
#[cfg(target_os = "linux")]
#[path = "../15_short_read/solution.rs"]
mod solution_15;
#[cfg(target_os = "linux")]
#[path = "../16_goodbye/solution.rs"]
mod solution_16;
#[cfg(target_os = "linux")]
#[path = "../17_back_pressure/solution.rs"]
mod solution_17;
#[cfg(target_os = "linux")]
#[path = "../19_accept_queue/solution.rs"]
mod solution_19;
#[cfg(target_os = "linux")]
#[path = "../19_registration/solution.rs"]
mod solution_19;
#[cfg(target_os = "linux")]
#[path = "../20_oneshot/solution.rs"]
mod solution_20;
#[cfg(target_os = "linux")]
#[path = "../21_out_of_fds/solution.rs"]
mod solution_21;
#[cfg(target_os = "linux")]
#[path = "../22_firehose/solution.rs"]
mod solution_22;
#[path = "../24_end_of_file/solution.rs"]
mod solution_24;
#[path = "../25_clear/solution.rs"]
mod solution_25;
#[cfg(target_os = "linux")]
#[path = "../27_one_buffer/solution.rs"]
mod solution_27;
#[cfg(target_os = "linux")]
#[path = "../28_early_free/solution.rs"]
mod solution_28;
#[cfg(target_os = "linux")]
#[path = "../29_short_send/solution.rs"]
mod solution_29;
#[cfg(target_os = "linux")]
#[path = "../30_multishot/solution.rs"]
mod solution_30;
#[cfg(target_os = "linux")]
#[path = "../31_no_buffers/solution.rs"]
mod solution_31;
#[cfg(target_os = "linux")]
#[path = "../32_the_chain/solution.rs"]
mod solution_32;
#[cfg(target_os = "linux")]
#[path = "../33_close_in_flight/solution.rs"]
mod solution_33;
#[path = "../01_the_sets/starter.rs"]
mod starter_01;
#[path = "../02_nfds/starter.rs"]
mod starter_02;
#[path = "../03_fd_1024/starter.rs"]
mod starter_03;
#[path = "../04_signal_gap/starter.rs"]
mod starter_04;
#[path = "../05_hang_up/starter.rs"]
mod starter_05;
#[path = "../06_slots/starter.rs"]
mod starter_06;
#[path = "../07_write_interest/starter.rs"]
mod starter_07;
#[cfg(target_os = "linux")]
#[path = "../08_duplicate/starter.rs"]
mod starter_08;
#[cfg(target_os = "linux")]
#[path = "../09_one_reset/starter.rs"]
mod starter_09;
#[cfg(target_os = "linux")]
#[path = "../10_slow_reader/starter.rs"]
mod starter_10;
#[cfg(target_os = "linux")]
#[path = "../11_full_socket/starter.rs"]
mod starter_11;
#[cfg(target_os = "linux")]
#[path = "../12_broken_pipe/starter.rs"]
mod starter_12;
#[cfg(target_os = "linux")]
#[path = "../14_large_messages/starter.rs"]
mod starter_14;
#[cfg(target_os = "linux")]
#[path = "../15_short_read/starter.rs"]
mod starter_15;
#[cfg(target_os = "linux")]
#[path = "../16_goodbye/starter.rs"]
mod starter_16;
#[cfg(target_os = "linux")]
#[path = "../17_back_pressure/starter.rs"]
mod starter_17;
#[cfg(target_os = "linux")]
#[path = "../19_accept_queue/starter.rs"]
mod starter_19;
#[cfg(target_os = "linux")]
#[path = "../19_registration/starter.rs"]
mod starter_19;
#[cfg(target_os = "linux")]
#[path = "../20_oneshot/starter.rs"]
mod starter_20;
#[cfg(target_os = "linux")]
#[path = "../21_out_of_fds/starter.rs"]
mod starter_21;
#[cfg(target_os = "linux")]
#[path = "../22_firehose/starter.rs"]
mod starter_22;
#[path = "../24_end_of_file/starter.rs"]
mod starter_24;
#[path = "../25_clear/starter.rs"]
mod starter_25;
#[cfg(target_os = "linux")]
#[path = "../27_one_buffer/starter.rs"]
mod starter_27;
#[cfg(target_os = "linux")]
#[path = "../28_early_free/starter.rs"]
mod starter_28;
#[cfg(target_os = "linux")]
#[path = "../29_short_send/starter.rs"]
mod starter_29;
#[cfg(target_os = "linux")]
#[path = "../30_multishot/starter.rs"]
mod starter_30;
#[cfg(target_os = "linux")]
#[path = "../31_no_buffers/starter.rs"]
mod starter_31;
#[cfg(target_os = "linux")]
#[path = "../32_the_chain/starter.rs"]
mod starter_32;
#[cfg(target_os = "linux")]
#[path = "../33_close_in_flight/starter.rs"]
mod starter_33;

/// In the environment of the second start: which server to be.
const CHOSEN: &str = "EXERCISES_SERVER";

type Main = fn() -> ExitCode;

/// The servers of this platform, by the paths of their files.
const SERVERS: &[(&str, Main)] = &[
    ("01_the_sets/starter", starter_01::main),
    ("01_the_sets/solution", solution_01::main),
    ("02_nfds/starter", starter_02::main),
    ("02_nfds/solution", solution_02::main),
    ("03_fd_1024/starter", starter_03::main),
    ("03_fd_1024/solution", solution_03::main),
    ("04_signal_gap/starter", starter_04::main),
    ("04_signal_gap/solution", solution_04::main),
    ("05_hang_up/starter", starter_05::main),
    ("05_hang_up/solution", solution_05::main),
    ("06_slots/starter", starter_06::main),
    ("06_slots/solution", solution_06::main),
    ("07_write_interest/starter", starter_07::main),
    ("07_write_interest/solution", solution_07::main),
    #[cfg(target_os = "linux")]
    ("08_duplicate/starter", starter_08::main),
    #[cfg(target_os = "linux")]
    ("08_duplicate/solution", solution_08::main),
    #[cfg(target_os = "linux")]
    ("09_one_reset/starter", starter_09::main),
    #[cfg(target_os = "linux")]
    ("09_one_reset/solution", solution_09::main),
    #[cfg(target_os = "linux")]
    ("10_slow_reader/starter", starter_10::main),
    #[cfg(target_os = "linux")]
    ("10_slow_reader/solution", solution_10::main),
    #[cfg(target_os = "linux")]
    ("11_full_socket/starter", starter_11::main),
    #[cfg(target_os = "linux")]
    ("11_full_socket/solution", solution_11::main),
    #[cfg(target_os = "linux")]
    ("12_broken_pipe/starter", starter_12::main),
    #[cfg(target_os = "linux")]
    ("12_broken_pipe/solution", solution_12::main),
    #[cfg(target_os = "linux")]
    ("14_large_messages/starter", starter_14::main),
    #[cfg(target_os = "linux")]
    ("14_large_messages/solution", solution_14::main),
    #[cfg(target_os = "linux")]
    ("15_short_read/starter", starter_15::main),
    #[cfg(target_os = "linux")]
    ("15_short_read/solution", solution_15::main),
    #[cfg(target_os = "linux")]
    ("16_goodbye/starter", starter_16::main),
    #[cfg(target_os = "linux")]
    ("16_goodbye/solution", solution_16::main),
    #[cfg(target_os = "linux")]
    ("17_back_pressure/starter", starter_17::main),
    #[cfg(target_os = "linux")]
    ("17_back_pressure/solution", solution_17::main),
    #[cfg(target_os = "linux")]
    ("19_accept_queue/starter", starter_19::main),
    #[cfg(target_os = "linux")]
    ("19_accept_queue/solution", solution_19::main),
    #[cfg(target_os = "linux")]
    ("19_registration/starter", starter_19::main),
    #[cfg(target_os = "linux")]
    ("19_registration/solution", solution_19::main),
    #[cfg(target_os = "linux")]
    ("20_oneshot/starter", starter_20::main),
    #[cfg(target_os = "linux")]
    ("20_oneshot/solution", solution_20::main),
    #[cfg(target_os = "linux")]
    ("21_out_of_fds/starter", starter_21::main),
    #[cfg(target_os = "linux")]
    ("21_out_of_fds/solution", solution_21::main),
    #[cfg(target_os = "linux")]
    ("22_firehose/starter", starter_22::main),
    #[cfg(target_os = "linux")]
    ("22_firehose/solution", solution_22::main),
    ("24_end_of_file/starter", starter_24::main),
    ("24_end_of_file/solution", solution_24::main),
    ("25_clear/starter", starter_25::main),
    ("25_clear/solution", solution_25::main),
    #[cfg(target_os = "linux")]
    ("27_one_buffer/starter", starter_27::main),
    #[cfg(target_os = "linux")]
    ("27_one_buffer/solution", solution_27::main),
    #[cfg(target_os = "linux")]
    ("28_early_free/starter", starter_28::main),
    #[cfg(target_os = "linux")]
    ("28_early_free/solution", solution_28::main),
    #[cfg(target_os = "linux")]
    ("29_short_send/starter", starter_29::main),
    #[cfg(target_os = "linux")]
    ("29_short_send/solution", solution_29::main),
    #[cfg(target_os = "linux")]
    ("30_multishot/starter", starter_30::main),
    #[cfg(target_os = "linux")]
    ("30_multishot/solution", solution_30::main),
    #[cfg(target_os = "linux")]
    ("31_no_buffers/starter", starter_31::main),
    #[cfg(target_os = "linux")]
    ("31_no_buffers/solution", solution_31::main),
    #[cfg(target_os = "linux")]
    ("32_the_chain/starter", starter_32::main),
    #[cfg(target_os = "linux")]
    ("32_the_chain/solution", solution_32::main),
    #[cfg(target_os = "linux")]
    ("33_close_in_flight/starter", starter_33::main),
    #[cfg(target_os = "linux")]
    ("33_close_in_flight/solution", solution_33::main),
];

fn main() -> ExitCode {
    if let Ok(chosen) = env::var(CHOSEN) {
        return match SERVERS.iter().find(|(name, _)| *name == chosen) {
            Some((_, main)) => main(),
            None => unknown(&chosen),
        };
    }
    let mut arguments = env::args_os().skip(1);
    let chosen = arguments.next().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !SERVERS.iter().any(|(name, _)| *name == chosen) {
        return unknown(&chosen);
    }
    // The same process under the same number: a server is watched by its pid.
    let error = env::current_exe().map(|this| Command::new(this).args(arguments).env(CHOSEN, &chosen).exec());
    eprintln!("exercises: start {chosen}: {}", error.unwrap_or_else(|error| error));
    ExitCode::FAILURE
}

fn unknown(chosen: &str) -> ExitCode {
    let said = if chosen.is_empty() { String::new() } else { format!("exercises: there is no server '{chosen}'\n\n") };
    eprintln!("{said}usage: exercises SERVER [--addr ADDR:PORT] [--backlog N]\n\nservers:");
    SERVERS.iter().for_each(|(name, _)| eprintln!("  {name}"));
    ExitCode::from(2)
}
