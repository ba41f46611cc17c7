//! Where messages go: the hub's own broker, or somebody else's.

use std::net::SocketAddr;

use bytes::Bytes;
use cloudcore_protocol::DeviceId;
use serde_json::Value;

use super::{
    broker::{Broker, QoS},
    external::External,
    guard::Identity,
    topics::Topic,
};

/// A way to publish.
pub(super) enum Transport {
    /// The broker inside the hub.
    Own(Broker<Identity>),
    /// One outside.
    External(External),
}

impl Transport {
    /// Tells whoever has subscribed; whether that went out.
    pub async fn publish(&self, topic: &Topic, payload: &Value, qos: QoS) -> bool {
        self.send(topic, payload.to_string().into(), qos).await
    }

    /// Takes back what is kept of a topic.
    pub async fn clear(&self, topic: &Topic) {
        self.send(topic, Bytes::new(), QoS::Zero).await;
    }

    async fn send(&self, topic: &Topic, payload: Bytes, qos: QoS) -> bool {
        // Statuses are kept for later subscribers, and nothing else is.
        let retain = matches!(topic, Topic::Status(_));
        match self {
            Self::Own(broker) => {
                let sent = broker.publish(&topic.to_string(), payload, retain, qos).await;
                if let Err(error) = &sent {
                    tracing::error!(%topic, ?error, "the MQTT broker refused the hub's message");
                }
                sent.is_ok()
            }
            Self::External(client) => match topic {
                // Statuses are said anew when the broker is back, and commands are sent again.
                Topic::Result(..) | Topic::Alerts => {
                    client.publish_late(&topic.to_string(), payload)
                }
                _ => client.publish(&topic.to_string(), payload, retain, qos),
            },
        }
    }

    /// Whether the device listens to its commands now.
    pub async fn hears(&self, device: &DeviceId) -> bool {
        match self {
            Self::Own(broker) => {
                let topic = Topic::Command(device.clone()).to_string();
                broker.is_subscribed(device.as_str(), &topic).await
            }
            // A broker does not tell; a device that says that it is online does.
            Self::External(_) => true,
        }
    }

    /// Cuts a client off; with `source`, only where that is its newest connection.
    pub async fn end(&self, client_id: &str, source: Option<SocketAddr>) {
        if let Self::Own(broker) = self {
            broker.end(client_id, source).await;
        }
    }
}
