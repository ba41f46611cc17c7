//! Whether a frame is worth looking at, and where: a frame without motion is not inferred.

use cloudcore_protocol::command::Masks;
use image::RgbImage;

use super::BoundingBox;

const COLUMNS: usize = 64;
const ROWS: usize = 48;
/// Pixels read per cell and axis: enough to average the sensor's noise away, and it keeps the
/// cost the same for every size of frame.
const SAMPLES: usize = 6;

/// What counts as motion.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MotionSettings {
    /// A cell (1/64 by 1/48 of the frame) has changed when its mean brightness moved by more
    /// than this, of 255.
    pub brightness: u8,
    /// There is motion when more than this share of the cells has changed, 0 to 1.
    pub share: f32,
}

impl Default for MotionSettings {
    /// About a person's arm at the far end of a room, and above the flicker of a lamp.
    fn default() -> Self {
        Self { brightness: 10, share: 0.001 }
    }
}

/// Where something moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Motion {
    /// Nowhere.
    Still,
    /// Within this box, pixels of the frame.
    Within(BoundingBox),
    /// Nothing is known of the frame before.
    Unknown,
}

/// Compares each frame with the last one that had motion, so that what creeps is seen as well
/// once it has crept far enough.
#[derive(Debug)]
pub struct MotionGate {
    settings: MotionSettings,
    size: (u32, u32),
    reference: Option<Vec<u8>>,
}

impl MotionGate {
    /// A gate that lets the next frame pass.
    #[must_use]
    pub const fn new(settings: MotionSettings) -> Self {
        Self { settings, size: (0, 0), reference: None }
    }

    /// Where something moved since the last frame with motion, outside of `masks`. Of the first
    /// frame, and of the first of another size, nothing is known.
    pub fn look(&mut self, frame: &RgbImage, masks: &Masks) -> Motion {
        let cells = brightness(frame);
        let motion = match &self.reference {
            Some(reference) if self.size == frame.dimensions() => {
                let moved =
                    |(before, now): (&u8, &u8)| before.abs_diff(*now) > self.settings.brightness;
                let moved = reference.iter().zip(&cells).map(moved);
                let changed: Vec<usize> = moved
                    .enumerate()
                    .filter(|(cell, moved)| *moved && !is_masked(*cell, masks))
                    .map(|(cell, _)| cell)
                    .collect();
                if changed.len() as f32 > self.settings.share * cells.len() as f32 {
                    Motion::Within(around(&changed, frame.dimensions()))
                } else {
                    Motion::Still
                }
            }
            _ => Motion::Unknown,
        };
        if motion != Motion::Still {
            self.size = frame.dimensions();
            self.reference = Some(cells);
        }
        motion
    }

    /// Forget: the next frame passes.
    pub fn reset(&mut self) {
        self.reference = None;
    }
}

/// Whether a cell's middle lies in a mask.
fn is_masked(cell: usize, masks: &Masks) -> bool {
    let x = ((cell % COLUMNS) as f32 + 0.5) / COLUMNS as f32;
    let y = ((cell / COLUMNS) as f32 + 0.5) / ROWS as f32;
    masks.iter().any(|mask| mask.contains(x, y))
}

/// The box around these cells, pixels.
fn around(cells: &[usize], (width, height): (u32, u32)) -> BoundingBox {
    let (mut left, mut top, mut right, mut bottom) = (COLUMNS, ROWS, 0, 0);
    for cell in cells {
        let (column, row) = (cell % COLUMNS, cell / COLUMNS);
        (left, top) = (left.min(column), top.min(row));
        (right, bottom) = (right.max(column + 1), bottom.max(row + 1));
    }
    let across = width as f32 / COLUMNS as f32;
    let down = height as f32 / ROWS as f32;
    BoundingBox {
        x: left as f32 * across,
        y: top as f32 * down,
        width: right.saturating_sub(left) as f32 * across,
        height: bottom.saturating_sub(top) as f32 * down,
    }
}

/// Mean brightness of each cell, row by row; empty for an empty frame.
fn brightness(frame: &RgbImage) -> Vec<u8> {
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    if width == 0 || height == 0 {
        return Vec::new();
    }
    // Where the samples stand along each axis: byte offsets in a row, and row numbers.
    let offsets: Vec<usize> =
        (0..COLUMNS * SAMPLES).map(|i| (2 * i + 1) * width / (2 * COLUMNS * SAMPLES) * 3).collect();
    let pixels = frame.as_raw();
    let mut cells = Vec::with_capacity(COLUMNS * ROWS);
    let mut sums = [0u32; COLUMNS];
    for row in 0..ROWS {
        sums.fill(0);
        for sample in 0..SAMPLES {
            let y = (2 * (row * SAMPLES + sample) + 1) * height / (2 * ROWS * SAMPLES);
            let line = &pixels[y * width * 3..(y + 1) * width * 3];
            for (sum, offsets) in sums.iter_mut().zip(offsets.chunks_exact(SAMPLES)) {
                for &at in offsets {
                    // Rec. 601 luma in 1/256.
                    *sum += 77 * u32::from(line[at])
                        + 150 * u32::from(line[at + 1])
                        + 29 * u32::from(line[at + 2]);
                }
            }
        }
        let whole = (SAMPLES * SAMPLES * 256) as u32;
        cells.extend(sums.iter().map(|sum| (sum / whole) as u8));
    }
    cells
}

#[cfg(test)]
#[allow(clippy::panic)] // a test may fail by panicking
mod tests {
    use image::Rgb;

    use super::*;

    impl MotionGate {
        fn passes(&mut self, frame: &RgbImage) -> bool {
            self.look(frame, &Masks::default()) != Motion::Still
        }
    }

    #[test]
    fn it_says_where_and_a_mask_hides_it() {
        let mut gate = MotionGate::new(MotionSettings::default());
        let all = Masks::default();
        assert_eq!(gate.look(&scene(None), &all), Motion::Unknown);
        let Motion::Within(place) = gate.look(&scene(Some(300)), &all) else { panic!("it moved") };
        assert!((290.0..=300.0).contains(&place.x) && (190.0..=200.0).contains(&place.y));
        assert!((40.0..=60.0).contains(&place.width) && (80.0..=100.0).contains(&place.height));
        let masks = r"[[[0.4, 0.3], [0.6, 0.3], [0.6, 0.7], [0.4, 0.7]]]";
        let masks: Masks = serde_json::from_str(masks).unwrap_or_default();
        assert_eq!(gate.look(&scene(None), &masks), Motion::Still);
        assert!(matches!(gate.look(&scene(Some(100)), &masks), Motion::Within(_)));
    }

    fn scene(object: Option<u32>) -> RgbImage {
        RgbImage::from_fn(640, 480, |x, y| {
            let on_object = object
                .is_some_and(|left| (left..left + 40).contains(&x) && (200..280).contains(&y));
            Rgb([if on_object { 200 } else { 60 }; 3])
        })
    }

    #[test]
    fn the_first_frame_counts_and_a_still_scene_does_not() {
        let mut gate = MotionGate::new(MotionSettings::default());
        assert!(gate.passes(&scene(None)));
        assert!(!gate.passes(&scene(None)));
        gate.reset();
        assert!(gate.passes(&scene(None)));
    }

    #[test]
    fn what_comes_moves_and_goes_is_motion() {
        let mut gate = MotionGate::new(MotionSettings::default());
        gate.passes(&scene(None));
        assert!(gate.passes(&scene(Some(100))));
        assert!(!gate.passes(&scene(Some(100))));
        assert!(gate.passes(&scene(Some(120))));
        assert!(gate.passes(&scene(None)));
    }

    #[test]
    fn noise_is_not_motion() {
        let mut gate = MotionGate::new(MotionSettings::default());
        let mut state = 1u32;
        let mut noisy = || {
            let mut frame = scene(Some(100));
            for value in frame.iter_mut() {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *value = value.saturating_add((state >> 27) as u8);
            }
            frame
        };
        gate.passes(&noisy());
        assert!((0..20).all(|_| !gate.passes(&noisy())));
    }

    #[test]
    fn what_creeps_is_seen_in_the_end() {
        let mut gate = MotionGate::new(MotionSettings::default());
        let grey = |level: u8| RgbImage::from_pixel(64, 48, Rgb([level; 3]));
        gate.passes(&grey(100));
        let passed: Vec<u8> = (101..=130).filter(|level| gate.passes(&grey(*level))).collect();
        assert_eq!(passed, [111, 122]);
    }

    #[test]
    fn another_size_passes_and_an_empty_frame_is_harmless() {
        let mut gate = MotionGate::new(MotionSettings::default());
        assert!(gate.passes(&RgbImage::new(0, 0)));
        assert!(gate.passes(&RgbImage::new(1, 1)));
        assert!(!gate.passes(&RgbImage::new(1, 1)));
        assert!(gate.passes(&RgbImage::new(2, 1)));
    }
}
