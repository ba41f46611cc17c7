//! Pictures on disk as a camera: for tests, demonstrations, and programs that drop snapshots.

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use image::RgbImage;

use super::{Camera, CameraError, Frame};

/// A picture, or a folder of them.
pub(super) fn open(path: &Path, fps: Option<f64>) -> Result<Box<dyn Camera>, CameraError> {
    let pace = Pace { period: fps.map(|fps| Duration::from_secs_f64(1.0 / fps)), next: None };
    let metadata = fs::metadata(path).map_err(|e| read_error(path, e))?;
    if metadata.is_dir() {
        let mut folder = Folder { path: path.to_owned(), pace, queue: VecDeque::new() };
        folder.refill()?;
        return Ok(Box::new(folder));
    }
    let mut picture = Picture { path: path.to_owned(), pace };
    picture.read()?;
    Ok(Box::new(picture))
}

fn read_error(path: &Path, source: io::Error) -> CameraError {
    if source.kind() == io::ErrorKind::NotFound {
        return CameraError::Missing(path.to_owned());
    }
    CameraError::Read { path: path.to_owned(), source }
}

fn decode(path: &Path) -> Result<RgbImage, CameraError> {
    let file = fs::File::open(path).map_err(|e| read_error(path, e))?;
    super::decode::decode(io::BufReader::new(file))
        .map_err(|source| CameraError::Decode { path: path.to_owned(), source })
}

/// Makes captures come no faster than a camera's frames.
struct Pace {
    period: Option<Duration>,
    next: Option<Instant>,
}

impl Pace {
    fn wait(&mut self) {
        let Some(period) = self.period else { return };
        let now = Instant::now();
        let due = self.next.filter(|next| *next > now);
        if let Some(due) = due {
            thread::sleep(due - now);
        }
        // One who comes late gets his frame, but not a burst of those he missed.
        self.next = Some(due.unwrap_or(now) + period);
    }
}

/// One picture, read anew for each frame: it may have been replaced.
struct Picture {
    path: PathBuf,
    pace: Pace,
}

impl Picture {
    fn read(&mut self) -> Result<RgbImage, CameraError> {
        decode(&self.path)
    }
}

impl Camera for Picture {
    fn capture(&mut self) -> Result<Frame, CameraError> {
        self.pace.wait();
        self.read().map(Frame::now)
    }

    fn describe(&self) -> String {
        format!("picture {}", self.path.display())
    }
}

/// Pictures in order of their names, again and again; listed anew for each round.
struct Folder {
    path: PathBuf,
    pace: Pace,
    queue: VecDeque<PathBuf>,
}

impl Folder {
    fn refill(&mut self) -> Result<(), CameraError> {
        let listed = || -> io::Result<Vec<PathBuf>> {
            let mut files = Vec::new();
            for entry in fs::read_dir(&self.path)? {
                let path = entry?.path();
                if is_picture(&path) {
                    files.push(path);
                }
            }
            files.sort();
            Ok(files)
        };
        self.queue = listed().map_err(|e| read_error(&self.path, e))?.into();
        if self.queue.is_empty() {
            return Err(CameraError::NoPictures(self.path.clone()));
        }
        Ok(())
    }
}

fn is_picture(path: &Path) -> bool {
    let known =
        |ending: &str| ["png", "jpg", "jpeg"].iter().any(|e| ending.eq_ignore_ascii_case(e));
    path.extension().and_then(|ending| ending.to_str()).is_some_and(known)
}

impl Camera for Folder {
    fn capture(&mut self) -> Result<Frame, CameraError> {
        self.pace.wait();
        // The rest of this round and one whole round more: then nothing there can be decoded.
        for round in 0..2 {
            while let Some(path) = self.queue.pop_front() {
                match decode(&path) {
                    Ok(image) => return Ok(Frame::now(image)),
                    Err(error) => tracing::warn!(%error, "picture skipped"),
                }
            }
            if round == 0 {
                self.refill()?;
            }
        }
        Err(CameraError::NoPictures(self.path.clone()))
    }

    fn describe(&self) -> String {
        format!("pictures in {}", self.path.display())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may fail by panicking
mod tests {
    use super::{super::CameraSource, *};

    fn folder(files: &[(&str, u8)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, level) in files {
            let picture = RgbImage::from_pixel(4, 3, image::Rgb([*level; 3]));
            picture.save(folder.path().join(name)).unwrap();
        }
        folder
    }

    fn camera(path: &Path, query: &str) -> Box<dyn Camera> {
        let source: CameraSource = format!("file://{}{query}", path.display()).parse().unwrap();
        super::super::open(&source).unwrap()
    }

    #[test]
    fn a_folder_loops_in_order_and_skips_what_is_no_picture() {
        let folder = folder(&[("b.png", 2), ("a.png", 1), ("d.png", 4)]);
        fs::write(folder.path().join("c.png"), b"no picture").unwrap();
        fs::write(folder.path().join("notes.txt"), b"no picture").unwrap();
        let mut camera = camera(folder.path(), "");
        let levels: Vec<u8> =
            (0..7).map(|_| camera.capture().unwrap().image.get_pixel(0, 0)[0]).collect();
        assert_eq!(levels, [1, 2, 4, 1, 2, 4, 1]);
    }

    #[test]
    fn a_folder_without_a_good_picture_is_an_error_not_a_hang() {
        let empty = folder(&[]);
        assert!(matches!(open(empty.path(), None), Err(CameraError::NoPictures(_))));
        fs::write(empty.path().join("c.png"), b"no picture").unwrap();
        let capture = camera(empty.path(), "").capture();
        assert!(matches!(capture, Err(CameraError::NoPictures(_))));
    }

    #[test]
    fn a_picture_that_vanishes_and_returns_is_seen_again() {
        let folder = folder(&[("a.png", 1)]);
        let path = folder.path().join("a.png");
        let mut camera = camera(&path, "");
        assert_eq!(camera.capture().unwrap().image.dimensions(), (4, 3));
        fs::rename(&path, folder.path().join("b.png")).unwrap();
        assert!(matches!(camera.capture(), Err(CameraError::Missing(_))));
        fs::rename(folder.path().join("b.png"), &path).unwrap();
        assert!(camera.capture().is_ok());
        assert!(matches!(open(Path::new("/nowhere.png"), None), Err(CameraError::Missing(_))));
    }

    #[test]
    fn frames_come_no_faster_than_asked() {
        let folder = folder(&[("a.png", 1)]);
        let mut camera = camera(folder.path(), "?fps=50");
        let start = Instant::now();
        for _ in 0..4 {
            camera.capture().unwrap();
        }
        assert!(start.elapsed() >= Duration::from_millis(60));
    }
}
