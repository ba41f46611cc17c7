//! The agent's own log, its last lines in memory.
//!
//! No secret comes here, as none is ever logged: who holds one has no `Display` for it.

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cloudcore_protocol::{Timestamp, command::LogLevel};
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
pub struct LogRing(Arc<Mutex<Ring>>);

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Arc<Line>>,
    bytes: usize,
}

impl LogRing {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: Line) {
        let mut ring = self.ring();
        ring.bytes += line.text.len();
        ring.lines.push_back(Arc::new(line));
        while ring.lines.len() > LINES || ring.bytes > BYTES {
            let Some(oldest) = ring.lines.pop_front() else { break };
            ring.bytes -= oldest.text.len();
        }
    }

    /// The last `most` lines at least this urgent, none before `since`; newest first.
    #[must_use]
    pub fn last(&self, most: usize, since: Option<Timestamp>, level: LogLevel) -> Vec<Arc<Line>> {
        let ring = self.ring();
        // The clock may have jumped: lines are in the order of their coming, not of their times.
        let wanted =
            |line: &&Arc<Line>| line.level <= level && since.is_none_or(|since| line.at >= since);
        ring.lines.iter().rev().filter(wanted).take(most).cloned().collect()
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
}
