//! What the demonstration finds out about closed descriptors.

#![cfg(target_os = "linux")]

#[test]
fn a_dup_keeps_a_closed_descriptor_registered_and_del_before_the_close_does_not() {
    let cargo = std::env::var_os("CARGO").expect("run by cargo");
    let run = ["run", "--quiet", "--package", "epoll-lt", "--example", "stale_fd"];
    let output = std::process::Command::new(cargo).args(run).output().expect("cargo runs");
    assert!(output.status.success(), "{output:?}");
    let expected = "\
close alone
  the descriptor is closed, a dup is left; registered: yes
  3 waits, 3 events of it: level-triggered, so the loop spins
  read of it: EBADF
  EPOLL_CTL_DEL of it: EBADF
  a new connection has the number now; it is not registered, and the event is taken for its own
  read of it: EAGAIN
  EPOLL_CTL_DEL of it: ENOENT
  it is registered too; registered under this number: 2 times
a generation in the token
  event: generation 0, the table has 1 for this number: told apart, and not acted on
  and again: it still spins
  the dup is closed; registered under this number: yes
EPOLL_CTL_DEL before the close
  the descriptor is closed, a dup is left; registered: no
  events: none
";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}
