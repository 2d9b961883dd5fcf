//! Links: accept, receive, send and close of one connection as one submission. Each step starts when the one before it has
//! succeeded, without the program in between. The accept puts the socket into a slot that was chosen beforehand (a direct
//! descriptor), because the next steps have to name it before it exists.
//!
//! So it is a server for requests of a fixed length: `REQUEST` bytes come back, and then FIN. A link asks only whether a step
//! succeeded, and a receive that got less is a success, whose send then sends what the buffer held before. That
//! takes MSG_WAITALL on the receive: with less than `REQUEST` bytes before FIN it fails the chain.
//!
//! Invariant: a lane is one chain, one slot and one buffer, and one completion says how the chain ended: steps that succeed
//! are silent (SKIP_SUCCESS, Linux 5.17) but the last, and behind one that fails all are. A broken chain does not reach its
//! close, so the lane closes the slot itself, before it starts again.
//!
//! `--lanes N` chains wait at a time (default 64); the rest of the clients wait in the accept queue. At its end it prints how
//! many connections were served and what that took.

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    common_server::not_on_this_platform("linked", "io_uring", "Linux")
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    common_server::main_with("linked", linux::OPTIONS, linux::Server::new, linux::Server::run)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::net::{SocketAddr, TcpListener};
    use std::os::fd::AsRawFd;
    use std::ptr;

    use anyhow::{Context, Result};
    use common_server::{AcceptError, Args, Given, Notice, Opt, Retry, Shutdown, Takes, listen};
    use io_uring::opcode;
    use io_uring::squeue::Flags;
    use io_uring::types::{DestinationSlot, Fd, Fixed};

    use uring::queues::{Completion, Queues};

    /// The length of a request, and of its answer.
    const REQUEST: usize = 64;
    const STEPS: usize = 4;
    const LANES: usize = 64;

    const ACCEPT: u8 = 0;
    const RECEIVE: u8 = 1;
    const SEND: u8 = 2;
    const CLOSE: u8 = 3;
    const CLOSE_BROKEN: u8 = 4;
    const SIGNAL: u8 = 5;

    pub const OPTIONS: &[Opt] = &[Opt {
        name: "--lanes",
        takes: Takes::Number(1, 64),
        help: "chains that wait for a client at a time (default 64)",
    }];

    pub struct Server {
        queues: Queues,
        listener: TcpListener,
        _shutdown: Shutdown,
        /// A buffer each, leaked: the kernel may write to it until the process has ended.
        lanes: Vec<*mut [u8; REQUEST]>,
        /// Lanes whose accept failed for want of memory or files, and when they try again.
        resting: Vec<usize>,
        retry: Retry,
        out_of_fds: Notice,
        served: u64,
        broken: u64,
        submissions: u64,
    }

    impl Server {
        pub fn new(args: Args, given: Given, shutdown: Shutdown) -> Result<(SocketAddr, Self)> {
            let listener = listen(args.addr, args.backlog)?;
            listener.set_nonblocking(false)?;
            let lanes = given.number("--lanes").unwrap_or(LANES);
            // A chain has to lie in the queue whole: one that is cut by a submission ends there.
            let mut queues = Queues::open((LANES * STEPS) as u32 * 2, 2048)?;
            queues.submitter().register_files_sparse(lanes as u32).context("io_uring: register files")?;
            queues.push_signal(&shutdown, SIGNAL)?;
            let mut server = Self {
                queues,
                listener,
                _shutdown: shutdown,
                lanes: (0..lanes).map(|_| Box::into_raw(Box::new([0; REQUEST]))).collect(),
                resting: Vec::new(),
                retry: Retry::default(),
                out_of_fds: Notice::default(),
                served: 0,
                broken: 0,
                submissions: 0,
            };
            (0..lanes).try_for_each(|lane| server.start(lane))?;
            Ok((server.listener.local_addr()?, server))
        }

        /// The whole life of the lane's next connection.
        fn start(&mut self, lane: usize) -> Result<()> {
            let slot = Fixed(lane as u32);
            let this_slot = DestinationSlot::try_from_slot_target(lane as u32).expect("a small number");
            let buffer = self.lanes[lane].cast::<u8>();
            let accept = opcode::Accept::new(Fd(self.listener.as_raw_fd()), ptr::null_mut(), ptr::null_mut());
            let receive = opcode::Recv::new(slot, buffer, REQUEST as u32).flags(libc::MSG_WAITALL);
            let send = opcode::Send::new(slot, buffer, REQUEST as u32).flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL);
            let link = Flags::IO_LINK | Flags::SKIP_SUCCESS;
            let chain = [
                accept.file_index(Some(this_slot)).build().flags(link),
                receive.build().flags(link),
                send.build().flags(link),
                opcode::Close::new(slot).build(),
            ];
            if self.queues.room() < STEPS {
                self.queues.submit()?;
            }
            for (step, entry) in chain.into_iter().enumerate() {
                // SAFETY: the lane's buffer is leaked, and nobody but this chain uses it.
                unsafe { self.queues.push(entry, step as u8, lane)? };
            }
            Ok(())
        }

        fn landed(&mut self, done: Completion) -> Result<()> {
            let lane = done.index;
            match (done.what, done.result.map_err(AcceptError::from)) {
                (CLOSE, _) => self.served += 1,
                (ACCEPT, Err(AcceptError::OutOfFds(error))) => {
                    self.out_of_fds.say(format_args!("accept: {error}; waiting clients stay queued"));
                    self.resting.push(lane);
                    self.retry.later();
                    return Ok(());
                }
                (ACCEPT, Err(AcceptError::Broken(error))) => return Err(error).context("accept"),
                (RECEIVE | SEND, _) => {
                    self.broken += 1;
                    let close = opcode::Close::new(Fixed(lane as u32)).build();
                    // SAFETY: no memory of ours.
                    return unsafe { self.queues.push(close, CLOSE_BROKEN, lane) }.context("io_uring_enter");
                }
                _ => {}
            }
            self.start(lane)
        }

        pub fn run(mut self) -> Result<()> {
            loop {
                if self.retry.take_due() {
                    std::mem::take(&mut self.resting).into_iter().try_for_each(|lane| self.start(lane))?;
                }
                self.queues.wait(self.retry.timeout_ms()).context("io_uring_enter")?;
                self.submissions += 1;
                while let Some(done) = self.queues.land() {
                    if done.what == SIGNAL {
                        let Self { served, broken, submissions, .. } = self;
                        eprintln!("{served} served, {broken} broken off, {submissions} calls of io_uring_enter");
                        return Ok(());
                    }
                    self.landed(done)?;
                }
            }
        }
    }
}
