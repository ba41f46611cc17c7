//! What the installed program does before it is the agent: it decides which release runs.

use std::{
    env,
    ffi::OsString,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode, ExitStatus},
    time::Duration,
};

use anyhow::Context as _;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    process::Child,
    signal::unix::{SignalKind, signal},
    time::{Instant, interval, sleep_until, timeout},
};

use super::Failure;
use crate::{
    config::Config,
    notify,
    update::{self, Choice, Releases, Trial},
};

/// What a release may take to stop.
const STOP: Duration = Duration::from_secs(18);
const LOOK: Duration = Duration::from_secs(1);

/// Runs another release where there is one: its end. `None` where this program is the agent.
pub(super) fn launch(data_dir: &Path) -> Result<Option<ExitCode>, Failure> {
    if env::var_os(update::LAUNCHER).is_some() {
        return Ok(None);
    }
    let releases = Releases::new(data_dir);
    let own = env!("CARGO_PKG_VERSION").parse().context("this program's version")?;
    // Settings that can't be read are the agent's to complain about, and no reason to forget which
    // release runs.
    let Ok(config) = Config::load(data_dir) else { return Ok(None) };
    let key = config.update_key;
    loop {
        let choice = releases.choose(&own, key.as_ref()).unwrap_or_else(|error| {
            tracing::error!(%error, "which release to run can't be kept: it is the installed one");
            Choice::Installed
        });
        match choice {
            Choice::Installed => return Ok(None),
            Choice::Release(path) => {
                let error = command(&path)?.exec();
                tracing::error!(%error, path = %path.display(), "a release does not start");
                return Ok(None);
            }
            Choice::Trial(path, trial) => match watch(&releases, &path, &trial)? {
                End::Again => {}
                End::With(code) => return Ok(Some(code)),
            },
        }
    }
}

/// Starts the agent anew, in this process.
pub(super) fn again() -> Result<ExitCode, Failure> {
    if env::var_os(update::TRIAL).is_some() {
        return Ok(ExitCode::from(update::AGAIN));
    }
    let program = installed()?;
    let error = Command::new(&program).args(arguments()).env_remove(update::LAUNCHER).exec();
    Err(anyhow::Error::new(error).context(program.display().to_string()).into())
}

fn arguments() -> impl Iterator<Item = OsString> {
    env::args_os().skip(1)
}

/// The installed program, also from a release, and also after it was replaced.
fn installed() -> Result<PathBuf, Failure> {
    if let Some(path) = env::var_os(update::LAUNCHER) {
        return Ok(path.into());
    }
    let own = env::current_exe().context("this program's path")?;
    let text = own.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or_else(|| own.clone(), PathBuf::from))
}

fn command(release: &Path) -> Result<Command, Failure> {
    let mut command = Command::new(release);
    command.args(arguments()).env(update::LAUNCHER, installed()?);
    Ok(command)
}

/// How a watched release ended.
enum End {
    /// Choose again.
    Again,
    /// This program ends with it.
    With(ExitCode),
}

fn watch(releases: &Releases, path: &Path, trial: &Trial) -> Result<End, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(watched(releases, path, trial))
}

async fn watched(releases: &Releases, path: &Path, trial: &Trial) -> Result<End, Failure> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut command = tokio::process::Command::from(command(path)?);
    // A group of its own: what it started ends with it.
    command.env(update::TRIAL, "1").process_group(0).kill_on_drop(true);
    tracing::warn!(version = %trial.version, "a release is on trial");
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            releases.roll_back(&format!("it does not start: {error}"))?;
            return Ok(End::Again);
        }
    };
    let deadline = Instant::now() + Duration::from_secs(trial.within.into());
    let mut looking = interval(LOOK);
    let mut on_trial = true;
    notify::ready();
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            _ = terminate.recv() => return stop(child).await,
            _ = interrupt.recv() => return stop(child).await,
            () = sleep_until(deadline), if on_trial => {
                end(&mut child).await;
                if releases.on_trial() {
                    let why = format!("it did not reach the hub within {} s", trial.within);
                    releases.roll_back(&why)?;
                }
                return Ok(End::Again);
            }
            _ = looking.tick(), if on_trial => {
                on_trial = releases.on_trial();
                // Until it has shown that it works, this program answers for it.
                notify::alive();
            }
        }
    };
    end(&mut child).await;
    if releases.on_trial() {
        releases.roll_back(&format!("it ended: {status}"))?;
        return Ok(End::Again);
    }
    if status.code() == Some(update::AGAIN.into()) {
        return Ok(End::Again);
    }
    Ok(End::With(code(status)))
}

/// Hands a stop on. The trial goes on at the next start.
async fn stop(mut child: Child) -> Result<End, Failure> {
    notify::stopping();
    if let Some(pid) = child.id() {
        killpg(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM).ok();
    }
    match timeout(STOP, child.wait()).await {
        Ok(status) => Ok(End::With(code(status?))),
        Err(_) => {
            end(&mut child).await;
            Ok(End::With(ExitCode::FAILURE))
        }
    }
}

async fn end(child: &mut Child) {
    if let Some(pid) = child.id() {
        killpg(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).ok();
        child.wait().await.ok();
    }
}

fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(1);
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}
