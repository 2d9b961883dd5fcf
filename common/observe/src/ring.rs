//! An io_uring as `/proc/PID/fdinfo` of its file descriptor shows it: the entries that the kernel has not taken, and the
//! completions that the program has not taken.
//!
//! Invariant: this text is no stable interface, and the kernel leaves parts of it out while the ring is busy. So each part
//! is there or not, a line that cannot be read is passed over, and nothing is made up. No address comes out of here.

/// One look at a ring.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RingInfo {
    /// How many entries the kernel has taken since the ring was made; it wraps around.
    pub taken: Option<u32>,
    /// The entries that it has not taken.
    pub submissions: Option<Vec<Submission>>,
    /// How many completions the program has taken since the ring was made, and how many there were; both wrap around.
    pub completed: Option<(u32, u32)>,
    /// The completions that it has not taken.
    pub completions: Option<Vec<Completion>>,
}

/// An entry of the submission queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// What the completion brings back.
    pub user_data: u64,
    /// The operation, without the prefix IORING_OP_: `RECV`.
    pub operation: String,
    /// The file descriptor, unless it is a slot of registered files.
    pub fd: Option<i32>,
    /// The flags of a receive or a send, MSG_PEEK say.
    pub message_flags: u32,
}

/// An entry of the completion queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// What the entry of the submission queue had.
    pub user_data: u64,
    /// The result; negative for an error.
    pub result: i64,
    /// IORING_CQE_F_*.
    pub flags: u32,
}

impl Completion {
    /// The operation goes on, and completes again (IORING_CQE_F_MORE).
    pub fn has_more(self) -> bool {
        self.flags & 1 << 1 != 0
    }

    /// It says only that the kernel does not need a buffer any more (IORING_CQE_F_NOTIF).
    pub fn is_notice(self) -> bool {
        self.flags & 1 << 3 != 0
    }
}

impl RingInfo {
    /// Reads the text.
    pub fn parse(text: &str) -> Self {
        let number = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u32>().ok());
        // Below such a headline, the entries are indented.
        let below = |headline: &str| {
            let mut lines = text.lines();
            lines.find(|line| line.starts_with(headline))?;
            Some(lines.take_while(|line| line.starts_with(' ')).map(str::trim).collect::<Vec<_>>())
        };
        let all = |lines: Vec<&str>| lines.into_iter().filter_map(submission).collect();
        let completions = |lines: Vec<&str>| lines.into_iter().filter_map(completion).collect();
        Self {
            taken: number("SqHead:"),
            submissions: below("SQEs:").map(all),
            completed: number("CqHead:").zip(number("CqTail:")),
            completions: below("CQEs:").map(completions),
        }
    }
}

/// `3: opcode:RECV, fd:7, flags:0, off:0, addr:0x7f, rw_flags:0x0, buf_index:0 user_data:13`
fn submission(line: &str) -> Option<Submission> {
    const FIXED_FILE: u32 = 1;
    let hex = |name: &str| u32::from_str_radix(field(line, name)?.trim_start_matches("0x"), 16).ok();
    let is_slot = hex("flags:").is_some_and(|flags| flags & FIXED_FILE != 0);
    Some(Submission {
        user_data: field(line, "user_data:")?.parse().ok()?,
        operation: field(line, "opcode:")?.to_owned(),
        fd: field(line, "fd:")?.parse().ok().filter(|fd| !is_slot && *fd >= 0),
        message_flags: hex("rw_flags:").unwrap_or(0),
    })
}

/// `0: user_data:13, res:5000, flags:2`
fn completion(line: &str) -> Option<Completion> {
    Some(Completion {
        user_data: field(line, "user_data:")?.parse().ok()?,
        result: field(line, "res:")?.parse().ok()?,
        flags: u32::from_str_radix(field(line, "flags:")?, 16).ok()?,
    })
}

/// The word behind a name.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let at = line.match_indices(name).find(|(at, _)| *at == 0 || line[..*at].ends_with(' '))?.0;
    line[at + name.len()..].split([' ', ',']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.18 writes it, shortened.
    const TEXT: &str = "\
pos:\t0
flags:\t02000002
ino:\t1058
SqMask:\t0x3f
SqHead:\t2
SqTail:\t4
CachedSqHead:\t2
CqMask:\t0x7f
CqHead:\t7
CqTail:\t8
CachedCqTail:\t8
SQEs:\t2
    2: opcode:RECV, fd:7, flags:20, off:0, addr:0x0, rw_flags:0x2, buf_index:0 user_data:513
    3: opcode:SEND, fd:0, flags:1, off:0, addr:0x7f55aa, rw_flags:0x4000, buf_index:0 user_data:18446744073709551615
CQEs:\t1
    7: user_data:256, res:-11, flags:2
SqThread:\t-1
UserFiles:\t0
PollList:
  op=6, task_works=0
CqOverflowList:
";

    #[test]
    fn both_queues_are_read() {
        let info = RingInfo::parse(TEXT);
        assert_eq!((info.taken, info.completed), (Some(2), Some((7, 8))));
        let receive = Submission { user_data: 513, operation: "RECV".into(), fd: Some(7), message_flags: 2 };
        let send = Submission { user_data: u64::MAX, operation: "SEND".into(), fd: None, message_flags: 0x4000 };
        assert_eq!(info.submissions, Some(vec![receive, send]), "the second names a slot, and no descriptor");
        let again = Completion { user_data: 256, result: -11, flags: 2 };
        assert_eq!(info.completions, Some(vec![again]));
        assert!(again.has_more() && !again.is_notice());
    }

    #[test]
    fn what_is_not_there_is_not_made_up() {
        assert_eq!(RingInfo::parse(""), RingInfo::default());
        assert_eq!(RingInfo::parse("pos:\t0\nflags:\t02\n"), RingInfo::default());
        let info = RingInfo::parse("SqHead:\t1\nSQEs:\t3\n    1: nothing that anybody knows\nCQEs:\tmany\n");
        assert_eq!((info.taken, info.submissions, info.completions), (Some(1), Some(vec![]), Some(vec![])));
    }
}
