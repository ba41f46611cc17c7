//! What stands between the agent and a program of the `exec` list: a hidden subcommand of the
//! agent's own, which gives up rights, takes limits, and becomes that program.
//!
//! It is a process of its own because limits between fork and exec would take `unsafe`.

use std::{ffi::OsString, io, os::unix::process::CommandExt as _, process::Command};

use nix::{
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        stat::{Mode, umask},
    },
    unistd::{Gid, Uid, User, geteuid, setgid, setgroups, setuid},
};

/// The subcommand's name.
pub const SUBCOMMAND: &str = "confine";
/// The exit code when the program was not begun; env(1) has the same.
pub const NOT_BEGUN: u8 = 125;

/// Memory that it may map, bytes.
const MEMORY: u64 = 1 << 30;
/// Largest file that it may write, bytes.
const FILE: u64 = 64 << 20;
/// Open files.
const FILES: u64 = 256;
/// Processes of its user.
const PROCESSES: u64 = 256;

/// What is given up.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Confinement {
    /// The user to become; none to stay who one is.
    #[arg(long)]
    pub user: Option<String>,
    /// Most seconds of CPU time.
    #[arg(long)]
    pub cpu_seconds: u64,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    pub argv: Vec<OsString>,
}

impl Confinement {
    /// Becomes the program. Comes back only if that fails; why.
    #[must_use]
    pub fn become_it(&self) -> io::Error {
        match self.confine() {
            Ok(()) => {
                let Some((program, arguments)) = self.argv.split_first() else {
                    return io::Error::other("no program");
                };
                Command::new(program).args(arguments).exec()
            }
            Err(error) => error,
        }
    }

    fn confine(&self) -> io::Result<()> {
        umask(Mode::from_bits_truncate(0o077));
        let limit = |resource, most: u64| -> io::Result<()> {
            let (_, hard) = getrlimit(resource)?;
            let most = most.min(hard);
            Ok(setrlimit(resource, most, most)?)
        };
        limit(Resource::RLIMIT_CORE, 0)?;
        limit(Resource::RLIMIT_CPU, self.cpu_seconds)?;
        limit(Resource::RLIMIT_AS, MEMORY)?;
        limit(Resource::RLIMIT_FSIZE, FILE)?;
        limit(Resource::RLIMIT_NOFILE, FILES)?;
        if let Some(name) = &self.user {
            let user = User::from_name(name)?
                .ok_or_else(|| io::Error::other(format!("there is no user '{name}'")))?;
            // The agent's own processes do not count: they are another user's.
            limit(Resource::RLIMIT_NPROC, PROCESSES)?;
            become_user(user.uid, user.gid)?;
        }
        // No set-uid program gives back what was given up.
        prctl::set_no_new_privs()?;
        Ok(())
    }
}

fn become_user(uid: Uid, gid: Gid) -> io::Result<()> {
    if uid.is_root() {
        return Err(io::Error::other("root is no unprivileged user"));
    }
    setgroups(&[])?;
    setgid(gid)?;
    setuid(uid)?;
    if geteuid() != uid {
        return Err(io::Error::other("the user did not change"));
    }
    Ok(())
}
