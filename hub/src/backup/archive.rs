//! The archive's file: tar in zstd, the manifest first. Reading believes nothing: names, sizes,
//! numbers and hashes are checked while the bytes go by, none of them is unpacked to the disk, and
//! what unpacks to more than [`MAX_UNPACKED`] is refused.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, BufWriter, Read},
    path::{Path, PathBuf},
};

use ring::digest;
use serde_json::{Map, Value};

use super::manifest::{FORMAT, Manifest, Part};
use crate::{
    error::{Code, Error, Result},
    keys,
};

/// Largest archive, bytes.
pub(super) const MAX_ARCHIVE: u64 = 2 * 1024 * 1024 * 1024;
/// Most that all of it may unpack to, bytes.
pub(super) const MAX_UNPACKED: u64 = 4 * 1024 * 1024 * 1024;
const MAX_MANIFEST: u64 = 1024 * 1024;
const MAX_PARTS: usize = 64;
/// Longest row, bytes of JSON.
pub(super) const MAX_LINE: usize = 4 * 1024 * 1024;
const MANIFEST: &str = "manifest.json";

/// Where a part's bytes are until they are packed.
pub(super) enum Content {
    File(PathBuf),
    Bytes(Vec<u8>),
}

fn disk(error: io::Error) -> Error {
    Error {
        cause: Some(error.into()),
        ..Error::new(Code::Unavailable, "the archive can't be written or read; is the disk full?")
    }
}

/// API-001: the archive is not what it should be.
pub(super) fn damaged(why: impl std::fmt::Display) -> Error {
    Error::invalid(format!("the archive is damaged or was altered: {why}"))
}

/// Writes the archive, durably.
pub(super) fn write(path: &Path, manifest: &Manifest, contents: &[Content]) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let pack = || -> io::Result<()> {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        let mut packed = zstd::Encoder::new(BufWriter::new(file), 3)?;
        packed.include_checksum(true)?;
        let mut tar = tar::Builder::new(packed);
        let header = |size| {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o600);
            header.set_size(size);
            header
        };
        let text = serde_json::to_vec_pretty(manifest)?;
        tar.append_data(&mut header(text.len() as u64), MANIFEST, text.as_slice())?;
        for (part, content) in manifest.parts.iter().zip(contents) {
            let mut header = header(part.size);
            match content {
                Content::Bytes(bytes) => {
                    tar.append_data(&mut header, &part.name, bytes.as_slice())?;
                }
                Content::File(path) => {
                    tar.append_data(&mut header, &part.name, BufReader::new(File::open(path)?))?;
                }
            }
        }
        let file =
            tar.into_inner()?.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()
    };
    pack().map_err(disk)
}

/// Reads the archive to its end, and gives `visit` each part's bytes; whatever it leaves is read
/// all the same. `begin` sees the manifest before any part.
///
/// # Errors
/// API-001 for an archive that is too new, too large, truncated or altered.
pub(super) fn read(
    path: &Path,
    begin: impl FnOnce(&Manifest) -> Result<()>,
    mut visit: impl FnMut(&Part, &mut dyn Read) -> Result<()>,
) -> Result<Manifest> {
    let file = File::open(path).map_err(disk)?;
    if file.metadata().map_err(disk)?.len() > MAX_ARCHIVE {
        return Err(Error::invalid(format!("the archive has more than {MAX_ARCHIVE} bytes")));
    }
    let mut unpacked = zstd::Decoder::new(file).map_err(damaged)?;
    // What our own level takes; an archive may not ask for gigabytes.
    unpacked.window_log_max(27).map_err(damaged)?;
    let mut tar = tar::Archive::new(unpacked.take(MAX_UNPACKED));
    // Raw: tar would read the extensions for long names whole, however large they say they are.
    let mut entries = tar.entries().map_err(damaged)?.raw(true);

    let mut first = entries.next().ok_or_else(|| damaged("it is empty"))?.map_err(damaged)?;
    if name(&first)? != MANIFEST || first.size() > MAX_MANIFEST {
        return Err(damaged("it does not begin with a manifest"));
    }
    let mut text = Vec::new();
    first.read_to_end(&mut text).map_err(damaged)?;
    let manifest = parse(&text)?;
    begin(&manifest)?;

    let mut missing: Vec<_> = manifest.parts.iter().collect();
    for entry in entries {
        let mut entry = entry.map_err(damaged)?;
        let name = name(&entry)?;
        let at = missing.iter().position(|part| part.name == name && part.size == entry.size());
        let part = missing.swap_remove(at.ok_or_else(|| damaged("a part that is not listed"))?);
        let mut reader = Hashing { inner: &mut entry, hash: digest::Context::new(&digest::SHA256) };
        visit(part, &mut reader)?;
        io::copy(&mut reader, &mut io::sink()).map_err(damaged)?;
        if keys::hex(reader.hash.finish().as_ref()) != part.sha256 {
            return Err(damaged(format!("{} has another hash than listed", part.name)));
        }
    }
    if let Some(part) = missing.first() {
        return Err(damaged(format!("{} is missing", part.name)));
    }
    // To the last byte: what is cut off there is an end that does not come.
    let mut rest = tar.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(damaged)?;
    if rest.limit() == 0 {
        return Err(Error::invalid(format!(
            "the archive unpacks to more than {MAX_UNPACKED} bytes"
        )));
    }
    Ok(manifest)
}

fn name<R: Read>(entry: &tar::Entry<'_, R>) -> Result<String> {
    if !entry.header().entry_type().is_file() {
        return Err(damaged("something that is no file"));
    }
    String::from_utf8(entry.path_bytes().into_owned()).map_err(damaged)
}

fn parse(text: &[u8]) -> Result<Manifest> {
    let value: Value = serde_json::from_slice(text).map_err(damaged)?;
    match value.get("format").and_then(Value::as_u64) {
        Some(format) if format > u64::from(FORMAT) => {
            return Err(Error::invalid(format!(
                "the archive has format {format}, and this hub knows up to {FORMAT}: \
                 restore it with a newer hub"
            )));
        }
        Some(_) => {}
        None => return Err(damaged("its manifest has no format")),
    }
    let manifest: Manifest = serde_json::from_value(value).map_err(damaged)?;
    let sum = manifest.parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(part.size));
    if manifest.parts.len() > MAX_PARTS || sum.is_none_or(|sum| sum > MAX_UNPACKED) {
        return Err(Error::invalid(format!(
            "the archive unpacks to more than {MAX_UNPACKED} bytes"
        )));
    }
    Ok(manifest)
}

/// Hashes what is read through it.
struct Hashing<'a, R> {
    inner: &'a mut R,
    hash: digest::Context,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

/// The JSON objects of a part, one a line.
pub(super) fn lines(
    reader: &mut dyn Read,
    mut each: impl FnMut(Map<String, Value>) -> Result<()>,
) -> Result<u64> {
    let mut reader = BufReader::new(reader);
    let (mut line, mut count) = (Vec::new(), 0);
    loop {
        line.clear();
        let limit = MAX_LINE as u64 + 1;
        let read = reader.by_ref().take(limit).read_until(b'\n', &mut line).map_err(damaged)?;
        if read == 0 {
            return Ok(count);
        }
        if line.pop() != Some(b'\n') {
            return Err(damaged("a row without an end"));
        }
        each(serde_json::from_slice(&line).map_err(damaged)?)?;
        count += 1;
    }
}

/// Writes JSON objects, one a line, and knows what it wrote.
pub(super) struct Lines<W> {
    to: W,
    hash: digest::Context,
    /// Bytes so far.
    pub size: u64,
    /// Lines so far.
    pub rows: u64,
}

impl<W: io::Write> Lines<W> {
    pub fn new(to: W) -> Self {
        Self { to, hash: digest::Context::new(&digest::SHA256), size: 0, rows: 0 }
    }

    pub fn push(&mut self, row: &impl serde::Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(row).map_err(Error::internal)?;
        line.push(b'\n');
        self.size += line.len() as u64;
        if line.len() > MAX_LINE || self.size > MAX_UNPACKED {
            return Err(Error::invalid(format!(
                "a table has more than {MAX_UNPACKED} bytes: leave it out of the backup"
            )));
        }
        self.rows += 1;
        self.hash.update(&line);
        self.to.write_all(&line).map_err(disk)
    }

    /// What was written to, and the hash of it, hex.
    pub fn finish(mut self) -> Result<(W, String)> {
        self.to.flush().map_err(disk)?;
        Ok((self.to, keys::hex(self.hash.finish().as_ref())))
    }
}
