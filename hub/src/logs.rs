//! A device's own log, as text, and as it is written.
//!
//! Nothing of it is stored here. It is read from the agent no faster than the reader takes it: one
//! that is slow loses lines, at the agent, and is told how many; no device and no other reader
//! notices.

use std::{convert::Infallible, fmt::Write as _, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use cloudcore_protocol::{
    DeviceId, LogBatch, LogRequest,
    command::{LogLevel, LogLines, Since},
};
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    api::{Path, Query, Refusal},
    auth::{Grant, Operator},
    devices::Devices,
    error::{Error, Result},
    link::{LogStream, Registry},
    live::Watching,
};

/// Longest stream.
const LONGEST: Duration = Duration::from_secs(3600);

/// The logs of devices.
pub struct Logs {
    /// Which devices there are.
    pub devices: Arc<Devices>,
    /// Which have a session.
    pub registry: Arc<Registry>,
    /// When a reader may read no more.
    pub watching: Arc<Watching>,
}

/// This room's routes.
pub fn routes(logs: Arc<Logs>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(read)).with_state(logs)
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// Most lines of those that are there already, the newest; 200 where absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 5000)]
    lines: Option<LogLines>,
    /// None older than this: an RFC 3339 time, or so many seconds ago by the device's clock.
    #[param(example = "600")]
    since: Option<String>,
    /// None less urgent than this: `error`, `warn`, `info`, `debug` or `trace`.
    #[param(value_type = Option<String>, pattern = "^(error|warn|info|debug|trace)$",
        example = "info")]
    level: Option<LogLevel>,
    /// Whether lines follow as they are written, for up to an hour.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    follow: bool,
}

impl Asked {
    fn request(&self) -> Result<LogRequest> {
        let since = self.since.as_deref().map(str::parse::<Since>).transpose();
        let since = since.map_err(|e| Error::invalid(format!("the query: {e}")))?;
        let (since, since_ago_ms) = match since {
            None => (None, None),
            Some(Since::At(at)) => (Some(at), None),
            Some(Since::Ago(ago)) => (None, u64::try_from(ago.as_millis()).ok()),
        };
        Ok(LogRequest {
            lines: self.lines.unwrap_or_default().get(),
            since,
            since_ago_ms,
            level: self.level.unwrap_or_default(),
            follow: self.follow,
        })
    }
}

/// Read the log of a device's agent, and follow it
///
/// As text, a line each: time, level, the part of the program, what it said. With `follow` what is
/// written from now on comes as it is written (`curl -N`), until the reader or the device leaves,
/// the session or API key ends, or an hour is over; the last line, which begins with `--`, says
/// why. So does a line in between where lines were lost, because they were written faster than
/// they were read. Four may follow one device, 64 in all.
#[utoipa::path(get, path = "/api/kubeedge/device/{device_id}/logs", operation_id = "get_device_logs",
    tag = "Devices",
    security(("bearer" = ["operator"]), ("api_key" = ["operator"])),
    params(("device_id" = String, Path, description = "Id of the device", max_length = 100,
        example = "edge-device-001"), Asked),
    responses((status = 200, description = "The lines, oldest first", content_type = "text/plain",
        body = String, example = "2024-01-15T10:30:00Z INFO link: linked\n")))]
async fn read(
    State(logs): State<Arc<Logs>>,
    _: Operator,
    grant: Option<Extension<Grant>>,
    Path(device_id): Path<DeviceId>,
    Query(asked): Query<Asked>,
) -> Result<Response, Refusal> {
    let request = asked.request()?;
    logs.devices.get(&device_id).await?;
    let lines = logs.registry.follow_log(&device_id, request).await?;
    tracing::debug!(%device_id, follow = asked.follow, "a log is read");
    let reader = Reader { lines, follow: asked.follow, end: Instant::now() + LONGEST };
    let over = async move { logs.watching.over(grant.map(|Extension(grant)| grant)).await };
    let text = stream::unfold(Some(reader), Reader::next).take_until(over).map(Ok::<_, Infallible>);
    Ok((
        [
            (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CACHE_CONTROL, "no-store"),
            // nginx would hold lines back.
            (header::HeaderName::from_static("x-accel-buffering"), "no"),
        ],
        Body::from_stream(text),
    )
        .into_response())
}

struct Reader {
    lines: LogStream,
    follow: bool,
    end: Instant,
}

impl Reader {
    /// The next text; after the last there is no reader.
    async fn next(reader: Option<Self>) -> Option<(Bytes, Option<Self>)> {
        let mut reader = reader?;
        let last = |text: String| Some((Bytes::from(text), None));
        match timeout_at(reader.end, reader.lines.next()).await {
            Ok(Ok(Some(batch))) => Some((text(&batch).into(), Some(reader))),
            // Who follows is never told all: the agent stops.
            Ok(Ok(None)) if reader.follow => last("-- the device has gone\n".to_owned()),
            Ok(Ok(None)) => None,
            Ok(Err(error)) => last(format!("-- {}\n", error.message)),
            Err(_) => last("-- an hour is over: ask again\n".to_owned()),
        }
    }
}

fn text(batch: &LogBatch) -> String {
    let mut text = String::new();
    if batch.lost > 0 {
        // Writing to a string does not fail.
        let _ = writeln!(text, "-- {} lines were lost: they are read too slowly", batch.lost);
    }
    for line in &batch.lines {
        let said = printable(&line.text);
        let _ = writeln!(text, "{} {} {}: {said}", line.at, line.level.as_str(), line.target);
    }
    text
}

/// One line, and nothing that a terminal obeys: the agent's log may quote what strangers sent.
fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() && c != '\t' { ' ' } else { c };
    text.chars().map(shown).collect()
}
