//! Commands: what can be asked of a device, and what became of it.
//!
//! The same parser serves the hub, which refuses bad parameters before a command is accepted, and
//! the agent, which trusts nobody.

use std::{fmt, str::FromStr};

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::CommandId;

/// Hub to agent: run this, once.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
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
}

impl Task {
    /// The names, in the order of the documentation.
    pub const NAMES: [&str; 7] = [
        "capture_image",
        "get_status",
        "start_detection",
        "stop_detection",
        "set_config",
        "run_diagnostics",
        "reboot",
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
        fn read<T: for<'de> Deserialize<'de> + Default>(parameters: &Value) -> Result<T, String> {
            if parameters.is_null() {
                return Ok(T::default());
            }
            T::deserialize(parameters).map_err(|e| e.to_string())
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
            _ => return Err(CommandError::Unknown(name.to_owned())),
        }
        .map_err(bad)
    }

    /// Whether running it twice does no more than running it once. One that is not is never begun
    /// again after the agent died in the middle of it.
    #[must_use]
    pub const fn is_repeatable(&self) -> bool {
        !matches!(self, Self::Reboot)
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Parameters of `capture_image`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaptureImage {
    /// Size of the picture; the camera's own where absent.
    pub resolution: Option<Resolution>,
    /// File format.
    pub format: PictureFormat,
    /// Quality of a JPEG.
    pub quality: Quality,
}

/// Parameters of `start_detection`; what is absent keeps its setting.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StartDetection {
    /// Least score of a detection.
    pub confidence: Option<Confidence>,
    /// From frame to frame.
    pub interval: Option<Seconds>,
}

/// Parameters of `set_config`; what is absent stays.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SetConfig {
    /// From heartbeat to heartbeat.
    pub heartbeat_interval: Option<Seconds>,
    /// From frame to frame.
    pub detection_interval: Option<Seconds>,
    /// Least score of a detection.
    pub confidence: Option<Confidence>,
    /// The camera, as a URL (`v4l2:///dev/video0`).
    pub camera: Option<String>,
}

/// Width and height of a picture in pixels, each 16 to 8192; written `1920x1080`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Resolution {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl FromStr for Resolution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |text: &str| {
            text.parse().ok().filter(|n| (16..=8192).contains(n) && !text.starts_with('+'))
        };
        text.split_once('x')
            .and_then(|(w, h)| Some(Self { width: side(w)?, height: side(h)? }))
            .ok_or_else(|| {
                format!("resolution '{}' is not WIDTHxHEIGHT of 16 to 8192 pixels", short(text))
            })
    }
}

/// A stranger's text, cut to what fits a message.
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

impl TryFrom<String> for Resolution {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Resolution> for String {
    fn from(resolution: Resolution) -> Self {
        resolution.to_string()
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// File format of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PictureFormat {
    /// JPEG.
    #[default]
    #[serde(alias = "jpeg")]
    Jpg,
    /// PNG.
    Png,
}

impl PictureFormat {
    /// The media type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Jpg => "image/jpeg",
            Self::Png => "image/png",
        }
    }

    /// The file name's ending, without a dot.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Jpg => "jpg",
            Self::Png => "png",
        }
    }
}

/// JPEG quality, 1 to 100; 90 where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Quality(u8);

impl Quality {
    /// 1 to 100.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Quality {
    fn default() -> Self {
        Self(90)
    }
}

impl TryFrom<u8> for Quality {
    type Error = &'static str;
    fn try_from(value: u8) -> Result<Self, Self::Error> {
        if (1..=100).contains(&value) { Ok(Self(value)) } else { Err("quality must be 1 to 100") }
    }
}

impl From<Quality> for u8 {
    fn from(quality: Quality) -> Self {
        quality.0
    }
}

/// A score, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f32", into = "f32")]
pub struct Confidence(f32);

impl Confidence {
    /// 0 to 1.
    #[must_use]
    pub const fn get(self) -> f32 {
        self.0
    }
}

impl TryFrom<f32> for Confidence {
    type Error = &'static str;
    fn try_from(value: f32) -> Result<Self, Self::Error> {
        if (0.0..=1.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err("confidence must be 0 to 1")
        }
    }
}

impl From<Confidence> for f32 {
    fn from(confidence: Confidence) -> Self {
        confidence.0
    }
}

/// A span between repeats, 0.05 seconds to a day.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Seconds(f64);

impl Seconds {
    /// As a duration.
    #[must_use]
    pub fn duration(self) -> std::time::Duration {
        std::time::Duration::from_secs_f64(self.0)
    }
}

impl TryFrom<f64> for Seconds {
    type Error = &'static str;
    fn try_from(value: f64) -> Result<Self, Self::Error> {
        if (0.05..=86_400.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err("an interval must be 0.05 to 86400 seconds")
        }
    }
}

impl From<Seconds> for f64 {
    fn from(seconds: Seconds) -> Self {
        seconds.0
    }
}
