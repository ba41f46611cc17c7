//! The only wiring: makes the rooms, owns their tasks, and stops them in order.

use std::path::{Path, PathBuf};

use cloudcore_protocol::{DeviceId, NodeName};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Duration, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    apps::{self, AppError},
    config::{Config, ConfigError, HubAddress, SHUTDOWN_GRACE, Settings},
    exec::{Exec, Rooms},
    eye::Eye,
    heartbeat::{self, Pulse, Reporter},
    identity::{Identity, IdentityError},
    link::{Link, LinkHandle},
    lock::{DataDirLock, LockError},
    logs::LogRing,
    machine::{Machine, ThisMachine, VitalsProbe},
    models::Models,
    outbox::{Outbox, OutboxError},
    schedule,
    watch::Watch,
};

/// Orders between the link and the executor, which takes them at once.
const ORDERS: usize = 256;
const HOUSEKEEPING: Duration = Duration::from_secs(3600);

/// Why an agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The credentials.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// What apps are to run.
    #[error(transparent)]
    Apps(#[from] AppError),
    /// The system.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// How an agent is started.
pub struct Options {
    /// Its files.
    pub data_dir: PathBuf,
    /// Another hub than the settings', for this run.
    pub hub: Option<HubAddress>,
    /// What restarts the machine.
    pub machine: Box<dyn Machine>,
    /// What the agent logs comes here.
    pub logs: LogRing,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("data_dir", &self.data_dir).finish_non_exhaustive()
    }
}

impl Options {
    /// As installed: its own settings, this machine.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            hub: None,
            machine: Box::new(ThisMachine),
            logs: LogRing::default(),
        }
    }
}

/// A running agent. Dropping it stops its tasks at once; [`Agent::shutdown`] does so properly.
#[derive(Debug)]
pub struct Agent {
    settings: Settings,
    outbox: Outbox,
    link: LinkHandle,
    /// Heartbeat, detection, apps, housekeeping.
    senses: Stage,
    exec: Stage,
    /// Cancelled when a command wants a new start.
    restart: CancellationToken,
    /// Last, so that results still leave.
    mouth: Stage,
    _lock: DataDirLock,
}

/// Tasks that stop together.
#[derive(Debug, Default)]
struct Stage {
    tasks: JoinSet<()>,
    cancel: CancellationToken,
}

impl Stage {
    async fn stop(&mut self) {
        self.cancel.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(SHUTDOWN_GRACE, ended).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "tasks did not stop in time");
            self.tasks.shutdown().await;
        }
    }
}

impl Agent {
    /// Starts the agent of this data directory. It needs no hub to start.
    ///
    /// # Errors
    /// [`StartError`], for a node that has not joined too.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let Options { data_dir, hub, machine, logs } = options;
        let opening = {
            let data_dir = data_dir.clone();
            move || {
                if !Identity::exists(&data_dir) {
                    return Err(IdentityError::NotMember.into());
                }
                let lock = DataDirLock::create(&data_dir)?;
                Identity::load(&data_dir)?;
                let config = Config::load(&data_dir)?;
                let outbox = Outbox::open_within(&data_dir, config.outbox.limits())?;
                Ok::<_, StartError>((lock, config, outbox))
            }
        };
        let (lock, config, outbox) =
            tokio::task::spawn_blocking(opening).await.map_err(std::io::Error::other)??;
        let settings = Settings::new(&data_dir, config);
        let eye = Eye::open(settings.get().camera.clone())?;
        let pulse = Pulse::default();
        let (orders_in, orders) = mpsc::channel(ORDERS);
        let (link, link_handle) = Link::new(
            settings.clone(),
            hub,
            outbox.clone(),
            pulse.clone(),
            logs.clone(),
            orders_in,
        );
        let (watch, watch_handle) = Watch::new(settings.clone(), eye.clone(), outbox.clone());
        let (keeper, apps) = apps::open(&settings, &outbox)?;
        let models = Models::new(settings.clone(), link_handle.clone(), outbox.clone());
        let reporter = Reporter::new(
            VitalsProbe::new(&data_dir),
            eye.clone(),
            outbox.clone(),
            watch_handle.detecting(),
            apps.states(),
        );
        let restart = CancellationToken::new();
        let exec = Exec::new(Rooms {
            settings: settings.clone(),
            outbox: outbox.clone(),
            eye: eye.clone(),
            link: link_handle.clone(),
            reporter: reporter.clone(),
            watch: watch_handle,
            apps,
            models: models.clone(),
            machine,
            logs,
            uploading: tokio::sync::Mutex::default(),
            restart: restart.clone(),
        });

        let mut agent = Self {
            settings: settings.clone(),
            outbox: outbox.clone(),
            link: link_handle,
            senses: Stage::default(),
            exec: Stage::default(),
            restart,
            mouth: Stage::default(),
            _lock: lock,
        };
        let senses = agent.senses.cancel.clone();
        agent.senses.tasks.spawn(heartbeat::run(
            reporter,
            settings.clone(),
            outbox.clone(),
            pulse,
            senses.clone(),
        ));
        agent.senses.tasks.spawn(watch.run(senses.clone()));
        agent.senses.tasks.spawn(keeper.run(senses.clone()));
        agent.senses.tasks.spawn(models.run(senses.clone()));
        agent.senses.tasks.spawn(schedule::take(settings, eye, outbox.clone(), senses.clone()));
        agent.senses.tasks.spawn(schedule::deliver(
            outbox.clone(),
            agent.link.clone(),
            senses.clone(),
        ));
        agent.senses.tasks.spawn(keep_house(outbox, senses));
        agent.exec.tasks.spawn(exec.run(orders, agent.exec.cancel.clone()));
        agent.mouth.tasks.spawn(link.run(agent.mouth.cancel.clone()));
        Ok(agent)
    }

    /// The node it is.
    #[must_use]
    pub fn node_name(&self) -> NodeName {
        self.settings.get().node_name.clone()
    }

    /// The device it is.
    #[must_use]
    pub fn device_id(&self) -> DeviceId {
        self.settings.get().device_id.clone()
    }

    /// Its link to the hub.
    #[must_use]
    pub const fn link(&self) -> &LinkHandle {
        &self.link
    }

    /// Its outbox.
    #[must_use]
    pub const fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Waits until a command wants the agent to be started anew.
    pub fn restart_wanted(&self) -> impl Future<Output = ()> + use<> {
        self.restart.clone().cancelled_owned()
    }

    /// Waits until a task ends that never should; its name. The agent is of no use any more.
    pub async fn broken(&mut self) -> &'static str {
        tokio::select! {
            Some(_) = self.senses.tasks.join_next() => "a sense",
            Some(_) = self.exec.tasks.join_next() => "the executor",
            Some(_) = self.mouth.tasks.join_next() => "the link",
            else => "everything",
        }
    }

    /// Stops: no more is taken in, what runs gets a grace, the hub a goodbye, the disk the rest.
    pub async fn shutdown(mut self) {
        self.exec.stop().await;
        self.senses.stop().await;
        self.mouth.stop().await;
        self.outbox.close().await;
    }
}

async fn keep_house(outbox: Outbox, cancel: CancellationToken) {
    loop {
        match outbox.forget_old_commands().await {
            Ok(0) => {}
            Ok(forgotten) => tracing::debug!(forgotten, "old commands are forgotten"),
            Err(error) => tracing::warn!(%error, "old commands are not forgotten"),
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(HOUSEKEEPING) => {}
        }
    }
}
