//! Model families: what the numbers that come out of a model mean.
//!
//! A family is a way to write boxes down; its parameters are data in the model's description.

mod centerface;
mod nanodet;
mod yolo;

use serde::{Deserialize, Serialize};

use self::{centerface::Centerface, nanodet::Nanodet, yolo::Yolo};
use super::description::DescriptionError;

/// No frame has more objects than this worth telling apart; keeps a score of 0 from comparing
/// hundreds of thousands of boxes with each other.
const MAX_CANDIDATES: usize = 1000;

/// What a model's outputs mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "family", rename_all = "lowercase", deny_unknown_fields)]
pub enum Family {
    /// Anchor-free, one pair of outputs a stride: scores, and the distances from a cell's centre
    /// to the four sides as distributions (NanoDet, 2020).
    Nanodet {
        /// Pixels of the input from cell to cell, one entry an output pair.
        strides: Vec<u32>,
        /// Largest distance, in strides.
        reg_max: u32,
    },
    /// One output of `cells x (5 + classes)`, the strides' cells one after the other: centre and
    /// size still relative to the cell, then objectness and scores, sigmoid applied (Ge et al.,
    /// "YOLOX", 2021; exported without `decode_in_inference`).
    Yolox {
        /// Pixels of the input from cell to cell, in the order of the output.
        strides: Vec<u32>,
    },
    /// One output of `boxes x (5 + classes)`: centre and size in pixels of the input, objectness
    /// and scores (Ultralytics YOLOv5, and YOLOv7 with it).
    Yolov5 {},
    /// One output of `(4 + classes) x boxes`: centre and size in pixels of the input, and scores
    /// (Ultralytics YOLOv8, and YOLO11 with it).
    Yolov8 {},
    /// Centres of faces on a map a quarter of the input's size: score, logarithm of the size,
    /// and offset (Xu et al., "CenterFace", 2019). Its one label is what it finds.
    Centerface {},
}

/// A family, and where its numbers are among one model's outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Head {
    Nanodet(Nanodet),
    Yolo(Yolo),
    Centerface(Centerface),
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

impl Candidate {
    /// From centre and size.
    fn around(class: usize, score: f32, (x, y): (f32, f32), (width, height): (f32, f32)) -> Self {
        let (half_width, half_height) = (width / 2.0, height / 2.0);
        Self {
            class,
            score,
            left: x - half_width,
            top: y - half_height,
            right: x + half_width,
            bottom: y + half_height,
        }
    }
}

impl Family {
    pub(super) fn check(&self, classes: usize) -> Result<(), DescriptionError> {
        let wrong = |field, problem: String| Err(DescriptionError::Field { field, problem });
        if let Self::Nanodet { strides, .. } | Self::Yolox { strides } = self
            && (!(1..=8).contains(&strides.len())
                || strides.iter().any(|stride| !(1..=1024).contains(stride)))
        {
            return wrong("head.strides", format!("{strides:?} are not one to eight of 1 to 1024"));
        }
        match self {
            Self::Nanodet { reg_max, .. } if !(1..=256).contains(reg_max) => {
                wrong("head.reg_max", format!("{reg_max} is not 1 to 256"))
            }
            Self::Nanodet { reg_max, .. } if classes == (*reg_max as usize + 1) * 4 => {
                wrong("labels", "as many as distances: the outputs can't be told apart".into())
            }
            Self::Centerface {} if classes != 1 => {
                wrong("labels", format!("{classes} of them: this family has one"))
            }
            _ => Ok(()),
        }
    }

    /// Finds the family's outputs among `shapes` (without the batch axis) of a model whose input
    /// is `size`, width and height.
    ///
    /// # Errors
    /// The shape that is missing; 0 stands for any number.
    pub(super) fn bind(
        &self,
        size: (u32, u32),
        classes: usize,
        shapes: &[Vec<usize>],
    ) -> Result<Head, Vec<usize>> {
        match self {
            Self::Nanodet { strides, reg_max } => {
                let bins = *reg_max as usize + 1;
                Nanodet::bind((strides, bins), size, classes, shapes).map(Head::Nanodet)
            }
            Self::Yolox { strides } => {
                Yolo::bind_cells(strides, size, classes, shapes).map(Head::Yolo)
            }
            Self::Yolov5 {} => Yolo::bind_rows(classes, shapes).map(Head::Yolo),
            Self::Yolov8 {} => Yolo::bind_columns(classes, shapes).map(Head::Yolo),
            Self::Centerface {} => Centerface::bind(size, shapes).map(Head::Centerface),
        }
    }
}

impl Head {
    /// The candidates of at least `confidence`, best first, at most [`MAX_CANDIDATES`]. An output
    /// that is shorter than its shape says yields fewer.
    pub(super) fn decode(&self, outputs: &[&[f32]], confidence: f32) -> Vec<Candidate> {
        match self {
            Self::Nanodet(head) => head.decode(outputs, confidence),
            Self::Yolo(head) => head.decode(outputs, confidence),
            Self::Centerface(head) => head.decode(outputs, confidence),
        }
    }
}

/// A score that is high enough, and whose.
struct Hit<L> {
    score: f32,
    class: usize,
    cell: usize,
    level: L,
}

/// The best of them, best first; those of one score in a fixed order.
fn best<L>(mut hits: Vec<Hit<L>>) -> impl Iterator<Item = Hit<L>> {
    hits.sort_by(|a, b| {
        b.score.total_cmp(&a.score).then(a.class.cmp(&b.class)).then(a.cell.cmp(&b.cell))
    });
    hits.truncate(MAX_CANDIDATES);
    hits.into_iter()
}

/// Index of the `nth` output of this shape.
fn find(shapes: &[Vec<usize>], wanted: &[usize], nth: usize) -> Result<usize, Vec<usize>> {
    let same = shapes.iter().enumerate().filter(|(_, shape)| *shape == wanted);
    same.map(|(index, _)| index).nth(nth).ok_or_else(|| wanted.to_vec())
}

/// The class with the highest score of one box.
fn top(scores: impl Iterator<Item = f32>) -> Option<(usize, f32)> {
    scores.enumerate().max_by(|a, b| a.1.total_cmp(&b.1))
}
