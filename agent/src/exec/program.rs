//! `exec`: a program of the list in the node's own settings, without a shell.

use std::{process::Stdio, time::Duration};

use cloudcore_protocol::{CommandOutcome, command::RunProgram};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::{Pid, geteuid},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
    time::timeout,
};

use super::{Rooms, failed};
use crate::{
    config::{Config, Program},
    confine::{NOT_BEGUN, SUBCOMMAND},
};

/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The agent's own program, also after an update has put another in its place.
const SELF: &str = "/proc/self/exe";
/// Most bytes of both outputs as JSON text: the result travels in one frame.
const MOST_TEXT: usize = 200 * 1024;

/// What a program said.
struct Output {
    bytes: Vec<u8>,
    clipped: bool,
}

/// Kills what is left of a program, also when the command is cancelled or late.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        // Nobody may be left to kill.
        killpg(self.0, Signal::SIGKILL).ok();
    }
}

impl Rooms {
    pub(super) async fn run_program(&self, asked: RunProgram) -> Result<Value, CommandOutcome> {
        let config = self.settings.get();
        let program = find(&config, asked.name.as_str())?;
        let argv = program
            .argv(asked.parameters.get())
            .map_err(|why| failed("invalid_parameters", &why))?;
        let mut command = Command::new(SELF);
        command.arg(SUBCOMMAND).arg("--cpu-seconds").arg(program.timeout.to_string());
        if geteuid().is_root() {
            command.arg("--user").arg(&config.exec_user);
        }
        command
            .arg("--")
            .args(argv)
            .env_clear()
            .env("PATH", PATH)
            .env("LANG", "C.UTF-8")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let not_begun = |e: &dyn std::fmt::Display| failed("exec_failed", &e.to_string());
        let mut child = command.spawn().map_err(|e| not_begun(&e))?;
        let group =
            child.id().and_then(|id| i32::try_from(id).ok()).map(|id| Group(Pid::from_raw(id)));
        let (Some(group), Some(out), Some(err)) = (group, child.stdout.take(), child.stderr.take())
        else {
            return Err(not_begun(&"it ended at once"));
        };
        let most = program.max_output;
        let running = async {
            let ended = async {
                let status = child.wait().await;
                // Whoever it left behind holds its outputs open.
                drop(group);
                status
            };
            tokio::join!(ended, read(out, most), read(err, most))
        };
        let limit = Duration::from_secs(u64::from(program.timeout));
        let (status, out, err) =
            timeout(limit, running).await.map_err(|_| CommandOutcome::TimedOut)?;
        let status = status.map_err(|e| not_begun(&e))?;
        if status.code() == Some(i32::from(NOT_BEGUN)) {
            return Err(not_begun(&String::from_utf8_lossy(&err.bytes).trim()));
        }
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        let (stdout, out_clipped) = text(&out);
        let (stderr, err_clipped) = text(&err);
        Ok(json!({
            "success": status.success(),
            "exit_code": status.code(),
            "signal": signal,
            "stdout": stdout,
            "stdout_clipped": out_clipped,
            "stderr": stderr,
            "stderr_clipped": err_clipped,
        }))
    }
}

fn find<'a>(config: &'a Config, name: &str) -> Result<&'a Program, CommandOutcome> {
    config.exec.get(name).ok_or_else(|| {
        let names: Vec<&str> = config.exec.keys().map(String::as_str).collect();
        let why = if names.is_empty() {
            "this device lets the hub run no program (`[exec.NAME]` in agent.toml)".to_owned()
        } else {
            format!("this device lets the hub run only: {}", names.join(", "))
        };
        failed("not_allowed", &why)
    })
}

/// Reads to the end, and keeps the beginning.
async fn read(mut from: impl AsyncRead + Unpin, most: u32) -> Output {
    let mut output = Output { bytes: Vec::new(), clipped: false };
    // Not in the future itself, which would carry it through all its callers.
    let mut chunk = vec![0; 8192];
    // A pipe that breaks has ended.
    while let Ok(n @ 1..) = from.read(&mut chunk).await {
        let room = (most as usize).saturating_sub(output.bytes.len());
        output.clipped |= n > room;
        output.bytes.extend_from_slice(&chunk[..n.min(room)]);
    }
    output
}

/// As text that fits a result. What is no UTF-8 is replaced.
fn text(output: &Output) -> (String, bool) {
    let mut text = String::from_utf8_lossy(&output.bytes).into_owned();
    let mut clipped = output.clipped;
    // A control character is six in JSON.
    while Value::from(text.as_str()).to_string().len() > MOST_TEXT / 2 {
        text.truncate(text.floor_char_boundary(text.len() / 2));
        clipped = true;
    }
    (text, clipped)
}
