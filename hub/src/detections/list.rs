//! The list of what was detected: one entry an object, from its start to its end.

use std::collections::HashMap;

use cloudcore_protocol::{BoundingBox, Timestamp};
use serde_json::json;
use sqlx::FromRow;

use super::Detections;
use crate::{api::Page, db, error::Result};

/// What is wanted of the list.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) page: Page,
    pub(super) device_id: Option<String>,
    pub(super) object: Option<String>,
}

const MATCHES: &str =
    "phase = 'started' AND ($1 = '' OR device_id = $1) AND ($2 = '' OR object = $2)";

/// A start or an end, as it is stored.
#[derive(Debug, FromRow)]
struct Row {
    id: i64,
    device_id: String,
    track_id: i64,
    detection_id: Option<String>,
    object: String,
    confidence: f64,
    bounding_box: String,
    frame_width: i64,
    frame_height: i64,
    model: String,
    captured_at: i64,
    zones: Option<String>,
}

/// An object that was detected.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) device_id: String,
    pub(super) track_id: u64,
    pub(super) detection_id: Option<String>,
    pub(super) object: String,
    pub(super) confidence: f64,
    pub(super) bounding_box: Option<BoundingBox>,
    pub(super) frame_width: i64,
    pub(super) frame_height: i64,
    pub(super) model: String,
    pub(super) zones: Vec<String>,
    pub(super) started_at: Timestamp,
    pub(super) ended_at: Option<Timestamp>,
    /// A link's path, where there is a picture.
    pub(super) image: Option<String>,
}

impl Detections {
    /// One page of what was detected, newest first; how many match in all, and the next page's
    /// cursor.
    ///
    /// # Errors
    /// API-001 for a bad page.
    pub(super) async fn list(&self, filter: &Filter) -> Result<(i64, Vec<Listed>, Option<i64>)> {
        let limit = filter.page.limit()?;
        let count: i64 = db::joined(&["SELECT count(*) FROM detections WHERE ", MATCHES])
            .bind(filter.device_id.as_deref().unwrap_or_default())
            .bind(filter.object.as_deref().unwrap_or_default())
            .value(&self.db)
            .await?;
        let page = [
            "SELECT id, device_id, track_id, detection_id, object, confidence, bounding_box, \
             CAST(frame_width AS BIGINT) AS frame_width, \
             CAST(frame_height AS BIGINT) AS frame_height, model, captured_at, zones \
             FROM detections WHERE ",
            MATCHES,
            " AND id < $3 ORDER BY id DESC LIMIT $4",
        ];
        let starts: Vec<Row> = db::joined(&page)
            .bind(filter.device_id.as_deref().unwrap_or_default())
            .bind(filter.object.as_deref().unwrap_or_default())
            .bind(filter.page.cursor.unwrap_or(i64::MAX))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .all(&self.db)
            .await?;
        let next = starts.last().filter(|_| starts.len() == limit).map(|last| last.id);
        let ends = self.ends_of(&starts).await?;
        let ids: Vec<&str> = starts.iter().filter_map(|row| row.detection_id.as_deref()).collect();
        let pictured = self.blobs.with_snapshots(&ids).await?;
        let listed = starts.into_iter().map(|start| {
            let image = start.detection_id.as_ref().filter(|id| pictured.contains(*id));
            let image = image.map(|id| self.blobs.link(&start.device_id, id));
            let end = end_of(&start, &ends);
            // Its end knows the best look at it and all of its zones.
            let best = end.unwrap_or(&start);
            let zones = best.zones.as_deref().and_then(|text| serde_json::from_str(text).ok());
            Listed {
                confidence: best.confidence,
                bounding_box: serde_json::from_str(&best.bounding_box).ok(),
                zones: zones.unwrap_or_default(),
                started_at: Timestamp::from_micros(start.captured_at),
                ended_at: end.map(|end| Timestamp::from_micros(end.captured_at)),
                track_id: start.track_id.cast_unsigned(),
                device_id: start.device_id,
                detection_id: start.detection_id,
                object: start.object,
                frame_width: start.frame_width,
                frame_height: start.frame_height,
                model: start.model,
                image,
            }
        });
        Ok((count, listed.collect(), next))
    }

    /// The ends of the tracks that these starts are of, by device and track.
    async fn ends_of(&self, starts: &[Row]) -> Result<HashMap<(String, i64), Vec<Row>>> {
        let tracks: Vec<_> =
            starts.iter().map(|row| json!([row.device_id, row.track_id])).collect();
        let ends: Vec<Row> = db::sql(
            "SELECT d.id, d.device_id, d.track_id, d.detection_id, d.object, d.confidence, \
             d.bounding_box, CAST(d.frame_width AS BIGINT) AS frame_width, \
             CAST(d.frame_height AS BIGINT) AS frame_height, d.model, d.captured_at, d.zones \
             FROM {rows} JOIN detections d ON d.device_id = value->>0 \
             AND d.track_id = CAST(value->>1 AS BIGINT) WHERE d.phase = 'ended' ORDER BY d.id",
        )
        .bind(json!(tracks).to_string())
        .all(&self.db)
        .await?;
        let mut by_track: HashMap<_, Vec<Row>> = HashMap::new();
        for end in ends {
            by_track.entry((end.device_id.clone(), end.track_id)).or_default().push(end);
        }
        Ok(by_track)
    }
}

/// The end of the object that this is the start of. A device whose disk was replaced counts its
/// tracks from one again.
fn end_of<'a>(start: &Row, ends: &'a HashMap<(String, i64), Vec<Row>>) -> Option<&'a Row> {
    let ends = ends.get(&(start.device_id.clone(), start.track_id))?;
    ends.iter().find(|end| match (&start.detection_id, &end.detection_id) {
        (Some(start), Some(end)) => start == end,
        _ => end.id > start.id,
    })
}
