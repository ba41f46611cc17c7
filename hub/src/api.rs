//! What every room's routes are made of: bodies, paths and queries parsed into types with the
//! contract's errors, and the human forms of quantities.

mod strict;

use axum::{
    extract::{FromRequest, FromRequestParts, Request, path::ErrorKind, rejection::PathRejection},
    http::{HeaderValue, StatusCode, header, request::Parts},
};
use cloudcore_protocol::Timestamp;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use self::strict::Strict;
use crate::error::{Code, Error, Result};

/// A refusal of a request before it reaches its room.
#[derive(Debug)]
pub struct Refusal {
    /// What the client reads.
    pub error: Error,
    /// The HTTP status where it is not the code's own.
    pub status: Option<StatusCode>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, status: None }
    }
}

/// A JSON body. The contract's own examples leave the content type out at times, so it is asked
/// for only where one is sent.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        Ok(Self(parse(&json(request).await?)?))
    }
}

/// A JSON body that may be left out, or null.
#[derive(Debug)]
pub struct OptionalBody<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let bytes = json(request).await?;
        let given: Option<T> = if bytes.is_empty() { None } else { parse(&bytes)? };
        Ok(Self(given.unwrap_or_default()))
    }
}

async fn json(request: Request) -> Result<Vec<u8>, Refusal> {
    if !request.headers().get(header::CONTENT_TYPE).is_none_or(is_json) {
        return Err(Refusal {
            error: Error::invalid("the body must be application/json"),
            status: Some(StatusCode::UNSUPPORTED_MEDIA_TYPE),
        });
    }
    read(request.into_body()).await
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    if holds_nul(bytes) {
        return Err(Error::invalid("the body: text must not hold NUL"));
    }
    serde_json::from_slice(bytes)
        .and_then(|value| T::deserialize(Strict(value)))
        .map_err(|e| Error::invalid(format!("the body: {e}")))
}

fn is_json(content_type: &HeaderValue) -> bool {
    let Ok(text) = content_type.to_str() else { return false };
    let essence = text.split(';').next().unwrap_or_default().trim();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
        // curl's -d says form; the contract's quick reference does just that.
        || essence == "application/x-www-form-urlencoded"
}

/// Largest body, bytes.
const MAX_BODY: usize = 1024 * 1024;
/// Of a body that is too large so much is read and thrown away: a client that is still sending
/// would otherwise see a broken connection and never the answer.
const MAX_DRAIN: usize = 16 * MAX_BODY;

/// Whether a JSON text has the escape of NUL, which no database's text holds.
fn holds_nul(json: &[u8]) -> bool {
    json.windows(6).enumerate().any(|(at, escape)| {
        let before = json[..at].iter().rev().take_while(|b| **b == b'\\').count();
        escape == b"\\u0000" && before.is_multiple_of(2)
    })
}

/// The whole body, as far as it may be.
///
/// # Errors
/// API-001 for one that is too large or breaks off.
pub async fn read(body: axum::body::Body) -> Result<Vec<u8>, Refusal> {
    let mut stream = body.into_data_stream();
    let (mut bytes, mut size) = (Vec::new(), 0);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Error::invalid("the body broke off"))?;
        size += chunk.len();
        if size <= MAX_BODY {
            bytes.extend_from_slice(&chunk);
        } else {
            bytes = Vec::new();
        }
        if size > MAX_DRAIN {
            break;
        }
    }
    if size > MAX_BODY {
        return Err(Refusal {
            error: Error::invalid(format!("the body must have at most {MAX_BODY} bytes")),
            status: Some(StatusCode::PAYLOAD_TOO_LARGE),
        });
    }
    Ok(bytes)
}

/// A query string.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        axum::extract::Query::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Query(value)| Self(value))
            .map_err(|e| {
                let text = e.body_text();
                let why = text.strip_prefix("Failed to deserialize query string: ");
                Error::invalid(format!("the query: {}", why.unwrap_or(&text))).into()
            })
    }
}

/// The parameters of a path. What is no identifier names nothing: API-004.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(value)| Self(value))
            .map_err(|rejection| match rejection {
                PathRejection::FailedToDeserializePathParams(e)
                    if matches!(e.kind(), ErrorKind::InvalidUtf8InPathParam { .. }) =>
                {
                    Error::invalid("the path is not UTF-8").into()
                }
                PathRejection::FailedToDeserializePathParams(e) => {
                    Error::new(Code::NotFound, format!("nothing has this id: {}", e.kind())).into()
                }
                other => Error::internal(other.body_text()).into(),
            })
    }
}

/// That something was done.
#[derive(Debug, Serialize, ToSchema)]
pub struct Done {
    /// `success`.
    #[schema(example = "success")]
    pub status: &'static str,
    /// For people.
    pub message: String,
}

impl Done {
    /// With this sentence.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { status: "success", message: message.into() }
    }
}

/// Which part of a list.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Page {
    /// Rows at most, 1 to 500; 100 where absent.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<i64>,
}

impl Page {
    /// Rows at most.
    ///
    /// # Errors
    /// API-001 outside 1 to 500.
    pub fn limit(&self) -> Result<usize> {
        match self.limit.unwrap_or(100) {
            n @ 1..=500 => Ok(n as usize),
            _ => Err(Error::invalid("limit must be 1 to 500")),
        }
    }
}

/// The first `max` characters: a column has its width, and a peer's text may have any.
#[must_use]
pub fn clip(text: &str, max: usize) -> &str {
    text.char_indices().nth(max).map_or(text, |(end, _)| &text[..end])
}

/// `45%`.
#[must_use]
pub fn percent(value: f64) -> String {
    format!("{value:.0}%")
}

/// `2.3GB`, `45MB`, `1.2MB`: powers of ten, one decimal below 10.
#[must_use]
pub fn size(bytes: u64) -> String {
    scaled(bytes).map_or_else(|| format!("{bytes}B"), |(n, unit)| format!("{}{unit}", short(n)))
}

fn scaled(bytes: u64) -> Option<(f64, &'static str)> {
    #[allow(clippy::cast_precision_loss, reason = "shown with two digits")]
    let n = bytes as f64;
    [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "KB")]
        .into_iter()
        .find(|(unit, _)| n >= *unit)
        .map(|(unit, name)| (n / unit, name))
}

fn short(n: f64) -> String {
    let text = if n < 99.95 { format!("{n:.1}") } else { format!("{n:.0}") };
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// `2d`, `3h`, `5m`, `10s`: the largest whole unit.
#[must_use]
pub fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `2 days`, `3 hours`, `1 minute`.
#[must_use]
pub fn uptime(seconds: u64) -> String {
    let (n, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{n} {unit}{}", if n == 1 { "" } else { "s" })
}

/// `45ms`, `1.2s`, `15s`.
#[must_use]
pub fn span(micros: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "shown with two digits")]
    let seconds = micros as f64 / 1e6;
    if seconds < 1.0 { format!("{:.0}ms", seconds * 1e3) } else { format!("{}s", short(seconds)) }
}

/// Seconds from `then` to now.
#[must_use]
pub fn seconds_since(then: Timestamp) -> u64 {
    Timestamp::now().since(then).as_secs()
}

/// How a request came; put into every request by `http`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In the clear.
    Plain,
    /// Over TLS that this hub ends.
    Tls,
}

/// Where the client reaches this hub, `http://host:port`; put into every request by `http`.
#[derive(Debug, Clone)]
pub struct BaseUrl(pub std::sync::Arc<str>);

/// Runs a change to its end, also when the client that asked for it goes away in the middle, or the
/// time for an answer is over: what follows a commit must not be left out.
///
/// # Errors
/// The change's own, or API-007 when it panicked.
pub async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    tokio::spawn(change).await.map_err(Error::internal)?
}
