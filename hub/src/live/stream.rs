//! Contract, "6. Real-time Monitoring": server-sent events
//! ([WHATWG HTML, 9.2](https://html.spec.whatwg.org/multipage/server-sent-events.html)).

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::HeaderMap,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use cloudcore_protocol::DeviceId;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};

use super::{Kind, LiveEvent, Subscription, Watching};
use crate::{
    api::{Query, Refusal},
    auth::Watcher,
    error::{Error, Result},
};

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Names of events, separated by commas; all where absent.
    #[param(example = "node_joined,detection")]
    events: Option<String>,
    /// Only what concerns this device.
    #[param(value_type = Option<String>, max_length = 100, example = "edge-device-001")]
    device_id: Option<DeviceId>,
    /// Also what came after the event with this id, where the history still has it; the header
    /// `Last-Event-ID`, which a browser sends when it comes back, counts more.
    last_event_id: Option<u64>,
}

/// What a watcher wants to see.
struct Wanted {
    kinds: Vec<Kind>,
    device_id: Option<DeviceId>,
}

impl Wanted {
    fn takes(&self, event: &LiveEvent) -> bool {
        let news = &event.news;
        let device = self.device_id.as_ref().map(DeviceId::as_str);
        self.kinds.contains(&news.kind) && (device.is_none() || device == news.device_id.as_deref())
    }
}

/// Names as the stream has them, or as messages do.
fn kinds(names: &str) -> Result<Vec<Kind>> {
    names
        .split(',')
        .map(|name| {
            let name = name.trim();
            let named = |kind: &Kind| kind.stream_name() == name || kind.name() == name;
            Kind::ALL.into_iter().find(named).ok_or_else(|| {
                let all = Kind::ALL.map(Kind::stream_name).join(", ");
                Error::invalid(format!("there is no event '{name}': events are {all}"))
            })
        })
        .collect()
}

const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// When a client that lost the stream should come back.
const RETRY: Duration = Duration::from_secs(3);

/// Watch what happens, as server-sent events
///
/// Each event has an id; a client that comes back with `Last-Event-ID` gets what it missed, as
/// far as the history reaches (1024 events). Where events are lost to it, because it read too
/// slowly or was away too long, it is told by `{"event": "lagged", "missed": …}`; `missed` counts
/// all events, null where their number is not known. Comments keep the connection alive.
#[utoipa::path(get,
    path = "/api/kubeedge/monitor/stream", operation_id = "monitor_stream",
    tag = "Real-time Monitoring",
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"]), ("ticket" = [])),
    params(Asked, ("Last-Event-ID" = Option<String>, Header, description = "Id of the last event that was read.")),
    responses((
        status = 200,
        description = "The stream; it ends when the client or the hub goes, or the session or API key ends.",
        content_type = "text/event-stream",
        body = String,
        example = "data: {\"timestamp\": \"2024-01-15T10:30:00Z\", \"event\": \"node_joined\", \"node_name\": \"edge-node-001\", \"status\": \"Ready\"}\n\n"
    ))
)]
pub(super) async fn watch(
    State(watching): State<Arc<Watching>>,
    Watcher(grant): Watcher,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let kinds = asked.events.as_deref().map_or_else(|| Ok(Kind::ALL.to_vec()), kinds)?;
    let wanted = Wanted { kinds, device_id: asked.device_id };
    let place = watching.stream_place()?;
    let Subscription { missed, gap, receiver } = begin(&watching, &headers, asked.last_event_id);
    let gap = gap.then(|| lagged(None));
    let missed: Vec<_> = missed.iter().filter(|e| wanted.takes(e)).map(|e| sse(e)).collect();
    let live = stream::unfold(Reader { receiver, wanted, _place: place }, Reader::next);
    let events = stream::iter(gap)
        .chain(stream::iter(missed))
        .chain(live)
        .map(Ok::<_, Infallible>)
        .take_until(async move { watching.over(grant).await });
    // A first comment opens the stream at once for clients and proxies that wait for a byte.
    let open = stream::iter([Ok(Event::default().comment("open").retry(RETRY))]);
    let sse = Sse::new(open.chain(events)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // nginx would hold events back.
    Ok(([("x-accel-buffering", "no")], sse).into_response())
}

/// From where the client left off, where it says so.
fn begin(watching: &Watching, headers: &HeaderMap, asked: Option<u64>) -> Subscription {
    let header = headers.get("last-event-id");
    let last = header.map_or(asked, |id| id.to_str().ok().and_then(|id| id.parse().ok()));
    match last {
        Some(last) => watching.bus.resume(last),
        // An id that is none of ours: what came after it is not known.
        None => Subscription {
            missed: Vec::new(),
            gap: header.is_some(),
            receiver: watching.bus.subscribe(),
        },
    }
}

struct Reader {
    receiver: broadcast::Receiver<Arc<LiveEvent>>,
    wanted: Wanted,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    async fn next(mut self) -> Option<(Event, Self)> {
        loop {
            match self.receiver.recv().await {
                Ok(event) if self.wanted.takes(&event) => return Some((sse(&event), self)),
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => return Some((lagged(Some(missed)), self)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn sse(event: &LiveEvent) -> Event {
    Event::default().id(event.id.to_string()).data(&event.news.stream)
}

/// A notice about the stream itself: it has no id, so that it does not move `Last-Event-ID`.
fn lagged(missed: Option<u64>) -> Event {
    let notice: Value = json!({
        "timestamp": cloudcore_protocol::Timestamp::now(),
        "event": "lagged",
        "node_name": null,
        "missed": missed,
    });
    Event::default().data(notice.to_string())
}
