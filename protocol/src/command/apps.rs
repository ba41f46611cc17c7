//! Apps on devices: what `deploy_app` and `remove_app` are given.

use std::{fmt, num::NonZeroU16, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::parameters::short;
use crate::Timestamp;

/// Parameters of `deploy_app`: an app as it is to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeployApp {
    /// Which app; the one of that name that runs already is replaced.
    pub name: AppName,
    /// Its container image.
    pub image: ImageReference,
    /// What the app itself is told.
    #[serde(default)]
    pub config: AppConfig,
    /// What it may use.
    #[serde(default)]
    pub resources: Resources,
    /// Where it is reached. Not sent where there is none: an older agent knows of no ports.
    #[serde(default, skip_serializing_if = "AppPorts::is_empty")]
    pub ports: AppPorts,
}

/// Parameters of `remove_app`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveApp {
    /// Which app.
    pub name: AppName,
}

/// Parameters of `get_app_logs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetAppLogs {
    /// Of which app.
    pub name: AppName,
    /// Lines at most, the last ones.
    #[serde(default)]
    pub lines: AppLogLines,
    /// Only what was said after this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// 1 to 1000 lines; 100 where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct AppLogLines(u16);

impl AppLogLines {
    /// 1 to 1000.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for AppLogLines {
    fn default() -> Self {
        Self(100)
    }
}

impl TryFrom<u16> for AppLogLines {
    type Error = &'static str;
    fn try_from(value: u16) -> Result<Self, Self::Error> {
        if (1..=1000).contains(&value) { Ok(Self(value)) } else { Err("lines must be 1 to 1000") }
    }
}

impl From<AppLogLines> for u16 {
    fn from(lines: AppLogLines) -> Self {
        lines.0
    }
}

/// TCP ports of a device that lead into an app, at most 16, none of them twice.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<AppPort>", into = "Vec<AppPort>")]
pub struct AppPorts(Vec<AppPort>);

/// A TCP port of the device, and the one inside that it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppPort {
    /// The device's.
    pub host: NonZeroU16,
    /// The app's own.
    pub container: NonZeroU16,
}

impl AppPorts {
    /// Most of them.
    pub const MAX: usize = 16;

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order given.
    pub fn iter(&self) -> impl Iterator<Item = AppPort> {
        self.0.iter().copied()
    }
}

impl TryFrom<Vec<AppPort>> for AppPorts {
    type Error = String;
    fn try_from(ports: Vec<AppPort>) -> Result<Self, String> {
        if ports.len() > Self::MAX {
            return Err(format!("ports must be at most {}", Self::MAX));
        }
        let again = |(at, port): &(usize, &AppPort)| {
            ports[..*at].iter().any(|other| other.host == port.host)
        };
        match ports.iter().enumerate().find(again) {
            Some((_, twice)) => Err(format!("the device's port {} is there twice", twice.host)),
            None => Ok(Self(ports)),
        }
    }
}

impl From<AppPorts> for Vec<AppPort> {
    fn from(ports: AppPorts) -> Self {
        ports.0
    }
}

/// A type that is a checked text, in JSON too.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// As it was written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                $check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0.into_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_text!(
    /// An app's name: a DNS label ([RFC 1123](https://www.rfc-editor.org/rfc/rfc1123)), 1 to 63
    /// lower-case letters, digits and `-`.
    AppName,
    check_app_name
);
checked_text!(
    /// A container image: `[registry[:port]/]path[:tag][@digest]`, at most 500 bytes.
    ImageReference,
    check_image
);

fn check_app_name(text: &str) -> Result<(), String> {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let fits = (1..=63).contains(&text.len()) && text.bytes().all(inside);
    if fits && !text.starts_with('-') && !text.ends_with('-') {
        return Ok(());
    }
    Err("name must be 1 to 63 lower-case letters, digits and '-', and begin and end with a letter \
         or digit"
        .into())
}

/// Longest image reference, bytes: a path of 255, a tag of 128, a digest, and room.
const MAX_IMAGE: usize = 500;

fn check_image(text: &str) -> Result<(), String> {
    let bad = |problem: &str| Err(format!("image '{}' {problem}", short(text)));
    if text.len() > MAX_IMAGE {
        return bad(&format!("must have at most {MAX_IMAGE} bytes"));
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    if !digest.is_none_or(is_digest) {
        return bad("has a digest that is not sha256: and 64 hex digits");
    }
    // A colon before the last slash is a registry's port.
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if !tag.is_none_or(is_tag) {
        return bad("has a tag that is not 1 to 128 letters, digits, '_', '.' and '-'");
    }
    let path = match name.split_once('/') {
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => {
            if !is_registry(first) {
                return bad("has a registry that is not HOST or HOST:PORT");
            }
            path
        }
        _ => name,
    };
    if path.len() > 255 || !path.split('/').all(is_path_part) {
        return bad(
            "must be [registry/]path[:tag] in lower-case letters, digits, '.', '_' and '-'",
        );
    }
    Ok(())
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn is_tag(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        && !text.starts_with(['.', '-'])
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    host.len() <= 253
        && host.split('.').all(label)
        && port.is_none_or(|port| digits(port) && port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Letters and digits with single `.` or `_`, double `__`, or any number of `-` between them.
fn is_path_part(text: &str) -> bool {
    let outer = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(outer)
        && text.ends_with(outer)
        && text.split(outer).all(|between| {
            matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-')
        })
}

/// What an app is told: a JSON object of at most 16 KiB, whose keys are names of environment
/// variables: letters, digits and `_`, at most 64, no digit first. `CLOUDCORE_` is the agent's own.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct AppConfig(Map<String, Value>);

impl AppConfig {
    /// Largest, bytes of JSON.
    pub const MAX_BYTES: usize = 16 * 1024;

    /// As the app's environment: each key a variable, and the whole of it as JSON in
    /// `CLOUDCORE_APP_CONFIG`. What is no text is JSON too, and so is a text with a NUL.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let plain = |value: &Value| match value {
            Value::String(text) if !text.contains('\0') => text.clone(),
            other => other.to_string(),
        };
        let whole = Value::Object(self.0.clone()).to_string();
        let each = self.0.iter().map(|(name, value)| (name.clone(), plain(value)));
        each.chain([("CLOUDCORE_APP_CONFIG".to_owned(), whole)]).collect()
    }
}

fn is_variable(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.starts_with("CLOUDCORE_")
}

impl TryFrom<Map<String, Value>> for AppConfig {
    type Error = String;
    fn try_from(config: Map<String, Value>) -> Result<Self, String> {
        let bytes = serde_json::to_string(&config).map_err(|e| e.to_string())?.len();
        if bytes > Self::MAX_BYTES {
            return Err(format!("config must have at most {} bytes", Self::MAX_BYTES));
        }
        if let Some(name) = config.keys().find(|name| !is_variable(name)) {
            return Err(format!(
                "config has a key '{}' that is no name of an environment variable: letters, \
                 digits and '_', at most 64, no digit first, not CLOUDCORE_",
                short(name)
            ));
        }
        Ok(Self(config))
    }
}

impl From<AppConfig> for Map<String, Value> {
    fn from(config: AppConfig) -> Self {
        config.0
    }
}

/// What an app may use at most; as much as there is where nothing is said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// Processor time.
    pub cpu: Option<Cpu>,
    /// Memory.
    pub memory: Option<Memory>,
}

/// A type that is a [quantity] in bounds, kept as it was written; in JSON a text or a number.
///
/// [quantity]: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $of:literal, $unit:ident, $scale:expr, $bounds:expr, $words:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
        #[serde(into = "String")]
        pub struct $name { text: Box<str>, $unit: u64 }

        impl $name {
            /// As a number.
            #[must_use]
            pub const fn $unit(&self) -> u64 {
                self.$unit
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                let wrong = || format!(concat!($of, " '{}' is not ", $words), short(text));
                let $unit = milli(text)
                    .map(|milli| milli / $scale)
                    .and_then(|n| u64::try_from(n).ok())
                    .filter(|n| $bounds.contains(n))
                    .ok_or_else(wrong)?;
                Ok(Self { text: text.into(), $unit })
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = match Value::deserialize(deserializer)? {
                    Value::String(text) => text,
                    Value::Number(number) => number.to_string(),
                    _ => return Err(serde::de::Error::custom(concat!($of, " must be a text"))),
                };
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl From<$name> for String {
            fn from(quantity: $name) -> Self {
                quantity.text.into_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }
    };
}

quantity!(
    /// Processor time in cores: `500m`, `1.5`, `2`; 0.001 to 1024.
    Cpu,
    "cpu",
    millicores,
    1,
    (1..=1_024_000),
    "a quantity of 1m to 1024, such as 500m"
);
quantity!(
    /// Memory in bytes: `512Mi`, `1.5Gi`, `2G`; 1Mi to 1Pi.
    Memory,
    "memory",
    bytes,
    1000,
    (1 << 20..=1 << 50),
    "a quantity of 1Mi to 1Pi, such as 512Mi"
);

/// A Kubernetes quantity in thousandths, rounded down; `None` for what is none or does not fit.
fn milli(text: &str) -> Option<u128> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // 18 digits hold every quantity that has a meaning; what is multiplied stays within 128 bits.
    if number.len() > 19 || fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let (times, by) = scale(suffix)?;
    let by = by.checked_mul(10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    digits.checked_mul(1000)?.checked_mul(times).map(|n| n / by)
}

/// What a suffix multiplies and divides by.
fn scale(suffix: &str) -> Option<(u128, u128)> {
    const DECIMAL: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let power = |of: [&str; 7]| of.iter().position(|known| *known == suffix);
    if let Some(n) = power(DECIMAL) {
        return Some((1000_u128.pow(u32::try_from(n).ok()?), 1));
    }
    if let Some(n) = power(BINARY) {
        return Some((1024_u128.pow(u32::try_from(n).ok()?), 1));
    }
    match suffix {
        "m" => return Some((1, 1000)),
        "u" => return Some((1, 1_000_000)),
        "n" => return Some((1, 1_000_000_000)),
        _ => {}
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if !(1..=2).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let power = 10_u128.checked_pow(digits.parse().ok()?)?;
    Some(if exponent.starts_with('-') { (1, power) } else { (power, 1) })
}
