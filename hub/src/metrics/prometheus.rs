//! The numbers in Prometheus' text form. All are read when they are asked for.

use prometheus_client::{
    encoding::prometheus_text,
    metrics::{
        counter::ConstCounter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        info::Info,
    },
    registry::Registry,
};

use super::{Metrics, resident_memory};
use crate::{
    alerts, api, commands,
    error::{Error, Result},
};

/// What the text is.
pub(super) const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

type Labels = [(&'static str, String); 1];

fn family(label: &'static str, counts: Vec<(String, i64)>) -> Family<Labels, Gauge> {
    let family = Family::<Labels, Gauge>::default();
    for (name, count) in counts {
        family.get_or_create(&[(label, name)]).set(count);
    }
    family
}

fn count(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

impl Metrics {
    pub(super) async fn text(&self) -> Result<String> {
        let mut registry = Registry::with_prefix("cloudcore");
        let version = env!("CARGO_PKG_VERSION");
        registry.register("build", "The hub's release", Info::new([("version", version)]));
        let uptime = ConstGauge::new(api::seconds_since(self.started_at));
        registry.register("uptime_seconds", "Since the hub started", uptime);
        if let Some(bytes) = resident_memory().await {
            let resident = ConstGauge::new(bytes);
            registry.register("resident_memory_bytes", "Memory of the hub", resident);
        }
        self.fleet_numbers(&mut registry).await?;
        let database = ConstGauge::new(self.db.bytes().await?);
        registry.register("database_bytes", "Size of the database", database);
        let blobs = ConstGauge::new(self.blobs.bytes_stored().await?);
        registry.register("blob_bytes", "Size of all pictures", blobs);
        self.traffic.register(&mut registry);
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry).map_err(Error::internal)?;
        Ok(text)
    }

    async fn fleet_numbers(&self, registry: &mut Registry) -> Result<()> {
        let total: i64 = self.devices.count_by_type().await?.iter().map(|(_, n)| n).sum();
        let ready = i64::try_from(self.devices.ready()).unwrap_or(total).min(total);
        let by_status = vec![("Ready".to_owned(), ready), ("NotReady".to_owned(), total - ready)];
        registry.register("devices", "Devices by status", family("status", by_status));
        let sessions = ConstGauge::new(self.registry.all().len() as u64);
        registry.register("link_sessions", "Agents that are connected", sessions);
        let (streams, sockets) = self.watching.counts();
        let watchers = vec![("stream".to_owned(), streams), ("websocket".to_owned(), sockets)];
        let help = "Who watches the events, by kind of connection";
        registry.register("watchers", help, family("kind", watchers));
        let commands = family("status", commands::count_by_status(&self.db).await?);
        registry.register("commands", "Commands that are kept, by status", commands);
        let detections = ConstCounter::new(count(self.detections.total().await?));
        registry.register("detections", "Objects that all devices saw", detections);
        let active = family("type", alerts::count_active(&self.db).await?);
        registry.register("alerts_active", "Alerts that are active, by type", active);
        if let Some(objects) = self.cluster.device_objects() {
            let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
            let by_standing = vec![
                ("there".to_owned(), number(objects.there)),
                ("conflict".to_owned(), number(objects.conflicts)),
                ("refused".to_owned(), number(objects.refused)),
            ];
            let help = "Objects of devices in the cluster: those that are there, those that others \
                        hold fields of, and those that the cluster refuses";
            registry.register("cluster_device_objects", help, family("state", by_standing));
            let open = ConstGauge::new(count(self.devices.removals_open().await?));
            let help = "Nodes of removed devices that the cluster has not let go of";
            registry.register("cluster_removals_open", help, open);
        }
        Ok(())
    }
}
