//! Contract, "WebSocket API" ([RFC 6455](https://www.rfc-editor.org/rfc/rfc6455)).
//!
//! A session is one loop: what the client says, what the bus tells, a ping now and then, and one
//! message at a time on its way out. Nothing is queued for a client but what the bus keeps for
//! all: a client that reads slowly falls behind there, and is told by how much.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    extract::{
        State,
        ws::{
            CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code,
            rejection::WebSocketUpgradeRejection,
        },
    },
    response::Response,
};
use bytes::Bytes;
use cloudcore_protocol::DeviceId;
use futures_util::{SinkExt as _, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tokio_tungstenite::tungstenite;

use super::{Bus, LiveEvent, News, Topic, Watching};
use crate::{
    api::Refusal,
    auth::{Grant, Watcher},
    error::{Error, Result},
};

/// Largest message of a client, bytes: an action is far smaller.
const MAX_MESSAGE: usize = 16 * 1024;
/// How often a client is asked whether it is there; one that does not answer until the next time
/// is gone.
const PING: Duration = Duration::from_secs(25);
/// How long a client may leave a message unread before it is cut off.
const WRITE: Duration = Duration::from_secs(30);
/// The close code for a client that may not watch any more: of the private ones, HTTP's 401.
const DISMISSED: u16 = 4401;
/// How long a goodbye may take.
const CLOSE: Duration = Duration::from_secs(2);

/// Watch what happens over a WebSocket
///
/// The client subscribes to topics by `{"action": "subscribe", "topics": ["device_status",
/// "detections", "commands", "alerts"]}`, with `"device_id"` for one device only, and leaves them
/// by the action `unsubscribe`. Nothing is sent before. Each action is answered by
/// `{"type": "subscribed" | "unsubscribed", "topics": […]}` or
/// `{"type": "error", "code": "API-001", "message": …}`. A client that reads too slowly loses
/// events and is told by `{"type": "lagged", "missed": …}`, which counts the events of all
/// topics. The hub pings every 25 seconds. Close codes: 1001 when the hub stops, 1008 when pings
/// stay unanswered, 1009 for a message of more than 16 KiB, 4401 when the user's session or the
/// API key has ended.
#[utoipa::path(get,
    path = "/ws", operation_id = "websocket",
    tag = "Real-time Monitoring",
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"]), ("ticket" = [])),
    responses((status = 101, description = "The connection is a WebSocket from here on."))
)]
pub(super) async fn connect(
    State(watching): State<Arc<Watching>>,
    Watcher(grant): Watcher,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refusal> {
    let upgrade = upgrade.map_err(|rejection| {
        Error::invalid(format!("this is a WebSocket: {}", rejection.body_text()))
    })?;
    let place = watching.socket_place()?;
    let token = watching.open.token();
    Ok(upgrade
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        // Each message goes out before the next one is looked at.
        .write_buffer_size(0)
        .max_write_buffer_size(256 * 1024)
        .on_upgrade(async move |socket| {
            let _here = (place, token);
            Session::new(&watching).run(socket, &watching, grant).await;
        }))
}

/// What a client asks for.
#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
enum Action {
    Subscribe {
        topics: Vec<Topic>,
        /// Of one device only.
        device_id: Option<DeviceId>,
    },
    Unsubscribe {
        topics: Vec<Topic>,
    },
}

/// What is answered to it.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Answer {
    Subscribed {
        topics: Vec<Topic>,
        #[serde(skip_serializing_if = "Option::is_none")]
        device_id: Option<DeviceId>,
    },
    Unsubscribed {
        topics: Vec<Topic>,
    },
}

/// How a session ends.
enum End {
    /// There is nobody left to tell.
    Gone,
    /// The client has said goodbye.
    Closed,
    /// With this last word.
    Goodbye(CloseFrame),
    /// The same, to a client whose messages can't be read any further.
    Broken(CloseFrame),
}

const fn last_word(code: u16, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: Utf8Bytes::from_static(reason) }
}

struct Session<'a> {
    bus: &'a Bus,
    /// Each with the device that it is limited to.
    topics: BTreeMap<Topic, Option<DeviceId>>,
    /// There is none before the first subscription.
    events: Option<broadcast::Receiver<Arc<LiveEvent>>>,
    /// Whether the client has said anything since it was last asked.
    alive: bool,
}

impl<'a> Session<'a> {
    fn new(watching: &'a Watching) -> Self {
        Self { bus: &watching.bus, topics: BTreeMap::new(), events: None, alive: true }
    }

    async fn run(mut self, mut socket: WebSocket, watching: &Watching, grant: Option<Grant>) {
        let end = tokio::select! {
            end = self.serve(&mut socket) => end,
            () = watching.shutdown.cancelled() => {
                End::Goodbye(last_word(close_code::AWAY, "the hub stops"))
            }
            () = watching.dismissed(grant) => {
                End::Goodbye(last_word(DISMISSED, "the session has ended: log in again"))
            }
        };
        let (frame, readable) = match end {
            End::Gone => return,
            // The answer to the client's goodbye (RFC 6455, 5.5.1) is written by this.
            End::Closed => {
                let _ = timeout(CLOSE, socket.flush()).await;
                return;
            }
            End::Goodbye(frame) => (frame, true),
            End::Broken(frame) => (frame, false),
        };
        // A connection that is closed while the client still sends takes the goodbye with it.
        let _ = timeout(CLOSE, async {
            if socket.send(Message::Close(Some(frame))).await.is_ok() {
                if readable {
                    while let Some(Ok(_)) = socket.recv().await {}
                } else {
                    std::future::pending::<()>().await;
                }
            }
        })
        .await;
    }

    async fn serve(&mut self, socket: &mut WebSocket) -> End {
        let mut ping = interval_at(Instant::now() + PING, PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let message = tokio::select! {
                said = socket.next() => match said {
                    None => return End::Gone,
                    Some(Ok(Message::Close(_))) => return End::Closed,
                    Some(Err(error)) => return broken(error),
                    Some(Ok(said)) => {
                        self.alive = true;
                        self.answer(said)
                    }
                },
                news = next(&mut self.events) => match news {
                    Told::Event(event) => self
                        .wants(&event.news)
                        .then(|| Message::Text(event.news.message.clone())),
                    Told::Lagged(missed) => {
                        Some(text(&json!({ "type": "lagged", "missed": missed })))
                    }
                },
                _ = ping.tick() => {
                    if !std::mem::take(&mut self.alive) {
                        return End::Goodbye(last_word(close_code::POLICY, "no answer to a ping"));
                    }
                    Some(Message::Ping(Bytes::new()))
                }
            };
            let Some(message) = message else { continue };
            match timeout(WRITE, socket.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return End::Gone,
                Err(_) => {
                    let frame = last_word(close_code::POLICY, "the client does not read");
                    return End::Goodbye(frame);
                }
            }
        }
    }

    fn wants(&self, news: &News) -> bool {
        self.topics.get(&news.kind.topic()).is_some_and(|only| {
            only.as_ref().is_none_or(|only| Some(only.as_str()) == news.device_id.as_deref())
        })
    }

    fn answer(&mut self, said: Message) -> Option<Message> {
        let answer = match said {
            Message::Text(said) => self.act(&said),
            Message::Binary(_) => Err(Error::invalid("a message must be text, not binary")),
            // The library answers pings.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return None,
        };
        Some(text(&match answer {
            Ok(answer) => json!(answer),
            Err(error) => json!({
                "type": "error",
                "code": error.code.as_str(),
                "message": error.message,
            }),
        }))
    }

    fn act(&mut self, said: &str) -> Result<Answer> {
        let action = serde_json::from_str(said)
            .map_err(|e| Error::invalid(format!("the message is no action: {e}")))?;
        let (Action::Subscribe { topics, .. } | Action::Unsubscribe { topics }) = &action;
        if topics.is_empty() {
            return Err(Error::invalid("topics must name at least one topic"));
        }
        Ok(match action {
            Action::Subscribe { topics, device_id } => {
                // From here on nothing is missed, so the answer comes after this.
                self.events.get_or_insert_with(|| self.bus.subscribe());
                self.topics.extend(topics.iter().map(|topic| (*topic, device_id.clone())));
                Answer::Subscribed { topics, device_id }
            }
            Action::Unsubscribe { topics } => {
                self.topics.retain(|topic, _| !topics.contains(topic));
                if self.topics.is_empty() {
                    self.events = None;
                }
                Answer::Unsubscribed { topics }
            }
        })
    }
}

enum Told {
    Event(Arc<LiveEvent>),
    Lagged(u64),
}

async fn next(events: &mut Option<broadcast::Receiver<Arc<LiveEvent>>>) -> Told {
    if let Some(events) = events {
        match events.recv().await {
            Ok(event) => return Told::Event(event),
            Err(RecvError::Lagged(missed)) => return Told::Lagged(missed),
            // The bus lives as long as the hub.
            Err(RecvError::Closed) => {}
        }
    }
    std::future::pending().await
}

/// How a session ends whose client broke the protocol, or its connection.
fn broken(error: axum::Error) -> End {
    let Ok(error) = error.into_inner().downcast::<tungstenite::Error>() else { return End::Gone };
    End::Broken(match *error {
        tungstenite::Error::Capacity(_) => last_word(close_code::SIZE, "the message is too large"),
        tungstenite::Error::Utf8(_) => last_word(close_code::INVALID, "the text is not UTF-8"),
        tungstenite::Error::Protocol(_) => {
            last_word(close_code::PROTOCOL, "the protocol was broken")
        }
        _ => return End::Gone,
    })
}

fn text(value: &Value) -> Message {
    Message::Text(value.to_string().into())
}
