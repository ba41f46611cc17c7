//! What came, counted: `http` and `mqtt` note it, `metrics` shows it.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    method: &'static str,
    route: String,
}

/// The requests of this run. Clones share their numbers.
#[derive(Clone)]
pub struct Traffic {
    requests: Family<Answered, Counter>,
    seconds: Family<Asked, Histogram, fn() -> Histogram>,
    mqtt_clients: Gauge,
    mqtt_refused: Counter,
}

/// Upper bounds, seconds.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0];

impl Default for Traffic {
    fn default() -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(BUCKETS);
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            mqtt_clients: Gauge::default(),
            mqtt_refused: Counter::default(),
        }
    }
}

impl Traffic {
    /// Counts an answer. `route` is the pattern and not the path, and an odd method has no name of
    /// its own: clients must not make new series.
    pub fn note(&self, method: &str, route: &str, status: u16, took: Duration) {
        const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("other");
        let route = route.to_owned();
        self.seconds
            .get_or_create(&Asked { method, route: route.clone() })
            .observe(took.as_secs_f64());
        self.requests.get_or_create(&Answered { method, route, status }).inc();
    }

    /// How many clients the hub's MQTT broker has.
    pub fn set_mqtt_clients(&self, clients: usize) {
        self.mqtt_clients.set(i64::try_from(clients).unwrap_or(i64::MAX));
    }

    /// Counts an MQTT message that was refused.
    pub fn refuse_mqtt(&self) {
        self.mqtt_refused.inc();
    }

    /// How many MQTT messages were refused.
    #[must_use]
    pub fn mqtt_refused(&self) -> u64 {
        self.mqtt_refused.get()
    }

    /// Shows the numbers.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("http_requests", "Requests answered", self.requests.clone());
        registry.register(
            "http_request_duration_seconds",
            "Time until an answer began",
            self.seconds.clone(),
        );
        let clients = self.mqtt_clients.clone();
        registry.register("mqtt_clients", "Clients of the hub's own MQTT broker", clients);
        let refused = self.mqtt_refused.clone();
        registry.register("mqtt_messages_refused", "MQTT messages that were refused", refused);
    }
}
