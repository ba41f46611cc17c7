//! Tests of a device's connection: each is a command that the device runs, and what came of them
//! is read from the commands.

mod routes;

use std::{sync::Arc, time::Duration};

use cloudcore_protocol::{CommandId, DeviceId, Timestamp, command::Ports};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

pub use routes::routes;

use crate::{
    api,
    commands::{Commands, NewCommand, Row, State},
    db::{self, Db},
    error::{Error, Result},
    keys,
};

/// A test's time: a camera that gives nothing takes the agent ten seconds to give up.
const PATIENCE: Duration = Duration::from_secs(20);

/// What can be tested; the name is the command's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ConnectionTest)]
pub enum Probe {
    /// The way to the device and back.
    Ping,
    /// Who listens on the device's own ports.
    PortCheck,
    /// Whether the camera gives a picture.
    CameraTest,
}

impl Probe {
    const fn command(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::PortCheck => "port_check",
            Self::CameraTest => "camera_test",
        }
    }
}

/// Tests that began.
#[derive(Debug)]
pub struct Begun {
    /// Their id.
    pub test_id: String,
    /// When.
    pub started_at: Timestamp,
}

/// Where tests stand as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = TestStatus)]
pub enum Status {
    /// Not all have ended.
    Running,
    /// All have passed.
    Completed,
    /// All have ended, and not all have passed.
    Failed,
}

/// How one test went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = TestVerdict)]
pub enum Verdict {
    /// As it should.
    Passed,
    /// Otherwise; `error` says how.
    Failed,
    /// It goes on.
    Running,
}

/// One test and what came of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct TestResult {
    /// Which test.
    #[schema(example = "ping")]
    pub test: Probe,
    /// How it went.
    #[schema(example = "passed")]
    pub status: Verdict,
    /// What it took: for `ping` the way there and back, for the others the test on the device.
    #[schema(example = "12ms")]
    pub latency: Option<String>,
    /// The same, milliseconds.
    #[schema(example = 12.3)]
    pub latency_ms: Option<f64>,
    /// What the device found.
    #[schema(value_type = Option<Object>, example = json!({ "success": true, "round_trip_ms": 12.3 }))]
    pub details: Option<Value>,
    /// Why it failed.
    pub error: Option<String>,
}

/// Tests and what came of them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TestReport)]
pub struct Report {
    /// Their id.
    #[schema(example = "test_3f9c2a71d0b84e56")]
    pub test_id: String,
    /// The device that ran them.
    #[schema(example = "edge-device-001")]
    pub device_id: String,
    /// Where they stand as a whole.
    #[schema(example = "completed")]
    pub status: Status,
    /// Each of them, in the order asked for.
    pub results: Vec<TestResult>,
    /// When they began.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When the last of them ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub completed_at: Option<Timestamp>,
}

/// The tests.
pub struct Diagnostics {
    db: Db,
    commands: Arc<Commands>,
}

impl Diagnostics {
    /// Over this database; devices are told by `commands`.
    #[must_use]
    pub const fn new(db: Db, commands: Arc<Commands>) -> Self {
        Self { db, commands }
    }

    /// Begins tests on a device; `ports` are those that `port_check` wants open, where it is not
    /// to look at the usual ones only.
    ///
    /// # Errors
    /// API-004 for an unknown device, API-008 for one that is away.
    pub async fn begin(
        &self,
        device_id: &DeviceId,
        tests: &[Probe],
        ports: Option<&Ports>,
    ) -> Result<Begun> {
        let started_at = Timestamp::now();
        let mut sent: Vec<(Probe, CommandId)> = Vec::new();
        for test in tests {
            let parameters = match (test, ports) {
                (Probe::PortCheck, Some(ports)) => json!({ "ports": ports }),
                _ => json!({}),
            };
            let new = NewCommand {
                device_id: device_id.clone(),
                name: test.command().to_owned(),
                parameters,
                timeout: PATIENCE,
                queue: false,
            };
            sent.push((*test, self.commands.send(&new).await?.id));
        }
        let test_id = format!("test_{}", keys::hex(&keys::random::<8>()?));
        let mut tx = self.db.write().await?;
        db::sql(
            "INSERT INTO connection_tests (test_id, device_id, commands, started_at) \
             VALUES ($1, $2, $3, $4)",
        )
        .bind(&test_id)
        .bind(device_id.as_str())
        .bind(serde_json::to_string(&sent).map_err(Error::internal)?)
        .bind(started_at.micros())
        .run(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(Begun { test_id, started_at })
    }

    /// What came of tests so far.
    ///
    /// # Errors
    /// API-004.
    pub async fn report(&self, test_id: &str) -> Result<Report> {
        let missing = || Error::not_found("test", api::clip(test_id, 40));
        let found: Option<(String, String, i64)> = db::sql(
            "SELECT device_id, commands, started_at FROM connection_tests WHERE test_id = $1",
        )
        .bind(test_id)
        .optional(&self.db)
        .await?;
        let (device_id, commands, started_at) = found.ok_or_else(missing)?;
        let sent: Vec<(Probe, CommandId)> =
            serde_json::from_str(&commands).map_err(Error::internal)?;
        let ids: Vec<_> = sent.iter().map(|(_, id)| id.clone()).collect();
        let rows = self.commands.get_all(&ids).await?;
        let mut results = Vec::new();
        for (test, id) in sent {
            let row = rows.iter().find(|row| row.id == id).ok_or_else(missing)?;
            results.push(result(test, row));
        }
        let any = |verdict| results.iter().any(|result| result.status == verdict);
        let status = match (any(Verdict::Running), any(Verdict::Failed)) {
            (true, _) => Status::Running,
            (false, true) => Status::Failed,
            (false, false) => Status::Completed,
        };
        let ended = rows.iter().filter_map(|row| row.completed_at).max();
        Ok(Report {
            test_id: test_id.to_owned(),
            device_id,
            status,
            results,
            started_at: Timestamp::from_micros(started_at),
            completed_at: ended.filter(|_| status != Status::Running),
        })
    }

    /// Removes tests that began before `before`; to be called before their commands are.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget(&self, before: Timestamp) -> Result<()> {
        let mut tx = self.db.write().await?;
        db::sql("DELETE FROM connection_tests WHERE started_at < $1")
            .bind(before.micros())
            .run(&mut tx)
            .await?;
        tx.commit().await
    }
}

/// What a test's command says of it.
fn result(test: Probe, row: &Row) -> TestResult {
    let found = row.result.clone().unwrap_or(Value::Null);
    let error = match row.state {
        State::Queued | State::Sent | State::Running => None,
        State::Completed => closed_ports(test, &row.parameters, &found),
        ended => Some(found["message"].as_str().unwrap_or(ended.as_str()).to_owned()),
    };
    let status = match (row.state.is_final(), &error) {
        (false, _) => Verdict::Running,
        (true, None) => Verdict::Passed,
        (true, Some(_)) => Verdict::Failed,
    };
    // The link's own round trip where there is one; else what the command took, with the disks on
    // both sides.
    let latency_ms = (row.state == State::Completed).then(|| {
        let told = match test {
            Probe::Ping => &found["round_trip_ms"],
            Probe::PortCheck | Probe::CameraTest => &found["milliseconds"],
        };
        let whole = row.completed_at.map(|at| at.since(row.sent_at).as_secs_f64() * 1e3);
        told.as_f64().filter(|ms| *ms >= 0.0).or(whole).unwrap_or(0.0)
    });
    TestResult {
        test,
        status,
        latency: latency_ms.map(milliseconds),
        latency_ms,
        details: row.result.clone(),
        error,
    }
}

/// `0.4ms`, `12ms`.
fn milliseconds(ms: f64) -> String {
    if ms < 10.0 { format!("{ms:.1}ms") } else { format!("{ms:.0}ms") }
}

/// Which of the ports that were asked for are not open; none where only the usual ones were looked
/// at.
fn closed_ports(test: Probe, parameters: &str, found: &Value) -> Option<String> {
    if test != Probe::PortCheck {
        return None;
    }
    let parameters: Value = serde_json::from_str(parameters).ok()?;
    parameters.get("ports")?;
    let closed: Vec<_> = found["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|port| port["state"] != "open")
        .map(|port| port["port"].to_string())
        .collect();
    (!closed.is_empty()).then(|| format!("not open: {}", closed.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: State, parameters: &Value, result: Option<Value>) -> Row {
        let sent_at = Timestamp::from_micros(1_000_000);
        Row {
            id: CommandId::generate(),
            device_id: "cam-1".into(),
            node_name: None,
            name: "port_check".into(),
            parameters: parameters.to_string(),
            hidden: false,
            sealed: None,
            state,
            result,
            sent_at,
            deadline: sent_at.plus(PATIENCE),
            completed_at: state.is_final().then(|| sent_at.plus(Duration::from_millis(30))),
            execution_us: None,
        }
    }

    #[test]
    fn ports_that_were_asked_for_have_to_be_open() {
        let found = json!({ "milliseconds": 1.5, "ports": [
            { "port": 22, "state": "open" },
            { "port": 80, "state": "closed" },
        ] });
        let completed = |asked: &Value| {
            result(Probe::PortCheck, &row(State::Completed, asked, Some(found.clone())))
        };
        let usual = completed(&json!({}));
        assert_eq!((usual.status, usual.latency.as_deref()), (Verdict::Passed, Some("1.5ms")));
        let asked = completed(&json!({ "ports": [22, 80] }));
        assert_eq!((asked.status, asked.error.as_deref()), (Verdict::Failed, Some("not open: 80")));
    }

    #[test]
    fn a_test_is_as_its_command_ended() {
        for state in State::ALL {
            let row = row(state, &json!({}), None);
            let expected = match state {
                State::Queued | State::Sent | State::Running => Verdict::Running,
                State::Completed => Verdict::Passed,
                _ => Verdict::Failed,
            };
            let told = result(Probe::Ping, &row);
            assert_eq!(told.status, expected, "{state:?}");
            assert_eq!(told.error.is_some(), expected == Verdict::Failed);
            assert_eq!(told.latency.as_deref(), (state == State::Completed).then_some("30ms"));
        }
    }
}
