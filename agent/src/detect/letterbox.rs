//! A frame made into a model's input: scaled to fit, centred, padded, normalised.
//!
//! The resize filter is plain bilinear with half-pixel centres and without anti-aliasing, in
//! `f32`: output pixel `i` samples the source at `(i + 0.5) * source / target - 0.5`, clamped to
//! its edges; first along x, then along y. `tests/reference/make_reference.py` is the same in
//! numpy, in the same order of operations.

use image::RgbImage;

use super::{BoundingBox, ColourOrder, InputDescription, Placement, family::Candidate};

/// Where a frame lies in the model's input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    frame: (u32, u32),
    width: u32,
    height: u32,
    left: u32,
    top: u32,
}

impl Place {
    /// Fit `frame` (width, height; neither 0) into `target`. Sizes are rounded: cut off, they
    /// would leave a line of padding that models take for the edge of an object.
    pub(super) fn fit(frame: (u32, u32), target: (u32, u32), placement: Placement) -> Self {
        let (width, height) = (f64::from(frame.0), f64::from(frame.1));
        let scale = (f64::from(target.0) / width).min(f64::from(target.1) / height);
        let scaled = |side: f64, most: u32| ((side * scale + 0.5).floor() as u32).clamp(1, most);
        let (width, height) = (scaled(width, target.0), scaled(height, target.1));
        let (left, top) = match placement {
            Placement::Centre => ((target.0 - width) / 2, (target.1 - height) / 2),
            Placement::Corner => (0, 0),
        };
        Self { frame, width, height, left, top }
    }

    /// A candidate's box in pixels of the frame, clipped to it; `None` if less than a pixel of
    /// it lies in the frame (the rest is in the padding).
    pub(super) fn restore(&self, candidate: &Candidate) -> Option<BoundingBox> {
        let restore = |value: f32, start: u32, scaled: u32, side: u32| {
            ((value - start as f32) * (side as f32 / scaled as f32)).clamp(0.0, side as f32)
        };
        let across = |value| restore(value, self.left, self.width, self.frame.0);
        let down = |value| restore(value, self.top, self.height, self.frame.1);
        let (x, y) = (across(candidate.left), down(candidate.top));
        let (width, height) = (across(candidate.right) - x, down(candidate.bottom) - y);
        (width >= 1.0 && height >= 1.0).then_some(BoundingBox { x, y, width, height })
    }
}

/// Both neighbours of each output pixel, and the weight of the second.
fn taps(source: u32, target: u32) -> Vec<(usize, usize, f32)> {
    let (last, step) = ((source - 1) as usize, source as f32 / target as f32);
    (0..target)
        .map(|i| {
            let position = ((i as f32 + 0.5) * step - 0.5).clamp(0.0, last as f32);
            let first = position.floor();
            let index = first as usize;
            (index, (index + 1).min(last), position - first)
        })
        .collect()
}

/// One source row scaled along x, as `width` red, then green, then blue values.
fn scale_row(row: &[u8], taps: &[(usize, usize, f32)], out: &mut [f32]) {
    let (red, rest) = out.split_at_mut(taps.len());
    let (green, blue) = rest.split_at_mut(taps.len());
    for (((&(first, second, weight), r), g), b) in taps.iter().zip(red).zip(green).zip(blue) {
        let (a, z) = (&row[first * 3..first * 3 + 3], &row[second * 3..second * 3 + 3]);
        let mix = |c: usize| {
            let (from, to) = (f32::from(a[c]), f32::from(z[c]));
            from + (to - from) * weight
        };
        *r = mix(0);
        *g = mix(1);
        *b = mix(2);
    }
}

/// The model's input, `3 x height x width` values, and where the frame lies in it.
///
/// The frame must not be empty.
pub(super) fn letterbox(frame: &RgbImage, input: &InputDescription) -> (Vec<f32>, Place) {
    let place = Place::fit(frame.dimensions(), (input.width, input.height), input.placement);
    let (columns, rows) = (taps(frame.width(), place.width), taps(frame.height(), place.height));
    let (input_width, plane) = (input.width as usize, input.width as usize * input.height as usize);
    let inverse = input.std.map(|std| 1.0 / std);
    let mut tensor = Vec::with_capacity(3 * plane);
    for (mean, inverse) in input.mean.iter().zip(inverse) {
        tensor.resize(tensor.len() + plane, (f32::from(input.padding) - mean) * inverse);
    }
    let width = columns.len();
    let stride = frame.width() as usize * 3;
    let source = |row: usize| &frame.as_raw()[row * stride..(row + 1) * stride];
    // Going down, the two source rows of an output row are mostly those of the one before.
    let mut above = (usize::MAX, vec![0.0; 3 * width]);
    let mut below = (usize::MAX, vec![0.0; 3 * width]);
    for (y, &(first, second, weight)) in rows.iter().enumerate() {
        if above.0 != first {
            std::mem::swap(&mut above, &mut below);
        }
        if above.0 != first {
            scale_row(source(first), &columns, &mut above.1);
            above.0 = first;
        }
        if below.0 != second {
            scale_row(source(second), &columns, &mut below.1);
            below.0 = second;
        }
        for channel in 0..3 {
            let colour = match input.colour_order {
                ColourOrder::Rgb => channel,
                ColourOrder::Bgr => 2 - channel,
            };
            let start =
                channel * plane + (place.top as usize + y) * input_width + place.left as usize;
            let line = colour * width..(colour + 1) * width;
            let (mean, inverse) = (input.mean[channel], inverse[channel]);
            let pairs = above.1[line.clone()].iter().zip(&below.1[line]);
            for (out, (a, z)) in tensor[start..start + width].iter_mut().zip(pairs) {
                *out = (a + (z - a) * weight - mean) * inverse;
            }
        }
    }
    (tensor, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(width: u32, height: u32) -> InputDescription {
        InputDescription {
            width,
            height,
            colour_order: ColourOrder::Bgr,
            mean: [0.0; 3],
            std: [1.0; 3],
            padding: 7,
            placement: Placement::Centre,
        }
    }

    #[test]
    fn a_frame_of_the_right_size_is_only_reordered() {
        let frame = RgbImage::from_fn(4, 4, |x, y| image::Rgb([x as u8, y as u8, 99]));
        let (tensor, _) = letterbox(&frame, &input(4, 4));
        assert!(tensor[..16].iter().all(|v| *v == 99.0), "blue comes first");
        assert_eq!(tensor[16..20], [0.0; 4]);
        assert_eq!(tensor[32..36], [0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn halving_takes_the_mean_of_two_and_pads_around() {
        let frame = RgbImage::from_fn(8, 4, |x, _| image::Rgb([x as u8 * 10; 3]));
        let (tensor, _) = letterbox(&frame, &input(4, 4));
        assert_eq!(tensor[..4], [7.0; 4]);
        assert_eq!(tensor[4..8], [5.0, 25.0, 45.0, 65.0]);
        assert_eq!(tensor[8..12], [5.0, 25.0, 45.0, 65.0]);
        assert_eq!(tensor[12..16], [7.0; 4]);
    }

    #[test]
    fn enlarging_keeps_the_edges_and_mixes_rows() {
        let frame = RgbImage::from_fn(1, 2, |_, y| image::Rgb([y as u8 * 100; 3]));
        let (tensor, _) = letterbox(&frame, &input(4, 4));
        let column: Vec<f32> = (0..4).map(|y| tensor[y * 4 + 1]).collect();
        assert_eq!(column, [0.0, 25.0, 75.0, 100.0]);
    }

    #[test]
    fn sizes_are_rounded() {
        // 416 * 300 / 451 = 276.7
        let place = Place::fit((451, 300), (416, 416), Placement::Centre);
        assert_eq!((place.width, place.height, place.left, place.top), (416, 277, 0, 69));
        let place = Place::fit((10_000, 1), (416, 416), Placement::Centre);
        assert_eq!((place.width, place.height), (416, 1));
    }

    #[test]
    fn boxes_are_clipped_to_the_frame_and_dropped_in_the_padding() {
        let place = Place::fit((832, 416), (416, 416), Placement::Centre);
        let candidate =
            |left, top, right, bottom| Candidate { class: 0, score: 1.0, left, top, right, bottom };
        let whole = BoundingBox { x: 0.0, y: 0.0, width: 832.0, height: 416.0 };
        assert_eq!(place.restore(&candidate(-9.0, 0.0, 500.0, 416.0)), Some(whole));
        let part = BoundingBox { x: 20.0, y: 32.0, width: 40.0, height: 80.0 };
        assert_eq!(place.restore(&candidate(10.0, 120.0, 30.0, 160.0)), Some(part));
        assert_eq!(place.restore(&candidate(10.0, 20.0, 300.0, 104.2)), None);
        assert_eq!(place.restore(&candidate(f32::NAN, 120.0, 30.0, 160.0)), None);
    }
}
