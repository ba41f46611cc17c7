//! Model families: what the numbers that come out of a model mean.
//!
//! A family is a way to write boxes down; its parameters are data in the model's description.

use serde::{Deserialize, Serialize};

use super::description::DescriptionError;

/// No frame has more objects than this worth telling apart; keeps a score of 0 from comparing
/// hundreds of thousands of boxes with each other.
const MAX_CANDIDATES: usize = 1000;

/// What a model's outputs mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "family", rename_all = "lowercase", deny_unknown_fields)]
pub enum Family {
    /// Anchor-free; the distance from a cell's centre to each side of the box is a distribution
    /// over `reg_max + 1` bins (Li et al., "Generalized Focal Loss", 2020; NanoDet, 2020).
    ///
    /// For each stride there is an output of `cells x classes` scores, sigmoid applied, and one
    /// of `cells x 4 (reg_max + 1)` logits for left, top, right, bottom. They are told apart by
    /// their shapes, since converters scramble their order.
    Nanodet {
        /// Pixels of the input from cell to cell, one entry an output pair.
        strides: Vec<u32>,
        /// Largest distance, in strides.
        reg_max: u32,
    },
}

/// Where one stride's numbers are among a model's outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) stride: u32,
    pub(super) columns: usize,
    pub(super) cells: usize,
    /// Index of the output with the scores.
    pub(super) scores: usize,
    /// Index of the output with the distances.
    pub(super) distances: usize,
}

/// A possible object; its box in pixels of the model's input.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Candidate {
    pub(super) class: usize,
    pub(super) score: f32,
    pub(super) left: f32,
    pub(super) top: f32,
    pub(super) right: f32,
    pub(super) bottom: f32,
}

impl Family {
    pub(super) fn check(&self, classes: usize) -> Result<(), DescriptionError> {
        let Self::Nanodet { strides, reg_max } = self;
        let wrong = |field, problem: String| Err(DescriptionError::Field { field, problem });
        if strides.is_empty() || strides.iter().any(|stride| !(1..=1024).contains(stride)) {
            return wrong("head.strides", format!("{strides:?} are not 1 to 1024"));
        }
        if !(1..=256).contains(reg_max) {
            return wrong("head.reg_max", format!("{reg_max} is not 1 to 256"));
        }
        if classes == self.bins() * 4 {
            return wrong("labels", "as many as distances: the outputs can't be told apart".into());
        }
        Ok(())
    }

    /// Bins of one distance.
    pub(super) fn bins(&self) -> usize {
        let Self::Nanodet { reg_max, .. } = self;
        *reg_max as usize + 1
    }

    /// Find each stride's outputs among `shapes` (without the batch axis) of a model whose input
    /// is `width x height`.
    ///
    /// # Errors
    /// The shape that is missing.
    pub(super) fn levels(
        &self,
        (width, height): (u32, u32),
        classes: usize,
        shapes: &[Vec<usize>],
    ) -> Result<Vec<Level>, Vec<usize>> {
        let Self::Nanodet { strides, .. } = self;
        strides
            .iter()
            .map(|&stride| {
                let columns = width.div_ceil(stride) as usize;
                let cells = columns * height.div_ceil(stride) as usize;
                let find = |values: usize| {
                    let wanted = vec![cells, values];
                    shapes.iter().position(|shape| *shape == wanted).ok_or(wanted)
                };
                let (scores, distances) = (find(classes)?, find(4 * self.bins())?);
                Ok(Level { stride, columns, cells, scores, distances })
            })
            .collect()
    }

    /// The candidates of at least `confidence`, best first, at most [`MAX_CANDIDATES`].
    ///
    /// `outputs[level.scores]` holds `cells x classes` values, `outputs[level.distances]`
    /// `cells x 4 bins`; a shorter one yields fewer candidates.
    pub(super) fn decode(
        &self,
        levels: &[Level],
        outputs: &[&[f32]],
        classes: usize,
        confidence: f32,
    ) -> Vec<Candidate> {
        let mut hits = Vec::new();
        for level in levels {
            for (cell, scores) in outputs[level.scores].chunks_exact(classes).enumerate() {
                for (class, &score) in scores.iter().enumerate() {
                    if score >= confidence {
                        hits.push((score, class, cell, level));
                    }
                }
            }
        }
        hits.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        hits.truncate(MAX_CANDIDATES);
        let bins = self.bins();
        hits.into_iter()
            .filter_map(|(score, class, cell, level)| {
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

    fn family() -> Family {
        Family::Nanodet { strides: vec![16, 32], reg_max: 3 }
    }

    #[test]
    fn outputs_are_found_by_shape_in_any_order() {
        let shapes = [vec![4, 16], vec![1, 5], vec![4, 5], vec![1, 16]];
        let levels = family().levels((32, 32), 5, &shapes).unwrap();
        assert_eq!((levels[0].scores, levels[0].distances), (2, 0));
        assert_eq!((levels[1].scores, levels[1].distances), (1, 3));
        assert_eq!(family().levels((32, 32), 5, &shapes[1..]), Err(vec![4, 16]));
    }

    #[test]
    fn a_sure_distribution_gives_its_bin() {
        assert!((expectation(&[-50.0, -50.0, 50.0, -50.0]) - 2.0).abs() < 1e-6);
        assert!((expectation(&[0.0; 4]) - 1.5).abs() < 1e-6);
        assert!((expectation(&[1000.0, 1000.0]) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn a_box_surrounds_its_cell() {
        let levels =
            family().levels((32, 32), 2, &[vec![4, 2], vec![4, 16], vec![1, 2], vec![1, 16]]);
        let mut scores = [0.0; 8];
        scores[3 * 2 + 1] = 0.9; // lower right cell, second class: centre 24, 24
        let mut distances = [0.0; 64];
        for (side, bin) in [1, 0, 2, 3].into_iter().enumerate() {
            distances[48 + side * 4 + bin] = 100.0;
        }
        let nothing = ([0.0; 2], [0.0; 16]);
        let outputs: [&[f32]; 4] = [&scores, &distances, &nothing.0, &nothing.1];
        let found = family().decode(&levels.unwrap(), &outputs, 2, 0.5);
        let wanted =
            Candidate { class: 1, score: 0.9, left: 8.0, top: 24.0, right: 56.0, bottom: 72.0 };
        assert_eq!(found, [wanted]);
    }

    #[test]
    fn what_is_no_number_is_no_object() {
        let levels = [Level { stride: 8, columns: 1, cells: 1, scores: 0, distances: 1 }];
        let outputs: [&[f32]; 2] = [&[f32::NAN, 0.1], &[0.0; 16]];
        assert!(family().decode(&levels, &outputs, 2, 0.5).is_empty());
    }
}
