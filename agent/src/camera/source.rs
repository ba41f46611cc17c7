//! A camera's address: a URL, parsed once.

use std::{fmt, path::PathBuf, str::FromStr};

use cloudcore_protocol::command::{Resolution, shown_url};
use serde::{Deserialize, Serializer};
use url::Url;

use super::address::Address;

/// Where a camera is. Written as a URL; shown without the secrets in it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub enum CameraSource {
    /// `file:///path/picture.png`, or a folder of pictures played in a loop in order of their
    /// names, `file:///folder?fps=5`.
    Files {
        /// The picture or folder, absolute.
        path: PathBuf,
        /// Frames a second, 0.01 to 240; as fast as asked for where absent.
        fps: Option<f64>,
    },
    /// `v4l2:///dev/video0`, `v4l2:///dev/video0?width=1280&height=720&format=yuyv`.
    V4l2 {
        /// The device file, absolute.
        device: PathBuf,
        /// The size to ask for; the device gives the closest it has, its largest where absent.
        size: Option<Resolution>,
        /// How the device is to send pixels; the first that it has where absent.
        format: Option<PixelFormat>,
    },
    /// `http://user:password@host/video`, or `https`: pictures as `multipart/x-mixed-replace`
    /// (MJPEG), or one JPEG or PNG an answer, which is asked for anew for each frame.
    Http(Address),
    /// `rtsp://user:password@host/stream`, or `rtsps`: H.264 over the session's own connection.
    Rtsp(Address),
}

/// How a V4L2 device sends pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelFormat {
    /// A JPEG a frame.
    Mjpeg,
    /// 4:2:2, packed.
    Yuyv,
    /// 4:2:0, two planes.
    Nv12,
    /// 24 bits, red first.
    Rgb,
    /// 24 bits, blue first.
    Bgr,
    /// 8 bits of grey.
    Gray,
}

impl PixelFormat {
    /// All, with their names in a URL, in the order in which they are tried.
    pub(super) const ALL: [(Self, &str); 6] = [
        (Self::Mjpeg, "mjpeg"),
        (Self::Yuyv, "yuyv"),
        (Self::Nv12, "nv12"),
        (Self::Rgb, "rgb"),
        (Self::Bgr, "bgr"),
        (Self::Gray, "gray"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(format, _)| *format == self).map_or("", |(_, name)| name)
    }
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
    #[error(
        "camera scheme '{0}' is not supported; use v4l2:///dev/video0, rtsp://host/stream, http://host/video or file:///folder?fps=5"
    )]
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
        let url = Url::parse(text)
            .map_err(|e| SourceError::Url { text: shown_url(text), problem: e.to_string() })?;
        let wrong = |problem: String| SourceError::Part { url: shown_url(text), problem };
        let scheme = url.scheme();
        if matches!(scheme, "http" | "https" | "rtsp" | "rtsps") {
            let stream = scheme.starts_with("rtsp");
            let address = Address::new(url).ok_or_else(|| wrong("has no host".into()))?;
            return Ok(if stream { Self::Rtsp(address) } else { Self::Http(address) });
        }
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
        let (mut width, mut height, mut format) = (None, None, None);
        for (key, value) in url.query_pairs() {
            match key.as_ref() {
                "width" => width = Some(value.into_owned()),
                "height" => height = Some(value.into_owned()),
                "format" => {
                    let known = PixelFormat::ALL.iter().find(|(_, name)| *name == value);
                    let (known, _) = known.ok_or_else(|| {
                        wrong("format must be mjpeg, yuyv, nv12, rgb, bgr or gray".into())
                    })?;
                    format = Some(*known);
                }
                _ => {
                    let known = "known are width, height and format";
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
        Ok(Self::V4l2 { device: path, size, format })
    }
}

impl fmt::Display for CameraSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = match self {
            Self::Files { path, .. } | Self::V4l2 { device: path, .. } => path,
            Self::Http(address) | Self::Rtsp(address) => return address.fmt(f),
        };
        // What was parsed is absolute; a path made by hand that is not shows as it is.
        let path = Url::from_file_path(path)
            .map_or_else(|()| path.display().to_string(), |url| url.path().to_owned());
        match self {
            Self::Files { fps: None, .. } => write!(f, "file://{path}"),
            Self::Files { fps: Some(fps), .. } => write!(f, "file://{path}?fps={fps}"),
            Self::V4l2 { size, format, .. } => {
                let size = size.map(|size| format!("width={}&height={}", size.width, size.height));
                let format = format.map(|format| format!("format={}", format.name()));
                let query: Vec<String> = size.into_iter().chain(format).collect();
                let mark = if query.is_empty() { "" } else { "?" };
                write!(f, "v4l2://{path}{mark}{}", query.join("&"))
            }
            Self::Http(_) | Self::Rtsp(_) => Ok(()),
        }
    }
}

impl TryFrom<String> for CameraSource {
    type Error = SourceError;
    fn try_from(text: String) -> Result<Self, SourceError> {
        text.parse()
    }
}

impl CameraSource {
    /// For `serialize_with`: the URL with its secrets, as the settings' own file keeps it. There is
    /// no other way to write one down, so that none is ever written into an answer.
    ///
    /// # Errors
    /// The serializer's own.
    #[allow(clippy::ref_option, reason = "what serde hands over")]
    pub fn with_secrets<S: Serializer>(source: &Option<Self>, s: S) -> Result<S::Ok, S::Error> {
        match source {
            None => s.serialize_none(),
            Some(Self::Http(address) | Self::Rtsp(address)) => s.serialize_str(address.secret()),
            Some(other) => s.collect_str(other),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may fail by panicking
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CameraSource, SourceError> {
        text.parse()
    }

    fn written(source: CameraSource) -> String {
        let mut json = Vec::new();
        let mut to = serde_json::Serializer::new(&mut json);
        CameraSource::with_secrets(&Some(source), &mut to).unwrap();
        String::from_utf8(json).unwrap()
    }

    #[test]
    fn good_addresses_survive_a_round_trip() {
        for text in [
            "file:///srv/pictures/one.png",
            "file:///srv/a%20folder?fps=5",
            "file:///srv/slow?fps=0.5",
            "v4l2:///dev/video0",
            "v4l2:///dev/video12?width=1280&height=720",
            "v4l2:///dev/video12?width=1280&height=720&format=nv12",
            "v4l2:///dev/video0?format=mjpeg",
            "rtsp://10.0.0.7/stream",
            "rtsps://cam/stream",
            "http://cam:8080/video.mjpg",
            "https://cam/snapshot.jpg",
        ] {
            let source = parse(text).unwrap();
            assert_eq!(source.to_string(), text);
            let json = written(source.clone());
            assert_eq!(serde_json::from_str::<CameraSource>(&json).unwrap(), source);
        }
        let path = PathBuf::from("/srv/a folder");
        let spaced = CameraSource::Files { path, fps: None };
        assert_eq!(parse("file:///srv/a%20folder").unwrap(), spaced);
    }

    #[test]
    fn what_is_not_supported_is_said_at_once() {
        for text in ["ftp://eve:s3cret@cam/video", "gopher://x", "data:image/png;base64,AA=="] {
            let error = parse(text).unwrap_err();
            assert!(matches!(&error, SourceError::Unsupported(_)), "{error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn secrets_are_kept_in_the_file_and_shown_nowhere() {
        for text in ["rtsp://eve:s3cret@cam/stream", "http://cam/video?pwd=s3cret"] {
            let source = parse(text).unwrap();
            assert!(!format!("{source} {source:?}").contains("s3cret"), "{source}");
            let json = written(source.clone());
            assert!(json.contains("s3cret"));
            assert_eq!(serde_json::from_str::<CameraSource>(&json).unwrap(), source);
        }
        for text in ["rtsp://eve:s3/cret@cam:x", "v4l2://eve:s3cret@cam/x", "file://s3cret@cam/"] {
            let error = parse(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("cret"), "{error}");
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
            ("v4l2:///dev/video0?format=h264", "format must be"),
            ("v4l2:///dev/video0?width=-1&height=2", "resolution"),
            ("file:///x#1.png", "%23"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
