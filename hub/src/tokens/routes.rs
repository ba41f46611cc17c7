//! Contract, "3. Token Management".

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use cloudcore_protocol::{JoinToken, NodeName, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{NewToken, TokenInfo, Tokens};
use crate::{
    api::{Body, Page, Query, Refusal},
    auth::{Operator, Viewer},
    error::Error,
};

/// This room's routes.
pub fn routes(tokens: Arc<Tokens>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(generate)).routes(routes!(list)).with_state(tokens)
}

/// The line that a person runs on the node.
#[must_use]
pub fn join_command(address: &str, node: &NodeName, token: &JoinToken) -> String {
    format!(
        "keadm join --cloudcore-ipport={address} --edgenode-name={node} --token={}",
        token.expose()
    )
}

/// A join token that is wanted.
#[derive(Deserialize, ToSchema)]
#[schema(as = GenerateToken)]
struct Generate {
    /// The only node that it lets in.
    #[schema(value_type = String, example = "edge-node-001", min_length = 1, max_length = 100,
        pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$")]
    node_name: NodeName,
    /// Its life; the setting `token_expiry` where absent.
    #[schema(minimum = 1, maximum = 8760, example = 72)]
    expiry_hours: Option<u32>,
    /// For people; at most 500 characters.
    #[schema(max_length = 500, example = "Factory floor device")]
    description: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct GenerateQuery {
    /// Whether the node may join with it again until it expires; false where absent.
    #[serde(default)]
    #[param(required = false)]
    reusable: bool,
}

/// A join token.
#[derive(Serialize, ToSchema)]
#[schema(as = GeneratedToken)]
struct Generated {
    /// `success`.
    #[schema(example = "success")]
    status: &'static str,
    /// The only node that it lets in.
    #[schema(value_type = String, example = "edge-node-001")]
    node_name: NodeName,
    /// The token; it is not shown again.
    #[schema(
        example = "dab11b0b6882dd33cd715a3bc9fe0bcbefd29daf56904d42d2ccbcc6da1aa361.eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9..."
    )]
    token: String,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// The line to run on the node.
    #[schema(
        example = "keadm join --cloudcore-ipport=3.70.53.21:30374 --edgenode-name=edge-node-001 --token=..."
    )]
    join_command: String,
}

/// Generate a join token
#[utoipa::path(post, path = "/api/kubeedge/token/generate", operation_id = "generate_token",
    tag = "Tokens",
    security(("bearer" = ["operator"]), ("api_key" = ["operator"])),
    params(GenerateQuery),
    request_body(content = Generate, example = json!({
        "node_name": "edge-node-001", "expiry_hours": 72, "description": "Factory floor device"
    })),
    responses((status = 200, description = "The token", body = Generated)))]
async fn generate(
    State(tokens): State<Arc<Tokens>>,
    _: Operator,
    Query(query): Query<GenerateQuery>,
    Body(body): Body<Generate>,
) -> Result<Json<Generated>, Refusal> {
    let life = match body.expiry_hours {
        None => tokens.default_life(),
        Some(hours @ 1..=8760) => Duration::from_secs(u64::from(hours) * 3600),
        Some(_) => return Err(Error::invalid("expiry_hours must be 1 to 8760").into()),
    };
    if body.description.as_ref().is_some_and(|text| text.chars().count() > 500) {
        return Err(Error::invalid("description must have at most 500 characters").into());
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
    Ok(Json(Generated {
        status: "success",
        token: issued.token.expose(),
        expires_at: issued.expires_at,
        join_command: join_command(tokens.advertised(), &body.node_name, &issued.token),
        node_name: body.node_name,
    }))
}

/// Which tokens a list names.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Rows at most; 100 where absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<i64>,
    /// Of this node.
    #[param(value_type = Option<String>, min_length = 1, max_length = 100,
        pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$")]
    node_name: Option<NodeName>,
}

/// Join tokens.
#[derive(Serialize, ToSchema)]
struct TokenList {
    /// How many match.
    #[schema(example = 3)]
    count: i64,
    /// This page of them, newest first; the tokens themselves are not shown again.
    tokens: Vec<TokenInfo>,
    /// For the next page; null on the last.
    next_cursor: Option<i64>,
}

/// List join tokens
#[utoipa::path(get, path = "/api/kubeedge/tokens", operation_id = "list_tokens",
    tag = "Tokens", params(ListQuery),
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"])),
    responses((status = 200, description = "One page of them", body = TokenList)))]
async fn list(
    State(tokens): State<Arc<Tokens>>,
    _: Viewer,
    Query(query): Query<ListQuery>,
) -> Result<Json<TokenList>, Refusal> {
    let page = Page { limit: query.limit, cursor: query.cursor };
    let (count, tokens, next_cursor) = tokens.list(page, query.node_name.as_ref()).await?;
    Ok(Json(TokenList { count, tokens, next_cursor }))
}
