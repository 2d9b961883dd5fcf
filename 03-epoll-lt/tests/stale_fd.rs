//! The demonstration shows what happens to the registration of a closed descriptor.

#![cfg(target_os = "linux")]

#[test]
fn a_dup_keeps_a_closed_descriptor_registered_and_del_before_the_close_does_not() {
    let cargo = std::env::var_os("CARGO").expect("run by cargo");
    let run = ["run", "--quiet", "--package", "epoll-lt", "--example", "stale_fd"];
    let output = std::process::Command::new(cargo).args(run).output().expect("cargo runs");
    assert!(output.status.success(), "{output:?}");
    let expected = "\
close alone
  the descriptor is closed, a dup is open; registered: yes
  3 waits return 3 events for the closed descriptor, so the loop spins
  read from it: EBADF
  EPOLL_CTL_DEL: EBADF
  a new, unregistered connection gets the number, and the old event seems to be for it
  read from it: EAGAIN
  EPOLL_CTL_DEL: ENOENT
  the new connection is registered too; registered under this number: 2 times
a generation in the token
  the event has generation 0, the table has 1 for this number: the loop ignores the event
  the next wait: the same event, so the loop still spins
  the dup is closed; registered under this number: yes
EPOLL_CTL_DEL before the close
  the descriptor is closed, a dup is open; registered: no
  events: none
";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}
