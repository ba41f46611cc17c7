//! A camera's address: a URL, parsed once.

use std::{fmt, path::PathBuf, str::FromStr};

use cloudcore_protocol::command::Resolution;
use serde::{Deserialize, Serialize};
use url::Url;

/// Where a camera is. Written as a URL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CameraSource {
    /// `file:///path/picture.png`, or a folder of pictures played in a loop in order of their
    /// names, `file:///folder?fps=5`.
    Files {
        /// The picture or folder, absolute.
        path: PathBuf,
        /// Frames a second, 0.01 to 240; as fast as asked for where absent.
        fps: Option<f64>,
    },
    /// `v4l2:///dev/video0`, `v4l2:///dev/video0?width=1280&height=720`.
    V4l2 {
        /// The device file, absolute.
        device: PathBuf,
        /// The size to ask for; the device gives the closest it has, its largest where absent.
        size: Option<Resolution>,
    },
}

/// Why a text is no camera's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// No URL at all.
    #[error("camera '{text}' is no URL ({problem}); an example is v4l2:///dev/video0")]
    Url {
        /// The text.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A kind of camera that this version does not know.
    #[error("camera scheme '{0}' is not supported; use v4l2:///dev/video0 or file:///folder?fps=5")]
    Unsupported(String),
    /// A part of the URL makes no sense.
    #[error("camera {url}: {problem}")]
    Part {
        /// The URL.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl FromStr for CameraSource {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let url = Url::parse(text).map_err(|e| SourceError::Url {
            text: text.chars().take(100).collect(),
            problem: e.to_string(),
        })?;
        let wrong = |problem: String| SourceError::Part { url: text.to_owned(), problem };
        let scheme = url.scheme();
        if !matches!(scheme, "file" | "v4l2") {
            return Err(SourceError::Unsupported(scheme.to_owned()));
        }
        if url.host_str().is_some_and(|host| !matches!(host, "" | "localhost")) {
            return Err(wrong(format!("one slash is missing: {scheme}:///path")));
        }
        if url.fragment().is_some() {
            return Err(wrong("has a '#': write it as %23".into()));
        }
        // Only URLs with the scheme `file` may become paths, whatever their own meaning.
        let path = Url::parse(&format!("file://{}", url.path()))
            .ok()
            .and_then(|url| url.to_file_path().ok())
            .filter(|path| path.parent().is_some())
            .ok_or_else(|| wrong("has no path".into()))?;
        if scheme == "file" {
            let mut fps = None;
            for (key, value) in url.query_pairs() {
                if key != "fps" {
                    return Err(wrong(format!("unknown parameter '{key}'; known is fps")));
                }
                let value = value.parse().ok().filter(|fps| (0.01..=240.0).contains(fps));
                fps = Some(value.ok_or_else(|| wrong("fps must be 0.01 to 240".into()))?);
            }
            return Ok(Self::Files { path, fps });
        }
        let (mut width, mut height) = (None, None);
        for (key, value) in url.query_pairs() {
            match key.as_ref() {
                "width" => width = Some(value.into_owned()),
                "height" => height = Some(value.into_owned()),
                _ => {
                    let known = "known are width and height";
                    return Err(wrong(format!("unknown parameter '{key}'; {known}")));
                }
            }
        }
        let size = match (width, height) {
            (None, None) => None,
            (Some(width), Some(height)) => {
                Some(format!("{width}x{height}").parse().map_err(wrong)?)
            }
            _ => return Err(wrong("width and height go together".into())),
        };
        Ok(Self::V4l2 { device: path, size })
    }
}

impl fmt::Display for CameraSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = match self {
            Self::Files { path, .. } | Self::V4l2 { device: path, .. } => path,
        };
        // What was parsed is absolute; a path made by hand that is not shows as it is.
        let path = Url::from_file_path(path)
            .map_or_else(|()| path.display().to_string(), |url| url.path().to_owned());
        match self {
            Self::Files { fps: None, .. } => write!(f, "file://{path}"),
            Self::Files { fps: Some(fps), .. } => write!(f, "file://{path}?fps={fps}"),
            Self::V4l2 { size: None, .. } => write!(f, "v4l2://{path}"),
            Self::V4l2 { size: Some(size), .. } => {
                write!(f, "v4l2://{path}?width={}&height={}", size.width, size.height)
            }
        }
    }
}

impl TryFrom<String> for CameraSource {
    type Error = SourceError;
    fn try_from(text: String) -> Result<Self, SourceError> {
        text.parse()
    }
}

impl From<CameraSource> for String {
    fn from(source: CameraSource) -> Self {
        source.to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may fail by panicking
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CameraSource, SourceError> {
        text.parse()
    }

    #[test]
    fn good_addresses_survive_a_round_trip() {
        for text in [
            "file:///srv/pictures/one.png",
            "file:///srv/a%20folder?fps=5",
            "file:///srv/slow?fps=0.5",
            "v4l2:///dev/video0",
            "v4l2:///dev/video12?width=1280&height=720",
        ] {
            let source = parse(text).unwrap();
            assert_eq!(source.to_string(), text);
            let json = serde_json::to_string(&source).unwrap();
            assert_eq!(serde_json::from_str::<CameraSource>(&json).unwrap(), source);
        }
        let path = PathBuf::from("/srv/a folder");
        let spaced = CameraSource::Files { path, fps: None };
        assert_eq!(parse("file:///srv/a%20folder").unwrap(), spaced);
    }

    #[test]
    fn what_is_not_supported_is_said_at_once() {
        for text in ["rtsp://10.0.0.7/stream", "http://cam/video", "https://cam/video"] {
            let error = parse(text).unwrap_err();
            assert!(matches!(&error, SourceError::Unsupported(_)), "{error}");
        }
    }

    #[test]
    fn bad_addresses_say_what_is_wrong() {
        for (text, problem) in [
            ("/dev/video0", "no URL"),
            ("v4l2://dev/video0", "one slash is missing"),
            ("file:///", "no path"),
            ("file:///x?fps=0", "fps must be"),
            ("file:///x?fps=NaN", "fps must be"),
            ("file:///x?speed=1", "unknown parameter 'speed'"),
            ("v4l2:///dev/video0?width=640", "go together"),
            ("v4l2:///dev/video0?width=-1&height=2", "resolution"),
            ("file:///x#1.png", "%23"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
