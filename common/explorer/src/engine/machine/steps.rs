//! The client's side, and what else comes from outside: signals, interruptions, limits, aborted connections.
//!
//! Invariant: a step has happened when its call returns; what it causes in the server's sockets is there.

use super::*;

impl Machine<'_> {
    pub(super) fn perform(&mut self, step: Step) -> Result<u64, Error> {
        self.idle = 0;
        step.hash(&mut self.hash);
        let missing = || Error::Broken("a client that is not connected".into());
        if let Step::Connect(id) = step {
            let client = Client::connect(id, self.addr, self.order.script.small_buffers)
                .map_err(|error| Error::Broken(format!("c{id} cannot connect to {}: {error}", self.addr)))?;
            self.clients[id] = Some(client);
            return Ok(0);
        }
        match step {
            Step::FdsNone => {
                self.fds_limited = true;
                let process = &self.processes[&self.root];
                process.set_fd_limit(process.first_free_fd() as u64)?;
                return Ok(0);
            }
            Step::FdsFree => {
                self.fds_limited = false;
                self.processes[&self.root].set_fd_limit(u64::MAX)?;
                return Ok(0);
            }
            _ => {}
        }
        let client = step.client().and_then(|id| self.clients[id].as_mut()).ok_or_else(missing)?;
        Ok(match step {
            Step::Send(_, bytes) => client.send(bytes),
            Step::Pause(_) => {
                client.paused = true;
                0
            }
            Step::Recv(_) => {
                client.paused = false;
                client.pull()
            }
            Step::Shutdown(_) => {
                client.shutdown();
                0
            }
            Step::Close(_) => {
                client.leave(false);
                0
            }
            Step::Reset(_) => {
                client.leave(true);
                0
            }
            _ => 0,
        })
    }

    pub(super) fn no_descriptor_left(&self) -> bool {
        let process = &self.processes[&self.root];
        process.fd_limit().is_some_and(|limit| process.first_free_fd() as u64 >= limit)
    }

    /// A signal while the server sleeps in its wait.
    pub(super) fn signal_now(&mut self, signal: Signal) -> Result<(), Error> {
        "signal".hash(&mut self.hash);
        self.idle = 0;
        self.expect_signal();
        self.send_signal(number(signal))?;
        // Those that sleep by our doing have to be where a signal finds them.
        self.let_sleepers_in()
    }

    /// A signal just before a call: the handler runs first, and then the call is made.
    pub(super) fn signal_before(&mut self, tid: i32, call: Pending, signal: Signal) -> Result<(), Error> {
        "signal before".hash(&mut self.hash);
        self.idle = 0;
        self.expect_signal();
        let number = number(signal);
        let bit = 1 << (number - 1);
        let blocked = ptrace::blocked_signals(tid)? & bit != 0;
        let caught = Process { pid: tid }.status().is_some_and(|status| status.sigcgt & bit != 0);
        if blocked || !caught {
            // Pending until the wait itself lets it in, or nothing that a handler would see.
            return self.send_signal(number);
        }
        ptrace::skip(tid)?;
        self.resume(tid, 0)?;
        self.expect_syscall_stop(tid)?;
        // SAFETY: no pointers.
        unsafe { libc::syscall(libc::SYS_tgkill, self.by_tid[&tid].process, tid, number) };
        ptrace::give(tid, call.number, ptrace::MAKE_IT_ANEW)?;
        self.set_state(tid, State::Free);
        Ok(())
    }

    pub(super) fn expect_signal(&mut self) {
        self.signalled = true;
        self.signalfd = self
            .processes
            .values()
            .any(|it| it.fds().into_iter().flatten().any(|fd| it.link(fd).contains("[signalfd]")));
    }

    pub(super) fn send_signal(&self, signal: i32) -> Result<(), Error> {
        // SAFETY: no pointers.
        unsafe { libc::kill(self.root, signal) };
        Ok(())
    }

    /// EINTR, as a SIGSTOP and a SIGCONT give it.
    pub(super) fn interrupt(&mut self) -> Result<(), Error> {
        "interrupt".hash(&mut self.hash);
        for tid in self.threads.values() {
            // SAFETY: no pointers.
            unsafe { libc::syscall(libc::SYS_tgkill, self.by_tid[tid].process, *tid, libc::SIGSTOP) };
        }
        self.let_sleepers_in()
    }

    /// Lets threads that are held before a wait into it; a pending signal gets them out again.
    pub(super) fn let_sleepers_in(&mut self) -> Result<(), Error> {
        let held: Vec<(i32, Pending)> = self
            .threads
            .values()
            .filter_map(|tid| match self.by_tid[tid].state {
                State::Entry(call) => Some((*tid, call)),
                _ => None,
            })
            .collect();
        for (tid, call) in held {
            if self.by_tid.contains_key(&tid) && self.exit.is_none() {
                // A signal for another thread leaves this one asleep.
                self.enter(tid, call, true)?;
            }
        }
        Ok(())
    }

    /// The connection at the head of the queue goes away, and accept says so.
    pub(super) fn abort_accept(&mut self, tid: i32, call: &Pending) -> Result<(), Error> {
        let process = self.by_tid[&tid].process;
        let listener = self.processes[&process].borrow(call.args[0] as RawFd);
        if let Some(listener) = listener {
            let (stream, peer) = SockRef::from(&listener).accept()?;
            let port = peer.as_socket().map_or(0, |addr| addr.port());
            let _ = stream.set_linger(Some(Duration::ZERO));
            drop(stream);
            if let Some(client) = self.clients.iter_mut().flatten().find(|client| client.port == port) {
                client.gone = true;
            }
        }
        self.log_fault("a queued connection is aborted: accept says ECONNABORTED");
        ptrace::skip(tid)?;
        self.resume(tid, 0)?;
        self.expect_syscall_stop(tid)?;
        ptrace::give(tid, call.number, -i64::from(libc::ECONNABORTED))?;
        self.record(tid, call, -i64::from(libc::ECONNABORTED));
        self.set_state(tid, State::Free);
        Ok(())
    }

    pub(super) fn accept_would_succeed(&self, tid: i32, call: &Pending) -> bool {
        let fd = self.processes[&self.by_tid[&tid].process].borrow(call.args[0] as RawFd);
        fd.is_some_and(|fd| handle::is_ready(&fd, libc::POLLIN))
    }
}

fn number(signal: Signal) -> i32 {
    match signal {
        Signal::Term => libc::SIGTERM,
        Signal::Int => libc::SIGINT,
    }
}
