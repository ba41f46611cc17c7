//! A loaded model: frames in, objects out.

use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use image::RgbImage;
use tract_onnx::prelude::*;

use super::{
    BoundingBox, DescriptionError, Detection, ModelDescription,
    family::{Candidate, Head},
    iou,
    letterbox::letterbox,
};

/// Why there is no detection.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// A file of the model can't be read.
    #[error("can't read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file beside the model is no good.
    #[error("{path}: {source}")]
    Description {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DescriptionError,
    },
    /// The model is not the one that its description means: damaged, or exchanged.
    #[error("{path} has SHA-256 {found}, its description says {expected}")]
    Hash {
        /// The ONNX file.
        path: PathBuf,
        /// What the description says.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// The model is whole, but not one that this program can run.
    #[error("can't run model {name}: {problem}")]
    Model {
        /// Its name.
        name: String,
        /// What the engine says.
        problem: String,
    },
    /// The model lacks an output that its family has.
    #[error("model {name} has no output of shape {missing:?} (0: any)")]
    Shape {
        /// Its name.
        name: String,
        /// The shape, without the batch axis.
        missing: Vec<usize>,
    },
    /// The frame has no pixels.
    #[error("an empty frame")]
    EmptyFrame,
}

/// How long each stage of one detection took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stages {
    pub(super) prepare: Duration,
    pub(super) infer: Duration,
    pub(super) decode: Duration,
}

/// A model, loaded and optimised once. Cheap to share behind an `Arc`; runs on one thread.
pub struct Detector {
    description: ModelDescription,
    labels: Vec<Arc<str>>,
    plan: Arc<TypedRunnableModel>,
    head: Head,
}

impl std::fmt::Debug for Detector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detector").field("model", &self.description.name).finish_non_exhaustive()
    }
}

impl Detector {
    /// Load a model by the path of its description (`nanodet.json`) or of its ONNX file, whose
    /// description then has the same name with `.json`. Takes a second or so: keep the result.
    ///
    /// # Errors
    /// [`DetectError`]; a damaged file is found by its SHA-256 before it is parsed.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, DetectError> {
        let path = path.as_ref().with_extension("json");
        let read = |path: &Path| {
            std::fs::read(path)
                .map_err(|source| DetectError::Read { path: path.to_owned(), source })
        };
        let description = ModelDescription::parse(&read(&path)?)
            .map_err(|source| DetectError::Description { path: path.clone(), source })?;
        let onnx = path.with_file_name(&description.file);
        let bytes = read(&onnx)?;
        let found = sha256_hex(&bytes);
        if found != description.sha256 {
            let expected = description.sha256;
            return Err(DetectError::Hash { path: onnx, expected, found });
        }
        Self::new(description, &bytes)
    }

    fn new(description: ModelDescription, onnx: &[u8]) -> Result<Self, DetectError> {
        let name = || description.name.clone();
        // A whole but odd model from a catalog may hit an assertion of the engine: that is the
        // model's failure, not the agent's.
        let plan = catch_unwind(AssertUnwindSafe(|| optimise(&description, onnx)))
            .unwrap_or_else(|panic| Err(TractError::msg(words(panic.as_ref()))))
            .map_err(|e| DetectError::Model { name: name(), problem: format!("{e:#}") })?;
        let shapes = output_shapes(&plan)
            .map_err(|e| DetectError::Model { name: name(), problem: format!("{e:#}") })?;
        let size = (description.input.width, description.input.height);
        let head = description
            .head
            .bind(size, description.labels.len(), &shapes)
            .map_err(|missing| DetectError::Shape { name: name(), missing })?;
        let labels = description.labels.iter().map(|label| Arc::from(label.as_str())).collect();
        Ok(Self { description, labels, plan, head })
    }

    /// What stands beside the model.
    #[must_use]
    pub const fn description(&self) -> &ModelDescription {
        &self.description
    }

    /// The objects of at least `confidence` (0 to 1) in `frame`, best first, each once.
    ///
    /// # Errors
    /// [`DetectError::EmptyFrame`], or [`DetectError::Model`] if the engine fails.
    pub fn detect(&self, frame: &RgbImage, confidence: f32) -> Result<Vec<Detection>, DetectError> {
        self.run(frame, confidence).map(|(detections, _)| detections)
    }

    pub(super) fn run(
        &self,
        frame: &RgbImage,
        confidence: f32,
    ) -> Result<(Vec<Detection>, Stages), DetectError> {
        if frame.width() == 0 || frame.height() == 0 {
            return Err(DetectError::EmptyFrame);
        }
        let failed = |e: TractError| DetectError::Model {
            name: self.description.name.clone(),
            problem: format!("{e:#}"),
        };
        let input = &self.description.input;
        let started = Instant::now();
        let (values, place) = letterbox(frame, input);
        let shape = (1, 3, input.height as usize, input.width as usize);
        let tensor: Tensor = tract_ndarray::Array4::from_shape_vec(shape, values)
            .map_err(|e| failed(TractError::msg(e.to_string())))?
            .into();
        let prepared = Instant::now();
        let outputs = self.plan.run(tvec!(tensor.into())).map_err(failed)?;
        let inferred = Instant::now();
        let mut numbers = Vec::with_capacity(outputs.len());
        for output in &outputs {
            numbers.push(
                output
                    .try_as_plain_ram()
                    .and_then(|plain| plain.as_slice::<f32>())
                    .map_err(failed)?,
            );
        }
        let candidates = self.head.decode(&numbers, confidence);
        let detections = self.suppress(&candidates, |one| place.restore(one));
        let stages = Stages {
            prepare: prepared - started,
            infer: inferred - prepared,
            decode: inferred.elapsed(),
        };
        Ok((detections, stages))
    }

    /// Non-maximum suppression within each class; `candidates` come best first.
    fn suppress(
        &self,
        candidates: &[Candidate],
        restore: impl Fn(&Candidate) -> Option<BoundingBox>,
    ) -> Vec<Detection> {
        let mut kept: Vec<Detection> = Vec::new();
        for one in candidates {
            let Some(bbox) = restore(one) else { continue };
            let again = kept.iter().any(|other| {
                other.class == one.class && iou(&other.bbox, &bbox) > self.description.nms_iou
            });
            if !again {
                let label = Arc::clone(&self.labels[one.class]);
                kept.push(Detection { label, class: one.class, confidence: one.score, bbox });
            }
        }
        kept
    }
}

/// What a panic says.
fn words(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the engine panicked: {}", said.unwrap_or("it says nothing"))
}

fn optimise(
    description: &ModelDescription,
    mut onnx: &[u8],
) -> TractResult<Arc<TypedRunnableModel>> {
    let (width, height) = (description.input.width as usize, description.input.height as usize);
    let model = tract_onnx::onnx()
        .model_for_read(&mut onnx)?
        .with_input_fact(0, f32::fact([1, 3, height, width]).into())?
        .into_typed()?;
    cloudcore_operators::quicken(model)?.into_optimized()?.into_runnable()
}

/// The outputs' shapes without the batch axis.
fn output_shapes(plan: &TypedRunnableModel) -> TractResult<Vec<Vec<usize>>> {
    let model = plan.model();
    (0..model.output_outlets()?.len())
        .map(|index| {
            let fact = model.output_fact(index)?;
            let shape = fact.shape.as_concrete().unwrap_or_default();
            // Anything but numbers of this type would fail later, on the first frame.
            if fact.datum_type != f32::datum_type() {
                return Ok(Vec::new());
            }
            Ok(shape.get(1..).unwrap_or_default().to_vec())
        })
        .collect()
}

fn sha256_hex(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may fail by panicking
mod tests {
    use super::*;

    const NANODET: &str = include_str!("../../../deploy/model/nanodet.json");

    fn folder(description: &str, onnx: Option<&[u8]>) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("nanodet.json"), description).unwrap();
        if let Some(onnx) = onnx {
            std::fs::write(folder.path().join("nanodet.onnx"), onnx).unwrap();
        }
        folder
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Detector::load("/nowhere/nanodet.onnx").unwrap_err();
        assert!(matches!(&error, DetectError::Read { path, .. } if path.ends_with("nanodet.json")));
        let folder = folder(NANODET, None);
        let error = Detector::load(folder.path().join("nanodet.json")).unwrap_err();
        assert!(matches!(&error, DetectError::Read { path, .. } if path.ends_with("nanodet.onnx")));
    }

    #[test]
    fn a_damaged_model_is_found_by_its_hash() {
        let folder = folder(NANODET, Some(b"damaged"));
        let error = Detector::load(folder.path().join("nanodet.onnx")).unwrap_err();
        assert!(matches!(error, DetectError::Hash { .. }), "{error}");
    }

    #[test]
    fn a_bad_description_is_named() {
        let folder = folder("{}", None);
        let error = Detector::load(folder.path().join("nanodet.json")).unwrap_err();
        assert!(matches!(error, DetectError::Description { .. }), "{error}");
    }

    #[test]
    fn a_model_of_garbage_with_the_right_hash_is_refused() {
        let garbage = b"\x08\x08 not a graph";
        let expected = ModelDescription::parse(NANODET.as_bytes()).unwrap().sha256;
        let description = NANODET.replace(&expected, &sha256_hex(garbage));
        let folder = folder(&description, Some(garbage));
        let error = Detector::load(folder.path().join("nanodet.json")).unwrap_err();
        assert!(matches!(error, DetectError::Model { .. }), "{error}");
    }
}
