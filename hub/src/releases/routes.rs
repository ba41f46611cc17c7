//! What a machine that is no member yet may fetch.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tokio_util::io::ReaderStream;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{ARCHITECTURES, Release, Releases};
use crate::api::{BaseUrl, Path, Refusal};

const SCRIPT: &str = include_str!("../../../deploy/install.sh");

/// This room's routes.
pub fn routes(releases: Arc<Releases>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(script))
        .routes(routes!(list))
        .routes(routes!(download))
        .with_state(releases)
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = AgentReleases)]
struct Listed {
    /// How many.
    total_count: usize,
    /// Newest first.
    releases: Vec<Release>,
}

/// Get the agent's installer
///
/// A shell script that installs this hub's newest release of the agent and joins; it holds the
/// SHA-256 of what it fetches.
#[utoipa::path(get, path = "/install.sh", operation_id = "get_installer", tag = "Installation",
    security(()),
    responses((status = 200, description = "The script", body = String,
        content_type = "text/x-shellscript")))]
async fn script(
    State(releases): State<Arc<Releases>>,
    Extension(BaseUrl(base)): Extension<BaseUrl>,
) -> Result<Response, Refusal> {
    let all = releases.list().await?;
    let newest: String = ARCHITECTURES
        .iter()
        .filter_map(|wanted| all.iter().find(|release| release.architecture == *wanted))
        .map(|r| format!("{} {} {}\n", r.architecture, r.file, r.sha256))
        .collect();
    let text = SCRIPT
        .replace("@BASE@", &quoted(&base))
        .replace("@HUB@", &quoted(&releases.advertised))
        .replace("@RELEASES@", &quoted(newest.trim_end()));
    let headers = [
        (header::CONTENT_TYPE, "text/x-shellscript; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, text).into_response())
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// List the agent's releases
#[utoipa::path(get, path = "/downloads", operation_id = "list_releases", tag = "Installation",
    security(()), responses((status = 200, description = "What can be installed", body = Listed)))]
async fn list(State(releases): State<Arc<Releases>>) -> Result<Json<Listed>, Refusal> {
    let releases = releases.list().await?;
    Ok(Json(Listed { total_count: releases.len(), releases }))
}

/// Get a release, or its signature
#[utoipa::path(get, path = "/downloads/{file}", operation_id = "get_release",
    tag = "Installation", security(()),
    params(("file" = String, Path, description = "Its name, `.minisig` behind it for the signature",
        max_length = 200)),
    responses((status = 200, description = "The file", content(
        (String = "application/octet-stream")))))]
async fn download(
    State(releases): State<Arc<Releases>>,
    Path(file): Path<String>,
) -> Result<Response, Refusal> {
    let (opened, size) = releases.open(&file).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    Ok((headers, Body::from_stream(ReaderStream::new(opened))).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stays_one_word() {
        assert_eq!(quoted("a'; rm -rf /; '"), r"'a'\''; rm -rf /; '\'''");
    }
}
