//! The cache on the disk: `DATA_DIR/models/NAME/VERSION/`, each folder whole or not there.
//!
//! What has come so far stands beside it as `NAME@VERSION.SHA256.part`: it is gone on with only
//! for the bytes of that hash.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use cloudcore_protocol::ModelId;
use ring::digest;

use crate::{
    config::{LAST_GOOD, MODEL_DESCRIPTION, model_dir, models_dir},
    detect::ModelDescription,
    files,
};

/// The ONNX file's name in its folder.
const ONNX: &str = "model.onnx";
/// Most models in the cache, whatever their size.
const MAX_MODELS: usize = 16;

/// What there is of a model that did not come whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub sha256: String,
    pub size: u64,
}

pub(super) fn part_path(data_dir: &Path, id: &ModelId, sha256: &str) -> PathBuf {
    models_dir(data_dir).join(format!("{id}.{sha256}.part"))
}

/// What has come of a model. Parts of other models are removed: one is fetched at a time.
pub(super) fn find_part(data_dir: &Path, id: &ModelId) -> io::Result<Option<Part>> {
    let dir = models_dir(data_dir);
    files::create_private_dir(&dir)?;
    let own = format!("{id}.");
    let mut found = None;
    for entry in fs::read_dir(&dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(part) = name.to_str().and_then(|name| name.strip_suffix(".part")) else {
            continue;
        };
        match part.strip_prefix(&own).filter(|sha256| sha256.len() == 64 && found.is_none()) {
            Some(sha256) => {
                let size = entry.metadata()?.len();
                found = Some(Part { sha256: sha256.to_owned(), size });
            }
            None => fs::remove_file(entry.path())?,
        }
    }
    Ok(found)
}

/// SHA-256 of a file, hex.
pub(super) fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    Ok(hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Makes a part that was found to be whole a model of the cache.
pub(super) fn install(
    data_dir: &Path,
    id: &ModelId,
    part: &Path,
    description: &ModelDescription,
) -> io::Result<()> {
    let dir = model_dir(data_dir, id);
    let parent = dir.parent().ok_or(io::ErrorKind::InvalidInput)?;
    files::create_private_dir(parent)?;
    // No version begins with a dot.
    let temporary = parent.join(format!(".{}.tmp", id.version));
    remove_dir(&temporary)?;
    files::create_private_dir(&temporary)?;
    let description = ModelDescription { file: ONNX.to_owned(), ..description.clone() };
    let text = serde_json::to_vec_pretty(&description).map_err(io::Error::other)?;
    let mut file = File::create(temporary.join(MODEL_DESCRIPTION))?;
    file.write_all(&text)?;
    file.sync_all()?;
    File::open(part)?.sync_all()?;
    fs::rename(part, temporary.join(ONNX))?;
    File::open(&temporary)?.sync_all()?;
    remove_dir(&dir)?;
    fs::rename(&temporary, &dir)?;
    File::open(parent)?.sync_all()?;
    File::open(models_dir(data_dir))?.sync_all()
}

fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// What the cache says of a model; `None` where it is not there.
pub(super) fn description(data_dir: &Path, id: &ModelId) -> Option<ModelDescription> {
    let text = fs::read(model_dir(data_dir, id).join(MODEL_DESCRIPTION)).ok()?;
    ModelDescription::parse(&text).ok()
}

/// Removes a model whose bytes are not what they were; whether it is there and whole.
pub(super) fn verify(data_dir: &Path, id: &ModelId) -> io::Result<bool> {
    let dir = model_dir(data_dir, id);
    if !dir.is_dir() {
        return Ok(false);
    }
    let whole = description(data_dir, id)
        .is_some_and(|known| sha256_of(&dir.join(ONNX)).is_ok_and(|found| found == known.sha256));
    if !whole {
        tracing::warn!(model = %id, "the cached model is damaged and removed");
        remove_dir(&dir)?;
    }
    Ok(whole)
}

/// Notes the model that was loaded.
pub(super) fn note_good(data_dir: &Path, id: &ModelId) -> io::Result<()> {
    files::create_private_dir(&models_dir(data_dir))?;
    files::write_private(&models_dir(data_dir).join(LAST_GOOD), format!("{id}\n").as_bytes())
}

struct Cached {
    id: ModelId,
    dir: PathBuf,
    size: u64,
    since: SystemTime,
}

/// Removes the oldest models until the rest fits; never one of `kept`.
pub(super) fn prune(data_dir: &Path, kept: &[ModelId], most: u64) -> io::Result<()> {
    let mut cached = Vec::new();
    for name in fs::read_dir(models_dir(data_dir))?.flatten() {
        let Ok(versions) = fs::read_dir(name.path()) else { continue };
        for version in versions.flatten() {
            let (folder, sub) = (name.file_name(), version.file_name());
            let id = format!("{}@{}", folder.to_string_lossy(), sub.to_string_lossy());
            let Ok(id) = id.parse::<ModelId>() else { continue };
            let size = |file: &str| fs::metadata(version.path().join(file)).map_or(0, |m| m.len());
            let size = size(ONNX) + size(MODEL_DESCRIPTION);
            let since = version.metadata()?.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            cached.push(Cached { id, dir: version.path(), size, since });
        }
    }
    cached.sort_by_key(|model| model.since);
    let mut total: u64 = cached.iter().map(|model| model.size).sum();
    let mut count = cached.len();
    for model in cached.iter().filter(|model| !kept.contains(&model.id)) {
        if total <= most && count <= MAX_MODELS {
            break;
        }
        remove_dir(&model.dir)?;
        tracing::info!(model = %model.id, "removed from the cache, to make room");
        total -= model.size;
        count -= 1;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    fn put(data_dir: &Path, id: &str, size: usize) -> ModelId {
        let id: ModelId = id.parse().unwrap();
        let dir = model_dir(data_dir, &id);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(ONNX), vec![0; size]).unwrap();
        id
    }

    #[test]
    fn the_oldest_goes_first_and_never_what_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let ids: Vec<_> = ["a@1", "b@1", "a@2"].map(|id| put(dir.path(), id, 100)).into();
        for (age, id) in [(30, &ids[0]), (20, &ids[1]), (10, &ids[2])] {
            let then = SystemTime::now() - std::time::Duration::from_secs(age);
            File::open(model_dir(dir.path(), id)).unwrap().set_modified(then).unwrap();
        }
        let there = |id: &ModelId| model_dir(dir.path(), id).is_dir();
        prune(dir.path(), &ids[..1], 300).unwrap();
        assert!(ids.iter().all(there));
        prune(dir.path(), &ids[..1], 200).unwrap();
        assert_eq!(ids.iter().map(there).collect::<Vec<_>>(), [true, false, true]);
        prune(dir.path(), &ids[..1], 0).unwrap();
        assert_eq!(ids.iter().map(there).collect::<Vec<_>>(), [true, false, false]);
    }

    #[test]
    fn a_part_is_of_one_model_and_one_hash() {
        let dir = tempfile::tempdir().unwrap();
        let id: ModelId = "a@1".parse().unwrap();
        assert_eq!(find_part(dir.path(), &id).unwrap(), None);
        let sha256 = "0".repeat(64);
        fs::write(part_path(dir.path(), &id, &sha256), b"abc").unwrap();
        let other: ModelId = "a@1.1".parse().unwrap();
        fs::write(part_path(dir.path(), &other, &sha256), b"abcd").unwrap();
        assert_eq!(find_part(dir.path(), &id).unwrap(), Some(Part { sha256, size: 3 }));
        // Only the one that is fetched is kept.
        assert_eq!(find_part(dir.path(), &other).unwrap(), None);
    }
}
