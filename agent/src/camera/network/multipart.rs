//! `multipart/x-mixed-replace`: pictures one after another in an answer that does not end.

use super::{
    NetworkError,
    wire::{Head, Wire},
};

/// Largest picture as a file, bytes.
pub(super) const MAX_PICTURE: usize = 16 << 20;
/// Longest boundary, bytes; the standard has 70.
const MAX_BOUNDARY: usize = 200;
/// Most lines before a part begins.
const MAX_GAP: usize = 16;

/// Takes an answer apart.
pub(super) struct Parts {
    /// With its two dashes.
    boundary: String,
}

impl Parts {
    /// As `Content-Type` says. `None` where that is something else.
    pub(super) fn of(content_type: &str) -> Option<Result<Self, NetworkError>> {
        let mut fields = content_type.split(';');
        let kind = fields.next()?.trim();
        if !kind.get(..10)?.eq_ignore_ascii_case("multipart/") {
            return None;
        }
        let boundary = fields.find_map(|field| {
            let (key, value) = field.split_once('=')?;
            key.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
        });
        // Some cameras name the boundary with the dashes that belong before it.
        let boundary = boundary.map(|name| name.trim_start_matches('-'));
        Some(match boundary {
            Some(name) if !name.is_empty() && name.len() <= MAX_BOUNDARY => {
                Ok(Self { boundary: format!("--{name}") })
            }
            _ => Err(NetworkError::Protocol("its parts have no boundary")),
        })
    }

    /// The next part's body.
    pub(super) fn next(&self, wire: &mut Wire) -> Result<Vec<u8>, NetworkError> {
        self.begin(wire)?;
        let head = Head::of(wire.fields()?);
        let Some(length) = head.length()? else { return self.until_boundary(wire) };
        if length > MAX_PICTURE {
            return Err(NetworkError::TooLarge("a picture"));
        }
        wire.exactly(length, "a picture")
    }

    /// Goes on to behind the next boundary's line.
    fn begin(&self, wire: &mut Wire) -> Result<(), NetworkError> {
        for _ in 0..MAX_GAP {
            let line = wire.line()?;
            let dashes = line.trim_start_matches('-');
            let name = self.boundary.trim_start_matches('-');
            if line.starts_with("--") {
                match dashes.trim_end().strip_prefix(name) {
                    Some("") => return Ok(()),
                    Some("--") => return Err(NetworkError::Closed),
                    _ => {}
                }
            }
        }
        Err(NetworkError::Protocol("a part does not begin"))
    }

    /// A body whose length is not said.
    fn until_boundary(&self, wire: &mut Wire) -> Result<Vec<u8>, NetworkError> {
        let mark = format!("\n{}", self.boundary).into_bytes();
        let mut looked = 0;
        loop {
            let pending = wire.pending();
            if let Some(at) = pending[looked..].windows(mark.len()).position(|seen| seen == mark) {
                let end = looked + at;
                let body = &pending[..end];
                let body = body.strip_suffix(b"\r").unwrap_or(body).to_vec();
                // The boundary itself begins the next part.
                wire.take(end + 1);
                return Ok(body);
            }
            looked = pending.len().saturating_sub(mark.len());
            if pending.len() > MAX_PICTURE {
                return Err(NetworkError::TooLarge("a picture"));
            }
            wire.fill("a picture")?;
        }
    }
}
