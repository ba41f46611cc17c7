//! Frames as files.

use std::io::Cursor;

use cloudcore_protocol::command::{PictureFormat, Quality, Resolution};
use image::{
    ExtendedColorType, ImageEncoder, ImageError, RgbImage,
    codecs::{jpeg::JpegEncoder, png::PngEncoder},
    imageops::{FilterType, resize},
};

/// Why a picture can't be made.
#[derive(Debug, thiserror::Error)]
#[error("can't encode the picture: {0}")]
pub struct PictureError(#[from] ImageError);

/// `frame` as a file of `format`, scaled to exactly `resolution` where that is given and
/// another. `quality` is that of a JPEG; a PNG has none.
///
/// # Errors
/// [`PictureError`], as for a frame without pixels.
pub fn encode(
    frame: &RgbImage,
    format: PictureFormat,
    quality: Quality,
    resolution: Option<Resolution>,
) -> Result<Vec<u8>, PictureError> {
    let scaled = resolution
        .map(|size| (size.width, size.height))
        .filter(|size| *size != frame.dimensions() && !frame.is_empty())
        .map(|(width, height)| resize(frame, width, height, FilterType::Triangle));
    let picture = scaled.as_ref().unwrap_or(frame);
    let mut file = Cursor::new(Vec::new());
    let (width, height) = picture.dimensions();
    match format {
        PictureFormat::Jpg => JpegEncoder::new_with_quality(&mut file, quality.get()).write_image(
            picture,
            width,
            height,
            ExtendedColorType::Rgb8,
        )?,
        PictureFormat::Png => PngEncoder::new(&mut file).write_image(
            picture,
            width,
            height,
            ExtendedColorType::Rgb8,
        )?,
    }
    Ok(file.into_inner())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may fail by panicking
mod tests {
    use image::{ImageFormat, load_from_memory_with_format};

    use super::*;

    fn frame() -> RgbImage {
        RgbImage::from_fn(64, 48, |x, y| image::Rgb([x as u8 * 4, y as u8 * 5, (x * y) as u8]))
    }

    #[test]
    fn a_png_is_exact() {
        let file = encode(&frame(), PictureFormat::Png, Quality::default(), None).unwrap();
        let back = load_from_memory_with_format(&file, ImageFormat::Png).unwrap();
        assert_eq!(back.into_rgb8(), frame());
    }

    #[test]
    fn the_resolution_is_honoured_exactly() {
        for format in
            [(PictureFormat::Jpg, ImageFormat::Jpeg), (PictureFormat::Png, ImageFormat::Png)]
        {
            let size = Resolution { width: 100, height: 33 };
            let file = encode(&frame(), format.0, Quality::default(), Some(size)).unwrap();
            let back = load_from_memory_with_format(&file, format.1).unwrap();
            assert_eq!((back.width(), back.height()), (100, 33));
        }
    }

    #[test]
    fn a_better_quality_is_a_larger_file() {
        let size = |quality: u8| {
            let quality = Quality::try_from(quality).unwrap();
            encode(&frame(), PictureFormat::Jpg, quality, None).unwrap().len()
        };
        assert!(size(100) > size(50) && size(50) > size(1));
    }

    #[test]
    fn an_empty_frame_is_an_error() {
        for format in [PictureFormat::Jpg, PictureFormat::Png] {
            let size = Some(Resolution { width: 16, height: 16 });
            assert!(encode(&RgbImage::new(0, 0), format, Quality::default(), size).is_err());
        }
    }
}
