//! Contract, "3. Token Management".

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use cloudcore_protocol::{JoinToken, NodeName};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{NewToken, Tokens};
use crate::{
    api::{Body, Page, Query, Refusal},
    auth::{Operator, Viewer},
    error::{Error, Result},
};

/// This room's routes.
pub fn routes(tokens: Arc<Tokens>) -> Router {
    Router::new()
        .route("/api/kubeedge/token/generate", post(generate))
        .route("/api/kubeedge/tokens", get(list))
        .with_state(tokens)
}

/// The line that a person runs on the node.
#[must_use]
pub fn join_command(address: &str, node: &NodeName, token: &JoinToken) -> String {
    format!(
        "keadm join --cloudcore-ipport={address} --edgenode-name={node} --token={}",
        token.expose()
    )
}

#[derive(Deserialize)]
struct Generate {
    node_name: NodeName,
    expiry_hours: Option<u32>,
    description: Option<String>,
}

#[derive(Deserialize)]
struct GenerateQuery {
    #[serde(default)]
    reusable: bool,
}

async fn generate(
    State(tokens): State<Arc<Tokens>>,
    _: Operator,
    Query(query): Query<GenerateQuery>,
    Body(body): Body<Generate>,
) -> Result<Json<Value>, Refusal> {
    let life = match body.expiry_hours {
        None => tokens.default_life(),
        Some(hours @ 1..=8760) => Duration::from_secs(u64::from(hours) * 3600),
        Some(_) => return Err(Error::invalid("expiry_hours must be 1 to 8760").into()),
    };
    if body.description.as_ref().is_some_and(|text| text.len() > 500) {
        return Err(Error::invalid("description must have at most 500 bytes").into());
    }
    let issued = tokens
        .issue(&NewToken {
            node_name: body.node_name.clone(),
            device_id: None,
            life,
            description: body.description,
            reusable: query.reusable,
        })
        .await?;
    Ok(Json(json!({
        "status": "success",
        "node_name": body.node_name,
        "token": issued.token.expose(),
        "expires_at": issued.expires_at,
        "join_command": join_command(tokens.advertised(), &body.node_name, &issued.token),
    })))
}

#[derive(Deserialize)]
struct ListQuery {
    limit: Option<u32>,
    cursor: Option<i64>,
    node_name: Option<NodeName>,
}

async fn list(
    State(tokens): State<Arc<Tokens>>,
    _: Viewer,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, Refusal> {
    let page = Page { limit: query.limit, cursor: query.cursor };
    let (count, tokens, next) = tokens.list(page, query.node_name.as_ref()).await?;
    Ok(Json(json!({ "count": count, "tokens": tokens, "next_cursor": next })))
}
