//! Doing what the hub asks for, each command once.
//!
//! A command is in the journal before anything of it is done, and its end is in the outbox before
//! anybody hears of it. What was running when the agent died is run again if that does no harm,
//! and otherwise ends as failed with the term `interrupted`. Commands run side by side; none waits
//! for another, up to a bound.

mod capture;
mod checks;
mod diagnostics;
mod logs;
mod obey;
mod program;
mod reports;
mod update;
mod upload;

use std::{collections::HashMap, sync::Arc, time::Duration};

use cloudcore_protocol::{Alert, Command, CommandId, CommandOutcome, Timestamp, command::Task};
use tokio::{
    sync::{Mutex, Semaphore, mpsc},
    task::{self, JoinSet},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    apps::AppsHandle,
    config::Settings,
    eye::Eye,
    heartbeat::Reporter,
    link::{LinkHandle, Order},
    logs::LogRing,
    machine::Machine,
    models::Models,
    outbox::{Outbox, OutboxError, Received, Stage, Unfinished},
    watch::WatchHandle,
};

/// Commands that run at once.
const RUNNING: usize = 64;
/// Commands that run or wait for their turn; the hub is told that the device is busy beyond.
const IN_HAND: usize = 1024;
/// What a command that runs may still take when the agent stops.
const GRACE: Duration = Duration::from_secs(5);
/// Between tries to write to a full disk.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// How long a restart waits for the hub to have the command's end.
const REBOOT_FLUSH: Duration = Duration::from_secs(5);
const REBOOT_FAILED: &str = "reboot_failed";

/// The rooms that commands need.
pub struct Rooms {
    /// What can be set.
    pub settings: Settings,
    /// Journal and results.
    pub outbox: Outbox,
    /// The camera.
    pub eye: Eye,
    /// The hub.
    pub link: LinkHandle,
    /// How the device is.
    pub reporter: Reporter,
    /// Detection.
    pub watch: WatchHandle,
    /// Apps on the container engine.
    pub apps: AppsHandle,
    /// The catalog's models.
    pub models: Models,
    /// What restarts the machine.
    pub machine: Box<dyn Machine>,
    /// The agent's own log.
    pub logs: LogRing,
    /// Held by the one file that is on its way to the hub.
    pub uploading: Mutex<()>,
    /// Cancelled to have the agent started anew.
    pub restart: CancellationToken,
}

impl std::fmt::Debug for Rooms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rooms")
    }
}

/// What is done after a command's end is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    Reboot,
    /// Start the agent anew: how the command ended is said then.
    Restart,
}

/// The executor, to be run.
#[derive(Debug)]
pub struct Exec {
    rooms: Arc<Rooms>,
    slots: Arc<Semaphore>,
}

/// A command that this process has in hand.
struct InHand {
    id: CommandId,
    cancel: CancellationToken,
}

impl Exec {
    /// An executor for these rooms.
    #[must_use]
    pub fn new(rooms: Rooms) -> Self {
        Self { rooms: Arc::new(rooms), slots: Arc::new(Semaphore::new(RUNNING)) }
    }

    /// Takes up what was left unfinished, then takes orders until cancelled; then gives what runs
    /// a grace. What has not ended by then is taken up at the next start.
    pub async fn run(self, mut orders: mpsc::Receiver<Order>, cancel: CancellationToken) {
        let mut tasks: JoinSet<()> = JoinSet::new();
        let mut in_hand: HashMap<task::Id, InHand> = HashMap::new();
        self.clear_reboot_alert().await;
        let left_over = self.left_over(&cancel).await;
        // An update's own command confirms it; two at once would write one file.
        let asked = left_over.iter().any(|left| left.name == "update_agent");
        for left in left_over {
            self.resume(left, &mut tasks, &mut in_hand);
        }
        if !asked {
            let trial = self.clone_for_task();
            tasks.spawn(async move { trial.confirm_trial().await });
        }
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                Some(ended) = tasks.join_next_with_id() => self.ended(ended, &mut in_hand).await,
                order = orders.recv() => match order {
                    None => break,
                    Some(Order::Cancel(id)) => {
                        for hand in in_hand.values().filter(|hand| hand.id == id) {
                            hand.cancel.cancel();
                        }
                    }
                    Some(Order::Run(command)) => {
                        if in_hand.values().any(|hand| hand.id == command.id) {
                            continue;
                        }
                        if in_hand.len() >= IN_HAND {
                            self.refuse(command).await;
                            continue;
                        }
                        let (token, id) = (CancellationToken::new(), command.id.clone());
                        let work = self.clone_for_task().obey(command, token.clone(), Instant::now());
                        let handle = tasks.spawn(work);
                        in_hand.insert(handle.id(), InHand { id, cancel: token });
                    }
                },
            }
        }
        let finish = async { while tasks.join_next().await.is_some() {} };
        if timeout(GRACE, finish).await.is_err() {
            tracing::warn!(
                commands = tasks.len(),
                "commands are cut off, the next start takes them up"
            );
            tasks.shutdown().await;
        }
    }

    fn clone_for_task(&self) -> Self {
        Self { rooms: Arc::clone(&self.rooms), slots: Arc::clone(&self.slots) }
    }

    async fn ended(
        &self,
        ended: Result<(task::Id, ()), task::JoinError>,
        in_hand: &mut HashMap<task::Id, InHand>,
    ) {
        match ended {
            Ok((id, ())) => drop(in_hand.remove(&id)),
            Err(error) => {
                let Some(hand) = in_hand.remove(&error.id()) else { return };
                tracing::error!(%error, command_id = %hand.id, "a command broke the agent's code");
                let failed = failed("internal", "the agent failed to run it");
                self.finish(&hand.id, failed, Duration::ZERO).await;
            }
        }
    }

    async fn left_over(&self, cancel: &CancellationToken) -> Vec<Unfinished> {
        loop {
            match self.rooms.outbox.unfinished().await {
                Ok(left) => return left,
                Err(OutboxError::Closed) => return Vec::new(),
                Err(error) => tracing::error!(%error, "the journal can't be read, trying again"),
            }
            tokio::select! {
                () = cancel.cancelled() => return Vec::new(),
                () = tokio::time::sleep(STORE_RETRY) => {}
            }
        }
    }

    fn resume(
        &self,
        left: Unfinished,
        tasks: &mut JoinSet<()>,
        in_hand: &mut HashMap<task::Id, InHand>,
    ) {
        let (token, id) = (CancellationToken::new(), left.id.clone());
        let deadline = Instant::now() + left.deadline_at.since(Timestamp::now());
        let over = left.deadline_at <= Timestamp::now();
        let repeatable = parse(&left.name, &left.parameters).is_ok_and(|task| task.is_repeatable());
        tracing::info!(command_id = %left.id, name = left.name, stage = ?left.stage, "taken up again");
        let this = self.clone_for_task();
        let cancel = token.clone();
        let handle = tasks.spawn(async move {
            if left.stage == Stage::Running && update::NAMES.contains(&left.name.as_str()) {
                this.end_of_restart(&left).await;
            } else if left.stage == Stage::Running && !repeatable {
                let why = "the agent stopped while it ran; it is not safe to run again";
                this.finish(&left.id, failed("interrupted", why), Duration::ZERO).await;
            } else if over {
                this.finish(&left.id, CommandOutcome::TimedOut, Duration::ZERO).await;
            } else {
                let begun = left.stage == Stage::Running;
                this.take_turn(&left.id, &left.name, &left.parameters, begun, cancel, deadline)
                    .await;
            }
        });
        in_hand.insert(handle.id(), InHand { id, cancel: token });
    }

    /// One command, from its arrival to its end.
    async fn obey(self, command: Command, cancel: CancellationToken, arrived: Instant) {
        let deadline = arrived + Duration::from_millis(command.time_left_ms.min(MAX_LIFE_MS));
        // Where there is a slot, kept and begun in one write to the disk.
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok();
        let received = loop {
            match self.rooms.outbox.receive(&command, slot.is_some()).await {
                Ok(received) => break received,
                Err(error) => {
                    tracing::error!(%error, command_id = %command.id, "a command is not kept, so it is not run");
                }
            }
            // The hub lets it expire.
            if Instant::now() + STORE_RETRY >= deadline {
                return;
            }
            tokio::time::sleep(STORE_RETRY).await;
        };
        match received {
            Received::New => {}
            Received::Known(stage) => {
                tracing::info!(command_id = %command.id, ?stage, "a repeat is not run again");
                return;
            }
        }
        tracing::info!(command_id = %command.id, name = command.name, "command");
        let (name, parameters) = (&command.name, &command.parameters);
        if let Some(slot) = slot {
            self.work(&command.id, name, parameters, &cancel, deadline).await;
            drop(slot);
        } else {
            self.take_turn(&command.id, name, parameters, false, cancel, deadline).await;
        }
    }

    /// Waits for a slot, then runs.
    async fn take_turn(
        &self,
        id: &CommandId,
        name: &str,
        parameters: &str,
        begun: bool,
        cancel: CancellationToken,
        deadline: Instant,
    ) {
        let slot = tokio::select! {
            () = cancel.cancelled() => Err(CommandOutcome::Cancelled),
            () = tokio::time::sleep_until(deadline) => Err(CommandOutcome::TimedOut),
            slot = self.slots.acquire() => slot.map_err(|_| failed("internal", "the agent stops")),
        };
        match slot {
            Err(outcome) => self.finish(id, outcome, Duration::ZERO).await.map_or((), drop),
            Ok(_slot) => {
                if !begun && let Err(error) = self.rooms.outbox.begin(id).await {
                    // Not begun in the journal, so not begun at all: the next start takes it up.
                    tracing::error!(%error, command_id = %id, "a command can't begin");
                    return;
                }
                self.work(id, name, parameters, &cancel, deadline).await;
            }
        }
    }

    /// Runs a command that has begun in the journal, and keeps its end.
    async fn work(
        &self,
        id: &CommandId,
        name: &str,
        parameters: &str,
        cancel: &CancellationToken,
        deadline: Instant,
    ) {
        let begun = Instant::now();
        let (outcome, after) = match parse(name, parameters) {
            Err(outcome) => (outcome, After::Nothing),
            Ok(task) => tokio::select! {
                biased;
                () = cancel.cancelled() => (CommandOutcome::Cancelled, After::Nothing),
                () = tokio::time::sleep_until(deadline) => (CommandOutcome::TimedOut, After::Nothing),
                done = self.rooms.perform(id, task, deadline) => done,
            },
        };
        if after == After::Restart {
            tracing::warn!(command_id = %id, "the agent starts anew, as the hub asked");
            self.rooms.restart.cancel();
            return;
        }
        let seq = self.finish(id, outcome, begun.elapsed()).await;
        if after == After::Reboot
            && let Some(seq) = seq
        {
            self.reboot(seq).await;
        }
    }

    /// Keeps how a command ended; the event's number. `None` if it could not be kept, or had
    /// ended before.
    async fn finish(&self, id: &CommandId, outcome: CommandOutcome, took: Duration) -> Option<u64> {
        let mut outcome = outcome;
        loop {
            match self.rooms.outbox.finish(id, outcome.clone(), took).await {
                Ok(seq) => {
                    log_end(id, &outcome, took);
                    return seq;
                }
                Err(OutboxError::Closed) => return None,
                Err(OutboxError::TooLarge(why)) => outcome = failed("result_too_large", &why),
                Err(error) => {
                    tracing::error!(%error, command_id = %id, "a result is not kept, trying again");
                    tokio::time::sleep(STORE_RETRY).await;
                }
            }
        }
    }

    async fn refuse(&self, command: Command) {
        let received = self.rooms.outbox.receive(&command, true).await;
        if matches!(received, Ok(Received::New)) {
            let why = format!("{IN_HAND} commands wait on this device already");
            self.finish(&command.id, failed("busy", &why), Duration::ZERO).await;
        }
    }

    /// Restarts the machine, once the hub has heard of it or a moment has passed.
    async fn reboot(&self, seq: u64) {
        let mut counts = self.rooms.outbox.subscribe();
        let heard = async {
            while let Ok(true) = self.rooms.outbox.command_event_waits(seq).await {
                if counts.changed().await.is_err() {
                    return;
                }
            }
        };
        timeout(REBOOT_FLUSH, heard).await.ok();
        tracing::warn!("restarting this machine, as the hub asked");
        let command = self.rooms.settings.get().reboot_command.clone();
        if let Err(message) = self.rooms.machine.reboot(command).await {
            tracing::error!(message, "the machine was not restarted");
            let alert = Alert { kind: REBOOT_FAILED.into(), message, active: true };
            if let Err(error) = self.rooms.outbox.alert(alert).await {
                tracing::error!(%error, "an alert is not kept");
            }
        }
    }

    /// An agent that starts has nothing left of a restart that failed.
    async fn clear_reboot_alert(&self) {
        let alert = Alert {
            kind: REBOOT_FAILED.into(),
            message: "the agent started".into(),
            active: false,
        };
        if let Err(error) = self.rooms.outbox.alert(alert).await {
            tracing::warn!(%error, "an alert is not ended");
        }
    }
}

/// A command does not live longer than a week, whatever the hub says.
const MAX_LIFE_MS: u64 = 7 * 86_400 * 1000;

/// Understands a command, or says how it ends at once.
fn parse(name: &str, parameters: &str) -> Result<Task, CommandOutcome> {
    let value = if parameters.trim().is_empty() {
        serde_json::Value::Null
    } else {
        serde_json::from_str(parameters)
            .map_err(|e| failed("invalid_parameters", &format!("parameters are no JSON: {e}")))?
    };
    Task::parse(name, &value).map_err(|error| {
        let term = match &error {
            cloudcore_protocol::command::CommandError::Unknown(_) => "unknown_command",
            cloudcore_protocol::command::CommandError::Parameters { .. } => "invalid_parameters",
        };
        failed(term, &error.to_string())
    })
}

/// Not as asked: a term for programs, a sentence for people.
fn failed(term: &str, why: &str) -> CommandOutcome {
    CommandOutcome::Failed(term.to_owned(), why.to_owned())
}

fn log_end(id: &CommandId, outcome: &CommandOutcome, took: Duration) {
    match outcome {
        CommandOutcome::Completed(_) => tracing::info!(command_id = %id, ?took, "completed"),
        CommandOutcome::Failed(term, why) => {
            tracing::warn!(command_id = %id, ?took, term, why, "failed");
        }
        CommandOutcome::TimedOut => tracing::warn!(command_id = %id, ?took, "timed out"),
        CommandOutcome::Cancelled => tracing::info!(command_id = %id, ?took, "cancelled"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]
mod tests;
