//! Which pictures a device took: by command, by its own schedule, of detected objects.

use std::{collections::HashSet, str::FromStr};

use cloudcore_protocol::{BlobHeader, BoundingBox, DetectionId, DeviceId, PictureKind, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::FromRow;

use super::Blobs;
use crate::{
    api,
    db::{self, Db, Write},
    error::{Error, Result},
};

/// Why there is a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PictureKind)]
pub enum Kind {
    /// A command asked for it.
    Command,
    /// The device's schedule.
    Scheduled,
    /// The best look at a detected object.
    Snapshot,
    /// What was there shortly before a detected object came.
    PreRoll,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Command, Self::Scheduled, Self::Snapshot, Self::PreRoll];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Scheduled => "scheduled",
            Self::Snapshot => "snapshot",
            Self::PreRoll => "pre_roll",
        }
    }

    fn of(header: &BlobHeader) -> Self {
        match header.detection.as_ref().map(|of| of.kind) {
            Some(PictureKind::Snapshot) => Self::Snapshot,
            Some(PictureKind::PreRoll) => Self::PreRoll,
            None if header.command_id.is_some() => Self::Command,
            None => Self::Scheduled,
        }
    }
}

/// A picture in the list.
#[derive(Debug, FromRow)]
pub struct Picture {
    /// Its number.
    id: i64,
    /// When it was taken, by the device's clock, microseconds.
    captured_at: i64,
    /// SHA-256 of the file, hex.
    pub hash: String,
    /// Media type.
    pub content_type: String,
    /// The file's size.
    pub size: i64,
    kind: String,
    /// The command that asked for it.
    pub command_id: Option<String>,
    detection_id: String,
    /// The detected object's label.
    pub object: Option<String>,
    /// Its score.
    pub confidence: Option<f64>,
    bounding_box: Option<String>,
}

impl Picture {
    /// When it was taken, by the device's clock.
    pub const fn captured_at(&self) -> Timestamp {
        Timestamp::from_micros(self.captured_at)
    }

    /// Why it was taken.
    pub fn kind(&self) -> Kind {
        let known = Kind::ALL.into_iter().find(|kind| kind.as_str() == self.kind);
        known.unwrap_or(Kind::Scheduled)
    }

    /// The detected object that it is of.
    pub fn detection_id(&self) -> Option<&str> {
        Some(self.detection_id.as_str()).filter(|id| !id.is_empty())
    }

    /// Where the object is in it.
    pub fn bounding_box(&self) -> Option<BoundingBox> {
        serde_json::from_str(self.bounding_box.as_ref()?).ok()
    }

    /// Where the page after this picture begins.
    pub const fn cursor(&self) -> Cursor {
        Cursor { captured_at: self.captured_at, id: self.id }
    }
}

/// A place in the list, `TIME.NUMBER`.
#[derive(Debug, Clone, Copy)]
pub struct Cursor {
    captured_at: i64,
    id: i64,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.captured_at, self.id)
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (captured_at, id) = text.split_once('.')?;
            Some(Self { captured_at: captured_at.parse().ok()?, id: id.parse().ok()? })
        };
        parse().ok_or_else(|| Error::invalid("cursor must be a next_cursor of this list"))
    }
}

/// What is wanted of the list.
#[derive(Debug, Default)]
pub struct Filter {
    /// After this place.
    pub after: Option<Cursor>,
    /// Only of this kind.
    pub kind: Option<Kind>,
    /// Only of this object.
    pub detection_id: Option<DetectionId>,
    /// Most.
    pub limit: i64,
}

/// Longest label, characters: the column's width.
const MAX_OBJECT: usize = 100;

/// Notes a picture that is stored, and gives the hashes of those that it takes the place of.
/// Repeating it changes nothing; a snapshot that is older than the one that is there is not noted.
pub(super) async fn note(
    tx: &mut Write,
    device: &DeviceId,
    header: &BlobHeader,
) -> Result<Vec<String>> {
    let now = Timestamp::now();
    let captured_at = header.captured_at.unwrap_or(now).micros();
    let kind = Kind::of(header);
    let of = header.detection.as_ref();
    let id = of.map_or("", |of| of.id.as_str());
    let hash = header.hash.to_string();
    let mut replaced = Vec::new();
    if kind == Kind::Snapshot {
        let others: Vec<(i64, i64, String)> = db::sql(
            "SELECT id, captured_at, hash FROM pictures \
             WHERE device_id = $1 AND detection_id = $2 AND kind = 'snapshot'",
        )
        .bind(device.as_str())
        .bind(id)
        .all(&mut *tx)
        .await?;
        if others.iter().any(|(_, at, _)| *at > captured_at) {
            return Ok(vec![hash]);
        }
        for (row, at, old) in others {
            if at < captured_at {
                db::sql("DELETE FROM pictures WHERE id = $1").bind(row).run(&mut *tx).await?;
                replaced.push(old);
            }
        }
    }
    let place = of.and_then(|of| of.bounding_box).filter(is_finite);
    let score = of.and_then(|of| of.confidence).filter(|score| score.is_finite());
    db::sql(
        "INSERT INTO pictures (device_id, captured_at, hash, detection_id, kind, command_id, \
         object, confidence, bounding_box, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
         ON CONFLICT (device_id, captured_at, hash, detection_id) DO NOTHING",
    )
    .bind(device.as_str())
    .bind(captured_at)
    .bind(hash)
    .bind(id)
    .bind(kind.as_str())
    .bind(header.command_id.as_ref().map(ToString::to_string))
    .bind(of.map(|of| api::clip(&of.object, MAX_OBJECT)))
    .bind(score.map(|score| f64::from(score.clamp(0.0, 1.0))))
    .bind(place.map(|place| json!(place).to_string()))
    .bind(now.micros())
    .run(tx)
    .await?;
    Ok(replaced)
}

/// Not every peer is ours.
fn is_finite(place: &BoundingBox) -> bool {
    [place.x, place.y, place.width, place.height].into_iter().all(f32::is_finite)
}

/// What is drawn into a picture.
#[derive(Debug)]
pub(super) struct Label {
    /// Where.
    pub(super) place: BoundingBox,
    /// What stands there.
    pub(super) text: String,
}

/// Most boxes in a picture.
const MAX_BOXES: i64 = 64;

/// A picture, as far as it is known what is in it.
#[derive(FromRow)]
struct Known {
    hash: String,
    object: Option<String>,
    confidence: Option<f64>,
    bounding_box: Option<String>,
}

impl Known {
    fn label(&self) -> Option<Label> {
        let place = serde_json::from_str(self.bounding_box.as_ref()?).ok()?;
        let object = self.object.as_deref().unwrap_or_default();
        let text = match self.confidence {
            Some(score) => format!("{object} {:.0}%", score * 100.0),
            None => object.to_owned(),
        };
        Some(Label { place, text })
    }
}

/// The best picture of a detected object: its hash, and where the object is in it.
pub(super) async fn best(
    db: &Db,
    device: &DeviceId,
    id: &DetectionId,
) -> Result<Option<(String, Option<Label>)>> {
    let best: Option<Known> = db::sql(
        "SELECT hash, object, confidence, bounding_box FROM pictures \
         WHERE device_id = $1 AND detection_id = $2 AND kind = 'snapshot' \
         ORDER BY captured_at DESC LIMIT 1",
    )
    .bind(device.as_str())
    .bind(id.as_str())
    .optional(db)
    .await?;
    Ok(best.map(|best| (best.hash.clone(), best.label())))
}

/// What is known to be in a picture, by its hash.
pub(super) async fn labels(db: &Db, device: &DeviceId, hash: &str) -> Result<Vec<Label>> {
    let known: Vec<Known> = db::sql(
        "SELECT hash, object, confidence, bounding_box FROM pictures \
         WHERE device_id = $1 AND hash = $2 AND bounding_box IS NOT NULL \
         ORDER BY id LIMIT $3",
    )
    .bind(device.as_str())
    .bind(hash)
    .bind(MAX_BOXES)
    .all(db)
    .await?;
    Ok(known.iter().filter_map(Known::label).collect())
}

impl Blobs {
    /// A device's pictures, newest first.
    ///
    /// # Errors
    /// API-004 for a device that is not known; the database's.
    pub async fn pictures(&self, device: &DeviceId, filter: &Filter) -> Result<Vec<Picture>> {
        let known: i64 = db::sql("SELECT count(*) FROM devices WHERE device_id = $1")
            .bind(device.as_str())
            .value(&self.db)
            .await?;
        if known == 0 {
            return Err(Error::not_found("device", device.as_str()));
        }
        let after = filter.after.unwrap_or(Cursor { captured_at: i64::MAX, id: i64::MAX });
        Ok(db::sql(
            "SELECT p.id, p.captured_at, p.hash, b.content_type, b.size, p.kind, p.command_id, \
             p.detection_id, p.object, p.confidence, p.bounding_box \
             FROM pictures p JOIN blobs b ON b.device_id = p.device_id AND b.hash = p.hash \
             WHERE p.device_id = $1 AND (p.captured_at, p.id) < ($2, $3) \
             AND ($4 = '' OR p.kind = $4) AND ($5 = '' OR p.detection_id = $5) \
             ORDER BY p.captured_at DESC, p.id DESC LIMIT $6",
        )
        .bind(device.as_str())
        .bind(after.captured_at)
        .bind(after.id)
        .bind(filter.kind.map_or("", Kind::as_str))
        .bind(filter.detection_id.as_ref().map_or("", DetectionId::as_str))
        .bind(filter.limit)
        .all(&self.db)
        .await?)
    }

    /// Which of these detected objects have a picture.
    ///
    /// # Errors
    /// The database's.
    pub async fn with_snapshots(&self, ids: &[&str]) -> Result<HashSet<String>> {
        let ids: Vec<[&str; 1]> = ids.iter().map(|id| [*id]).collect();
        let found: Vec<String> = db::sql(
            "SELECT detection_id FROM pictures JOIN {rows} ON detection_id = value->>0 \
             WHERE kind = 'snapshot' AND detection_id <> ''",
        )
        .bind(json!(ids).to_string())
        .values(&self.db)
        .await?;
        Ok(found.into_iter().collect())
    }
}
