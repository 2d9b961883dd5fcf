//! Errors of system calls and ends of processes, by name.
//!
//! Invariant: where a number has no name here, the number itself is shown.

use std::process::ExitStatus;

/// `EAGAIN` for 11; for the kernel's own numbers, what becomes of the call.
pub fn error_name(code: i32) -> String {
    let name = match code {
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::EINTR => "EINTR",
        libc::EIO => "EIO",
        libc::EBADF => "EBADF",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::EEXIST => "EEXIST",
        libc::EINVAL => "EINVAL",
        libc::ENFILE => "ENFILE",
        libc::EMFILE => "EMFILE",
        libc::EPIPE => "EPIPE",
        libc::ENOTSOCK => "ENOTSOCK",
        libc::EADDRINUSE => "EADDRINUSE",
        libc::ENOBUFS => "ENOBUFS",
        libc::ENOTCONN => "ENOTCONN",
        libc::ECONNABORTED => "ECONNABORTED",
        libc::ECONNRESET => "ECONNRESET",
        #[cfg(target_os = "linux")]
        libc::ETIME => "ETIME",
        libc::ETIMEDOUT => "ETIMEDOUT",
        512..=514 | 516 => "interrupted, to be made again",
        _ => return format!("error {code}"),
    };
    name.to_owned()
}

/// What a system call returned: a number, or the name of an error.
pub fn result(value: i64) -> String {
    match value {
        -4095..0 => error_name(-value as i32),
        value => value.to_string(),
    }
}

/// `signal 6 (SIGABRT)`.
pub fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGHUP => "SIGHUP",
        libc::SIGILL => "SIGILL",
        libc::SIGINT => "SIGINT",
        libc::SIGKILL => "SIGKILL",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGTERM => "SIGTERM",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({name})")
}

/// `exit code 1`, or `signal 6 (SIGABRT)`.
pub fn end_of_process(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => signal_name(signal),
        (None, None) => "an unknown status".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_without_a_name_are_shown() {
        assert_eq!([result(7), result(-11), result(-4000)], ["7", "EAGAIN", "error 4000"]);
        assert_eq!([signal_name(6), signal_name(60)], ["signal 6 (SIGABRT)", "signal 60"]);
    }
}
