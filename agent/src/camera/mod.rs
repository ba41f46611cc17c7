//! Where frames come from.
//!
//! [`Camera`] is the seam: everything behind it is one way to get a picture, everything before
//! it neither knows nor cares. Capturing blocks; call it on a blocking thread. A camera that
//! vanishes is an error of one capture, never a panic: whoever watches it decides when to open
//! it again.

mod address;
mod decode;
mod files;
mod huffman;
mod network;
mod picture;
mod source;
#[cfg(feature = "v4l2")]
mod v4l2;

use std::{io, path::PathBuf, time::Instant};

use cloudcore_protocol::Timestamp;
use image::RgbImage;

pub use address::Address;
pub use network::NetworkError;
pub use picture::{PictureError, encode};
pub use source::{CameraSource, PixelFormat, SourceError};

/// One picture of a camera.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Its pixels, 8 bits a channel, at the camera's own size.
    pub image: RgbImage,
    /// When it was captured, by this machine's wall clock.
    pub captured_at: Timestamp,
    /// The same moment by the monotonic clock, to measure from.
    pub captured: Instant,
}

impl Frame {
    /// A frame captured now.
    #[must_use]
    pub fn now(image: RgbImage) -> Self {
        Self { image, captured_at: Timestamp::now(), captured: Instant::now() }
    }
}

/// Something that takes pictures.
pub trait Camera: Send {
    /// Take the next picture. Blocks until there is one.
    ///
    /// # Errors
    /// [`CameraError`]; after one, the camera may be tried again or opened anew.
    fn capture(&mut self) -> Result<Frame, CameraError>;

    /// What it is, for people (`/dev/video0 at 1280x720`).
    fn describe(&self) -> String;
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    /// The URL is no camera.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is no such device or file.
    #[error("no camera at {0}")]
    Missing(PathBuf),
    /// This build cannot do it.
    #[error("{url}: {reason}")]
    Unsupported {
        /// The camera's URL.
        url: String,
        /// What would help.
        reason: &'static str,
    },
    /// The device is there but does not work.
    #[error("camera {device}: {problem}")]
    Device {
        /// The device file.
        device: PathBuf,
        /// What the driver says.
        problem: String,
    },
    /// A camera of the network gives no picture.
    #[error("camera {camera} {problem}")]
    Network {
        /// Its URL, without secrets.
        camera: String,
        /// Why.
        problem: NetworkError,
    },
    /// A file or folder can't be read.
    #[error("can't read {path}: {source}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no picture.
    #[error("{path} is no picture: {source}")]
    Decode {
        /// The file.
        path: PathBuf,
        /// Why.
        source: image::ImageError,
    },
    /// A folder holds no file that can be decoded.
    #[error("no picture in {0}")]
    NoPictures(PathBuf),
}

/// Open a camera.
///
/// # Errors
/// [`CameraError`]: nothing there, no picture, or a device that this build does not support.
pub fn open(source: &CameraSource) -> Result<Box<dyn Camera>, CameraError> {
    match source {
        CameraSource::Files { path, fps } => Ok(files::open(path, *fps)?),
        CameraSource::Http(address) => network::http(address),
        #[cfg(feature = "rtsp")]
        CameraSource::Rtsp(address) => network::rtsp(address),
        #[cfg(not(feature = "rtsp"))]
        CameraSource::Rtsp(_) => Err(CameraError::Unsupported {
            url: source.to_string(),
            reason: "this agent was built without the feature `rtsp`",
        }),
        #[cfg(feature = "v4l2")]
        CameraSource::V4l2 { device, size, format } => {
            Ok(Box::new(v4l2::V4l2Camera::open(device, *size, *format)?))
        }
        #[cfg(not(feature = "v4l2"))]
        CameraSource::V4l2 { .. } => Err(CameraError::Unsupported {
            url: source.to_string(),
            reason: "this agent was built without the feature `v4l2`",
        }),
    }
}
