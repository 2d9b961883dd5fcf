//! What a call means: whether it would sleep, and for how long; what its descriptor is.
//!
//! Invariant: looking takes nothing from the server and lets nothing run.

use super::*;

impl Machine<'_> {
    /// How long the call may sleep.
    pub(super) fn patience(&self, tid: i32, call: &Pending) -> Patience {
        let process = &self.processes[&self.by_tid[&tid].process];
        decode::patience(**process, call)
    }

    /// Virtual blocking: whether a call that is about to be made would sleep.
    pub(super) fn would_sleep(&self, tid: i32, call: &Pending) -> bool {
        let process = &self.processes[&self.by_tid[&tid].process];
        if call.kind.is_wait() && call.kind != Kind::UringEnter {
            if self.signalfd && call.kind == Kind::EpollWait {
                return false;
            }
            return self.patience(tid, call) != Patience::None
                && !self.has_news(tid, call)
                && !self.lets_signal_in(tid, call);
        }
        let events = match call.kind {
            Kind::Read | Kind::Accept => libc::POLLIN,
            Kind::Write => libc::POLLOUT,
            _ => return false,
        };
        // MSG_DONTWAIT
        if matches!(call.name, "recvfrom" | "sendto") && call.args[3] as i32 & libc::MSG_DONTWAIT != 0 {
            return false;
        }
        let Some(fd) = process.borrow(call.args[0] as RawFd) else { return false };
        handle::is_blocking(&fd) && !handle::is_ready(&fd, events)
    }

    /// Whether a wait would find something.
    pub(super) fn has_news(&self, tid: i32, call: &Pending) -> bool {
        let process = &self.processes[&self.by_tid[&tid].process];
        match call.kind {
            Kind::EpollWait => {
                process.borrow(call.args[0] as RawFd).is_none_or(|fd| handle::is_ready(&fd, libc::POLLIN))
            }
            Kind::Poll => self.any_ready(process, &decode::poll_set(**process, call)),
            Kind::Select => self.any_ready(process, &decode::select_set(**process, call)),
            _ => true,
        }
    }

    pub(super) fn any_ready(&self, process: &Handle, wanted: &[(RawFd, i16)]) -> bool {
        let borrowed = wanted.iter().map(|(fd, events)| Some((process.borrow(*fd)?, *events)));
        match borrowed.collect::<Option<Vec<_>>>() {
            Some(borrowed) => handle::any_ready(&borrowed),
            // EBADF, or POLLNVAL: an answer at once.
            None => true,
        }
    }

    /// pselect6, ppoll and epoll_pwait open the signal mask as they wait.
    pub(super) fn lets_signal_in(&self, tid: i32, call: &Pending) -> bool {
        if !self.signalled {
            return false;
        }
        let process = &self.processes[&self.by_tid[&tid].process];
        let mask = decode::mask_of_wait(**process, call);
        let blocked = mask.unwrap_or_else(|| ptrace::blocked_signals(tid).unwrap_or(0));
        let pending = Process { pid: tid }.status().map_or(0, |status| status.sigpnd | status.shdpnd);
        pending & !blocked != 0
    }

    /// What the call's descriptor is.
    pub(super) fn call_label(&self, tid: i32, call: &Pending) -> Option<Label> {
        let fd = call.fd()?;
        Some(self.label(self.by_tid[&tid].process, fd))
    }

    pub(super) fn label(&self, process: i32, fd: RawFd) -> Label {
        if let Some(label) = self.labels.get(&(process, fd)) {
            return *label;
        }
        let of = &self.processes[&process];
        of.borrow(fd).map_or(Label::Other, |borrowed| handle::label(&borrowed, || of.link(fd)))
    }

    /// `c0`, `listener`, or empty.
    pub(super) fn name(&self, label: Label) -> String {
        match label {
            Label::Listener => "listener".into(),
            Label::Peer(port) => self.client_of(port).map_or_else(String::new, |id| format!("c{id}")),
            Label::Epoll | Label::Other => String::new(),
        }
    }

    pub(super) fn client_of(&self, port: u16) -> Option<usize> {
        self.clients.iter().position(|client| client.as_ref().is_some_and(|client| client.port == port))
    }

    /// The server's end of a client's connection.
    pub(super) fn server_end(&self, id: usize) -> Option<(RawFd, socket2::Socket)> {
        let port = self.clients[id].as_ref()?.port;
        let known = self.labels.iter().filter(|(_, label)| **label == Label::Peer(port)).map(|(at, _)| *at);
        let mut known: Vec<(i32, RawFd)> = known.collect();
        known.sort_unstable();
        let unknown =
            self.processes.values().flat_map(|process| process.fds().into_iter().flatten().map(|fd| (process.pid, fd)));
        known.into_iter().chain(unknown.collect::<Vec<_>>()).find_map(|(process, fd)| {
            let process = &self.processes[&process];
            let borrowed = process.borrow(fd)?;
            let is = SockRef::from(&borrowed).peer_addr().ok()?.as_socket()?.port() == port;
            is.then(|| (fd, socket2::Socket::from(borrowed)))
        })
    }

    pub(super) fn after_call(&mut self, tid: i32, call: &Pending, value: i64) -> Result<(), Error> {
        let process = self.by_tid[&tid].process;
        let progress = value > 0 && matches!(call.kind, Kind::Read | Kind::Write)
            || value >= 0 && matches!(call.kind, Kind::Accept | Kind::Close);
        self.idle = if progress { 0 } else { self.idle + 1 };
        match call.kind {
            Kind::Accept if value >= 0 => {
                let fd = value as RawFd;
                let label = self.accepted(process, fd, call);
                self.labels.insert((process, fd), label);
            }
            Kind::Listen if value == 0 && self.listener.is_none() => {
                self.found_listener(process, call.args[0] as RawFd)?;
                // The place of a descriptor does not change while it is open, and looking it up each time is dear.
                self.labels.insert((process, call.args[0] as RawFd), Label::Listener);
            }
            Kind::EpollCtl => {
                self.labels.insert((process, call.args[0] as RawFd), Label::Epoll);
            }
            _ => {}
        }
        self.record(tid, call, value);
        match call.kind {
            Kind::Close => {
                self.labels.remove(&(process, call.args[0] as RawFd));
            }
            Kind::Duplicate => self.labels.retain(|(it, _), _| *it != process),
            _ => {}
        }
        Ok(())
    }

    /// Who was accepted: a connection that was reset meanwhile has no peer any more, but accept has said it.
    pub(super) fn accepted(&self, process: i32, fd: RawFd, call: &Pending) -> Label {
        let label = self.label(process, fd);
        if label != Label::Other || call.args[1] == 0 {
            return label;
        }
        // The port stands at the same place in both families, and in network order.
        let address: [u8; 4] = self.processes[&process].word(call.args[1]);
        match u16::from_be_bytes([address[2], address[3]]) {
            0 => label,
            port => Label::Peer(port),
        }
    }

    pub(super) fn found_listener(&mut self, process: i32, fd: RawFd) -> Result<(), Error> {
        let Some(borrowed) = self.processes[&process].borrow(fd) else { return Ok(()) };
        let socket = SockRef::from(&borrowed);
        let Some(addr) = socket.local_addr().ok().as_ref().and_then(SockAddr::as_socket) else { return Ok(()) };
        // Accepted sockets inherit all of these.
        socket.set_tcp_nodelay(true)?;
        handle::unpace(&borrowed);
        if self.order.script.small_buffers {
            socket.set_send_buffer_size(SMALL)?;
            // Not small, but set: a size that the kernel tunes as it goes is not the same in each run.
            socket.set_recv_buffer_size(4 * SMALL)?;
        }
        self.addr = match addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, addr.port())),
            IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from((Ipv6Addr::LOCALHOST, addr.port())),
            _ => addr,
        };
        self.listener = Some((process, fd));
        self.idle = 0;
        Ok(())
    }
}
