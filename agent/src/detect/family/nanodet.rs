//! NanoDet: the distance from a cell's centre to each side of the box is a distribution over
//! `reg_max + 1` bins (Li et al., "Generalized Focal Loss", 2020).

use super::{Candidate, Hit, best, find};

/// Where a model's numbers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::detect) struct Nanodet {
    levels: Vec<Level>,
    classes: usize,
    bins: usize,
}

/// One stride's outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Level {
    stride: u32,
    columns: usize,
    /// Index of the output of `cells x classes` scores, sigmoid applied.
    scores: usize,
    /// Index of the output of `cells x 4 bins` logits for left, top, right, bottom.
    distances: usize,
}

impl Nanodet {
    /// Finds each stride's outputs among `shapes` by their shapes, since converters scramble
    /// their order.
    ///
    /// # Errors
    /// The shape that is missing.
    pub(super) fn bind(
        (strides, bins): (&[u32], usize),
        (width, height): (u32, u32),
        classes: usize,
        shapes: &[Vec<usize>],
    ) -> Result<Self, Vec<usize>> {
        let levels = strides.iter().map(|&stride| {
            let columns = width.div_ceil(stride) as usize;
            let cells = columns * height.div_ceil(stride) as usize;
            let scores = find(shapes, &[cells, classes], 0)?;
            let distances = find(shapes, &[cells, 4 * bins], 0)?;
            Ok::<_, Vec<usize>>(Level { stride, columns, scores, distances })
        });
        Ok(Self { levels: levels.collect::<Result<_, _>>()?, classes, bins })
    }

    pub(super) fn decode(&self, outputs: &[&[f32]], confidence: f32) -> Vec<Candidate> {
        let mut hits = Vec::new();
        for level in &self.levels {
            for (cell, scores) in outputs[level.scores].chunks_exact(self.classes).enumerate() {
                for (class, &score) in scores.iter().enumerate() {
                    if score >= confidence {
                        hits.push(Hit { score, class, cell, level });
                    }
                }
            }
        }
        let bins = self.bins;
        best(hits)
            .filter_map(|Hit { score, class, cell, level }| {
                let start = cell * 4 * bins;
                let logits = outputs[level.distances].get(start..start + 4 * bins)?;
                let stride = level.stride as f32;
                let mut sides = logits.chunks_exact(bins).map(|side| expectation(side) * stride);
                let x = ((cell % level.columns) as f32 + 0.5) * stride;
                let y = ((cell / level.columns) as f32 + 0.5) * stride;
                Some(Candidate {
                    class,
                    score,
                    left: x - sides.next()?,
                    top: y - sides.next()?,
                    right: x + sides.next()?,
                    bottom: y + sides.next()?,
                })
            })
            .collect()
    }
}

/// Mean bin of the distribution whose logits these are.
fn expectation(logits: &[f32]) -> f32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (mut sum, mut weighted) = (0.0, 0.0);
    for (bin, logit) in logits.iter().enumerate() {
        let weight = (logit - most).exp();
        sum += weight;
        weighted += weight * bin as f32;
    }
    weighted / sum
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may fail by panicking
mod tests {
    use super::*;

    const STRIDES: (&[u32], usize) = (&[16, 32], 4);

    #[test]
    fn outputs_are_found_by_shape_in_any_order() {
        let shapes = [vec![4, 16], vec![1, 5], vec![4, 5], vec![1, 16]];
        let head = Nanodet::bind(STRIDES, (32, 32), 5, &shapes).unwrap();
        assert_eq!((head.levels[0].scores, head.levels[0].distances), (2, 0));
        assert_eq!((head.levels[1].scores, head.levels[1].distances), (1, 3));
        let missing = Nanodet::bind(STRIDES, (32, 32), 5, &shapes[1..]);
        assert_eq!(missing, Err(vec![4, 16]));
    }

    #[test]
    fn a_sure_distribution_gives_its_bin() {
        assert!((expectation(&[-50.0, -50.0, 50.0, -50.0]) - 2.0).abs() < 1e-6);
        assert!((expectation(&[0.0; 4]) - 1.5).abs() < 1e-6);
        assert!((expectation(&[1000.0, 1000.0]) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn a_box_surrounds_its_cell() {
        let shapes = [vec![4, 2], vec![4, 16], vec![1, 2], vec![1, 16]];
        let head = Nanodet::bind(STRIDES, (32, 32), 2, &shapes).unwrap();
        let mut scores = [0.0; 8];
        scores[3 * 2 + 1] = 0.9; // lower right cell, second class: centre 24, 24
        let mut distances = [0.0; 64];
        for (side, bin) in [1, 0, 2, 3].into_iter().enumerate() {
            distances[48 + side * 4 + bin] = 100.0;
        }
        let nothing = ([0.0; 2], [0.0; 16]);
        let outputs: [&[f32]; 4] = [&scores, &distances, &nothing.0, &nothing.1];
        let wanted =
            Candidate { class: 1, score: 0.9, left: 8.0, top: 24.0, right: 56.0, bottom: 72.0 };
        assert_eq!(head.decode(&outputs, 0.5), [wanted]);
    }

    #[test]
    fn what_is_no_number_is_no_object() {
        let shapes = [vec![1, 2], vec![1, 16]];
        let head = Nanodet::bind((&[8], 4), (8, 8), 2, &shapes).unwrap();
        assert!(head.decode(&[&[f32::NAN, 0.1], &[0.0; 16]], 0.5).is_empty());
    }
}
