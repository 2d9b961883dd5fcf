//! Rest: no thread goes on by itself. The oracle looks, the next step comes, or time has to pass.
//!
//! Invariant: a verdict is given only when nothing is under way, no timer of the server's is left to go off, and a second
//! look some time later shows the same.

use super::*;

impl Machine<'_> {
    /// No thread can go on: the oracle looks, the next step comes, or time has to pass.
    pub(super) fn nothing_runs(&mut self) -> Result<Option<Ending>, Error> {
        if self.listener.is_none() {
            return self.start_goes_on();
        }
        if self.settle()? {
            return Ok(None);
        }
        let next = self.order.script.steps.get(self.next).copied();
        if let Some(verdict) = self.oracle() {
            if self.time_passes()? {
                return Ok(None);
            }
            // Now it is for ever, unless something was late.
            std::thread::sleep(FOR_EVER);
            if self.settle()? || !self.ready_threads()?.is_empty() {
                return Ok(None);
            }
            self.collect()?;
            if !self.ready_threads()?.is_empty() {
                return Ok(None);
            }
            if self.order.keep {
                self.log_rest(Some(verdict.1.clone()));
            }
            return Ok(Some(verdict));
        }
        self.timers = Duration::ZERO;
        "rest".hash(&mut self.hash);
        if self.order.keep {
            self.log_rest(None);
        }
        let Some(step) = next else {
            return Ok(Some(Ending(Verdict::Ok, String::new())));
        };
        if self.order.faults.eintr && !self.interrupted_here {
            if self.choose(2) == 1 {
                self.interrupted_here = true;
                self.log_fault("SIGSTOP, SIGCONT: the wait is interrupted");
                self.interrupt()?;
                return Ok(None);
            }
            if self.diverged {
                return Ok(None);
            }
        }
        self.interrupted_here = false;
        self.next += 1;
        match step {
            Step::Interrupt => {
                self.log_step(step, false, String::new(), 0);
                self.interrupt()?;
            }
            Step::Signal(signal) => {
                // It comes while the server sleeps in its wait, or just before it goes to sleep: after its last look at
                // whatever its handler changes.
                let held = self.threads.values().find_map(|tid| match self.by_tid[tid].state {
                    State::Entry(call) if call.kind.is_wait() => Some((*tid, call)),
                    _ => None,
                });
                match held {
                    Some((tid, call)) if self.choose(2) == 1 => {
                        let before = if self.order.keep { self.text(tid, &call) } else { String::new() };
                        self.log_step(step, true, before, 0);
                        self.signal_before(tid, call, signal)?;
                    }
                    _ => {
                        self.log_step(step, false, String::new(), 0);
                        self.signal_now(signal)?;
                    }
                }
            }
            step => {
                let bytes = self.perform(step)?;
                self.log_step(step, false, String::new(), bytes);
            }
        }
        Ok(None)
    }

    pub(super) fn start_goes_on(&mut self) -> Result<Option<Ending>, Error> {
        if self.started.elapsed() > START {
            let sleepers = self.sleepers().join(", ");
            return Err(self.no_start(&format!("it does not listen, and sleeps in {sleepers},")));
        }
        if !self.time_passes()? {
            std::thread::sleep(Duration::from_millis(1));
            self.timers = Duration::ZERO;
        }
        Ok(None)
    }

    pub(super) fn no_start(&mut self, what: &str) -> Error {
        let words = self.last_words();
        Error::Start(format!(
            "'{}': {what} {:.1} s after its start{words}",
            self.order.target.name,
            self.started.elapsed().as_secs_f64()
        ))
    }

    /// Lets the clients read and go on sending, and waits for what is under way; whether anything has moved.
    pub(super) fn settle(&mut self) -> Result<bool, Error> {
        let end = Instant::now() + UNDER_WAY;
        loop {
            let mut moved = false;
            for id in 0..MAX_CLIENTS {
                let Some(client) = self.clients[id].as_mut() else { continue };
                let finished = (client.eof, client.reset, client.finished);
                let read = if client.paused { 0 } else { client.pull() };
                let sent = client.push();
                let news = finished != (client.eof, client.reset, client.finished);
                if read > 0 || sent > 0 || news {
                    moved = true;
                    self.log_implied(id, read, sent, finished);
                }
            }
            if moved {
                self.idle = 0;
                // What it caused may be there already; what is not comes with the next look.
                return Ok(true);
            }
            if !self.under_way() || Instant::now() > end {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_micros(200));
            if !self.ready_threads()?.is_empty() {
                return Ok(true);
            }
        }
    }

    /// Whether bytes are between the two ends of a connection, and will arrive by themselves.
    pub(super) fn under_way(&mut self) -> bool {
        (0..MAX_CLIENTS).any(|id| {
            let Some((outgoing, paused, gone)) =
                self.clients[id].as_ref().map(|it| (it.unacknowledged(), it.paused, it.gone))
            else {
                return false;
            };
            if gone {
                return false;
            }
            let Some((_, fd)) = self.server_end(id) else { return false };
            let _ = fd.set_tcp_quickack(true);
            let (unread, unsent) = (handle::in_queue(&fd), handle::out_queue(&fd));
            outgoing > 0 && unread == 0 || unsent > 0 && !paused
        })
    }

    /// Lets a timeout of the server's run out, if there is one and patience is left.
    pub(super) fn time_passes(&mut self) -> Result<bool, Error> {
        if self.timers > TIMERS {
            return Ok(false);
        }
        let start = Instant::now();
        let waits: Vec<(i32, Pending)> = self
            .threads
            .values()
            .filter_map(|tid| match self.by_tid[tid].state {
                State::Entry(call) => Some((*tid, call)),
                _ => None,
            })
            .collect();
        let timed = waits.iter().filter_map(|(tid, call)| match self.patience(*tid, call) {
            Patience::Until(time) => Some((time, *tid, *call)),
            _ => None,
        });
        if let Some((_, tid, call)) = timed.min_by_key(|(time, tid, _)| (*time, *tid)) {
            self.make(tid, call)?;
            self.timers += start.elapsed().max(Duration::from_millis(1));
            return Ok(true);
        }
        let asleep = self.threads.values().copied().filter(|tid| self.is_asleep(*tid));
        let asleep: Vec<i32> = asleep.filter(|tid| self.wakes_by_itself(*tid)).collect();
        let timer = self.processes.values().any(|process| process.has_armed_timer());
        while (timer || !asleep.is_empty()) && self.timers + start.elapsed() < TIMERS {
            std::thread::sleep(Duration::from_millis(1));
            if timer && !self.ready_threads()?.is_empty() {
                self.timers += start.elapsed();
                return Ok(true);
            }
            for tid in &asleep {
                if !self.sleeps_on(*tid)? {
                    self.timers += start.elapsed();
                    return Ok(true);
                }
            }
        }
        self.timers += start.elapsed();
        Ok(false)
    }

    /// Whether the call that a thread sleeps in can end without anybody's doing.
    pub(super) fn wakes_by_itself(&self, tid: i32) -> bool {
        let State::Asleep(call) = self.by_tid[&tid].state else { return false };
        match call.kind {
            // IORING_ENTER_EXT_ARG: the timeout is in the argument.
            Kind::UringEnter => call.args[3] & 8 != 0,
            Kind::EpollWait => matches!(self.patience(tid, &call), Patience::Until(_)),
            Kind::Other => match call.name {
                "futex" => call.args[3] != 0,
                "nanosleep" | "clock_nanosleep" => true,
                _ => false,
            },
            _ => false,
        }
    }

    /// What is wrong, now that the server rests.
    pub(super) fn oracle(&mut self) -> Option<Ending> {
        if self.signalled {
            let what = "the signal was delivered and the server did not end: it sleeps in its wait";
            return Some(Ending(Verdict::LostWakeup, what.into()));
        }
        let full = self.fds_limited && self.no_descriptor_left();
        let expected = match self.order.script.steps.get(self.next) {
            Some(Step::ExpectEof(id)) => Some(*id),
            _ => None,
        };
        (0..MAX_CLIENTS).find_map(|id| {
            let client = self.clients[id].as_ref()?;
            if client.gone {
                return None;
            }
            let (asked, back, owed) = (client.asked, client.came_back, client.owed());
            let (finished, eof, reset, paused) = (client.finished, client.eof, client.reset, client.paused);
            match client.wrong() {
                Some(Wrong::Gap(at, len)) => {
                    let what = format!("c{id} got byte {} right behind byte {at}: {len} bytes are missing", at + len);
                    return Some(Ending(Verdict::Truncated, what));
                }
                Some(Wrong::Bytes(at)) => {
                    let what = format!("what came back to c{id} is right up to byte {at} and wrong from there on");
                    return Some(Ending(Verdict::WrongBytes, what));
                }
                None => {}
            }
            let ended = if reset { "reset" } else { "closed" };
            if (reset || eof) && (owed > 0 || !finished) {
                let what = match owed {
                    0 => format!("the server {ended} c{id}'s connection, which the client has not finished"),
                    _ => format!("the server {ended} c{id}'s connection with {back} of {asked} bytes sent back"),
                };
                return Some(Ending(Verdict::Truncated, what));
            }
            if paused || full && self.server_end(id).is_none() {
                return None;
            }
            match (owed, finished && !eof && !reset) {
                (0, false) if expected == Some(id) && !eof => {
                    Some(Ending(Verdict::NoEof, format!("c{id} was to see the server's FIN by now, and did not")))
                }
                (0, false) => None,
                (0, true) => Some(Ending(
                    Verdict::NoEof,
                    format!("c{id} has finished and got its {asked} bytes back, but no FIN"),
                )),
                _ => Some(Ending(
                    Verdict::LostWakeup,
                    format!("{owed} of c{id}'s {asked} bytes did not come back, and the server sleeps"),
                )),
            }
        })
    }

    /// One byte more tells whether bytes that the server has read are held back or gone: if it comes back alone, the
    /// others are gone.
    pub(super) fn dropped_or_held(&mut self, verdict: Verdict, what: String) -> Result<(Verdict, String), Error> {
        if verdict != Verdict::LostWakeup || self.signalled {
            return Ok((verdict, what));
        }
        let Some(id) = (0..MAX_CLIENTS).find(|id| {
            let owes = |client: &Client| client.owed() > 0 && !client.gone && !client.paused && !client.finished;
            self.clients[*id].as_ref().is_some_and(owes)
        }) else {
            return Ok((verdict, what));
        };
        let read_all = self.server_end(id).is_some_and(|(_, fd)| handle::in_queue(&fd) == 0);
        if !read_all {
            return Ok((verdict, what));
        }
        let owed = self.clients[id].as_ref().map_or(0, Client::owed);
        if let Some(client) = self.clients[id].as_mut() {
            client.send(1);
        }
        let kept = std::mem::take(&mut self.events);
        for _ in 0..10_000 {
            self.collect()?;
            if self.exit.is_some() {
                break;
            }
            let ready = self.ready_threads()?;
            match ready.first().copied() {
                Some(tid) => match self.by_tid[&tid].state {
                    State::Entry(call) => self.make(tid, call)?,
                    _ => self.run_to_entry(tid)?,
                },
                None if self.settle()? => {}
                None => break,
            }
        }
        self.events = kept;
        Ok(match self.clients[id].as_ref().and_then(Client::wrong) {
            Some(Wrong::Gap(..)) => {
                let what = format!(
                    "{owed} bytes that the server has read did not come back to c{id}, and never will: \
                     the next byte came without them"
                );
                (Verdict::Truncated, what)
            }
            _ => (verdict, what),
        })
    }

    pub(super) fn after_exit(&mut self, how: String) -> Result<Ending, Error> {
        if self.spun {
            let what = "the server computed for seconds and made no system call, so it was ended";
            return Ok(Ending(Verdict::Spinning, what.into()));
        }
        if self.listener.is_none() {
            return Err(self.no_start(&format!("it ended with {how}, before it listened,")));
        }
        if self.signalled {
            return Ok(match self.clean_exit {
                true => Ending(Verdict::Ok, String::new()),
                false => Ending(
                    Verdict::Exited,
                    format!("after the signal the server ended with {how}, not with exit code 0"),
                ),
            });
        }
        let words = self.last_words();
        Ok(Ending(Verdict::Exited, format!("the server ended with {how}{words}")))
    }

    pub(super) fn last_words(&mut self) -> String {
        let mut text = Vec::new();
        let _ = self.output.rewind().and_then(|()| self.output.read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text);
        let last: Vec<&str> = text.lines().filter(|line| !line.starts_with("listening on ")).collect();
        match last.last() {
            Some(line) => format!("; its last words: {}", line.trim()),
            None => String::new(),
        }
    }
}
