//! The child's side of inference in a process of its own: [`super::Model`] is the parent's.
//!
//! A model comes from a catalog, and its file is a program of sorts for an engine that was not
//! written for hostile ones. Here it can take no more than its process: memory by a limit, time by
//! the parent's patience, and a crash is an answer that did not come.

#[cfg(feature = "detection")]
use std::io::Read as _;
use std::{
    io::{self, Write},
    path::Path,
};

#[cfg(feature = "detection")]
use image::RgbImage;
use nix::sys::resource::{Resource, setrlimit};
use serde::{Deserialize, Serialize};

use super::BoundingBox;
#[cfg(feature = "detection")]
use super::Detector;

/// Pixels of a frame that is looked at: more are refused by the parent.
pub(super) const MAX_PIXELS: u64 = 64 * 1024 * 1024;
/// Files open at once: the model's, and the three that every process has.
const MAX_FILES: u64 = 16;

/// What precedes a frame's pixels: width, height, least score.
pub(super) const HEADER: usize = 12;

/// What the child says, each as its length in four bytes and JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    /// The model is loaded.
    Ready(About),
    /// The objects of a frame.
    Found(Vec<Seen>),
    /// It can't be done.
    Failed(String),
}

/// A model that is loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Its name.
    pub name: String,
    /// Version of its weights.
    pub version: String,
    /// SHA-256 of its file, hex digits.
    pub sha256: String,
    /// Least score where nobody says otherwise, 0 to 1.
    pub confidence: f32,
    /// Width and height of its input, pixels.
    pub input: (u32, u32),
    /// Name of each class.
    pub labels: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) class: usize,
    pub(super) confidence: f32,
    pub(super) bbox: BoundingBox,
}

/// Loads the model and answers frames on standard input, until that ends. `memory_mb` is the most
/// that this process may allocate from now on.
///
/// # Errors
/// Standard input or output fails: the parent has gone.
pub fn serve(model: &Path, memory_mb: u64) -> io::Result<()> {
    let mut output = io::stdout().lock();
    match limit(memory_mb) {
        Ok(()) => answer(model, &mut output),
        Err(error) => say(&mut output, &Said::Failed(format!("no limits can be set: {error}"))),
    }
}

#[cfg(not(feature = "detection"))]
fn answer(_model: &Path, output: &mut impl Write) -> io::Result<()> {
    say(output, &Said::Failed("this agent was built without detection".to_owned()))
}

#[cfg(feature = "detection")]
fn answer(model: &Path, output: &mut impl Write) -> io::Result<()> {
    let mut input = io::stdin().lock();
    let detector = match Detector::load(model) {
        Ok(detector) => detector,
        Err(error) => return say(output, &Said::Failed(error.to_string())),
    };
    let description = detector.description();
    let about = About {
        name: description.name.clone(),
        version: description.version.clone(),
        sha256: description.sha256.clone(),
        confidence: description.confidence,
        input: (description.input.width, description.input.height),
        labels: description.labels.clone(),
    };
    say(output, &Said::Ready(about))?;
    loop {
        let mut header = [0; HEADER];
        match input.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let [a, b, c, d, e, f, g, h, i, j, k, l] = header;
        let (width, height) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        let confidence = f32::from_le_bytes([i, j, k, l]);
        let mut pixels = vec![0; width as usize * height as usize * 3];
        input.read_exact(&mut pixels)?;
        let found = RgbImage::from_raw(width, height, pixels)
            .ok_or_else(|| "no frame".to_owned())
            .and_then(|frame| detector.detect(&frame, confidence).map_err(|e| e.to_string()));
        let said = match found {
            Ok(found) => Said::Found(
                found
                    .into_iter()
                    .map(|one| Seen {
                        class: one.class,
                        confidence: one.confidence,
                        bbox: one.bbox,
                    })
                    .collect(),
            ),
            Err(problem) => Said::Failed(problem),
        };
        say(output, &said)?;
    }
}

fn limit(memory_mb: u64) -> nix::Result<()> {
    let bytes = memory_mb.saturating_mul(1024 * 1024);
    // What is allocated, and not what is mapped of files.
    setrlimit(Resource::RLIMIT_DATA, bytes, bytes)?;
    setrlimit(Resource::RLIMIT_NOFILE, MAX_FILES, MAX_FILES)?;
    setrlimit(Resource::RLIMIT_FSIZE, 0, 0)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
}

fn say(output: &mut impl Write, said: &Said) -> io::Result<()> {
    let json = serde_json::to_vec(said)?;
    let length = u32::try_from(json.len()).map_err(io::Error::other)?;
    output.write_all(&length.to_le_bytes())?;
    output.write_all(&json)?;
    output.flush()
}
