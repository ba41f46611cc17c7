//! The agent's own log, its last lines in memory.
//!
//! No secret comes here, as none is ever logged: who holds one has no `Display` for it.

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cloudcore_protocol::{Timestamp, command::LogLevel};
use tokio::sync::watch;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

/// Lines that are kept.
const LINES: usize = 5000;
/// Bytes of text that are kept.
const BYTES: usize = 1 << 20;
/// Longest text of a line; the rest is cut off.
const LONGEST: usize = 2048;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When, by this machine's clock.
    pub at: Timestamp,
    /// How urgent.
    pub level: LogLevel,
    /// The room that said it.
    pub target: &'static str,
    /// What it said.
    pub text: String,
}

/// The last lines; clones are the same ones.
#[derive(Debug, Clone, Default)]
pub struct LogRing {
    ring: Arc<Mutex<Ring>>,
    written: Arc<watch::Sender<()>>,
}

#[derive(Debug, Default)]
struct Ring {
    /// Number of the first of the lines, counted from the program's start.
    first: u64,
    lines: VecDeque<Arc<Line>>,
    bytes: usize,
}

/// What a reader wants of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// None before this.
    pub since: Option<Timestamp>,
    /// None less urgent than this.
    pub level: LogLevel,
}

impl Wanted {
    fn takes(&self, line: &Line) -> bool {
        line.level <= self.level && self.since.is_none_or(|since| line.at >= since)
    }
}

/// A reader of the log as it is written.
#[derive(Debug)]
pub struct Follower {
    log: LogRing,
    written: watch::Receiver<()>,
    wanted: Wanted,
    /// Number of the line that is to be read next.
    next: u64,
}

impl LogRing {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        // Nothing panics while it holds the lock.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: Line) {
        let mut ring = self.ring();
        ring.bytes += line.text.len();
        ring.lines.push_back(Arc::new(line));
        while ring.lines.len() > LINES || ring.bytes > BYTES {
            let Some(oldest) = ring.lines.pop_front() else { break };
            ring.bytes -= oldest.text.len();
            ring.first += 1;
        }
        drop(ring);
        self.written.send_replace(());
    }

    /// Follows the log from the last `most` of these lines on.
    #[must_use]
    pub fn follow(&self, most: usize, wanted: Wanted) -> Follower {
        let written = self.written.subscribe();
        let ring = self.ring();
        let mut next = ring.first + ring.lines.len() as u64;
        let newest_first = ring.lines.iter().enumerate().rev();
        let last = newest_first.filter(|(_, line)| wanted.takes(line)).take(most).last();
        if let Some((index, _)) = last {
            next = ring.first + index as u64;
        }
        drop(ring);
        Follower { log: self.clone(), written, wanted, next }
    }

    /// The last `most` lines at least this urgent, none before `since`; newest first.
    #[must_use]
    pub fn last(&self, most: usize, since: Option<Timestamp>, level: LogLevel) -> Vec<Arc<Line>> {
        let (ring, wanted) = (self.ring(), Wanted { since, level });
        // The clock may have jumped: lines are in the order of their coming, not of their times.
        let newest_first = ring.lines.iter().rev();
        newest_first.filter(|line| wanted.takes(line)).take(most).cloned().collect()
    }
}

impl Follower {
    /// The wanted lines that were not read yet, oldest first, as many as have no more than `most`
    /// bytes of text together but at least one; and how many were lost before them, because more
    /// was written than is kept.
    pub fn read(&mut self, most: usize) -> (Vec<Arc<Line>>, u64) {
        // Before the lines are looked at, or one in between would be waited for.
        self.written.mark_unchanged();
        let ring = self.log.ring();
        let lost = ring.first.saturating_sub(self.next);
        self.next = self.next.max(ring.first);
        let skip = usize::try_from(self.next - ring.first).unwrap_or(usize::MAX);
        let (mut lines, mut bytes) = (Vec::new(), 0);
        for line in ring.lines.iter().skip(skip) {
            if self.wanted.takes(line) {
                bytes += line.text.len() + line.target.len();
                if bytes > most && !lines.is_empty() {
                    break;
                }
                lines.push(Arc::clone(line));
            }
            self.next += 1;
        }
        (lines, lost)
    }

    /// Waits until more was written.
    pub async fn more(&mut self) {
        // The sender lives as long as `self`.
        self.written.changed().await.ok();
    }
}

impl<S: Subscriber> Layer<S> for LogRing {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let Text { mut message, fields } = text;
        message.push_str(&fields);
        if message.len() > LONGEST {
            let end = message.floor_char_boundary(LONGEST);
            message.truncate(end);
            message.push('…');
        }
        let meta = event.metadata();
        self.push(Line {
            at: Timestamp::now(),
            level: level(*meta.level()),
            target: meta.target(),
            text: message,
        });
    }
}

const fn level(level: Level) -> LogLevel {
    match level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG => LogLevel::Debug,
        Level::TRACE => LogLevel::Trace,
    }
}

/// The message, then its fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        if field.name() == "message" {
            write!(self.message, "{value:?}").ok();
        } else {
            write!(self.fields, " {}={value:?}", field.name()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn the_last_lines_are_kept_in_bounds() {
        let ring = LogRing::default();
        let subscriber = tracing_subscriber::registry().with(ring.clone());
        tracing::subscriber::with_default(subscriber, || {
            for n in 0..LINES + 10 {
                tracing::info!(n, "a line");
            }
            tracing::error!(why = %"é".repeat(LONGEST), "a long one");
        });
        let lines = ring.last(usize::MAX, None, LogLevel::Trace);
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines[1].text, format!("a line n={}", LINES + 9));
        assert!(lines[0].text.len() <= LONGEST + 3 && lines[0].text.ends_with('…'));
        assert_eq!(ring.last(9, None, LogLevel::Error).len(), 1);
        let later = Timestamp::now().plus(std::time::Duration::from_secs(1));
        assert_eq!(ring.last(9, Some(later), LogLevel::Trace), []);
        for _ in 0..2000 {
            ring.push(Line {
                at: later,
                level: LogLevel::Warn,
                target: "t",
                text: "x".repeat(LONGEST),
            });
        }
        assert!(ring.ring().bytes <= BYTES);
    }

    #[tokio::test]
    async fn a_follower_reads_each_line_once_and_is_told_of_what_it_lost() {
        let ring = LogRing::default();
        let say = |level, n: usize| {
            let text = format!("{n}");
            ring.push(Line { at: Timestamp::now(), level, target: "t", text });
        };
        (0..9).for_each(|n| say(if n % 2 == 0 { LogLevel::Info } else { LogLevel::Debug }, n));
        let wanted = Wanted { since: None, level: LogLevel::Info };
        let mut follower = ring.follow(2, wanted);
        let texts = |lines: &[Arc<Line>]| -> Vec<String> {
            lines.iter().map(|line| line.text.clone()).collect()
        };
        let (lines, lost) = follower.read(1000);
        assert_eq!((texts(&lines), lost), (vec!["6".to_owned(), "8".to_owned()], 0));
        assert_eq!(follower.read(1000), (Vec::new(), 0));
        let more = follower.more();
        say(LogLevel::Error, 9);
        more.await;
        assert_eq!(texts(&follower.read(1000).0), ["9"]);

        (0..LINES + 7).for_each(|n| say(LogLevel::Info, n));
        let (lines, lost) = follower.read(3);
        assert_eq!((texts(&lines), lost), (vec!["7".to_owned()], 7));
        let mut count = 0;
        loop {
            let (lines, lost) = follower.read(100);
            assert_eq!(lost, 0);
            if lines.is_empty() {
                break;
            }
            count += lines.len();
        }
        assert_eq!(count, LINES - 1);
        // None of what is there, and all that comes.
        let mut follower = ring.follow(0, wanted);
        say(LogLevel::Info, 1);
        assert_eq!(texts(&follower.read(1000).0), ["1"]);
        let later = Timestamp::now().plus(std::time::Duration::from_secs(60));
        let mut follower = ring.follow(10, Wanted { since: Some(later), ..wanted });
        assert_eq!(follower.read(1000), (Vec::new(), 0));
    }
}
