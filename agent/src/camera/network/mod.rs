//! Cameras in the network: pictures over HTTP, and H.264 or JPEG over RTSP.
//!
//! What comes from there is a stranger's. Every length is bounded before memory is taken for it,
//! every wait has a deadline, and no word of the camera's gets into an error. A camera sends at its
//! own pace, whoever looks at it at theirs: a thread of the stream's own reads all the time and
//! hands over the newest picture to one who waits; all others are dropped.

mod feed;
mod http;
#[cfg(feature = "rtsp")]
mod jpeg;
mod login;
mod multipart;
#[cfg(feature = "rtsp")]
mod rtp;
#[cfg(feature = "rtsp")]
mod rtsp;
#[cfg(feature = "rtsp")]
mod sdp;
mod wire;

use std::time::Duration;

use super::{Camera, CameraError, address::Address};

/// To connect, log in, and be told what there is.
const OPEN: Duration = Duration::from_secs(10);

/// Why a camera of the network gives no picture. No word of the camera's, and no secret.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Nobody answers there.
    #[error("can't be reached: {0}")]
    Unreachable(std::io::ErrorKind),
    /// Its name is not known, or its certificate not trusted.
    #[error("{0}")]
    Refused(String),
    /// It wants a user and a password, and the URL has none.
    #[error("wants a user and a password: put them into its URL, scheme://user:password@host/…")]
    NoLogin,
    /// Those of the URL are wrong.
    #[error("refuses user or password of its URL")]
    WrongLogin,
    /// It answers with an error.
    #[error("answers with status {0}")]
    Status(u16),
    /// It sends something else than pictures.
    #[error("{0}")]
    Format(String),
    /// It does not keep to the protocol.
    #[error("does not speak the protocol: {0}")]
    Protocol(&'static str),
    /// It says more than there is room for.
    #[error("sends too much: {0}")]
    TooLarge(&'static str),
    /// It said nothing for too long.
    #[error("is too slow: {0}")]
    Slow(&'static str),
    /// It ended the connection.
    #[error("ended the connection")]
    Closed,
    /// A picture can't be decoded.
    #[error("sends no good picture: {0}")]
    Picture(image::ImageError),
}

/// Pictures over HTTP.
pub(super) fn http(address: &Address) -> Result<Box<dyn Camera>, CameraError> {
    http::open(address).map_err(|problem| failed(address, problem))
}

/// H.264 or JPEG over RTSP.
#[cfg(feature = "rtsp")]
pub(super) fn rtsp(address: &Address) -> Result<Box<dyn Camera>, CameraError> {
    rtsp::open(address).map_err(|problem| failed(address, problem))
}

fn failed(address: &Address, problem: NetworkError) -> CameraError {
    CameraError::Network { camera: address.to_string(), problem }
}
