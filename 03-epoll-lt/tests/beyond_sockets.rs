//! The demonstration prints the same six lines as kqueue's `filters`.

#![cfg(target_os = "linux")]

#[test]
fn one_wait_reports_each_of_six_kinds_of_event() {
    let cargo = std::env::var_os("CARGO").expect("run by cargo");
    let run = ["run", "--quiet", "--package", "epoll-lt", "--example", "beyond_sockets"];
    let output = std::process::Command::new(cargo).args(run).output().expect("cargo runs");
    assert!(output.status.success(), "{output:?}");
    let expected = "socket: 5 bytes wait to be read\n\
        timer: expired 1 time(s)\n\
        child: ended, exit status: 7\n\
        signal: SIGUSR1 came 1 time(s)\n\
        file: was written to\n\
        user: the program itself says so\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}
