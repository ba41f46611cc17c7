//! Starting the agent with the machine.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::config::DEFAULT_DATA_DIR;

/// The unit's file name.
const UNIT: &str = "cloudcore-agent.service";
const UNIT_DIR: &str = "/etc/systemd/system";
const UNIT_TEXT: &str = include_str!("../../../deploy/systemd/cloudcore-agent.service");
/// The program in [`UNIT_TEXT`], replaced by the one that is installed.
const UNIT_PROGRAM: &str = "/usr/local/bin/cloudcore-agent";

/// Why the agent is not started with the machine.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The unit keeps its files elsewhere.
    #[error("the service uses {DEFAULT_DATA_DIR} and not {0}")]
    OtherDataDir(PathBuf),
    /// The unit's file can't be written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The service manager says no.
    #[error("`systemctl {arguments}`: {problem}")]
    Refused {
        /// What was asked.
        arguments: String,
        /// What it said.
        problem: String,
    },
}

/// What starts programs with the machine.
pub trait ServiceManager {
    /// Whether this machine has it, and this user may use it.
    fn available(&self) -> bool;
    /// Has the agent run now and after each start of the machine.
    ///
    /// # Errors
    /// [`ServiceError`].
    fn install(&self, program: &Path, data_dir: &Path) -> Result<(), ServiceError>;
    /// Stops it and takes it away; no error if it was not there.
    ///
    /// # Errors
    /// [`ServiceError`].
    fn remove(&self) -> Result<(), ServiceError>;
}

/// systemd.
#[derive(Debug, Clone, Copy)]
pub struct Systemd;

impl ServiceManager for Systemd {
    fn available(&self) -> bool {
        // As sd_booted(3) tells.
        Path::new("/run/systemd/system").is_dir() && nix::unistd::geteuid().is_root()
    }

    fn install(&self, program: &Path, data_dir: &Path) -> Result<(), ServiceError> {
        if data_dir != Path::new(DEFAULT_DATA_DIR) {
            return Err(ServiceError::OtherDataDir(data_dir.to_owned()));
        }
        let path = Path::new(UNIT_DIR).join(UNIT);
        let text = UNIT_TEXT.replace(UNIT_PROGRAM, &program.display().to_string());
        fs::write(&path, text).map_err(|source| ServiceError::File { path, source })?;
        systemctl(&["daemon-reload"])?;
        systemctl(&["enable", UNIT])?;
        systemctl(&["restart", UNIT])
    }

    fn remove(&self) -> Result<(), ServiceError> {
        let path = Path::new(UNIT_DIR).join(UNIT);
        if !path.exists() {
            return Ok(());
        }
        systemctl(&["disable", "--now", UNIT])?;
        fs::remove_file(&path).map_err(|source| ServiceError::File { path, source })?;
        systemctl(&["daemon-reload"])
    }
}

fn systemctl(arguments: &[&str]) -> Result<(), ServiceError> {
    let refused =
        |problem: String| ServiceError::Refused { arguments: arguments.join(" "), problem };
    let output = Command::new("systemctl")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| refused(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(refused(said.trim().lines().last().unwrap_or("failed").to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_names_the_program_and_the_default_data_dir() {
        assert!(UNIT_TEXT.contains(&format!("ExecStart={UNIT_PROGRAM} run")));
        assert!(UNIT_TEXT.contains(&format!("--data-dir {DEFAULT_DATA_DIR}")));
    }
}
