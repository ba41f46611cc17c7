//! Another release of the agent than the one that was installed.
//!
//! The installed program is never changed: it decides at each start what runs, and a release is a
//! file in the data directory that it checks and starts. A release on trial is its child, so that
//! one that crashes, hangs or never reaches the hub is ended and the release before runs again,
//! whatever the new one does. Which release runs is one file, replaced by one rename.

mod key;

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use cloudcore_protocol::CommandId;
use semver::Version;
use serde::{Deserialize, Serialize};

pub use key::{BadSignature, Signed, UpdateKey};

use crate::files;

/// Set for a release: the installed program that started it.
pub const LAUNCHER: &str = "CLOUDCORE_LAUNCHER";
/// Set for a release on trial, whose parent watches it.
pub const TRIAL: &str = "CLOUDCORE_TRIAL";
/// The exit code by which a release on trial asks its parent for a new start.
pub const AGAIN: u8 = 79;
/// Largest release, bytes.
pub const MAX_BYTES: u64 = 128 * 1024 * 1024;
/// The folder in the data directory.
pub const FOLDER: &str = "releases";
const STATE: &str = "state.json";
const INCOMING: &str = "incoming";
const PROGRAM: &str = "cloudcore-agent";
const SIGNATURE: &str = "cloudcore-agent.minisig";
/// Starts of one trial: a power cut may fall into it, a second hardly.
const MAX_STARTS: u32 = 3;

/// What is known about releases; the file's content.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    /// The release that runs; the installed program where absent.
    running: Option<Version>,
    /// The one before it, kept.
    previous: Option<Version>,
    trial: Option<Trial>,
    /// A restart that was asked for, and has not been answered.
    restart: Option<CommandId>,
    ended: Option<Ended>,
}

/// A release that has to show that it reaches the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Which.
    pub version: Version,
    /// What ran before it.
    pub from: Version,
    /// The command that asked for it.
    pub command_id: CommandId,
    /// Seconds that it has, from each start.
    pub within: u16,
    /// Starts so far.
    pub starts: u32,
}

/// A trial that failed, and that the hub has not been told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ended {
    command_id: CommandId,
    reason: String,
}

/// What the installed program is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Itself.
    Installed,
    /// This file.
    Release(PathBuf),
    /// This file, watched.
    Trial(PathBuf, Trial),
}

/// What a start was for, as far as a command is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The restart that it asked for.
    Restarted,
    /// The trial that it asked for, which this is.
    OnTrial(Trial),
    /// What came of it: the release before runs again, for this reason.
    RolledBack(String),
    /// Nothing: the agent died.
    Interrupted,
}

/// The releases of a data directory.
#[derive(Debug, Clone)]
pub struct Releases {
    dir: PathBuf,
}

impl Releases {
    /// In this data directory.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self { dir: data_dir.join(FOLDER) }
    }

    fn load(&self) -> State {
        let path = self.dir.join(STATE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return State::default(),
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "the installed program runs");
                return State::default();
            }
        };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::error!(%error, path = %path.display(), "the installed program runs");
            State::default()
        })
    }

    fn save(&self, state: &State) -> io::Result<()> {
        files::create_private_dir(&self.dir)?;
        files::write_private(&self.dir.join(STATE), &serde_json::to_vec(state)?)
    }

    /// The version that runs, where the installed program is `installed`.
    #[must_use]
    pub fn current(&self, installed: &Version) -> Version {
        let state = self.load();
        state.running.map_or_else(|| installed.clone(), |version| version.max(installed.clone()))
    }

    /// A file for what is being fetched; what was there is gone.
    ///
    /// # Errors
    /// The disk's.
    pub fn incoming(&self) -> io::Result<(File, PathBuf)> {
        files::create_private_dir(&self.dir)?;
        let path = self.dir.join(INCOMING);
        files::remove_if_present(&path)?;
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o700).open(&path)?;
        Ok((file, path))
    }

    /// Removes what was fetched and is not run.
    ///
    /// # Errors
    /// The disk's.
    pub fn drop_incoming(&self) -> io::Result<()> {
        files::remove_if_present(&self.dir.join(INCOMING)).map(drop)
    }

    /// Takes over what was fetched and checked, and has the next start try it.
    ///
    /// # Errors
    /// The disk's; what ran goes on to run then.
    pub fn begin_trial(&self, incoming: &Path, signature: &str, trial: Trial) -> io::Result<()> {
        let folder = self.folder(&trial.version);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        files::create_private_dir(&folder)?;
        File::open(incoming)?.sync_all()?;
        fs::rename(incoming, folder.join(PROGRAM))?;
        files::write_private(&folder.join(SIGNATURE), signature.as_bytes())?;
        let mut state = self.load();
        state.trial = Some(trial);
        state.ended = None;
        self.save(&state)
    }

    fn folder(&self, version: &Version) -> PathBuf {
        self.dir.join(version.to_string())
    }

    /// What is to run, for the installed program of this version. A trial's start is counted.
    ///
    /// # Errors
    /// The disk's.
    pub fn choose(&self, installed: &Version, key: Option<&UpdateKey>) -> io::Result<Choice> {
        let mut state = self.load();
        if let Some(trial) = &mut state.trial {
            trial.starts += 1;
            let (trial, path) = (trial.clone(), self.folder(&trial.version).join(PROGRAM));
            if trial.starts > MAX_STARTS {
                let why = format!("it was started {MAX_STARTS} times and did not reach the hub");
                self.roll_back(&why)?;
            } else if let Err(problem) = self.check(&trial.version, key) {
                self.roll_back(&problem)?;
            } else {
                self.save(&state)?;
                return Ok(Choice::Trial(path, trial));
            }
            state = self.load();
        }
        let Some(version) = state.running.clone() else { return Ok(Choice::Installed) };
        let problem = if version <= *installed {
            Some(format!("the installed program is {installed}"))
        } else {
            self.check(&version, key).err()
        };
        let Some(problem) = problem else {
            return Ok(Choice::Release(self.folder(&version).join(PROGRAM)));
        };
        tracing::warn!(%version, problem, "a release is not run any more");
        state.running = state.previous.take().filter(|previous| previous > installed);
        self.save(&state)?;
        self.prune(&state);
        match &state.running {
            Some(_) => self.choose(installed, key),
            None => Ok(Choice::Installed),
        }
    }

    /// Whether the file is still the signed one: a disk forgets, and a folder can be written to.
    fn check(&self, version: &Version, key: Option<&UpdateKey>) -> Result<(), String> {
        let key = key.ok_or("agent.toml has no `update_key`")?;
        let folder = self.folder(version);
        let signature = fs::read_to_string(folder.join(SIGNATURE)).map_err(|e| e.to_string())?;
        let file = File::open(folder.join(PROGRAM)).map_err(|e| e.to_string())?;
        let signed = key.verify(file, &signature).map_err(|e| e.to_string())?;
        if signed.version == *version {
            Ok(())
        } else {
            Err(format!("it is signed as {}", signed.version))
        }
    }

    /// Whether a release is on trial.
    #[must_use]
    pub fn on_trial(&self) -> bool {
        self.load().trial.is_some()
    }

    /// The release on trial is the one that runs from now on.
    ///
    /// # Errors
    /// The disk's.
    pub fn confirm(&self) -> io::Result<()> {
        let mut state = self.load();
        let Some(trial) = state.trial.take() else { return Ok(()) };
        state.previous = state.running.replace(trial.version);
        self.save(&state)?;
        self.prune(&state);
        Ok(())
    }

    /// The trial is over: what ran before runs again.
    ///
    /// # Errors
    /// The disk's.
    pub fn roll_back(&self, reason: &str) -> io::Result<()> {
        let mut state = self.load();
        let Some(trial) = state.trial.take() else { return Ok(()) };
        tracing::error!(version = %trial.version, reason, "an update is rolled back");
        let reason = format!("{} is rolled back to {}: {reason}", trial.version, trial.from);
        state.ended = Some(Ended { command_id: trial.command_id, reason });
        self.save(&state)?;
        self.prune(&state);
        Ok(())
    }

    /// Removes what will not run again. What can't be removed now is tried the next time.
    fn prune(&self, state: &State) {
        let kept: Vec<_> = [&state.running, &state.previous]
            .into_iter()
            .flatten()
            .chain(state.trial.as_ref().map(|trial| &trial.version))
            .map(Version::to_string)
            .collect();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if entry.path().is_dir() && !kept.iter().any(|kept| name == kept.as_str()) {
                fs::remove_dir_all(entry.path()).ok();
            }
        }
    }

    /// Keeps that this command asked for a restart.
    ///
    /// # Errors
    /// The disk's.
    pub fn ask_restart(&self, id: &CommandId) -> io::Result<()> {
        let mut state = self.load();
        state.restart = Some(id.clone());
        self.save(&state)
    }

    /// What this start means for a command that was running before it.
    #[must_use]
    pub fn standing(&self, id: &CommandId, is_trial: bool) -> Standing {
        let state = self.load();
        if state.restart.as_ref() == Some(id) {
            return Standing::Restarted;
        }
        if let Some(trial) = state.trial.filter(|trial| is_trial && trial.command_id == *id) {
            return Standing::OnTrial(trial);
        }
        match state.ended.filter(|ended| ended.command_id == *id) {
            Some(ended) => Standing::RolledBack(ended.reason),
            None => Standing::Interrupted,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests;
