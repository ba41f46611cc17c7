//! Contract, "6. Real-time Monitoring": server-sent events
//! ([WHATWG HTML, 9.2](https://html.spec.whatwg.org/multipage/server-sent-events.html)).

use std::{collections::HashSet, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::HeaderMap,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::get,
};
use cloudcore_protocol::DeviceId;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::{Bus, LiveEvent};
use crate::{
    api::{Query, Refusal},
    auth::Watcher,
};

/// This room's routes. Streams end when `shutdown` is cancelled.
pub fn routes(bus: Arc<Bus>, shutdown: CancellationToken) -> Router {
    Router::new()
        .route("/api/kubeedge/monitor/stream", get(watch))
        .with_state(Stream { bus, shutdown })
}

#[derive(Clone)]
struct Stream {
    bus: Arc<Bus>,
    shutdown: CancellationToken,
}

#[derive(Deserialize)]
struct Filter {
    /// Names, separated by commas; all where absent.
    events: Option<String>,
    device_id: Option<DeviceId>,
}

const KEEP_ALIVE: Duration = Duration::from_secs(15);

async fn watch(
    State(Stream { bus, shutdown }): State<Stream>,
    _: Watcher,
    Query(filter): Query<Filter>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let last = headers.get("last-event-id").and_then(|v| v.to_str().ok()?.parse().ok());
    let subscription = bus.subscribe(last);
    let names: Option<HashSet<String>> =
        filter.events.map(|names| names.split(',').map(|n| n.trim().to_owned()).collect());
    let wanted = move |event: &LiveEvent| {
        names.as_ref().is_none_or(|names| names.contains(event.event))
            && filter
                .device_id
                .as_ref()
                .is_none_or(|id| event.device_id.as_deref() == Some(id.as_str()))
    };
    let gap = subscription.gap.then(|| notice("lagged", &json!({ "missed": null })));
    let missed: Vec<_> = subscription.missed.iter().filter(|e| wanted(e)).map(|e| sse(e)).collect();
    let live = stream::unfold((subscription.receiver, wanted), |(mut receiver, wanted)| async {
        loop {
            match receiver.recv().await {
                Ok(event) if wanted(&event) => return Some((sse(&event), (receiver, wanted))),
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => {
                    let notice = notice("lagged", &json!({ "missed": missed }));
                    return Some((notice, (receiver, wanted)));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    });
    let events = stream::iter(gap)
        .chain(stream::iter(missed))
        .chain(live)
        .map(Ok::<_, Infallible>)
        .take_until(shutdown.cancelled_owned());
    // A first comment opens the stream at once for clients and proxies that wait for a byte.
    let open = stream::iter([Ok(Event::default().comment("open"))]);
    let sse = Sse::new(open.chain(events)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // nginx would hold events back.
    Ok(([("x-accel-buffering", "no")], sse).into_response())
}

fn sse(event: &LiveEvent) -> Event {
    Event::default().id(event.id.to_string()).data(&event.json)
}

/// Something about the stream itself: it has no id, so that it does not move `Last-Event-ID`.
fn notice(event: &str, fields: &serde_json::Value) -> Event {
    let mut object = fields.clone();
    object["event"] = json!(event);
    Event::default().data(object.to_string())
}
