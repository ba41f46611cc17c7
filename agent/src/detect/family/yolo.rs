//! The YOLO families: one output, a row or a column a box, of which the best class counts.

use super::{Candidate, Hit, best, find, top};

/// Where a model's numbers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::detect) struct Yolo {
    output: usize,
    boxes: usize,
    classes: usize,
    form: Form,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// Rows of centre and size relative to their cells, objectness, scores.
    Cells(Vec<Cell>),
    /// Rows of centre and size in pixels, objectness, scores.
    Rows,
    /// Columns of centre and size in pixels, scores.
    Columns,
}

/// Where a row's cell is, in strides.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cell {
    column: u32,
    row: u32,
    stride: u32,
}

impl Yolo {
    /// YOLOX.
    pub(super) fn bind_cells(
        strides: &[u32],
        (width, height): (u32, u32),
        classes: usize,
        shapes: &[Vec<usize>],
    ) -> Result<Self, Vec<usize>> {
        let cells: Vec<Cell> = strides
            .iter()
            .flat_map(|&stride| {
                let (columns, rows) = (width / stride, height / stride);
                (0..rows).flat_map(move |row| {
                    (0..columns).map(move |column| Cell { column, row, stride })
                })
            })
            .collect();
        let boxes = cells.len();
        let output = find(shapes, &[boxes, 5 + classes], 0)?;
        Ok(Self { output, boxes, classes, form: Form::Cells(cells) })
    }

    /// YOLOv5.
    pub(super) fn bind_rows(classes: usize, shapes: &[Vec<usize>]) -> Result<Self, Vec<usize>> {
        let fits = |shape: &&Vec<usize>| shape.len() == 2 && shape[1] == 5 + classes;
        let shape = shapes.iter().find(fits).ok_or_else(|| vec![0, 5 + classes])?;
        let output = find(shapes, shape, 0)?;
        Ok(Self { output, boxes: shape[0], classes, form: Form::Rows })
    }

    /// YOLOv8.
    pub(super) fn bind_columns(classes: usize, shapes: &[Vec<usize>]) -> Result<Self, Vec<usize>> {
        let fits = |shape: &&Vec<usize>| shape.len() == 2 && shape[0] == 4 + classes;
        let shape = shapes.iter().find(fits).ok_or_else(|| vec![4 + classes, 0])?;
        let output = find(shapes, shape, 0)?;
        Ok(Self { output, boxes: shape[1], classes, form: Form::Columns })
    }

    pub(super) fn decode(&self, outputs: &[&[f32]], confidence: f32) -> Vec<Candidate> {
        let output = outputs[self.output];
        match &self.form {
            Form::Cells(cells) => best(self.rows(output, confidence))
                .filter_map(|hit| {
                    let (row, cell) = (self.row(output, hit.cell)?, cells.get(hit.cell)?);
                    let stride = cell.stride as f32;
                    let x = (row[0] + cell.column as f32) * stride;
                    let y = (row[1] + cell.row as f32) * stride;
                    let size = (row[2].exp() * stride, row[3].exp() * stride);
                    Some(Candidate::around(hit.class, hit.score, (x, y), size))
                })
                .collect(),
            Form::Rows => best(self.rows(output, confidence))
                .filter_map(|hit| {
                    let row = self.row(output, hit.cell)?;
                    let (centre, size) = ((row[0], row[1]), (row[2], row[3]));
                    Some(Candidate::around(hit.class, hit.score, centre, size))
                })
                .collect(),
            Form::Columns => best(self.columns(output, confidence))
                .filter_map(|hit| {
                    let at = |line: usize| output.get(line * self.boxes + hit.cell).copied();
                    let (centre, size) = ((at(0)?, at(1)?), (at(2)?, at(3)?));
                    Some(Candidate::around(hit.class, hit.score, centre, size))
                })
                .collect(),
        }
    }

    fn row<'a>(&self, output: &'a [f32], index: usize) -> Option<&'a [f32]> {
        let length = 5 + self.classes;
        output.get(index * length..(index + 1) * length)
    }

    fn rows(&self, output: &[f32], confidence: f32) -> Vec<Hit<()>> {
        let mut hits = Vec::new();
        for (cell, row) in output.chunks_exact(5 + self.classes).enumerate() {
            let objectness = row[4];
            // No score is above 1: most rows need no look at their classes.
            if objectness < confidence {
                continue;
            }
            if let Some((class, share)) = top(row[5..].iter().copied()) {
                let score = share * objectness;
                if score >= confidence {
                    hits.push(Hit { score, class, cell, level: () });
                }
            }
        }
        hits
    }

    fn columns(&self, output: &[f32], confidence: f32) -> Vec<Hit<()>> {
        // Line by line, as they lie in memory.
        let mut winners = vec![(0, f32::NEG_INFINITY); self.boxes];
        for (class, line) in output.chunks_exact(self.boxes.max(1)).skip(4).enumerate() {
            for (winner, &score) in winners.iter_mut().zip(line) {
                if score > winner.1 {
                    *winner = (class, score);
                }
            }
        }
        let good = winners.into_iter().enumerate().filter(|(_, (_, score))| *score >= confidence);
        good.map(|(cell, (class, score))| Hit { score, class, cell, level: () }).collect()
    }
}
