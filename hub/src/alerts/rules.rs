//! Alerts that are judged on heartbeats, by the heartbeats' own times.

use std::collections::{HashMap, HashSet};

use cloudcore_protocol::{Alert, DeviceId, Heartbeat, Timestamp};
use serde_json::{Value, json};

use super::{DISK_FULL, record};
use crate::{
    api,
    db::{self, Write},
    error::Result,
    settings::Thresholds,
};

/// A heartbeat, as it is judged.
pub type Said<'a> = (&'a DeviceId, Timestamp, &'a Heartbeat);

/// Judges heartbeats.
#[derive(Debug, Default)]
pub struct Judge {
    /// Since when a device's processor has been above the limit.
    busy: HashMap<DeviceId, Timestamp>,
}

/// How one condition stands.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    kind: &'static str,
    active: bool,
    message: String,
}

impl Judge {
    /// Stores the alerts that begin and end with these heartbeats, oldest first; which they are,
    /// each with its heartbeat's place.
    ///
    /// # Errors
    /// The database's.
    pub async fn judge(
        &mut self,
        tx: &mut Write,
        limits: &Thresholds,
        all: &[Said<'_>],
    ) -> Result<Vec<(usize, Alert)>> {
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let devices: HashSet<&DeviceId> = all.iter().map(|(device, ..)| *device).collect();
        let devices = devices.into_iter().map(|device| json!([device])).collect::<Value>();
        let active: Vec<(String, String)> = db::sql(
            "SELECT device_id, kind FROM alerts \
             WHERE ended_at IS NULL AND device_id IN (SELECT value->>0 FROM {rows})",
        )
        .bind(devices.to_string())
        .all(&mut *tx)
        .await?;
        let mut active: HashSet<(String, String)> = active.into_iter().collect();
        let mut news = Vec::new();
        for (index, (device, at, heartbeat)) in all.iter().enumerate() {
            for verdict in self.verdicts(device, *at, heartbeat, limits) {
                let key = (device.as_str().to_owned(), verdict.kind.to_owned());
                if active.contains(&key) == verdict.active {
                    continue;
                }
                let Verdict { kind, active: begins, message } = verdict;
                let alert = Alert { kind: kind.into(), message, active: begins };
                if record(tx, device, *at, &alert).await? {
                    news.push((index, alert));
                }
                if begins {
                    active.insert(key);
                } else {
                    active.remove(&key);
                }
            }
        }
        Ok(news)
    }

    /// What a heartbeat says of each condition; nothing of what the machine can't measure.
    fn verdicts(
        &mut self,
        device: &DeviceId,
        at: Timestamp,
        heartbeat: &Heartbeat,
        limits: &Thresholds,
    ) -> impl Iterator<Item = Verdict> + use<> {
        let memory = percent(heartbeat.memory_used_bytes, heartbeat.memory_total_bytes);
        let disk = percent(heartbeat.disk_used_bytes, heartbeat.disk_total_bytes);
        let temperature = heartbeat.temperature_celsius.map(f64::from).map(|heat| {
            let limit = limits.temperature_celsius;
            let active = heat > f64::from(limit);
            let message = if active {
                format!("Temperature > {limit}°C")
            } else {
                format!("Temperature is {heat:.0}°C")
            };
            Verdict { kind: "high_temperature", active, message }
        });
        [
            self.cpu(device, at, heartbeat, limits),
            memory.map(|used| usage("high_memory", "Memory", used, limits.memory_percent)),
            temperature,
            disk.map(|used| usage(DISK_FULL, "Disk", used, limits.disk_percent)),
        ]
        .into_iter()
        .flatten()
    }

    fn cpu(
        &mut self,
        device: &DeviceId,
        at: Timestamp,
        heartbeat: &Heartbeat,
        limits: &Thresholds,
    ) -> Option<Verdict> {
        // An agent's first heartbeat has no load: what was before it says nothing of now.
        let used = heartbeat.cpu_percent.map(f64::from);
        let verdict = used.map(|used| usage("high_cpu", "CPU", used, limits.cpu_percent));
        if !verdict.as_ref().is_some_and(|verdict| verdict.active) {
            self.busy.remove(device);
            return verdict;
        }
        if self.busy.len() >= MAX_BUSY && !self.busy.contains_key(device) {
            self.busy.clear();
        }
        let since = self.busy.entry(device.clone()).or_insert(at);
        // A clock that was put back.
        *since = at.min(*since);
        if at.since(*since).as_secs() < u64::from(limits.cpu_seconds) {
            return None;
        }
        verdict.map(|verdict| match limits.cpu_seconds {
            0 => verdict,
            seconds => {
                let message = format!("{} for {}", verdict.message, api::uptime(seconds.into()));
                Verdict { message, ..verdict }
            }
        })
    }
}

/// Devices whose load is watched at once; removed ones are among them.
const MAX_BUSY: usize = 100_000;

fn usage(kind: &'static str, what: &str, used: f64, limit: u32) -> Verdict {
    let active = used > f64::from(limit);
    let message = match active {
        true => format!("{what} usage > {limit}%"),
        false => format!("{what} usage is {}", api::percent(used)),
    };
    Verdict { kind, active, message }
}

fn percent(used: u64, total: u64) -> Option<f64> {
    #[allow(clippy::cast_precision_loss, reason = "compared with whole per cents")]
    (total > 0).then(|| used as f64 / total as f64 * 100.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use cloudcore_protocol::CameraState;

    use super::*;

    fn heartbeat(cpu: Option<f32>) -> Heartbeat {
        Heartbeat {
            cpu_percent: cpu,
            memory_used_bytes: 0,
            memory_total_bytes: 0,
            temperature_celsius: None,
            uptime_seconds: 1,
            disk_used_bytes: 0,
            disk_total_bytes: 0,
            agent_version: "1".into(),
            camera: CameraState::None,
            detecting: false,
            apps: None,
            outbox_events: 0,
        }
    }

    fn verdicts(judge: &mut Judge, second: i64, heartbeat: &Heartbeat) -> Vec<Verdict> {
        let device = "cam-1".parse().unwrap();
        let at = Timestamp::from_micros((1_000_000 + second) * 1_000_000);
        judge.verdicts(&device, at, heartbeat, &Thresholds::default()).collect()
    }

    #[test]
    fn a_busy_processor_is_news_after_its_time_and_not_before() {
        let mut judge = Judge::default();
        let busy = heartbeat(Some(95.0));
        assert_eq!(verdicts(&mut judge, 0, &busy), []);
        assert_eq!(verdicts(&mut judge, 299, &busy), []);
        let told = verdicts(&mut judge, 300, &busy);
        assert_eq!(told[0].message, "CPU usage > 90% for 5 minutes");
        assert!(told[0].active);
        let told = verdicts(&mut judge, 310, &heartbeat(Some(90.0)));
        assert_eq!((told[0].active, told[0].message.as_str()), (false, "CPU usage is 90%"));
        // The time begins anew, also after a restart of the agent.
        assert_eq!(verdicts(&mut judge, 320, &busy), []);
        assert_eq!(verdicts(&mut judge, 600, &heartbeat(None)), []);
        assert_eq!(verdicts(&mut judge, 700, &busy), []);
        assert_eq!(verdicts(&mut judge, 1000, &busy).len(), 1);
    }

    #[test]
    fn memory_disk_and_heat_are_news_above_their_limits() {
        let mut judge = Judge::default();
        let full = Heartbeat {
            memory_used_bytes: 91,
            memory_total_bytes: 100,
            disk_used_bytes: 901,
            disk_total_bytes: 1000,
            temperature_celsius: Some(80.5),
            ..heartbeat(None)
        };
        let told = verdicts(&mut judge, 0, &full);
        assert!(told.iter().all(|verdict| verdict.active));
        let messages: Vec<_> = told.iter().map(|verdict| verdict.message.as_str()).collect();
        assert_eq!(messages, ["Memory usage > 90%", "Temperature > 80°C", "Disk usage > 90%"]);
        let at_the_limit = Heartbeat {
            memory_used_bytes: 90,
            disk_used_bytes: 900,
            temperature_celsius: Some(80.0),
            ..full
        };
        let told = verdicts(&mut judge, 0, &at_the_limit);
        assert!(told.iter().all(|verdict| !verdict.active));
        assert_eq!(told.len(), 3);
    }
}
