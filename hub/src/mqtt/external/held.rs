//! What another broker has to hear, however late: results and alerts of the time it was away.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use rumqttc::v5::{AsyncClient, mqttbytes::QoS};

/// Most messages; then the oldest give way.
const MAX_MESSAGES: usize = 1000;
/// Most bytes of payload.
const MAX_BYTES: usize = 8 * 1024 * 1024;

#[derive(Default)]
struct Kept {
    messages: VecDeque<(String, Bytes)>,
    bytes: usize,
    dropped: u64,
}

/// Messages that wait for the broker, in their order.
#[derive(Default)]
pub(super) struct Held {
    kept: Mutex<Kept>,
}

impl Held {
    /// Keeps a message; whether there can be room for it.
    pub fn hold(&self, topic: &str, payload: Bytes) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if payload.len() > MAX_BYTES {
            return false;
        }
        kept.bytes += payload.len();
        kept.messages.push_back((topic.to_owned(), payload));
        while kept.messages.len() > MAX_MESSAGES || kept.bytes > MAX_BYTES {
            let Some((_, oldest)) = kept.messages.pop_front() else { break };
            kept.bytes -= oldest.len();
            kept.dropped += 1;
        }
        true
    }

    /// Hands all of it to the client, which is connected.
    pub fn tell(&self, client: &AsyncClient) {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        let mut dropped = kept.dropped;
        for (topic, payload) in kept.messages {
            if client.try_publish(&topic, QoS::AtLeastOnce, false, payload).is_err() {
                dropped += 1;
            }
        }
        if dropped > 0 {
            tracing::warn!(dropped, "results and alerts that the MQTT broker never heard of");
        }
    }
}
