//! What can go wrong, in the contract's terms. Knows no HTTP: the status is `http`'s.

use std::borrow::Cow;

use serde_json::{Value, json};

/// The contract's error codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// API-001: the request is wrong.
    Invalid,
    /// API-002: who are you?
    Unauthenticated,
    /// API-003: you may not.
    Forbidden,
    /// API-004: there is no such thing.
    NotFound,
    /// API-005: it is there already.
    Exists,
    /// API-006: too often.
    RateLimited,
    /// API-007: our fault.
    Internal,
    /// API-008: the device can't be reached.
    Unreachable,
    /// API-009: not now, or not here.
    Unavailable,
}

impl Code {
    /// As the contract prints it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "API-001",
            Self::Unauthenticated => "API-002",
            Self::Forbidden => "API-003",
            Self::NotFound => "API-004",
            Self::Exists => "API-005",
            Self::RateLimited => "API-006",
            Self::Internal => "API-007",
            Self::Unreachable => "API-008",
            Self::Unavailable => "API-009",
        }
    }
}

/// A failure: a code and a sentence for the client, details where they help, and a cause that only
/// the log sees.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct Error {
    /// The contract's code.
    pub code: Code,
    /// For the client.
    pub message: Cow<'static, str>,
    /// For the client's program; an object or null.
    pub details: Value,
    /// For the log.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The `reason` of what waits for a setting.
const NOT_CONFIGURED: &str = "not_configured";

/// What the rooms return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Of this code, with this sentence.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), details: Value::Null, cause: None }
    }

    /// API-001.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Invalid, message)
    }

    /// API-004, as "device 'x' not found".
    #[must_use]
    pub fn not_found(what: &str, id: impl std::fmt::Display) -> Self {
        Self::new(Code::NotFound, format!("{what} '{id}' not found"))
    }

    /// API-007: the client learns only that it is our fault.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            cause: Some(cause.into()),
            ..Self::new(
                Code::Internal,
                "internal error; the log has the cause under this request id",
            )
        }
    }

    /// API-009 that no waiting helps: somebody has to set this hub up for it first. `details` has the
    /// `reason` `not_configured`.
    pub fn not_configured(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Unavailable, message).with_details(json!({ "reason": NOT_CONFIGURED }))
    }

    /// Whether it is API-009 of what may be there later: to try again may help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        self.code == Code::Unavailable && self.details["reason"] != NOT_CONFIGURED
    }

    /// The same with details for the client's program.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) => Self {
                cause: Some(error.into()),
                ..Self::new(Code::Unavailable, "the database can't be reached; try again")
            },
            other if is_passing(&other) => Self {
                cause: Some(other.into()),
                ..Self::new(Code::Unavailable, "the database can't store this now; try again")
            },
            other => Self::internal(other),
        }
    }
}

/// Whether the disk, a lock or the way to the server is to blame and not the statement.
fn is_passing(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else {
        return matches!(error, sqlx::Error::Tls(_) | sqlx::Error::WorkerCrashed);
    };
    let Some(code) = error.code() else { return false };
    if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
        // Classes of SQLSTATE (PostgreSQL, appendix A): connection, transaction rollback, read-only
        // transaction, resources (a full disk), lock not available, operator intervention, I/O.
        return ["08", "40", "25006", "53", "55P03", "57", "58"]
            .iter()
            .any(|c| code.starts_with(c));
    }
    // SQLite's primary result codes BUSY, LOCKED, READONLY, IOERR, FULL and CANTOPEN.
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 8 | 10 | 13 | 14))
}
