//! The dashboard: pages that are in this program and fetch everything else from the API. They hold
//! nothing that is secret, so anybody may have them; what they show is for who has logged in.

use std::{collections::HashMap, sync::LazyLock};

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use utoipa_axum::router::OpenApiRouter;

use crate::keys;

/// Path, bytes, and the same with gzip, as `build.rs` found them.
type Built = (&'static str, &'static [u8], &'static [u8]);
const BUILT: &[Built] = include!(concat!(env!("OUT_DIR"), "/dashboard.rs"));

/// What a browser gets from a program without the pages.
const MISSING: &str = include_str!("dashboard/missing.html");

/// Nothing from elsewhere, and no script or style in the page itself. The frame shows Swagger.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
    connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

struct File {
    content_type: &'static str,
    bytes: &'static [u8],
    packed: Option<&'static [u8]>,
    tag: String,
    /// Its name has its hash in it.
    is_hashed: bool,
}

static FILES: LazyLock<HashMap<&'static str, File>> = LazyLock::new(|| {
    let mut files: HashMap<_, _> = BUILT
        .iter()
        .map(|&(path, bytes, packed)| (path, File::new(path, bytes, Some(packed))))
        .collect();
    files.entry("/").or_insert_with(|| File::new("/", MISSING.as_bytes(), None));
    files
});

impl File {
    fn new(path: &str, bytes: &'static [u8], packed: Option<&'static [u8]>) -> Self {
        let content_type = match path.rsplit_once('.').map(|(_, ending)| ending) {
            None => "text/html; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            Some(_) => "application/octet-stream",
        };
        let tag = format!("\"{}\"", keys::sha256_hex(bytes).get(..32).unwrap_or_default());
        Self { content_type, bytes, packed, tag, is_hashed: path.starts_with("/assets/") }
    }
}

/// The pages' paths, which no document describes: they are no part of the API.
pub fn routes() -> OpenApiRouter {
    FILES.keys().fold(OpenApiRouter::new(), |router, path| router.route(path, get(serve)))
}

/// Whether this is a page's file.
pub fn has(path: &str) -> bool {
    FILES.contains_key(path)
}

async fn serve(uri: Uri, asked: HeaderMap) -> Response {
    let Some(file) = FILES.get(uri.path()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let says = |name: HeaderName, what: &str| {
        asked.get_all(name).iter().filter_map(|value| value.to_str().ok()).any(|value| {
            value.split(',').any(|part| part.split(';').next().unwrap_or_default().trim() == what)
        })
    };
    let mut headers = HeaderMap::new();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(header::CONTENT_TYPE, file.content_type);
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "no-referrer");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(header::VARY, "Accept-Encoding");
    let forever = "public, max-age=31536000, immutable";
    set(header::CACHE_CONTROL, if file.is_hashed { forever } else { "no-cache" });
    if let Ok(tag) = HeaderValue::from_str(&file.tag) {
        headers.insert(header::ETAG, tag);
    }
    if says(header::IF_NONE_MATCH, &file.tag) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    match file.packed.filter(|_| says(header::ACCEPT_ENCODING, "gzip")) {
        Some(packed) => {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            (headers, packed).into_response()
        }
        None => (headers, file.bytes).into_response(),
    }
}
