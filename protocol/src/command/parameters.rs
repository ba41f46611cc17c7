//! What commands are given: each value is in its bounds once it exists.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU16,
    str::FromStr,
};

use super::{Filters, Labels, Masks, ObjectMasks, Zones};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::ModelId;

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
    /// The model, of the hub's catalog: `nanodet@3.0.4`.
    pub model: Option<ModelId>,
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
    /// The labels that count; all where it is empty.
    pub objects: Option<Labels>,
    /// Where motion does not count.
    pub masks: Option<Masks>,
    /// Where objects do not count.
    pub object_masks: Option<ObjectMasks>,
    /// Areas whose names events show.
    pub zones: Option<Zones>,
    /// Whether an object is an event in a zone only.
    pub only_in_zones: Option<bool>,
    /// Which objects count.
    pub filters: Option<Filters>,
    /// How often what does not move is looked at again.
    pub stationary_interval: Option<Seconds>,
    /// The detection model, of the hub's catalog: `nanodet@3.0.4`.
    pub model: Option<ModelId>,
    /// From scheduled picture to picture; 0 for none.
    pub capture_interval: Option<CaptureInterval>,
    /// Whether the best look at each object is kept as a picture.
    pub snapshots: Option<bool>,
    /// Quality of these pictures, and of those from before an object came.
    pub snapshot_quality: Option<Quality>,
    /// How far before an object came its pictures begin; 0 for none.
    pub pre_roll: Option<PreRoll>,
    /// How many there are.
    pub pre_roll_pictures: Option<PreRollPictures>,
}

/// How far before an object came its pictures begin: 1 to 30 seconds, or 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct PreRoll(f64);

impl PreRoll {
    /// `None` where there are none.
    #[must_use]
    pub fn duration(self) -> Option<std::time::Duration> {
        (self.0 > 0.0).then(|| std::time::Duration::from_secs_f64(self.0))
    }
}

impl TryFrom<f64> for PreRoll {
    type Error = &'static str;
    fn try_from(value: f64) -> Result<Self, Self::Error> {
        if value == 0.0 || (1.0..=30.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err("pre_roll must be 1 to 30 seconds, or 0")
        }
    }
}

impl From<PreRoll> for f64 {
    fn from(span: PreRoll) -> Self {
        span.0
    }
}

/// 1 to 10 pictures from before an object came; 3 where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct PreRollPictures(u8);

impl PreRollPictures {
    /// 1 to 10.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for PreRollPictures {
    fn default() -> Self {
        Self(3)
    }
}

impl TryFrom<u8> for PreRollPictures {
    type Error = &'static str;
    fn try_from(value: u8) -> Result<Self, Self::Error> {
        if (1..=10).contains(&value) {
            Ok(Self(value))
        } else {
            Err("pre_roll_pictures must be 1 to 10")
        }
    }
}

impl From<PreRollPictures> for u8 {
    fn from(count: PreRollPictures) -> Self {
        count.0
    }
}

/// From scheduled picture to picture: 1 second to a day, or 0 for no schedule.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct CaptureInterval(f64);

impl CaptureInterval {
    /// `None` where there is no schedule.
    #[must_use]
    pub fn duration(self) -> Option<std::time::Duration> {
        (self.0 > 0.0).then(|| std::time::Duration::from_secs_f64(self.0))
    }
}

impl TryFrom<f64> for CaptureInterval {
    type Error = &'static str;
    fn try_from(value: f64) -> Result<Self, Self::Error> {
        if value == 0.0 || (1.0..=86_400.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err("capture_interval must be 1 to 86400 seconds, or 0")
        }
    }
}

impl From<CaptureInterval> for f64 {
    fn from(interval: CaptureInterval) -> Self {
        interval.0
    }
}

/// Parameters of `update_agent`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateAgent {
    /// Which release; the newest that the hub has where absent.
    pub version: Option<Version>,
    /// Seconds that the new release has to reach the hub, 5 to 3600.
    #[serde(deserialize_with = "within")]
    pub confirm_within: u16,
}

impl Default for UpdateAgent {
    fn default() -> Self {
        Self { version: None, confirm_within: 120 }
    }
}

fn within<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let seconds = u16::deserialize(deserializer)?;
    if (5..=3600).contains(&seconds) {
        Ok(seconds)
    } else {
        Err(D::Error::custom("confirm_within must be 5 to 3600 seconds"))
    }
}

/// A release's version, `MAJOR.MINOR.PATCH` with what semantic versioning allows behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(String);

impl Version {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Version {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let numbers = text.split(['-', '+']).next().unwrap_or_default();
        let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let plain = |b: u8| b.is_ascii_alphanumeric() || b".-+".contains(&b);
        let three = numbers.split('.').count() == 3 && numbers.split('.').all(number);
        if three && text.len() <= 64 && text.bytes().all(plain) {
            Ok(Self(text))
        } else {
            Err("version must be like 1.2.3")
        }
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.0
    }
}

/// Parameters of `port_check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PortCheck {
    /// Whose ports: the device's loopback, or another of its own addresses. No name: what a name
    /// means may change between a check and its use.
    #[serde(deserialize_with = "address")]
    pub host: IpAddr,
    /// Which.
    pub ports: Ports,
}

impl Default for PortCheck {
    fn default() -> Self {
        Self { host: Ipv4Addr::LOCALHOST.into(), ports: Ports::default() }
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == "localhost" {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    // `::ffff:10.0.0.1` is 10.0.0.1.
    text.parse::<IpAddr>().map(|ip| ip.to_canonical()).map_err(|_| {
        D::Error::custom(format!("host '{}' is no IP address and not localhost", short(&text)))
    })
}

/// 1 to 16 TCP ports, none of them twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<NonZeroU16>", into = "Vec<NonZeroU16>")]
pub struct Ports(Vec<NonZeroU16>);

impl Ports {
    /// Most of them.
    pub const MAX: usize = 16;

    /// In the order given.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().map(|port| port.get())
    }
}

impl Default for Ports {
    /// Where people look first: SSH, HTTP, HTTPS, and the port of the documentation's app.
    fn default() -> Self {
        Self([22, 80, 443, 5001].into_iter().filter_map(NonZeroU16::new).collect())
    }
}

impl TryFrom<Vec<NonZeroU16>> for Ports {
    type Error = String;
    fn try_from(ports: Vec<NonZeroU16>) -> Result<Self, String> {
        if !(1..=Self::MAX).contains(&ports.len()) {
            return Err(format!("ports must be 1 to {}", Self::MAX));
        }
        match ports.iter().enumerate().find(|(at, port)| ports[..*at].contains(port)) {
            Some((_, twice)) => Err(format!("port {twice} is there twice")),
            None => Ok(Self(ports)),
        }
    }
}

impl From<Ports> for Vec<NonZeroU16> {
    fn from(ports: Ports) -> Self {
        ports.0
    }
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
pub(super) fn short(text: &str) -> String {
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
#[serde(try_from = "f32", into = "f64")]
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

impl From<Confidence> for f64 {
    fn from(confidence: Confidence) -> Self {
        decimal(confidence.0)
    }
}

/// 0.4 stays 0.4 in a file or an answer, and does not become 0.4000000059604645.
pub(super) fn decimal(share: f32) -> f64 {
    (f64::from(share) * 10_000.0).round() / 10_000.0
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
