//! Cameras of the Linux kernel (USB webcams, the Raspberry Pi's) through Video4Linux.

use std::path::{Path, PathBuf};

use cloudcore_protocol::command::Resolution;
use nokhwa::{
    NokhwaError,
    backends::capture::V4LCaptureDevice,
    camera_traits::CaptureBackendTrait,
    pixel_format::RgbFormat,
    utils::{CameraFormat, CameraIndex, FrameFormat, RequestedFormat, RequestedFormatType},
};

use super::{Camera, CameraError, Frame};

/// Frames a second to ask for: what every camera has at its ordinary sizes.
const FPS: u32 = 30;

/// An open device, streaming.
pub(super) struct V4l2Camera {
    path: PathBuf,
    // The backend itself: nokhwa's own `Camera` cannot be sent to another thread.
    device: V4LCaptureDevice<'static>,
}

impl V4l2Camera {
    pub(super) fn open(path: &Path, size: Option<Resolution>) -> Result<Self, CameraError> {
        if !path.exists() {
            return Err(CameraError::Missing(path.to_owned()));
        }
        let failed = |problem: String| CameraError::Device { device: path.to_owned(), problem };
        // `/dev/v4l/by-id/…` stays the same over reboots, but is a link: the driver wants N.
        let real = path.canonicalize().map_err(|e| failed(e.to_string()))?;
        let number = real
            .to_str()
            .and_then(|path| path.strip_prefix("/dev/video"))
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| failed("is not a /dev/videoN".into()))?;
        let mut device = start(number, size).map_err(|e| failed(e.to_string()))?;
        device.open_stream().map_err(|e| failed(e.to_string()))?;
        Ok(Self { path: path.to_owned(), device })
    }
}

/// Open the device at the size closest to `size`, in the first encoding that it has.
fn start(number: u32, size: Option<Resolution>) -> Result<V4LCaptureDevice<'static>, NokhwaError> {
    let open = |wanted| {
        V4LCaptureDevice::new(
            &CameraIndex::Index(number),
            RequestedFormat::new::<RgbFormat>(wanted),
        )
    };
    let Some(size) = size else { return open(RequestedFormatType::AbsoluteHighestResolution) };
    let mut last = None;
    for encoding in [FrameFormat::MJPEG, FrameFormat::YUYV, FrameFormat::NV12, FrameFormat::RAWRGB]
    {
        let format = CameraFormat::new_from(size.width, size.height, encoding, FPS);
        match open(RequestedFormatType::Closest(format)) {
            Ok(device) => return Ok(device),
            Err(error) => last = Some(error),
        }
    }
    last.map_or_else(|| open(RequestedFormatType::None), Err)
}

impl Camera for V4l2Camera {
    fn capture(&mut self) -> Result<Frame, CameraError> {
        let failed = |e: NokhwaError| {
            // An unplugged camera takes its device file with it.
            if self.path.exists() {
                CameraError::Device { device: self.path.clone(), problem: e.to_string() }
            } else {
                CameraError::Missing(self.path.clone())
            }
        };
        let buffer = self.device.frame().map_err(failed)?;
        Ok(Frame::now(buffer.decode_image::<RgbFormat>().map_err(failed)?))
    }

    fn describe(&self) -> String {
        let size = self.device.resolution();
        format!("{} at {}x{}", self.path.display(), size.width(), size.height())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_device_is_named() {
        let opened = V4l2Camera::open(Path::new("/dev/video-of-nobody"), None);
        let error = opened.err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("no camera at /dev/video-of-nobody"));
    }

    #[test]
    fn a_file_that_is_no_device_is_refused() {
        assert!(matches!(
            V4l2Camera::open(Path::new("/dev/null"), None),
            Err(CameraError::Device { .. })
        ));
    }
}
