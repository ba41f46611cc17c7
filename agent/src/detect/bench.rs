//! How fast a detector is on this machine.

use std::time::Duration;

use image::RgbImage;
use serde::Serialize;

use super::{DetectError, Detector, detector::Stages};

/// Milliseconds per frame; each stage's figure is its median.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchReport {
    /// The model's name.
    pub model: String,
    /// Frames measured.
    pub frames: u32,
    /// Fastest frame, all stages.
    pub min_ms: f64,
    /// Median frame, all stages.
    pub median_ms: f64,
    /// From frame to the model's input.
    pub prepare_ms: f64,
    /// The model itself.
    pub infer_ms: f64,
    /// Fastest run of the model itself.
    pub infer_min_ms: f64,
    /// From the model's outputs to objects.
    pub decode_ms: f64,
}

/// Detect in `frame` for `frames` times (at least once), after one time to warm up.
///
/// # Errors
/// Those of [`Detector::detect`].
pub fn bench(
    detector: &Detector,
    frame: &RgbImage,
    frames: u32,
) -> Result<BenchReport, DetectError> {
    let confidence = detector.description().confidence;
    detector.run(frame, confidence)?;
    let mut runs = Vec::new();
    for _ in 0..frames.max(1) {
        runs.push(detector.run(frame, confidence)?.1);
    }
    let sorted = |stage: fn(&Stages) -> Duration| {
        let mut times: Vec<f64> = runs.iter().map(|run| stage(run).as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        times
    };
    let median = |times: &[f64]| times[times.len() / 2];
    let total = sorted(|run| run.prepare + run.infer + run.decode);
    let infer = sorted(|run| run.infer);
    Ok(BenchReport {
        model: detector.description().name.clone(),
        frames: frames.max(1),
        min_ms: total[0],
        median_ms: median(&total),
        prepare_ms: median(&sorted(|run| run.prepare)),
        infer_ms: median(&infer),
        infer_min_ms: infer[0],
        decode_ms: median(&sorted(|run| run.decode)),
    })
}
