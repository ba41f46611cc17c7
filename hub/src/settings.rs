//! Settings that change while the hub runs. They stand in the database, so that they hold over
//! restarts: what was set there comes before the flag of the same name.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use cloudcore_protocol::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;

use crate::{
    db::{self, Db},
    error::{Code, Error, Result},
};

/// What can be changed live (contract, "7. Configuration Management").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Live {
    /// Life of a join token where a request names none, hours.
    pub token_expiry: u32,
    /// Most devices that may be members.
    pub max_devices: u32,
    /// Requests a minute for each caller; 0 is no limit.
    pub rate_limit: u32,
    /// Whether plain HTTP is refused from other machines.
    pub require_tls: bool,
    /// When an alert begins.
    pub alerts: Thresholds,
    /// How long what was detected is kept.
    pub retention: Retention,
}

/// How long what was detected is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Retention {
    /// Days that detections of an object are kept, with their pictures, by its label (`person`);
    /// `*` is for all others. Where neither is there, `retention_days`.
    #[schema(example = json!({ "person": 30, "*": 7 }))]
    pub objects: BTreeMap<String, u32>,
}

/// The label of a rule that is for all others.
const OTHERS: &str = "*";

impl Retention {
    /// What of this object was stored before then is to go; `otherwise` where no rule speaks of it.
    #[must_use]
    pub fn before(&self, object: &str, now: Timestamp, otherwise: Timestamp) -> Timestamp {
        let days = self.objects.get(object).or_else(|| self.objects.get(OTHERS));
        days.map_or(otherwise, |days| {
            Timestamp::from_micros(now.micros().saturating_sub(i64::from(*days) * 86_400_000_000))
        })
    }
}

/// When an alert begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Thresholds {
    /// `high_cpu` above this, per cent.
    #[schema(minimum = 1, maximum = 100, example = 90)]
    pub cpu_percent: u32,
    /// ... for so long, seconds.
    #[schema(minimum = 0, maximum = 86400, example = 300)]
    pub cpu_seconds: u32,
    /// `high_memory` above this, per cent.
    #[schema(minimum = 1, maximum = 100, example = 90)]
    pub memory_percent: u32,
    /// `high_temperature` above this, degrees Celsius.
    #[schema(minimum = 1, maximum = 150, example = 80)]
    pub temperature_celsius: u32,
    /// `disk_full` above this, per cent.
    #[schema(minimum = 1, maximum = 100, example = 90)]
    pub disk_percent: u32,
    /// `certificate_expiring` below this, days.
    #[schema(minimum = 1, maximum = 365, example = 7)]
    pub certificate_days: u32,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            token_expiry: 72,
            max_devices: 10_000,
            rate_limit: 100,
            require_tls: false,
            alerts: Thresholds::default(),
            retention: Retention::default(),
        }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            cpu_percent: 90,
            cpu_seconds: 300,
            memory_percent: 90,
            temperature_celsius: 80,
            disk_percent: 90,
            // A node renews at two thirds of thirty days: one that is this near did not.
            certificate_days: 7,
        }
    }
}

/// That the hub takes no new work (contract, "Maintenance Endpoints").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Maintenance {
    /// Since when, microseconds since the epoch.
    pub since: i64,
    /// Who began it.
    pub by: String,
    /// Why, for people.
    pub reason: Option<String>,
}

/// The settings of this hub.
pub struct Settings {
    db: Db,
    /// What flags and file gave, which holds where nobody changed it.
    start: Live,
    live: ArcSwap<Live>,
    maintenance: ArcSwap<Option<Maintenance>>,
    changed: watch::Sender<()>,
}

const LIVE: &str = "live";
const MAINTENANCE: &str = "maintenance";

impl Settings {
    /// Those of this database, over `start`, which flags and file gave.
    ///
    /// # Errors
    /// The database's.
    pub async fn load(db: Db, start: Live) -> Result<Self> {
        let live = ArcSwap::from_pointee(start.clone());
        let changed = watch::Sender::new(());
        let settings = Self { db, start, live, maintenance: ArcSwap::default(), changed };
        settings.reload().await?;
        Ok(settings)
    }

    /// Takes over what the database holds now.
    ///
    /// # Errors
    /// The database's.
    pub async fn reload(&self) -> Result<()> {
        let live = self.read(LIVE).await?.unwrap_or_else(|| self.start.clone());
        self.live.store(Arc::new(live));
        self.maintenance.store(Arc::new(self.read(MAINTENANCE).await?));
        self.changed.send_replace(());
        Ok(())
    }

    /// What holds now.
    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Stores other settings; they hold when this returns.
    ///
    /// # Errors
    /// The database's.
    pub async fn change(&self, live: Live, by: &str) -> Result<()> {
        self.write(LIVE, Some(&live), by).await?;
        self.live.store(Arc::new(live));
        self.changed.send_replace(());
        Ok(())
    }

    /// Wakes when other settings hold.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The maintenance that goes on.
    #[must_use]
    pub fn maintenance(&self) -> Option<Maintenance> {
        self.maintenance.load().as_ref().clone()
    }

    /// `running`, or `maintenance`: what the hub's health says.
    #[must_use]
    pub fn standing(&self) -> &'static str {
        if self.maintenance.load().is_some() { "maintenance" } else { "running" }
    }

    /// Begins maintenance, or ends it.
    ///
    /// # Errors
    /// The database's.
    pub async fn set_maintenance(&self, maintenance: Option<Maintenance>, by: &str) -> Result<()> {
        self.write(MAINTENANCE, maintenance.as_ref(), by).await?;
        self.maintenance.store(Arc::new(maintenance));
        Ok(())
    }

    /// Whether new joins, commands and deploys are taken.
    ///
    /// # Errors
    /// API-009 during maintenance.
    pub fn check_open(&self) -> Result<()> {
        match self.maintenance.load().as_ref() {
            None => Ok(()),
            Some(maintenance) => Err(Error::new(
                Code::Unavailable,
                "the hub is in maintenance: it takes no joins, commands and deploys now",
            )
            .with_details(
                json!({ "maintenance_since": Timestamp::from_micros(maintenance.since) }),
            )),
        }
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let value: Option<String> = db::sql("SELECT value FROM settings WHERE name = $1")
            .bind(name)
            .optional_value(&self.db)
            .await?;
        value.map(|text| serde_json::from_str(&text)).transpose().map_err(Error::internal)
    }

    async fn write<T: Serialize + Sync>(
        &self,
        name: &str,
        value: Option<&T>,
        by: &str,
    ) -> Result<()> {
        let mut tx = self.db.write().await?;
        match value {
            None => db::sql("DELETE FROM settings WHERE name = $1").bind(name),
            Some(value) => db::sql(
                "INSERT INTO settings (name, value, changed_at, changed_by) \
                 VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO UPDATE SET \
                 value = excluded.value, changed_at = excluded.changed_at, \
                 changed_by = excluded.changed_by",
            )
            .bind(name)
            .bind(serde_json::to_string(value).map_err(Error::internal)?)
            .bind(Timestamp::now().micros())
            .bind(by),
        }
        .run(&mut tx)
        .await?;
        tx.commit().await
    }
}
