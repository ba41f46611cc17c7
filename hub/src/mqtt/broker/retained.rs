//! The last message of a topic, for those who subscribe later. In memory: who publishes it says
//! it again after a restart.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rmqtt::{
    retain::RetainStorage,
    types::{Retain, TopicFilter, TopicName},
};

use super::filter;

/// Most topics that have one.
const MAX_TOPICS: usize = 20_000;
/// Most bytes of topics and payloads.
const MAX_BYTES: usize = 64 * 1024 * 1024;

struct Kept {
    retain: Retain,
    until: Option<Instant>,
}

impl Kept {
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

#[derive(Default)]
struct Messages {
    by_topic: HashMap<String, Kept>,
    bytes: usize,
}

fn size(topic: &str, retain: &Retain) -> usize {
    topic.len() + retain.publish.payload.len()
}

impl Messages {
    fn remove(&mut self, topic: &str) {
        if let Some(old) = self.by_topic.remove(topic) {
            self.bytes -= size(topic, &old.retain);
        }
    }

    fn set(&mut self, topic: &str, retain: Retain, now: Instant) -> bool {
        self.remove(topic);
        // An empty one takes back what was kept.
        if retain.publish.payload.is_empty() {
            return true;
        }
        let new = size(topic, &retain);
        let full = |this: &Self| this.by_topic.len() >= MAX_TOPICS || this.bytes + new > MAX_BYTES;
        if full(self) {
            let over: Vec<String> = self
                .by_topic
                .iter()
                .filter(|(_, kept)| kept.is_over(now))
                .map(|(topic, _)| topic.clone())
                .collect();
            for topic in over {
                self.remove(&topic);
            }
            if full(self) {
                return false;
            }
        }
        let expiry = retain.publish.properties.as_ref().and_then(|p| p.message_expiry_interval);
        let until = expiry.map(|seconds| now + Duration::from_secs(seconds.get().into()));
        self.bytes += new;
        self.by_topic.insert(topic.to_owned(), Kept { retain, until });
        true
    }

    fn get(&self, asked: &str, now: Instant) -> Vec<(TopicName, Retain)> {
        let found = |(topic, kept): (&String, &Kept)| {
            (!kept.is_over(now)).then(|| (TopicName::from(topic.as_str()), kept.retain.clone()))
        };
        if filter::is_topic(asked) {
            return self.by_topic.get_key_value(asked).and_then(found).into_iter().collect();
        }
        self.by_topic
            .iter()
            .filter(|(topic, _)| filter::has(asked, topic))
            .filter_map(found)
            .collect()
    }
}

/// The retained messages.
#[derive(Default)]
pub(super) struct Retained(Mutex<Messages>);

impl Retained {
    fn messages(&self) -> MutexGuard<'_, Messages> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RetainStorage for Retained {
    fn enable(&self) -> bool {
        true
    }

    // The engine's expiry is the one of messages that wait for a client; a retained one ends
    // only when its publisher said so.
    async fn set(
        &self,
        topic: &TopicName,
        retain: Retain,
        _: Option<Duration>,
    ) -> rmqtt::Result<()> {
        if !self.messages().set(topic, retain, Instant::now()) {
            tracing::warn!(%topic, "no room for a retained MQTT message");
        }
        Ok(())
    }

    async fn get(&self, topic_filter: &TopicFilter) -> rmqtt::Result<Vec<(TopicName, Retain)>> {
        Ok(self.messages().get(topic_filter, Instant::now()))
    }

    async fn count(&self) -> isize {
        self.messages().by_topic.len().cast_signed()
    }

    async fn max(&self) -> isize {
        MAX_TOPICS.cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use rmqtt::{
        codec::{
            types::{Publish as Packet, QoS},
            v5::PublishProperties,
        },
        types::{From as Origin, Id, Publish},
    };

    use super::*;

    fn message(payload: &'static str, expiry: Option<u32>) -> Retain {
        let properties = PublishProperties {
            message_expiry_interval: expiry.and_then(NonZeroU32::new),
            ..PublishProperties::default()
        };
        let packet = Packet {
            dup: false,
            retain: true,
            qos: QoS::AtMostOnce,
            topic: "unused".into(),
            packet_id: None,
            payload: payload.into(),
            properties: Some(properties),
        };
        let from = Origin::from_system(Id::from(0, "hub".into()));
        Retain { msg_id: None, from, publish: Publish::from(Box::new(packet)) }
    }

    fn payloads(messages: &Messages, filter: &str, now: Instant) -> Vec<String> {
        let mut found: Vec<String> = messages
            .get(filter, now)
            .into_iter()
            .map(|(_, r)| String::from_utf8_lossy(&r.publish.payload).into_owned())
            .collect();
        found.sort();
        found
    }

    #[test]
    fn the_last_message_of_a_topic_stays_until_an_empty_one() {
        let (mut messages, now) = (Messages::default(), Instant::now());
        assert!(messages.set("a/1", message("old", None), now));
        assert!(messages.set("a/1", message("new", None), now));
        assert!(messages.set("a/2", message("other", None), now));
        assert_eq!(payloads(&messages, "a/1", now), ["new"]);
        assert_eq!(payloads(&messages, "a/+", now), ["new", "other"]);
        assert_eq!(payloads(&messages, "b/#", now), Vec::<String>::new());
        assert!(messages.set("a/1", message("", None), now));
        assert!(messages.set("a/2", message("", None), now));
        assert_eq!((messages.by_topic.len(), messages.bytes), (0, 0));
    }

    #[test]
    fn one_that_expires_is_gone_in_time() {
        let (mut messages, now) = (Messages::default(), Instant::now());
        messages.set("a", message("short", Some(10)), now);
        assert_eq!(payloads(&messages, "#", now + Duration::from_secs(9)), ["short"]);
        assert!(payloads(&messages, "#", now + Duration::from_secs(10)).is_empty());
    }

    #[test]
    fn there_is_an_end_to_them() {
        let (mut messages, now) = (Messages::default(), Instant::now());
        for n in 0..MAX_TOPICS {
            assert!(messages.set(&format!("t/{n}"), message("x", Some(10)), now));
        }
        assert!(!messages.set("one/more", message("x", None), now));
        // A known one may change, and what is over makes room.
        assert!(messages.set("t/0", message("y", Some(60)), now));
        assert!(messages.set("one/more", message("x", None), now + Duration::from_secs(11)));
        assert_eq!(messages.by_topic.len(), 2);
    }
}
