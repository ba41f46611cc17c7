//! A model in a process of its own: what it breaks is that process.

use std::{path::Path, process::Stdio, sync::Arc, time::Duration};

use image::RgbImage;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{
    About, Detection,
    worker::{HEADER, MAX_PIXELS, Said},
};

/// How long a model may take to load, on the slowest machine that we know.
const LOAD: Duration = Duration::from_secs(60);
/// How long a frame may take.
const FRAME: Duration = Duration::from_secs(30);
/// How long a process that hung up may take to end.
const END: Duration = Duration::from_secs(2);
/// Longest answer, bytes.
const MAX_ANSWER: u32 = 1024 * 1024;
/// What is read of a dead process's last words, bytes.
const LAST_WORDS: usize = 4096;
/// This program, also after an update has replaced its file.
const PROGRAM: &str = "/proc/self/exe";

/// Why a model gives no objects.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No process can be started.
    #[error("no process for the model: {0}")]
    Start(#[source] std::io::Error),
    /// What is wrong with the model, or with the frame.
    #[error("{0}")]
    Refused(String),
    /// Its process ended by itself.
    #[error("the model's process died: {0}")]
    Died(String),
    /// It did not answer in time, and was ended.
    #[error("the model took more than {0:?}")]
    Slow(Duration),
    /// The frame has too many pixels.
    #[error("a frame of {0} x {1} pixels is too large")]
    Large(u32, u32),
}

/// A loaded model. Its process ends with it.
#[derive(Debug)]
pub struct Model {
    about: About,
    labels: Vec<Arc<str>>,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Whether the last frame was answered: the next one's answer would be taken for its.
    in_step: bool,
}

impl Model {
    /// Loads a model by the path of its description or of its ONNX file, in a process that may
    /// allocate `memory_mb` MiB.
    ///
    /// # Errors
    /// [`ModelError`].
    pub async fn load(path: &Path, memory_mb: u32) -> Result<Self, ModelError> {
        // The child's own folder is another one.
        let path = std::path::absolute(path).map_err(ModelError::Start)?;
        let mut child = Command::new(PROGRAM)
            .arg("infer")
            .arg("--memory-mb")
            .arg(memory_mb.to_string())
            .arg("--model")
            .arg(path)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(ModelError::Start)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(ModelError::Start(std::io::Error::other("no pipes")));
        };
        let mut output = BufReader::new(output);
        let about = match hear(&mut output, &mut child, LOAD).await? {
            Said::Ready(about) => about,
            Said::Failed(problem) => return Err(ModelError::Refused(problem)),
            Said::Found(_) => return Err(ModelError::Died("it spoke out of turn".into())),
        };
        let labels = about.labels.iter().map(|label| Arc::from(label.as_str())).collect();
        Ok(Self { about, labels, child, input, output, in_step: true })
    }

    /// What is loaded.
    #[must_use]
    pub const fn about(&self) -> &About {
        &self.about
    }

    /// The objects of at least `confidence` (0 to 1) in `frame`, best first, each once.
    ///
    /// # Errors
    /// [`ModelError`]; after all but [`ModelError::Refused`] and [`ModelError::Large`] the model
    /// has to be loaded again.
    pub async fn detect(
        &mut self,
        frame: &RgbImage,
        confidence: f32,
    ) -> Result<Vec<Detection>, ModelError> {
        let (width, height) = frame.dimensions();
        if u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(ModelError::Large(width, height));
        }
        if !std::mem::replace(&mut self.in_step, false) {
            return Err(ModelError::Died("a frame before was given up".into()));
        }
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&width.to_le_bytes());
        header[4..8].copy_from_slice(&height.to_le_bytes());
        header[8..].copy_from_slice(&confidence.to_le_bytes());
        let sent = timeout(FRAME, async {
            self.input.write_all(&header).await?;
            self.input.write_all(frame.as_raw()).await?;
            self.input.flush().await
        });
        // One that died while it read says why with its end.
        let _ = sent.await.map_err(|_| ModelError::Slow(FRAME))?;
        let said = hear(&mut self.output, &mut self.child, FRAME).await?;
        self.in_step = true;
        match said {
            Said::Found(found) => Ok(found
                .into_iter()
                .filter_map(|one| {
                    let label = Arc::clone(self.labels.get(one.class)?);
                    let (class, confidence, bbox) = (one.class, one.confidence, one.bbox);
                    Some(Detection { label, class, confidence, bbox })
                })
                .collect()),
            Said::Failed(problem) => Err(ModelError::Refused(problem)),
            Said::Ready(_) => Err(ModelError::Died("it spoke out of turn".into())),
        }
    }
}

async fn hear(
    output: &mut BufReader<ChildStdout>,
    child: &mut Child,
    patience: Duration,
) -> Result<Said, ModelError> {
    let answer = async {
        let length = output.read_u32_le().await?;
        if length > MAX_ANSWER {
            return Err(std::io::Error::other("an answer without an end"));
        }
        let mut json = vec![0; length as usize];
        output.read_exact(&mut json).await?;
        Ok(serde_json::from_slice(&json)?)
    };
    match timeout(patience, answer).await {
        Ok(Ok(said)) => Ok(said),
        Ok(Err(_)) => Err(ModelError::Died(why(child).await)),
        Err(_) => {
            let _ = child.kill().await;
            Err(ModelError::Slow(patience))
        }
    }
}

/// How a process ended, and what it said last.
async fn why(child: &mut Child) -> String {
    let mut words = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = timeout(END, stderr.take(LAST_WORDS as u64).read_to_end(&mut words)).await;
    }
    let ended = match timeout(END, child.wait()).await {
        Ok(Ok(status)) => status.to_string(),
        _ => {
            let _ = child.kill().await;
            "it hung up".to_owned()
        }
    };
    let words = String::from_utf8_lossy(&words);
    match words.lines().rfind(|line| !line.trim().is_empty()) {
        Some(last) => format!("{ended}: {}", last.chars().take(200).collect::<String>()),
        None => ended,
    }
}
