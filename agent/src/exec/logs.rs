//! `get_logs`.

use cloudcore_protocol::{Timestamp, command::GetLogs};
use serde_json::{Value, json};

use super::Rooms;
use crate::logs::Line;

/// Most bytes of the lines as JSON: the result travels in one frame.
const MOST: usize = 200 * 1024;

impl Rooms {
    pub(super) fn own_logs(&self, asked: &GetLogs) -> Value {
        let since = asked.since.map(|since| since.from(Timestamp::now()));
        let last = self.logs.last(asked.lines.get().into(), since, asked.level);
        let mut room = MOST;
        let mut lines: Vec<Value> = last
            .iter()
            .map(|line| shown(line))
            .take_while(|line| {
                let size = line.to_string().len() + 1;
                let fits = size <= room;
                room = room.saturating_sub(size);
                fits
            })
            .collect();
        let clipped = lines.len() < last.len();
        lines.reverse();
        json!({ "success": true, "count": lines.len(), "clipped": clipped, "lines": lines })
    }
}

fn shown(line: &Line) -> Value {
    json!({
        "timestamp": line.at,
        "level": line.level,
        "target": line.target,
        "message": line.text,
    })
}
