//! What a process takes of this machine.

use std::time::Instant;

/// A process, looked at from outside.
pub(crate) struct Process(pub(crate) u32);

/// Seconds of a processor that were used up to a moment.
#[derive(Clone, Copy)]
pub(crate) struct Used {
    seconds: f64,
    at: Instant,
}

impl Process {
    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.0)).expect("it runs")
    }

    /// Bytes of memory that are no file's.
    pub(crate) fn memory(&self) -> f64 {
        let rollup = self.file("smaps_rollup");
        let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")).expect("a size");
        kilobytes.parse::<f64>().expect("a number") * 1024.0
    }

    /// What it has used so far.
    pub(crate) fn used(&self) -> Used {
        let stat = self.file("stat");
        let (_, rest) = stat.rsplit_once(") ").expect("a name");
        let fields: Vec<&str> = rest.split(' ').collect();
        let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
        // utime and stime, in hundredths of a second.
        Used { seconds: (ticks(11) + ticks(12)) / 100.0, at: Instant::now() }
    }

    /// Its part of a core since then, percent.
    pub(crate) fn part_since(&self, before: Used) -> f64 {
        let now = self.used();
        (now.seconds - before.seconds) / (now.at - before.at).as_secs_f64() * 100.0
    }
}

/// Files and sockets of an agent: its outbox and that one's log and index, and its link.
const FILES: u64 = 4;
/// Those of all else.
const OTHER_FILES: u64 = 500;

/// Lets this process open as many files and sockets as there may be: how many agents that is.
pub(crate) fn raise_limits() -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard one");
    hard.saturating_sub(OTHER_FILES) / FILES
}
