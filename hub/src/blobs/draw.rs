//! Boxes and labels, drawn into a copy of a picture: what is stored stays clean.

use std::{convert::Infallible, io::Cursor};

use cloudcore_protocol::BoundingBox;
use embedded_graphics::{
    mono_font::{MonoTextStyle, iso_8859_1::FONT_10X20},
    pixelcolor::Rgb888,
    prelude::*,
    primitives::{PrimitiveStyle, Rectangle},
    text::{Baseline, Text},
};
use image::{
    ExtendedColorType, ImageEncoder as _, ImageReader, Limits, RgbImage, codecs::jpeg::JpegEncoder,
};

use super::{Blob, pictures::Label};
use crate::{
    api,
    error::{Error, Result},
};

/// Longest side that is drawn on, pixels.
const MAX_SIDE: u32 = 8192;
/// Most memory for one picture, bytes.
const MAX_MEMORY: u64 = 256 << 20;
/// Quality of the copy.
const QUALITY: u8 = 90;
/// A picture this wide has lines of one pixel; a larger one thicker ones.
const WIDTH: u32 = 1280;
/// Longest label, characters.
const MAX_TEXT: usize = 40;
/// The font's size.
const GLYPH: Size = Size::new(10, 20);
const COLOUR: Rgb888 = Rgb888::new(255, 214, 10);
const INK: Rgb888 = Rgb888::BLACK;

/// A copy of the picture with these boxes and labels, as a JPEG. Takes a CPU for a while.
///
/// # Errors
/// API-001 for what is no picture, or too large a one.
pub(super) fn boxes(blob: &Blob, labels: &[Label]) -> Result<Vec<u8>> {
    let unusable = |e: image::ImageError| Error {
        cause: Some(e.into()),
        ..Error::invalid("this is no picture that boxes can be drawn into")
    };
    let mut reader = ImageReader::new(Cursor::new(&blob.bytes))
        .with_guessed_format()
        .map_err(|e| unusable(e.into()))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_MEMORY);
    reader.limits(limits);
    let image = reader.decode().map_err(unusable)?.into_rgb8();
    let scale = (image.width() / WIDTH).max(1);
    let mut canvas = Canvas { image, scale };
    for label in labels {
        canvas.draw(label);
    }
    let (width, height) = canvas.image.dimensions();
    let mut file = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut file, QUALITY)
        .write_image(&canvas.image, width, height, ExtendedColorType::Rgb8)
        .map_err(unusable)?;
    Ok(file.into_inner())
}

/// A picture in whose points there are `scale` pixels a side.
struct Canvas {
    image: RgbImage,
    scale: u32,
}

impl Canvas {
    fn draw(&mut self, label: &Label) {
        let Some(place) = self.rectangle(&label.place) else { return };
        let text = api::clip(&label.text, MAX_TEXT);
        let width = GLYPH.width.saturating_mul(u32::try_from(text.chars().count()).unwrap_or(0));
        let above = place.top_left.y - i32::try_from(GLYPH.height).unwrap_or(0);
        let corner = Point::new(place.top_left.x, above.max(0));
        let frame = PrimitiveStyle::with_stroke(COLOUR, 2);
        let plate = Rectangle::new(corner, Size::new(width, GLYPH.height));
        let ink = MonoTextStyle::new(&FONT_10X20, INK);
        // Nothing here can fail: what is beyond the picture is left out.
        let Ok(()) = place.into_styled(frame).draw(self);
        let Ok(()) = plate.into_styled(PrimitiveStyle::with_fill(COLOUR)).draw(self);
        let Ok(_) = Text::with_baseline(text, corner, ink, Baseline::Top).draw(self);
    }

    /// A box within the picture, in points; `None` for one that is not in it.
    fn rectangle(&self, place: &BoundingBox) -> Option<Rectangle> {
        let size = self.size();
        let point = |pixels: f32, most: u32| {
            let points = (pixels / self.scale as f32).round();
            points.clamp(0.0, most as f32) as i32
        };
        let first = Point::new(point(place.x, size.width), point(place.y, size.height));
        let last = Point::new(
            point(place.x + place.width, size.width),
            point(place.y + place.height, size.height),
        );
        let span = last - first;
        let span = Size::new(u32::try_from(span.x).ok()?, u32::try_from(span.y).ok()?);
        (span.width > 0 && span.height > 0).then(|| Rectangle::new(first, span))
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.image.width() / self.scale, self.image.height() / self.scale)
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Infallible> {
        let size = self.size();
        for Pixel(point, colour) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(point.x), u32::try_from(point.y)) else { continue };
            if x >= size.width || y >= size.height {
                continue;
            }
            for dy in 0..self.scale {
                for dx in 0..self.scale {
                    let pixel = image::Rgb([colour.r(), colour.g(), colour.b()]);
                    self.image.put_pixel(x * self.scale + dx, y * self.scale + dy, pixel);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    fn blob(width: u32, height: u32) -> Blob {
        let mut file = Cursor::new(Vec::new());
        RgbImage::from_pixel(width, height, image::Rgb([10, 10, 10]))
            .write_to(&mut file, image::ImageFormat::Png)
            .unwrap();
        Blob { content_type: "image/png".into(), bytes: file.into_inner().into() }
    }

    fn label(x: f32, y: f32, width: f32, height: f32) -> Label {
        let place = BoundingBox { x, y, width, height };
        Label { place, text: "Katze größer 90%".into() }
    }

    /// Whether a pixel is of the boxes' colour, as far as a JPEG keeps it.
    fn is_yellow(image: &RgbImage, x: u32, y: u32) -> bool {
        let [r, g, b] = image.get_pixel(x, y).0;
        r > 180 && g > 140 && b < 110
    }

    #[test]
    fn a_box_is_drawn_where_it_is_and_nowhere_else() {
        for scale in [1, 3] {
            let blob = blob(1280 * scale, 400 * scale);
            let s = scale as f32;
            let labels = [label(100.0 * s, 50.0 * s, 300.0 * s, 200.0 * s)];
            let drawn = boxes(&blob, &labels).unwrap();
            let image = image::load_from_memory(&drawn).unwrap().into_rgb8();
            assert_eq!(image.dimensions(), (1280 * scale, 400 * scale));
            for (x, y) in [(100, 150), (399, 150), (250, 50), (250, 249), (101, 31)] {
                let (x, y) = (x * scale + scale / 2, y * scale + scale / 2);
                assert!(is_yellow(&image, x, y), "{x}, {y}: {:?}", image.get_pixel(x, y));
            }
            for (x, y) in [(50, 150), (250, 150), (600, 50), (250, 300)] {
                assert!(!is_yellow(&image, x * scale, y * scale), "{x}, {y}");
            }
        }
    }

    #[test]
    fn odd_boxes_and_files_harm_nobody() {
        let odd = [
            label(-50.0, -50.0, 2000.0, 2000.0),
            label(f32::NAN, 0.0, 10.0, 10.0),
            label(0.0, 0.0, f32::INFINITY, f32::INFINITY),
            label(50.0, 50.0, -20.0, 5.0),
            label(1e30, 1e30, 1.0, 1.0),
        ];
        boxes(&blob(64, 48), &odd).unwrap();
        boxes(&blob(1, 1), &odd).unwrap();
        for bytes in [&b""[..], b"no picture", b"\x89PNG\r\n\x1a\n"] {
            let blob = Blob { content_type: "image/png".into(), bytes: bytes.to_vec().into() };
            assert_eq!(boxes(&blob, &odd).unwrap_err().code, crate::error::Code::Invalid);
        }
        assert!(boxes(&blob(MAX_SIDE + 1, 1), &odd).is_err());
    }
}
