//! Pictures, of the schedule and of detected objects, kept until the hub has them.

use bytes::Bytes;
use cloudcore_protocol::{
    BlobHash, BlobHeader, Detection, EventBody, Frame, PictureKind, PictureOf, Timestamp, decode,
    encode,
};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Outbox, OutboxError, append, storage, track};

/// A picture that waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Its number; a later one has a larger.
    pub id: i64,
    /// What the hub is told of it.
    pub header: BlobHeader,
    /// The file.
    pub bytes: Bytes,
}

/// A picture of a detected object, a JPEG.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectPicture {
    /// When it was taken, by this machine's clock.
    pub captured_at: Timestamp,
    /// The file.
    pub bytes: Bytes,
    /// Which object it is of.
    pub of: PictureOf,
}

impl Outbox {
    /// Keeps a picture of the schedule.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn keep_picture(
        &self,
        captured_at: Timestamp,
        content_type: &'static str,
        bytes: Bytes,
    ) -> Result<(), OutboxError> {
        self.thread
            .call(move |db| insert(db, &header(captured_at, content_type, &bytes, None), &bytes))
            .await
    }

    /// Keeps these detections, which objects are in sight, and their pictures: all or nothing. A
    /// snapshot takes the place of an earlier one of its object that still waits.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn detections_with(
        &self,
        detections: Vec<Detection>,
        pictures: Vec<ObjectPicture>,
    ) -> Result<(), OutboxError> {
        self.thread
            .call(move |db| {
                for detection in &detections {
                    track(db, detection)?;
                    append(db, EventBody::Detection(detection.clone()))?;
                }
                for ObjectPicture { captured_at, bytes, of } in &pictures {
                    insert(db, &header(*captured_at, "image/jpeg", bytes, Some(of)), bytes)?;
                }
                Ok(())
            })
            .await
    }

    /// The picture that is to go next: the oldest of a detected object, who may be there now, and
    /// then the oldest of the schedule.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn next_picture(&self) -> Result<Option<Picture>, OutboxError> {
        self.thread
            .call(|db| {
                let first: Option<i64> = db
                    .prepare_cached(
                        "SELECT coalesce((SELECT min(id) FROM picture \
                         WHERE detection_id IS NOT NULL), (SELECT min(id) FROM picture))",
                    )?
                    .query_row([], |row| row.get(0))?;
                db.prepare_cached(
                    "SELECT id, captured_at, content_type, bytes, header FROM picture \
                     WHERE id = ?1",
                )?
                .query_row([first], |row| {
                    let bytes: Bytes = row.get::<_, Vec<u8>>(3)?.into();
                    let written: Option<Vec<u8>> = row.get(4)?;
                    let written = written.and_then(|frame| match decode(&frame) {
                        Ok(Frame::BlobHeader(header)) => Some(header),
                        _ => None,
                    });
                    let header = match written {
                        Some(header) => header,
                        // Kept by an agent that wrote none.
                        None => {
                            let content_type: String = row.get(2)?;
                            let at = Timestamp::from_micros(row.get(1)?);
                            self::header(at, &content_type, &bytes, None)
                        }
                    };
                    Ok(Picture { id: row.get(0)?, header, bytes })
                })
                .optional()
            })
            .await
    }

    /// Deletes a picture that the hub has, or does not want.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub async fn delivered_picture(&self, id: i64) -> Result<(), OutboxError> {
        self.thread
            .call(move |db| {
                db.prepare_cached("DELETE FROM picture WHERE id = ?1")?.execute([id]).map(drop)
            })
            .await
    }
}

fn header(
    captured_at: Timestamp,
    content_type: &str,
    bytes: &[u8],
    of: Option<&PictureOf>,
) -> BlobHeader {
    BlobHeader {
        hash: BlobHash::of(bytes),
        size: bytes.len() as u64,
        content_type: content_type.to_owned(),
        command_id: None,
        captured_at: Some(captured_at),
        detection: of.cloned(),
    }
}

fn insert(db: &Connection, header: &BlobHeader, bytes: &[u8]) -> rusqlite::Result<()> {
    let of = header.detection.as_ref();
    let (id, kind) = (of.map(|of| of.id.as_str()), of.map(|of| kind(of.kind)));
    if of.is_some_and(|of| of.kind == PictureKind::Snapshot) {
        db.prepare_cached("DELETE FROM picture WHERE detection_id = ?1 AND kind = ?2")?
            .execute(params![id, kind])?;
    }
    let written = encode(&Frame::BlobHeader(header.clone())).map_err(storage)?;
    db.prepare_cached(
        "INSERT INTO picture (captured_at, content_type, bytes, ran, detection_id, kind, header) \
         VALUES (?1, ?2, ?3, (SELECT value FROM meta WHERE key = 'ran_seconds'), ?4, ?5, ?6)",
    )?
    .execute(params![
        header.captured_at.map(Timestamp::micros),
        header.content_type,
        bytes,
        id,
        kind,
        written.as_ref(),
    ])
    .map(drop)
}

const fn kind(kind: PictureKind) -> i64 {
    match kind {
        PictureKind::Snapshot => 0,
        PictureKind::PreRoll => 1,
    }
}
