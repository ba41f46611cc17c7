//! CenterFace: a map of centres, a quarter of the input's size.

use super::{Candidate, Hit, best, find};

/// Pixels of the input from cell to cell.
const STRIDE: u32 = 4;

/// Where a model's numbers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::detect) struct Centerface {
    columns: usize,
    /// Index of the output of `1 x rows x columns` scores.
    scores: usize,
    /// Of the logarithms of height and width, in strides: `2 x rows x columns`.
    sizes: usize,
    /// Of the centres' offsets down and across, in strides: the next one of that shape.
    offsets: usize,
}

impl Centerface {
    pub(super) fn bind(
        (width, height): (u32, u32),
        shapes: &[Vec<usize>],
    ) -> Result<Self, Vec<usize>> {
        let (columns, rows) = ((width / STRIDE) as usize, (height / STRIDE) as usize);
        Ok(Self {
            columns,
            scores: find(shapes, &[1, rows, columns], 0)?,
            sizes: find(shapes, &[2, rows, columns], 0)?,
            offsets: find(shapes, &[2, rows, columns], 1)?,
        })
    }

    pub(super) fn decode(&self, outputs: &[&[f32]], confidence: f32) -> Vec<Candidate> {
        let scores = outputs[self.scores].iter().enumerate();
        let hits: Vec<_> = scores
            .filter(|(_, score)| **score >= confidence)
            .map(|(cell, &score)| Hit { score, class: 0, cell, level: () })
            .collect();
        let plane = outputs[self.scores].len();
        let stride = STRIDE as f32;
        best(hits)
            .filter_map(|Hit { score, class, cell, .. }| {
                let at =
                    |output: usize, line: usize| outputs[output].get(line * plane + cell).copied();
                let (row, column) = ((cell / self.columns) as f32, (cell % self.columns) as f32);
                let y = (row + at(self.offsets, 0)? + 0.5) * stride;
                let x = (column + at(self.offsets, 1)? + 0.5) * stride;
                let size = (at(self.sizes, 1)?.exp() * stride, at(self.sizes, 0)?.exp() * stride);
                Some(Candidate::around(class, score, (x, y), size))
            })
            .collect()
    }
}
