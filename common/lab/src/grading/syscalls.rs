//! System calls that no server of the course makes, refused by seccomp(2).
//!
//! Invariant: what is refused is refused in every thread and every child of the program, for ever, and the program gets
//! an error and goes on. A refused call is one by which an attempt could change another process, reach another server,
//! hide from the harness, or leave something behind. The calls of all correct servers are let through untouched.
//!
//! The operations of an io_uring pass no filter, so a ring is refused where the exercise needs none.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter,
};

/// What differs from server to server.
#[derive(Debug, Clone, Copy)]
pub struct Refusals {
    /// The server may make io_urings.
    pub io_uring: bool,
    /// Something else (Landlock, a namespace) keeps its signals away from other programs.
    pub signals_are_confined: bool,
}

/// Since Linux 6.6, with this number everywhere; libc knows it on some architectures only.
const FCHMODAT2: i64 = 452;

/// Whole calls: whatever their arguments are.
const REFUSED: &[i64] = &[
    // Other processes: their memory, descriptors, calls and signals.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_ioprio_set,
    // It would leave the process group that the harness signals.
    libc::SYS_setsid,
    libc::SYS_setpgid,
    // The kernel's keys outlive a process, and are shared by the session.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Memory that is in no process, and so in no limit of memory.
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
    // Namespaces, mounts and filters of its own.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_seccomp,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    // Files that Landlock does not cover: who may use them, and when they were used.
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    // A server accepts.
    libc::SYS_connect,
];

/// The old names of such calls, which newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[i64] =
    &[libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown, libc::SYS_utime, libc::SYS_utimes, libc::SYS_futimesat];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[i64] = &[];

/// On x86-64 each call has a second number, for programs with short pointers (x32).
const X32: Option<i64> = if cfg!(target_arch = "x86_64") { Some(0x4000_0000) } else { None };

/// The types of sockets, but for SOCK_STREAM. The bits above them are flags.
const OTHER_TYPES: &[u64] = &[2, 3, 4, 5, 6, 10];
const TYPE: u64 = 0xf;
const DATAGRAM: u64 = 2;
/// prctl's options by which a process hides, or picks its own tracer.
const HIDE: &[libc::c_int] = &[libc::PR_SET_DUMPABLE, libc::PR_SET_PTRACER, libc::PR_SET_SECCOMP];
/// The flags of clone: a sibling instead of a child, a child that no tracer sees, a child in another namespace.
const ODD_CHILDREN: &[libc::c_int] = &[
    libc::CLONE_PARENT,
    libc::CLONE_UNTRACED,
    libc::CLONE_PTRACE,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Applies the filters to this process, for ever. It must have given up new privileges before.
///
/// # Errors
/// If the kernel has no seccomp filters, or the architecture is none that a filter can be made for.
pub fn refuse(refusals: Refusals) -> Result<(), String> {
    // In this order: the second one refuses further filters.
    let filters = [(absent(refusals), libc::ENOSYS), (rules(refusals).map_err(text)?, libc::EPERM)];
    for (rules, errno) in filters {
        let arch = std::env::consts::ARCH.try_into().map_err(text)?;
        let filter =
            SeccompFilter::new(with_x32(rules), SeccompAction::Allow, SeccompAction::Errno(errno as u32), arch);
        let program: BpfProgram = filter.and_then(TryInto::try_into).map_err(text)?;
        apply_filter(&program).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn text(error: BackendError) -> String {
    error.to_string()
}

/// Calls that are as if the kernel did not have them. clone3 passes its flags in memory, where no filter sees them; the C
/// library then uses clone.
fn absent(refusals: Refusals) -> Rules {
    let mut absent = vec![libc::SYS_clone3];
    if !refusals.io_uring {
        absent.extend([libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register]);
    }
    absent.into_iter().map(|number| (number, Vec::new())).collect()
}

fn rules(refusals: Refusals) -> Result<Rules, BackendError> {
    let mut rules: Rules = REFUSED.iter().chain(REFUSED_HERE).map(|number| (*number, Vec::new())).collect();
    let when = |conditions: Vec<SeccompCondition>| SeccompRule::new(conditions);
    let is = |arg, value: u64| SeccompCondition::new(arg, Len::Dword, Op::Eq, value);
    let is_not = |arg, value: u64| SeccompCondition::new(arg, Len::Dword, Op::Ne, value);
    let bits = |arg, mask: u64, value: u64| SeccompCondition::new(arg, Len::Dword, Op::MaskedEq(mask), value);

    // TCP, and nothing that is like it (MPTCP, SCTP): Landlock knows TCP alone.
    let (v4, v6, tcp) = (libc::AF_INET as u64, libc::AF_INET6 as u64, libc::IPPROTO_TCP as u64);
    let mut socket = vec![when(vec![is_not(0, v4)?, is_not(0, v6)?])?, when(vec![is_not(2, 0)?, is_not(2, tcp)?])?];
    for other in OTHER_TYPES {
        socket.push(when(vec![bits(1, TYPE, *other)?])?);
    }
    rules.insert(libc::SYS_socket, socket);
    // One end of such a pair could be sent anywhere.
    rules.insert(libc::SYS_socketpair, vec![when(vec![bits(1, TYPE, DATAGRAM)?])?]);
    let fast_open = libc::MSG_FASTOPEN as u64;
    for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
        rules.insert(call, vec![when(vec![bits(flags, fast_open, fast_open)?])?]);
    }

    rules.insert(libc::SYS_prctl, HIDE.iter().map(|it| when(vec![is(0, *it as u64)?])).collect::<Result<_, _>>()?);
    let odd = |flag: &libc::c_int| when(vec![bits(0, *flag as u32 as u64, *flag as u32 as u64)?]);
    rules.insert(libc::SYS_clone, ODD_CHILDREN.iter().map(odd).collect::<Result<_, _>>()?);

    // 0 is the process itself.
    for call in [
        libc::SYS_prlimit64,
        libc::SYS_sched_setaffinity,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setscheduler,
        libc::SYS_sched_setattr,
    ] {
        rules.insert(call, vec![when(vec![is_not(0, 0)?])?]);
    }
    rules.insert(libc::SYS_setpriority, vec![when(vec![is_not(0, 0)?])?, when(vec![is_not(1, 0)?])?]);

    if !refusals.signals_are_confined {
        // The program keeps this process's id. 0 is its own process group.
        let own = std::process::id().into();
        let others = || when(vec![is_not(0, 0)?, is_not(0, own)?]);
        rules.insert(libc::SYS_kill, vec![others()?]);
        rules.insert(libc::SYS_tkill, Vec::new());
        for call in [libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo] {
            rules.insert(call, vec![when(vec![is_not(0, own)?])?]);
        }
    }
    Ok(rules)
}

fn with_x32(rules: Rules) -> Rules {
    let second = |(number, rules): (&i64, &Vec<SeccompRule>)| Some((number + X32?, rules.clone()));
    let others: Rules = rules.iter().filter_map(second).collect();
    rules.into_iter().chain(others).collect()
}
