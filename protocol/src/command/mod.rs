//! Commands: what can be asked of a device, and what became of it.
//!
//! The same parser serves the hub, which refuses bad parameters before a command is accepted, and
//! the agent, which trusts nobody.

mod apps;
mod parameters;
mod scene;
mod secrets;
mod tools;

use std::fmt;

use minicbor::{Decode, Encode};
use serde::Deserialize;
use serde_json::{Map, Value};

pub use apps::{
    AppConfig, AppLogLines, AppName, AppPort, AppPorts, Cpu, DeployApp, GetAppLogs, ImageReference,
    Memory, RemoveApp, Resources,
};
pub use parameters::{
    CaptureImage, CaptureInterval, Confidence, PictureFormat, PortCheck, Ports, PreRoll,
    PreRollPictures, Quality, Resolution, Seconds, SetConfig, StartDetection, UpdateAgent, Version,
};
pub use scene::{
    Few, Filters, Label, Labels, Masks, ObjectFilter, ObjectMask, ObjectMasks, Point, Polygon,
    Zone, Zones,
};
pub use secrets::{HIDDEN, hide_secrets, hide_urls, shown_url, without_secrets};
pub use tools::{
    Arguments, FilePath, GetLogs, LogLevel, LogLines, ProgramName, RunProgram, Since, UploadFile,
};

use crate::CommandId;

/// Hub to agent: run this, once. Its `Debug` shows no parameters: they may hold secrets.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Command {
    /// Its id; a repeat is not run again.
    #[n(0)]
    pub id: CommandId,
    /// Its name (`capture_image`); may be one that the agent does not know.
    #[n(1)]
    pub name: String,
    /// A JSON object of parameters, as text.
    #[n(2)]
    pub parameters: String,
    /// What is left of its time when this is sent, milliseconds.
    #[n(3)]
    pub time_left_ms: u64,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("time_left_ms", &self.time_left_ms)
            .finish_non_exhaustive()
    }
}

/// Hub to agent: stop this, if it has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CancelCommand {
    /// The command.
    #[n(0)]
    pub id: CommandId,
}

/// Agent to hub: it runs.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CommandStarted {
    /// The command.
    #[n(0)]
    pub id: CommandId,
}

/// Agent to hub: it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CommandFinished {
    /// The command.
    #[n(0)]
    pub id: CommandId,
    /// How.
    #[n(1)]
    pub outcome: CommandOutcome,
    /// From start to end, microseconds.
    #[n(2)]
    pub duration_micros: u64,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum CommandOutcome {
    /// As asked, with a JSON object as text.
    #[n(0)]
    Completed(#[n(0)] String),
    /// Not as asked: a term (`unknown_command`, `camera_unavailable`, `interrupted`, …), then a
    /// sentence.
    #[n(1)]
    Failed(#[n(0)] String, #[n(1)] String),
    /// Its time ran out while it ran.
    #[n(2)]
    TimedOut,
    /// It was cancelled.
    #[n(3)]
    Cancelled,
}

/// Why a command can't be run at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such command here.
    #[error("unknown command '{0}'")]
    Unknown(String),
    /// Its parameters are wrong.
    #[error("bad parameters of {command}: {problem}")]
    Parameters {
        /// The command's name.
        command: String,
        /// What is wrong with them.
        problem: String,
    },
}

/// A command with its parameters understood.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// Take a picture and store it at the hub.
    CaptureImage(CaptureImage),
    /// Report now.
    GetStatus,
    /// Watch the camera.
    StartDetection(StartDetection),
    /// Stop watching it.
    StopDetection,
    /// Change settings of the agent, and keep them.
    SetConfig(SetConfig),
    /// Check camera, model, disk, clock and link.
    RunDiagnostics,
    /// Restart the machine, where its owner allows it.
    Reboot,
    /// Answer: what that takes is the way there and back.
    Ping,
    /// Try to connect to TCP ports of the device itself.
    PortCheck(PortCheck),
    /// Take one picture and throw it away.
    CameraTest,
    /// Give the last lines of the agent's own log.
    GetLogs(GetLogs),
    /// Run a program that the node's owner lists.
    RunProgram(RunProgram),
    /// Bring a file to the hub that the node's owner gives away.
    UploadFile(UploadFile),
    /// Run an app, or this version of it, on the device's container engine.
    DeployApp(DeployApp),
    /// Run it no more.
    RemoveApp(RemoveApp),
    /// What an app has said last.
    GetAppLogs(GetAppLogs),
    /// Stop the agent in order, and start it again.
    RestartAgent,
    /// Run another release of the agent, and the one before if that does not reach the hub.
    UpdateAgent(UpdateAgent),
}

impl Task {
    /// The names, in the order of the documentation.
    pub const NAMES: [&str; 18] = [
        "capture_image",
        "get_status",
        "start_detection",
        "stop_detection",
        "set_config",
        "run_diagnostics",
        "reboot",
        "ping",
        "port_check",
        "camera_test",
        "get_logs",
        "exec",
        "upload_file",
        "deploy_app",
        "remove_app",
        "get_app_logs",
        "restart_agent",
        "update_agent",
    ];

    /// Understand a command. `parameters` is an object, or null for none.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn parse(name: &str, parameters: &Value) -> Result<Self, CommandError> {
        let bad = |problem: String| CommandError::Parameters { command: name.to_owned(), problem };
        if !(parameters.is_object() || parameters.is_null()) {
            return Err(bad("must be an object".into()));
        }
        let none = Value::Object(Map::new());
        let parameters = if parameters.is_null() { &none } else { parameters };
        fn read<T: for<'de> Deserialize<'de>>(parameters: &Value) -> Result<T, String> {
            // A value of the wrong type is told in full.
            T::deserialize(parameters).map_err(|e| hide_urls(&e.to_string()))
        }
        let nothing = |task: Self| read::<Nothing>(parameters).map(|_| task);
        match name {
            "capture_image" => read(parameters).map(Self::CaptureImage),
            "get_status" => nothing(Self::GetStatus),
            "start_detection" => read(parameters).map(Self::StartDetection),
            "stop_detection" => nothing(Self::StopDetection),
            "set_config" => read(parameters).map(Self::SetConfig),
            "run_diagnostics" => nothing(Self::RunDiagnostics),
            "reboot" => nothing(Self::Reboot),
            "ping" => nothing(Self::Ping),
            "port_check" => read(parameters).map(Self::PortCheck),
            "camera_test" => nothing(Self::CameraTest),
            "get_logs" => read(parameters).map(Self::GetLogs),
            "exec" => read(parameters).map(Self::RunProgram),
            "upload_file" => read(parameters).map(Self::UploadFile),
            "deploy_app" => read(parameters).map(Self::DeployApp),
            "remove_app" => read(parameters).map(Self::RemoveApp),
            "get_app_logs" => read(parameters).map(Self::GetAppLogs),
            "restart_agent" => nothing(Self::RestartAgent),
            "update_agent" => read(parameters).map(Self::UpdateAgent),
            _ => return Err(CommandError::Unknown(name.to_owned())),
        }
        .map_err(bad)
    }

    /// Whether running it twice does no more than running it once. One that is not is never begun
    /// again after the agent died in the middle of it.
    #[must_use]
    pub const fn is_repeatable(&self) -> bool {
        !matches!(
            self,
            Self::Reboot | Self::RunProgram(_) | Self::RestartAgent | Self::UpdateAgent(_)
        )
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}
