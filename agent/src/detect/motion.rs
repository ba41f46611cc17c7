//! Whether a frame is worth looking at: a frame without motion is not inferred.

use image::RgbImage;

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

    /// Whether something moved since the last frame that passed. The first frame always passes,
    /// and so does the first of another size.
    pub fn passes(&mut self, frame: &RgbImage) -> bool {
        let cells = brightness(frame);
        let moved = match &self.reference {
            Some(reference) if self.size == frame.dimensions() => {
                let changed = reference
                    .iter()
                    .zip(&cells)
                    .filter(|(before, now)| before.abs_diff(**now) > self.settings.brightness)
                    .count();
                changed as f32 > self.settings.share * cells.len() as f32
            }
            _ => true,
        };
        if moved {
            self.size = frame.dimensions();
            self.reference = Some(cells);
        }
        moved
    }

    /// Forget: the next frame passes.
    pub fn reset(&mut self) {
        self.reference = None;
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
mod tests {
    use image::Rgb;

    use super::*;

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
