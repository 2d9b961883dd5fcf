//! `lab confine`, hidden: gives up the rights that an attempt's server, or the compiler of its source, does not need,
//! and becomes that program under the same process id.
//!
//! Invariant: a limit that was asked for holds, or nothing is started. Only Landlock and the filter of system calls are
//! left out where the kernel lacks them. `--report` takes the same steps, then names what is missing instead of starting
//! a program.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use super::apart::Apart;
use crate::error::LabError;

/// The command line, as the lab itself writes it.
#[derive(Debug, Clone, Default, clap::Args)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub struct ConfineArgs {
    /// Become this user and group, which no other process has
    #[arg(long)]
    uid: Option<u32>,
    /// How many processes and threads the user may have
    #[arg(long, default_value_t = PROCESSES)]
    processes: u64,
    /// The program is the compiler: it may read the toolchain, and write where --write says
    #[arg(long)]
    compiler: bool,
    /// A folder that the program may write to
    #[arg(long)]
    write: Vec<PathBuf>,
    /// A folder that the program may read, and start programs from
    #[arg(long)]
    read: Vec<PathBuf>,
    /// Do as on a kernel without Landlock
    #[arg(long)]
    no_landlock: bool,
    /// Do as on a kernel without seccomp
    #[arg(long)]
    no_seccomp: bool,
    /// The process is in a namespace with no other user's or program's processes
    #[arg(long)]
    apart: bool,
    /// The server may use io_uring, whose operations pass no filter of calls
    #[arg(long)]
    io_uring: bool,
    /// Report what holds, and start nothing
    #[arg(long)]
    report: bool,
    /// Kill all processes of the user, and start nothing
    #[arg(long, requires = "uid")]
    end_all: bool,
    /// The program
    #[arg(last = true)]
    command: Vec<OsString>,
}

/// A server is one process, or a few. Several servers run at once, and the threads of the worker that checks them count
/// too.
pub const PROCESSES: u64 = 100;

/// How far a program was confined; what `--report` prints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// What holds.
    pub holds: Vec<String>,
    /// What does not hold, each with its reason.
    pub missing: Vec<String>,
    /// Why a confined server cannot use io_uring; nothing if it can.
    pub no_io_uring: Option<String>,
    /// What the process that checks an attempt has for itself.
    pub apart: Option<Apart>,
}

/// Confines this process, and becomes the program.
pub fn run(args: &ConfineArgs) -> Result<ExitCode, LabError> {
    platform::run(args)
}

/// Makes this process, which has one thread, a process of this user.
#[cfg(target_os = "linux")]
pub fn become_user(uid: u32) -> Result<(), LabError> {
    // System V memory outlives processes, but ends with its namespace. SAFETY: the call is unsafe because unsharing the
    // descriptor table invalidates descriptors that other threads hold; NEWIPC leaves that table alone.
    let _ = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWIPC) };
    platform::become_user(Some(rustix::process::Uid::from_raw(uid)))
}

/// Other systems have no means that would confine a hostile program.
#[cfg(not(target_os = "linux"))]
mod platform {
    use std::process::ExitCode;

    use super::ConfineArgs;
    use crate::error::LabError;

    pub fn run(_: &ConfineArgs) -> Result<ExitCode, LabError> {
        Err(LabError::failed("confine: servers are confined on Linux only"))
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::env;
    use std::fs::{self, File, OpenOptions};
    use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    use std::os::unix::process::CommandExt;
    use std::path::Path;
    use std::process::{Command, ExitCode};

    use landlock::{
        ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, RulesetAttr, RulesetCreated,
        RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules,
    };
    use rustix::io::{FdFlags, fcntl_setfd};
    use rustix::process::{
        Gid, Pid, Resource, Rlimit, Signal, Uid, kill_process_group, set_parent_process_death_signal, setrlimit,
    };
    use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

    use super::{ConfineArgs, Confinement};
    use crate::error::LabError;

    const MIB: u64 = 1 << 20;
    /// The folders of programs and of shared libraries. A server may read nothing else.
    const LIBRARIES: &[&str] = &["/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/nix/store"];
    /// The folders that the compiler and the linker need.
    const TOOLS: &[&str] = &["/bin", "/usr", "/opt", "/nix/store", "/lib", "/lib32", "/lib64"];
    const FILES: &[&str] = &["/etc/ld.so.cache", "/etc/ld.so.conf", "/dev/urandom", "/etc/alternatives"];
    /// What the compiler reads of itself. A server that reads this learns whether it is traced.
    const OWN: &[&str] = &["/proc/self"];
    /// All that a server gets of the environment, because the rest may hold secrets of the grader.
    const ENVIRONMENT: &[&str] = &[observe::start::MARK, "RUST_BACKTRACE"];

    pub fn run(args: &ConfineArgs) -> Result<ExitCode, LabError> {
        let uid = args.uid.map(Uid::from_raw);
        if args.end_all {
            become_user(uid)?;
            // kill(-1) signals all processes of this user in one step of the kernel, so that no fork escapes it.
            let _ = kill_process_group(Pid::INIT, Signal::KILL);
            return Ok(ExitCode::SUCCESS);
        }
        let mut report = Confinement::default();
        // Opened before the user changes, because the program may lie in a folder that only the grader may enter.
        let program = match args.command.first() {
            Some(path) if !args.compiler => Some(open(Path::new(path))?),
            _ => None,
        };
        let landlock = match args.no_landlock {
            true => None,
            false => Some(ruleset(args, program.as_ref()).map_err(|error| cannot("prepare Landlock", error))?),
        };
        if program.is_some() {
            // Not later: Landlock then hides the list of descriptors.
            close_on_exec().map_err(|error| cannot("close descriptors", error))?;
        }
        limit(args, &mut report)?;
        // The kernel then kills this process first when memory is short. It is only a hint, so a failure is no error.
        let _ = fs::write("/proc/self/oom_score_adj", "1000");
        become_user(uid)?;
        match uid {
            Some(_) => report.holds.push("a user of its own".into()),
            // The compiler writes to folders that another user may own.
            None if args.compiler => {}
            None => drop_capabilities().map_err(|error| cannot("give up root's capabilities", error))?,
        }
        // Not before: the kernel forgets it when the user changes. The compiler needs none, because it ends with cargo.
        if !args.compiler {
            set_parent_process_death_signal(Some(Signal::KILL))
                .map_err(|error| cannot("end with its parent", error))?;
        }
        set_no_new_privs(true).map_err(|error| cannot("give up new privileges", error))?;
        let status = landlock.map(RulesetCreated::restrict_self).transpose();
        let abi = enforced(
            status.map_err(|error| cannot("apply Landlock", error))?,
            uid.is_some() || args.apart,
            &mut report,
        );
        if args.report {
            report.no_io_uring = no_io_uring();
        }
        if !args.compiler {
            refuse_calls(args, abi >= ABI::V6 || args.apart, &mut report);
        }
        if args.report {
            println!("{}", serde_json::to_string(&report).expect("strings"));
            return Ok(ExitCode::SUCCESS);
        }
        let Some(path) = args.command.first() else { return Err(LabError::usage("confine: no program to start")) };
        let mut command = match &program {
            None => Command::new(path),
            Some(program) => {
                let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
                command.env_clear().envs(ENVIRONMENT.iter().filter_map(|name| Some((name, env::var_os(name)?))));
                command.arg0(path).current_dir("/");
                command
            }
        };
        let error = command.args(&args.command[1..]).exec();
        Err(cannot(&format!("start {}", Path::new(path).display()), error))
    }

    fn cannot(what: &str, error: impl std::fmt::Display) -> LabError {
        LabError::failed(format!("confine: cannot {what}: {error}"))
    }

    fn open(path: &Path) -> Result<File, LabError> {
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path);
        opened.map_err(|error| cannot(&format!("open {}", path.display()), error))
    }

    /// Landlock's rules: what may be read, run and written below which folder, no connections, no signals to others.
    fn ruleset(args: &ConfineArgs, program: Option<&File>) -> Result<RulesetCreated, landlock::RulesetError> {
        let all = AccessFs::from_all(ABI::V6);
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let run = read | AccessFs::Execute;
        let null: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::WriteFile;
        let mut rules = landlock::Ruleset::default().handle_access(all)?.handle_access(AccessNet::ConnectTcp)?;
        rules = rules.handle_access(AccessNet::ConnectSendUdp)?;
        if !args.compiler {
            rules = rules.scope(Scope::Signal | Scope::AbstractUnixSocket)?;
        }
        let mut rules = rules.create()?;
        rules = rules.add_rules(path_beneath_rules(if args.compiler { TOOLS } else { LIBRARIES }, run))?;
        rules = rules.add_rules(path_beneath_rules(FILES, read))?;
        rules = rules.add_rules(path_beneath_rules(if args.compiler { OWN } else { &[] }, read))?;
        rules = rules.add_rules(path_beneath_rules(["/dev/null"], null))?;
        rules = rules.add_rules(path_beneath_rules(&args.read, run))?;
        rules = rules.add_rules(path_beneath_rules(&args.write, all))?;
        if let Some(program) = program {
            let path = format!("/proc/self/fd/{}", program.as_raw_fd());
            if let Ok(program) = PathFd::new(path) {
                rules = rules.add_rule(PathBeneath::new(program, AccessFs::ReadFile | AccessFs::Execute))?;
            }
        }
        Ok(rules)
    }

    /// Reports how far Landlock's rules are enforced.
    fn enforced(status: Option<landlock::RestrictionStatus>, out_of_reach: bool, report: &mut Confinement) -> ABI {
        let abi = match status {
            Some(status) if status.ruleset != RulesetStatus::NotEnforced => match status.landlock {
                LandlockStatus::Available { effective_abi, .. } => effective_abi,
                _ => ABI::Unsupported,
            },
            _ => ABI::Unsupported,
        };
        // A server with a user or with processes of its own cannot signal the grader anyway.
        if abi < ABI::V6 && !out_of_reach {
            report.missing.push(
                "a server runs as the grader's own user (only root can give it another user), and this kernel's \
                 Landlock is missing or too old to block signals: a server can end the grader, and with it its own grading"
                    .into(),
            );
        }
        if abi == ABI::Unsupported {
            report.missing.push(
                "no Landlock on this kernel: a server can read the files that its user can read, and write small files \
                 where its user can write"
                    .into(),
            );
            return abi;
        }
        report.holds.push("Landlock: only the system's libraries can be read, and nothing can be written".into());
        if abi < ABI::V4 {
            report.missing.push("this kernel's Landlock is too old to block connections to other servers".into());
        }
        abi
    }

    /// Refuses the system calls that no server needs, where the kernel can.
    fn refuse_calls(args: &ConfineArgs, signals_are_confined: bool, report: &mut Confinement) {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        let refused = match args.no_seccomp {
            true => Err("it is switched off".into()),
            false => {
                let io_uring = args.io_uring;
                crate::grading::syscalls::refuse(crate::grading::syscalls::Refusals { io_uring, signals_are_confined })
            }
        };
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let refused: Result<(), String> = {
            let _ = (args, signals_are_confined);
            Err("there is none for this architecture".into())
        };
        match refused {
            Ok(()) => report.holds.push("a filter of system calls: no tracing, no connecting, no limits of others".into()),
            Err(why) => report.missing.push(format!(
                "no filter of system calls ({why}): a server can trace and slow down processes of its user, reach other \
                 servers by MPTCP, and keep memory that no limit counts"
            )),
        }
    }

    /// Root without a user of its own keeps its files, and nothing else that is root's alone. With no_new_privs, exec
    /// gives nothing back.
    fn drop_capabilities() -> std::io::Result<()> {
        use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
        let none = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
        Ok(())
    }

    fn limit(args: &ConfineArgs, report: &mut Confinement) -> Result<(), LabError> {
        let server: &[(Resource, &str, u64)] = &[
            (Resource::Cpu, "processor time", 60),
            (Resource::As, "address space", 2048 * MIB),
            (Resource::Data, "memory", 512 * MIB),
            // Not 0: under the explorer, the server's output goes to a file in memory, and SIGXFSZ would end the server
            // when it prints its address. Landlock is what keeps a server from writing files.
            (Resource::Fsize, "size of files", MIB),
            (Resource::Core, "core dumps", 0),
            (Resource::Nproc, "number of processes", args.processes),
        ];
        let compiler: &[(Resource, &str, u64)] = &[
            (Resource::Cpu, "processor time", 120),
            (Resource::Data, "memory", 4096 * MIB),
            (Resource::Fsize, "size of files", 512 * MIB),
            (Resource::Core, "core dumps", 0),
        ];
        for (resource, name, most) in if args.compiler { compiler } else { server } {
            // A lower hard limit is kept, because it cannot be raised.
            let hard = rustix::process::getrlimit(*resource).maximum.map_or(*most, |hard| hard.min(*most));
            let limit = Rlimit { current: Some(hard), maximum: Some(hard) };
            setrlimit(*resource, limit).map_err(|error| cannot(&format!("limit the {name}"), error))?;
        }
        report.holds.push("limits of processor time, memory, files and processes".into());
        Ok(())
    }

    pub fn become_user(uid: Option<Uid>) -> Result<(), LabError> {
        let Some(uid) = uid else { return Ok(()) };
        let gid = Gid::from_raw(uid.as_raw());
        // These calls change one thread, and this process has only one.
        set_thread_groups(&[])
            .and_then(|()| set_thread_res_gid(gid, gid, gid))
            .and_then(|()| set_thread_res_uid(uid, uid, uid))
            .map_err(|error| cannot(&format!("become user {}", uid.as_raw()), error))
    }

    /// Of the inherited descriptors, the server keeps its three streams and those of /dev/null, which a check gives it.
    fn close_on_exec() -> std::io::Result<()> {
        let null = fs::metadata("/dev/null")?.rdev();
        for entry in fs::read_dir("/proc/self/fd")?.flatten() {
            let Some(fd) = entry.file_name().to_str().and_then(|fd| fd.parse::<i32>().ok()) else { continue };
            // The descriptor of /proc/self/fd itself is in the list too, and is closed with the list.
            let Ok(file) = fs::metadata(entry.path()) else { continue };
            if fd > 2 && file.rdev() != null {
                // SAFETY: the number is borrowed for this call only, and a flag does not close it. If the descriptor is
                // not open any more, fcntl fails with EBADF.
                let _ = fcntl_setfd(unsafe { BorrowedFd::borrow_raw(fd) }, FdFlags::CLOEXEC);
            }
        }
        Ok(())
    }

    /// Why io_uring cannot be used: most containers deny it, and a sysctl can.
    fn no_io_uring() -> Option<String> {
        let mut parameters = [0u8; 120];
        // SAFETY: io_uring_setup writes a struct io_uring_params, which has 120 bytes, to an array of this size, and
        // keeps no pointer to it.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, parameters.as_mut_ptr()) };
        if fd < 0 {
            return Some(format!("io_uring_setup: {}", std::io::Error::last_os_error()));
        }
        // SAFETY: the kernel has just returned this descriptor, so nothing else owns it.
        drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
        None
    }
}
