//! Files of pictures as pixels, within bounds: a small file can claim to be enormous.

use std::io::{BufRead, Seek};

use image::{ImageDecoder as _, ImageError, ImageReader, Limits, RgbImage, error::LimitError};

/// Largest side of a picture, pixels.
const MAX_SIDE: u32 = 16_384;
/// Most pixels of a picture: 144 MB once decoded.
const MAX_PIXELS: u64 = 48_000_000;

/// A JPEG or PNG as pixels. Its size is looked at before memory is taken for it.
pub(super) fn decode(file: impl BufRead + Seek) -> Result<RgbImage, ImageError> {
    let mut reader = ImageReader::new(file).with_guessed_format().map_err(ImageError::IoError)?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    reader.limits(limits);
    let decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        let kind = image::error::LimitErrorKind::DimensionError;
        return Err(ImageError::Limits(LimitError::from_kind(kind)));
    }
    Ok(image::DynamicImage::from_decoder(decoder)?.into_rgb8())
}
