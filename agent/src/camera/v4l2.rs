//! Cameras of the Linux kernel (USB webcams, the Raspberry Pi's) through Video4Linux.

use std::{
    io::Cursor,
    path::{Path, PathBuf},
};

use cloudcore_protocol::command::Resolution;
use image::RgbImage;
use nokhwa::{
    Buffer, NokhwaError,
    backends::capture::V4LCaptureDevice,
    camera_traits::CaptureBackendTrait,
    pixel_format::RgbFormat,
    utils::{
        ApiBackend, CameraFormat, CameraIndex, FrameFormat, RequestedFormat, RequestedFormatType,
    },
};

use super::{Camera, CameraError, Frame, PixelFormat, decode::decode, huffman::with_tables};

/// Frames a second to ask for: what every camera has at its ordinary sizes.
const FPS: u32 = 30;

/// An open device, streaming.
pub(super) struct V4l2Camera {
    path: PathBuf,
    // The backend itself: nokhwa's own `Camera` cannot be sent to another thread.
    device: V4LCaptureDevice<'static>,
}

impl V4l2Camera {
    pub(super) fn open(
        path: &Path,
        size: Option<Resolution>,
        format: Option<PixelFormat>,
    ) -> Result<Self, CameraError> {
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
        let mut device = start(number, size, format).map_err(|e| failed(e.to_string()))?;
        device.open_stream().map_err(|e| failed(e.to_string()))?;
        Ok(Self { path: path.to_owned(), device })
    }
}

/// Open the device in `format`, or the first that it has, at its size closest to `size`, or its
/// largest.
fn start(
    number: u32,
    size: Option<Resolution>,
    format: Option<PixelFormat>,
) -> Result<V4LCaptureDevice<'static>, NokhwaError> {
    let mut last = NokhwaError::UnsupportedOperationError(ApiBackend::Video4Linux);
    for known in PixelFormat::ALL.map(|(known, _)| known) {
        // Grey is for those who ask for it: a camera of colours has others.
        let wanted = format.map_or(known != PixelFormat::Gray, |format| format == known);
        if !wanted {
            continue;
        }
        let encoding = match known {
            PixelFormat::Mjpeg => FrameFormat::MJPEG,
            PixelFormat::Yuyv => FrameFormat::YUYV,
            PixelFormat::Nv12 => FrameFormat::NV12,
            PixelFormat::Rgb => FrameFormat::RAWRGB,
            PixelFormat::Bgr => FrameFormat::RAWBGR,
            PixelFormat::Gray => FrameFormat::GRAY,
        };
        match start_with(number, size, encoding) {
            Ok(device) => return Ok(device),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// nokhwa's own choice of the closest fails where the device has not the very size.
fn start_with(
    number: u32,
    size: Option<Resolution>,
    encoding: FrameFormat,
) -> Result<V4LCaptureDevice<'static>, NokhwaError> {
    let formats = [encoding];
    let open = |wanted| {
        let wanted = RequestedFormat::with_formats(wanted, &formats);
        V4LCaptureDevice::new(&CameraIndex::Index(number), wanted)
    };
    // Whatever can be opened tells what there is.
    let mut device = open(RequestedFormatType::AbsoluteHighestResolution)
        .or_else(|_| open(RequestedFormatType::None))?;
    let mut sizes: Vec<_> = device.compatible_list_by_resolution(encoding)?.into_keys().collect();
    let distance = |width: u32, height: u32| {
        size.map_or(-(i128::from(width) * i128::from(height)), |size| {
            let x = i128::from(width.abs_diff(size.width));
            let y = i128::from(height.abs_diff(size.height));
            x * x + y * y
        })
    };
    drop(device);
    sizes.sort_by_key(|size| distance(size.width(), size.height()));
    let mut last = NokhwaError::UnsupportedOperationError(ApiBackend::Video4Linux);
    for size in sizes {
        // Its closest has the closest of the rates that are whole numbers: at 12.5 a device could
        // not be opened again, by nokhwa.
        let wanted = CameraFormat::new(size, encoding, FPS);
        match open(RequestedFormatType::Closest(wanted)) {
            Ok(device) => return Ok(device),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A frame as the driver has it, as pixels.
fn pixels(frame: &Buffer) -> Result<RgbImage, NokhwaError> {
    if frame.source_frame_format() != FrameFormat::MJPEG {
        return frame.decode_image::<RgbFormat>();
    }
    decode(Cursor::new(with_tables(frame.buffer()))).map_err(|e| NokhwaError::ProcessFrameError {
        src: FrameFormat::MJPEG,
        destination: "RGB".to_owned(),
        error: e.to_string(),
    })
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
        Ok(Frame::now(pixels(&buffer).map_err(failed)?))
    }

    fn describe(&self) -> String {
        let size = self.device.resolution();
        format!("{} at {}x{}", self.path.display(), size.width(), size.height())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use image::{ImageFormat, Rgb};
    use nokhwa::utils::Resolution;

    use super::*;

    const SIZE: (u32, u32) = (64, 48);

    fn frame(bytes: &[u8], encoding: FrameFormat) -> RgbImage {
        pixels(&Buffer::new(Resolution::new(SIZE.0, SIZE.1), bytes, encoding)).unwrap()
    }

    #[test]
    fn frames_of_jpeg_become_pixels_also_without_tables() {
        let green = RgbImage::from_pixel(SIZE.0, SIZE.1, Rgb([0, 200, 0]));
        let mut file = Cursor::new(Vec::new());
        green.write_to(&mut file, ImageFormat::Jpeg).unwrap();
        let file = file.into_inner();
        // USB cameras leave out the tables that all of them have in common (UVC 1.1, MJPEG).
        let (mut bare, mut rest) = (file[..2].to_vec(), &file[2..]);
        while let [0xff, marker, high, low, ..] = *rest {
            if marker == 0xda {
                break;
            }
            let (segment, more) = rest.split_at(2 + usize::from(high) * 256 + usize::from(low));
            if marker != 0xc4 {
                bare.extend_from_slice(segment);
            }
            rest = more;
        }
        bare.extend_from_slice(rest);
        assert!(bare.len() < file.len() - 400);
        let odd = [&[][..], &bare[..2], &bare[..40], b"no picture"];
        for bytes in odd {
            let size = Resolution::new(SIZE.0, SIZE.1);
            assert!(pixels(&Buffer::new(size, bytes, FrameFormat::MJPEG)).is_err());
        }
        for bytes in [file, bare] {
            let pixels = frame(&bytes, FrameFormat::MJPEG);
            assert_eq!(pixels.dimensions(), SIZE);
            let Rgb([red, green, blue]) = *pixels.get_pixel(30, 20);
            assert!(red < 20 && green.abs_diff(200) < 20 && blue < 20, "{red} {green} {blue}");
        }
    }

    #[test]
    fn frames_of_grey_become_pixels() {
        let ramp: Vec<u8> = (0..SIZE.0 * SIZE.1).map(|n| (n % SIZE.0 * 4) as u8).collect();
        let pixels = frame(&ramp, FrameFormat::GRAY);
        assert_eq!(pixels.dimensions(), SIZE);
        assert_eq!(pixels.get_pixel(50, 20), &Rgb([200, 200, 200]));
    }

    #[test]
    fn a_missing_device_is_named() {
        let opened = V4l2Camera::open(Path::new("/dev/video-of-nobody"), None, None);
        let error = opened.err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("no camera at /dev/video-of-nobody"));
    }

    #[test]
    fn a_file_that_is_no_device_is_refused() {
        assert!(matches!(
            V4l2Camera::open(Path::new("/dev/null"), None, None),
            Err(CameraError::Device { .. })
        ));
    }
}
