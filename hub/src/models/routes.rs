//! The catalog's routes.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{DefaultBodyLimit, FromRequest as _, Multipart, Request, State, multipart::Field},
    http::{StatusCode, header},
};
use cloudcore_protocol::{ModelId, ModelName, ModelVersion};
use ring::digest;
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncWriteExt as _, time::timeout};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Description, Model, Models, Upload, description::MAX_DESCRIPTION};
use crate::{
    api::{Done, Page, Path, Query, Refusal, to_the_end},
    auth::{Operator, Viewer},
    error::{Code, Error, Result},
    keys,
    settings::Settings,
};

/// Longest wait for more of an upload.
const SILENCE: Duration = Duration::from_secs(30);
/// What an upload has beside the ONNX file, bytes.
const ENVELOPE: u64 = 1024 * 1024;

#[derive(Clone)]
struct Rooms {
    models: Arc<Models>,
    settings: Arc<Settings>,
}

/// This room's routes.
pub fn routes(models: Arc<Models>, settings: Arc<Settings>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list, upload))
        .routes(routes!(show, remove))
        // The room counts itself: what a model may have is a setting.
        .layer(DefaultBodyLimit::disable())
        .with_state(Rooms { models, settings })
}

#[derive(Serialize, utoipa::ToSchema)]
struct ModelAnswer {
    /// Always `success`.
    #[schema(example = "success")]
    status: &'static str,
    #[serde(flatten)]
    model: Model,
}

/// A model and its description, as `multipart/form-data`.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only the document reads it")]
struct ModelUpload {
    /// The JSON that stands beside an ONNX file: `name`, `version`, `sha256`, `licence`, `source`,
    /// `head.family`, `input`, `labels`, and what else agents want to know; at most 64 KiB.
    #[schema(value_type = String, format = Binary, content_media_type = "application/json")]
    description: Vec<u8>,
    /// The ONNX file.
    #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
    model: Vec<u8>,
}

/// Add a model to the catalog
///
/// The same upload again has the same answer; a version never changes its bytes or description.
#[utoipa::path(post, path = "/api/kubeedge/models", operation_id = "upload_model", tag = "Models",
    security(("bearer" = ["operator"]), ("api_key" = ["operator"])),
    request_body(content = inline(ModelUpload), content_type = "multipart/form-data"),
    responses((status = 200, description = "It is in the catalog", body = ModelAnswer))
)]
async fn upload(
    State(rooms): State<Rooms>,
    Operator(caller): Operator,
    request: Request,
) -> Result<Json<ModelAnswer>, Refusal> {
    let models = rooms.models;
    rooms.settings.check_open()?;
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > models.most.saturating_add(ENVELOPE)) {
        return Err(too_large(models.most));
    }
    let Ok(_slot) = models.slots.try_acquire() else {
        let busy = "other models are being uploaded; try again";
        return Err(Error::new(Code::Unavailable, busy).into());
    };
    let mut form = Multipart::from_request(request, &()).await.map_err(|e| Refusal {
        error: Error::invalid(format!(
            "the body must be multipart/form-data, as of curl -F description=@model.json -F \
             model=@model.onnx: {}",
            e.body_text()
        )),
        status: Some(StatusCode::UNSUPPORTED_MEDIA_TYPE),
    })?;
    let (mut description, mut model) = (None, None);
    loop {
        let field = match timeout(SILENCE, form.next_field()).await {
            Ok(field) => field.map_err(|e| bad_form(&e))?,
            Err(_) => return Err(stalled().into()),
        };
        let Some(field) = field else { break };
        match field.name() {
            Some("description") if description.is_none() => {
                description = Some(Description::parse(&small(field).await?)?);
            }
            Some("model") if model.is_none() => model = Some(models.receive(field).await?),
            other => {
                let other = crate::api::clip(other.unwrap_or_default(), 40);
                return Err(Error::invalid(format!(
                    "the form's parts are one description and one model, and not '{other}'"
                ))
                .into());
            }
        }
    }
    let missing = |what: &str| Error::invalid(format!("the form lacks the part '{what}'"));
    let description = description.ok_or_else(|| missing("description"))?;
    let upload = model.ok_or_else(|| missing("model"))?;
    let (room, by) = (Arc::clone(&models), caller.name().to_owned());
    let added = to_the_end(async move { room.add(&description, &upload, &by).await });
    Ok(Json(ModelAnswer { status: "success", model: added.await? }))
}

fn too_large(most: u64) -> Refusal {
    Refusal {
        error: Error::invalid(format!(
            "a model must have at most {most} bytes (the hub's setting max_model_mb)"
        )),
        status: Some(StatusCode::PAYLOAD_TOO_LARGE),
    }
}

fn bad_form(error: &axum::extract::multipart::MultipartError) -> Error {
    Error::invalid(format!("the form broke off or is none: {}", error.body_text()))
}

fn stalled() -> Error {
    Error::invalid(format!("nothing of the form came for {} s", SILENCE.as_secs()))
}

/// A description's bytes.
async fn small(mut field: Field<'_>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = next(&mut field).await? {
        if bytes.len() + chunk.len() > MAX_DESCRIPTION {
            return Err(Error::invalid(format!(
                "the description must have at most {MAX_DESCRIPTION} bytes"
            )));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

async fn next(field: &mut Field<'_>) -> Result<Option<bytes::Bytes>> {
    match timeout(SILENCE, field.chunk()).await {
        Ok(chunk) => chunk.map_err(|e| bad_form(&e)),
        Err(_) => Err(stalled()),
    }
}

impl Models {
    /// Writes a model into a file, and hashes it on the way.
    async fn receive(&self, mut field: Field<'_>) -> Result<Upload, Refusal> {
        let disk = |e: std::io::Error| Error {
            cause: Some(e.into()),
            ..Error::new(Code::Unavailable, "the hub's disk does not take the model now; try again")
        };
        let path = tempfile::NamedTempFile::new_in(&self.uploads).map_err(disk)?;
        let mut file = tokio::fs::File::from_std(path.reopen().map_err(disk)?);
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut size = 0_u64;
        while let Some(chunk) = next(&mut field).await? {
            size += chunk.len() as u64;
            if size > self.most {
                return Err(too_large(self.most));
            }
            hash.update(&chunk);
            file.write_all(&chunk).await.map_err(disk)?;
        }
        file.flush().await.map_err(disk)?;
        if size == 0 {
            return Err(Error::invalid("the model is empty").into());
        }
        Ok(Upload { path, sha256: keys::hex(hash.finish().as_ref()), size })
    }
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Rows at most.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<i64>,
    /// All versions of this one.
    #[param(value_type = Option<String>, min_length = 1, max_length = 64,
        pattern = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]
    name: Option<ModelName>,
}

#[derive(Serialize, utoipa::ToSchema)]
struct ModelList {
    /// How many match.
    count: i64,
    /// In the order in which they came.
    models: Vec<Model>,
    /// `cursor` of the next page, if there may be one.
    next_cursor: Option<i64>,
}

/// List the catalog of models
#[utoipa::path(get, path = "/api/kubeedge/models", operation_id = "list_models", tag = "Models",
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"])),
    params(ListQuery),
    responses((status = 200, description = "One page of the models", body = ModelList))
)]
async fn list(
    State(rooms): State<Rooms>,
    _: Viewer,
    Query(query): Query<ListQuery>,
) -> Result<Json<ModelList>, Refusal> {
    let page = Page { limit: query.limit, cursor: query.cursor };
    let name = query.name.as_ref().map(ModelName::as_str);
    let (count, models, next_cursor) = rooms.models.list(name, page).await?;
    Ok(Json(ModelList { count, models, next_cursor }))
}

/// Show a model of the catalog
#[utoipa::path(get, path = "/api/kubeedge/models/{name}/{version}", operation_id = "get_model",
    tag = "Models",
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"])),
    params(("name" = String, Path, max_length = 64, example = "nanodet"),
        ("version" = String, Path, max_length = 64, example = "3.0.4")),
    responses((status = 200, description = "The model", body = Model))
)]
async fn show(
    State(rooms): State<Rooms>,
    _: Viewer,
    Path((name, version)): Path<(ModelName, ModelVersion)>,
) -> Result<Json<Model>, Refusal> {
    Ok(Json(rooms.models.get(&ModelId { name, version }).await?))
}

/// Remove a model from the catalog
///
/// Devices that have it keep it and go on.
#[utoipa::path(delete, path = "/api/kubeedge/models/{name}/{version}",
    operation_id = "delete_model", tag = "Models",
    security(("bearer" = ["operator"]), ("api_key" = ["operator"])),
    params(("name" = String, Path, max_length = 64, example = "nanodet"),
        ("version" = String, Path, max_length = 64, example = "3.0.4")),
    responses((status = 200, description = "Removed", body = Done))
)]
async fn remove(
    State(rooms): State<Rooms>,
    _: Operator,
    Path((name, version)): Path<(ModelName, ModelVersion)>,
) -> Result<Json<Done>, Refusal> {
    let id = ModelId { name, version };
    let message = format!("Model {id} removed; devices that have it keep it");
    to_the_end(async move { rooms.models.delete(&id).await }).await?;
    Ok(Json(Done::new(message)))
}
