//! Starting the agent with the machine.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::fcntl::OFlag;

use crate::config::{CONFIG_FILE, DEFAULT_DATA_DIR};

/// The unit's file name.
const UNIT: &str = "cloudcore-agent.service";
const UNIT_DIR: &str = "/etc/systemd/system";
const UNIT_TEXT: &str = include_str!("../../../deploy/systemd/cloudcore-agent.service");
/// The user that the unit names.
const USER: &str = "cloudcore";
/// What the agent, which may restart nothing, makes to have the machine restarted.
pub const REBOOT_WANTED: &str = "/var/lib/cloudcore-agent/reboot-wanted";
const REBOOT_PATH: &str = "cloudcore-agent-reboot.path";
const REBOOT_SERVICE: &str = "cloudcore-agent-reboot.service";
const REBOOT_UNITS: [(&str, &str); 2] = [
    (REBOOT_PATH, include_str!("../../../deploy/systemd/cloudcore-agent-reboot.path")),
    (REBOOT_SERVICE, include_str!("../../../deploy/systemd/cloudcore-agent-reboot.service")),
];
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
    #[error("`{arguments}`: {problem}")]
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
    /// Has the agent run now and after each start of the machine; with `allow_reboot` it can
    /// have the machine restarted.
    ///
    /// # Errors
    /// [`ServiceError`].
    fn install(
        &self,
        program: &Path,
        data_dir: &Path,
        allow_reboot: bool,
    ) -> Result<(), ServiceError>;
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

    fn install(
        &self,
        program: &Path,
        data_dir: &Path,
        allow_reboot: bool,
    ) -> Result<(), ServiceError> {
        if data_dir != Path::new(DEFAULT_DATA_DIR) {
            return Err(ServiceError::OtherDataDir(data_dir.to_owned()));
        }
        make_user()?;
        give_settings(data_dir)?;
        write(UNIT, &UNIT_TEXT.replace(UNIT_PROGRAM, &program.display().to_string()))?;
        if allow_reboot {
            for (name, text) in REBOOT_UNITS {
                write(name, text)?;
            }
        } else {
            remove_reboot()?;
        }
        systemctl(&["daemon-reload"])?;
        if allow_reboot {
            systemctl(&["enable", "--now", REBOOT_PATH])?;
        }
        systemctl(&["enable", UNIT])?;
        systemctl(&["restart", UNIT])
    }

    fn remove(&self) -> Result<(), ServiceError> {
        if Path::new(UNIT_DIR).join(UNIT).exists() {
            systemctl(&["disable", "--now", UNIT])?;
            remove(UNIT)?;
        }
        let overrides = Path::new(UNIT_DIR).join(format!("{UNIT}.d"));
        if overrides.is_dir() {
            fs::remove_dir_all(&overrides)
                .map_err(|source| ServiceError::File { path: overrides, source })?;
        }
        remove_reboot()?;
        systemctl(&["daemon-reload"])?;
        // Of a unit that failed something stays, until it is asked to be forgotten.
        systemctl(&["reset-failed", UNIT]).ok();
        remove_user()
    }
}

fn write(name: &str, text: &str) -> Result<(), ServiceError> {
    let path = Path::new(UNIT_DIR).join(name);
    fs::write(&path, text).map_err(|source| ServiceError::File { path, source })
}

fn remove(name: &str) -> Result<(), ServiceError> {
    let path = Path::new(UNIT_DIR).join(name);
    crate::files::remove_if_present(&path)
        .map(|_| ())
        .map_err(|source| ServiceError::File { path, source })
}

fn remove_reboot() -> Result<(), ServiceError> {
    if Path::new(UNIT_DIR).join(REBOOT_PATH).exists() {
        systemctl(&["disable", "--now", REBOOT_PATH])?;
    }
    remove(REBOOT_PATH)?;
    remove(REBOOT_SERVICE)?;
    let path = PathBuf::from(REBOOT_WANTED);
    crate::files::remove_if_present(&path)
        .map(|_| ())
        .map_err(|source| ServiceError::File { path, source })
}

/// The agent's own user, whose home is its data directory.
fn own_user() -> Option<nix::unistd::User> {
    nix::unistd::User::from_name(USER).ok().flatten()
}

fn make_user() -> Result<(), ServiceError> {
    if own_user().is_some() {
        return Ok(());
    }
    run(
        "useradd",
        &[
            "--system",
            "--user-group",
            "--no-create-home",
            "--home-dir",
            DEFAULT_DATA_DIR,
            "--shell",
            "/usr/sbin/nologin",
            USER,
        ],
    )
}

/// Makes the settings the agent's own again: an editor that root used has left a file of root's,
/// and systemd looks at the folder's owner only.
fn give_settings(data_dir: &Path) -> Result<(), ServiceError> {
    let path = data_dir.join(CONFIG_FILE);
    let give = || {
        let Some(user) = own_user() else { return Ok(()) };
        // The agent's user may write this folder: no link of its making leads to another's file.
        let file =
            fs::File::options().read(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(&path)?;
        let facts = file.metadata()?;
        if !facts.is_file() || facts.nlink() != 1 {
            return Err(io::Error::other("it is a link"));
        }
        fchown(&file, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
    };
    give().map_err(|source| ServiceError::File { path: path.clone(), source })
}

/// Another user of this name is not ours to remove.
fn remove_user() -> Result<(), ServiceError> {
    match own_user() {
        Some(user) if user.dir == Path::new(DEFAULT_DATA_DIR) => run("userdel", &[USER]),
        _ => Ok(()),
    }
}

fn systemctl(arguments: &[&str]) -> Result<(), ServiceError> {
    run("systemctl", arguments)
}

fn run(program: &str, arguments: &[&str]) -> Result<(), ServiceError> {
    let refused = |problem: String| ServiceError::Refused {
        arguments: format!("{program} {}", arguments.join(" ")),
        problem,
    };
    let output = Command::new(program)
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
