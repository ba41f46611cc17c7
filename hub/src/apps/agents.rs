//! Apps on devices with an engine of their own: an agent is told by commands, and what becomes of them
//! is how an app stands there.

use std::time::Duration;

use cloudcore_protocol::{CommandId, DeviceId, command::AppName};
use serde_json::Value;

use super::{
    ANSWER, Apps, Standing,
    store::{self, Placed},
};
use crate::{
    commands::{Accepted, Cancelled, NewCommand, Row, State},
    db::Write,
    error::{Code, Error, Result},
};

/// A command's time on a device that is there: an image is fetched within it.
const PRESENT: Duration = Duration::from_secs(600);
/// A command's time for a device that is away.
const AWAY: Duration = Duration::from_secs(86_400);
/// Reasons of devices that can't run an app at all, so that there is none to remove either.
pub(super) const NEVER_RAN: [&str; 2] = ["no_container_engine", "unknown_command"];

/// The commands of one change, until it is committed.
#[derive(Default)]
pub(super) struct Orders {
    accepted: Vec<Accepted>,
    cancelled: Vec<Cancelled>,
}

impl Apps {
    /// Orders one thing of one device, in place of what was ordered before and has not ended.
    pub(super) async fn order(
        &self,
        tx: &mut Write,
        orders: &mut Orders,
        former: Option<&Placed>,
        order: Order<'_>,
        standing: Standing,
    ) -> Result<Place> {
        if let Some(former) = former
            && let Some(id) = &former.command_id
        {
            let id: CommandId = id.parse().map_err(Error::internal)?;
            orders.cancelled.extend(self.commands.cancel_in(tx, &id).await?);
        }
        let new = NewCommand {
            device_id: order.device.clone(),
            name: order.name.to_owned(),
            parameters: order.parameters,
            timeout: if self.devices.is_online(order.device) { PRESENT } else { AWAY },
            queue: true,
        };
        let (device_id, reason) = (order.device.to_string(), None);
        match self.commands.accept(tx, &new, order.node).await {
            Ok(accepted) => {
                let command_id = Some(accepted.id.to_string());
                orders.accepted.push(accepted);
                Ok(Place { device_id, standing, reason, message: None, command_id })
            }
            // One device that is full does not spoil the others.
            Err(error) if error.code == Code::Unavailable => Ok(Place {
                device_id,
                standing: Standing::Failed,
                reason: Some("busy".to_owned()),
                message: Some(error.message.into_owned()),
                command_id: None,
            }),
            Err(error) => Err(error),
        }
    }

    /// Hands committed orders over and waits a little for what becomes of them.
    pub(super) async fn carry_out(&self, orders: Orders) -> Result<()> {
        self.commands.tell_cancelled(orders.cancelled);
        if orders.accepted.is_empty() {
            return Ok(());
        }
        // Who is away gets them later.
        let _ = self.commands.hand_over(&orders.accepted).await;
        let ids: Vec<_> = orders.accepted.iter().map(|accepted| accepted.id.clone()).collect();
        self.commands.settled(&ids, ANSWER).await?;
        self.settle().await
    }

    /// Takes over what devices have made of their orders; to be called before ended commands are
    /// forgotten.
    ///
    /// # Errors
    /// The database's.
    pub async fn settle(&self) -> Result<()> {
        let open = store::settling(&self.db).await?;
        if open.is_empty() {
            return Ok(());
        }
        let ids: Vec<CommandId> =
            open.iter().filter_map(|placed| placed.command_id.as_ref()?.parse().ok()).collect();
        let ended = self.commands.get_all(&ids).await?;
        let mut tx = self.db.write().await?;
        for placed in open {
            let by = |row: &&Row| placed.command_id.as_deref() == Some(row.id.as_str());
            match settled(&placed, ended.iter().find(by))? {
                Some(placed) => store::settle(&mut tx, &placed).await?,
                None => {
                    store::unplace(&mut tx, &placed).await?;
                    store::drop_if_nowhere(&mut tx, &placed.app).await?;
                }
            }
        }
        tx.commit().await
    }
}

/// What is ordered of a device.
pub(super) struct Order<'a> {
    pub(super) device: &'a DeviceId,
    pub(super) node: String,
    pub(super) name: &'static str,
    pub(super) parameters: Value,
}

/// How an app stands on a device after an order.
pub(super) struct Place {
    pub(super) device_id: String,
    pub(super) standing: Standing,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
    pub(super) command_id: Option<String>,
}

impl Place {
    pub(super) fn of(self, app: &AppName, image: &str) -> Placed {
        Placed {
            app: app.to_string(),
            device_id: self.device_id,
            image: image.to_owned(),
            status: self.standing.as_str().to_owned(),
            reason: self.reason,
            message: self.message,
            port: None,
            command_id: self.command_id,
            updated_at: 0,
            node: None,
            restarts: None,
            health: None,
        }
    }
}

/// How an app stands after its device's command has ended; `None` where it is gone. A restore may
/// have brought the app without the command.
fn settled(placed: &Placed, row: Option<&Row>) -> Result<Option<Placed>> {
    let removing = placed.standing()? == Standing::Removing;
    let completed = row.is_some_and(|row| row.state == State::Completed);
    let result = row.and_then(|row| row.result.clone()).unwrap_or(Value::Null);
    let ended = row.map_or("forgotten", |row| row.state.as_str());
    let reason = result["error"].as_str().unwrap_or(ended);
    if removing && (completed || NEVER_RAN.contains(&reason)) {
        return Ok(None);
    }
    let mut after = placed.clone();
    if completed {
        after.status = Standing::Running.as_str().to_owned();
        // Where the device's engine publishes one.
        after.port = result["port"].as_i64().filter(|port| (1..=65_535).contains(port));
        (after.reason, after.message) = (None, None);
    } else {
        let message = result["message"].as_str().unwrap_or("what became of it is not known");
        after.status = Standing::Failed.as_str().to_owned();
        after.reason = Some(reason.to_owned());
        after.message = Some(match removing {
            true => format!("not removed: {message}"),
            false => message.to_owned(),
        });
    }
    Ok(Some(after))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that is surprised has failed")]

    use cloudcore_protocol::Timestamp;
    use serde_json::json;

    use super::*;

    fn placed(standing: Standing) -> Placed {
        let place = Place {
            device_id: "cam-1".into(),
            standing,
            reason: None,
            message: None,
            command_id: Some("cmd".into()),
        };
        place.of(&"counter".parse().unwrap(), "counter:1")
    }

    fn row(state: State, result: Value) -> Row {
        let now = Timestamp::now();
        Row {
            id: CommandId::generate(),
            device_id: "cam-1".into(),
            node_name: None,
            name: "deploy_app".into(),
            parameters: "{}".into(),
            hidden: false,
            sealed: None,
            state,
            result: Some(result),
            sent_at: now,
            deadline: now,
            completed_at: Some(now),
            execution_us: None,
        }
    }

    #[test]
    fn an_engine_that_runs_the_app_names_its_port() {
        let done = row(State::Completed, json!({ "success": true, "port": 5001 }));
        let after = settled(&placed(Standing::Pending), Some(&done)).unwrap().unwrap();
        assert_eq!((after.status.as_str(), after.port), ("Running", Some(5001)));
        let odd = row(State::Completed, json!({ "port": 70_000 }));
        let after = settled(&placed(Standing::Pending), Some(&odd)).unwrap().unwrap();
        assert_eq!((after.status.as_str(), after.port), ("Running", None));
    }

    #[test]
    fn an_app_is_gone_once_its_device_says_so_or_never_ran_it() {
        let removing = placed(Standing::Removing);
        let done = row(State::Completed, json!({ "success": true }));
        assert!(settled(&removing, Some(&done)).unwrap().is_none());
        let never = row(State::Failed, json!({ "error": "no_container_engine", "message": "no" }));
        assert!(settled(&removing, Some(&never)).unwrap().is_none());
        let kept = settled(&placed(Standing::Pending), Some(&never)).unwrap().unwrap();
        assert_eq!((kept.status.as_str(), kept.reason.as_deref()), ("Failed", Some(NEVER_RAN[0])));
        // What did not get there in time may still run.
        let late = row(State::Expired, Value::Null);
        let kept = settled(&removing, Some(&late)).unwrap().unwrap();
        assert_eq!((kept.status.as_str(), kept.reason.as_deref()), ("Failed", Some("expired")));
        assert!(kept.message.unwrap().starts_with("not removed: "));
        let lost = settled(&placed(Standing::Pending), None).unwrap().unwrap();
        assert_eq!(lost.reason.as_deref(), Some("forgotten"));
    }
}
