//! An agent's log as it is written, on a stream of its own.

use minicbor::{Decode, Encode};

use crate::{Timestamp, command::LogLevel};

/// A capability: the agent's log can be followed.
pub const CAPABILITY_LOGS: &str = "logs";

/// Hub to agent, first on a log's stream, which the hub opens.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LogRequest {
    /// Most lines of what is there already, the newest.
    #[n(0)]
    pub lines: u16,
    /// None older than this.
    #[n(1)]
    pub since: Option<Timestamp>,
    /// None older than so many milliseconds, by the agent's clock.
    #[n(2)]
    pub since_ago_ms: Option<u64>,
    /// None less urgent than this.
    #[n(3)]
    pub level: LogLevel,
    /// Whether what is written from now on follows, until the hub stops the stream.
    #[n(4)]
    pub follow: bool,
}

/// Agent to hub, in answer to it: at once with what is there, and again as more is written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct LogBatch {
    /// Oldest first.
    #[n(0)]
    pub lines: Vec<LogLine>,
    /// Lines before these that were written faster than they were read, and are lost to this
    /// stream.
    #[n(1)]
    pub lost: u64,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LogLine {
    /// When, by the agent's clock.
    #[n(0)]
    pub at: Timestamp,
    /// How urgent.
    #[n(1)]
    pub level: LogLevel,
    /// The part of the program that said it.
    #[n(2)]
    pub target: String,
    /// What it said.
    #[n(3)]
    pub text: String,
}
