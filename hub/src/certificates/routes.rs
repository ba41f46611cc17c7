//! Contract, "Security Endpoints": certificates.

use std::sync::Arc;

use axum::{Json, extract::State};
use cloudcore_protocol::NodeName;
use serde::{Deserialize, Serialize};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Certificate, Certificates, Filter, Target};
use crate::{
    api::{OptionalBody, Query, Refusal, to_the_end},
    auth::{Admin, Viewer},
    error::{Error, Result},
};

/// This room's routes.
pub fn routes(certificates: Arc<Certificates>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(renew)).with_state(certificates)
}

#[derive(Serialize, utoipa::ToSchema)]
struct CertificateList {
    /// How many match.
    count: i64,
    certificates: Vec<Certificate>,
    /// `cursor` of the next page, if there may be one.
    next_cursor: Option<i64>,
}

/// List SSL certificates
///
/// The hub's own first, then those of nodes.
#[utoipa::path(get, path = "/api/kubeedge/security/certificates", operation_id = "list_certificates",
    tag = "Security",
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"])),
    params(Filter),
    responses((status = 200, description = "One page of the certificates", body = CertificateList,
        example = json!({
            "count": 3,
            "certificates": [{
                "kind": "node", "subject": "CN=edge-node-001", "issuer": "CN=CloudCore hub CA",
                "serial": "4f0a", "fingerprint": "dab11b0b6882dd33cd715a3bc9fe0bcbefd29daf56904d42d2ccbcc6da1aa361",
                "not_before": "2024-01-15T10:30:00Z", "not_after": "2024-02-14T10:30:00Z",
                "days_left": 29, "status": "valid", "revoked_at": null,
                "node_name": "edge-node-001", "device_id": "edge-device-001",
                "in_use": true, "pem": null
            }],
            "next_cursor": null
        })))
)]
async fn list(
    State(certificates): State<Arc<Certificates>>,
    _: Viewer,
    Query(filter): Query<Filter>,
) -> Result<Json<CertificateList>, Refusal> {
    let (count, certificates, next_cursor) = certificates.list(&filter).await?;
    Ok(Json(CertificateList { count, certificates, next_cursor }))
}

/// What is to be renewed: where nothing is said, all that the hub itself shows.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[schema(as = RenewCertificates)]
struct Renew {
    /// `server` (both of the hub's), `link`, `https`, or `node`.
    target: Option<TargetName>,
    /// Which node, for `node`.
    #[schema(value_type = Option<String>, max_length = 100, example = "edge-node-001")]
    node_name: Option<NodeName>,
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = RenewTarget)]
enum TargetName {
    Server,
    Link,
    Https,
    Node,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CertificatesRenewed)]
struct Renewed {
    /// Always `success`.
    #[schema(example = "success")]
    status: &'static str,
    message: String,
    /// The new certificates.
    renewed: Vec<Certificate>,
}

/// Renew SSL certificates now
///
/// Sessions and requests go on.
#[utoipa::path(post, path = "/api/kubeedge/security/certificates/renew", operation_id = "renew_certificates",
    tag = "Security",
    security(("bearer" = ["admin"]), ("api_key" = ["admin"])),
    request_body(content = Option<Renew>, description = "What to renew; all of the hub's own where absent"),
    responses((status = 200, description = "Renewed", body = Renewed))
)]
async fn renew(
    State(certificates): State<Arc<Certificates>>,
    _: Admin,
    OptionalBody(body): OptionalBody<Renew>,
) -> Result<Json<Renewed>, Refusal> {
    let target = match (body.target, body.node_name) {
        (None | Some(TargetName::Node), Some(node)) => Target::Node(node),
        (Some(TargetName::Node), None) => {
            return Err(Error::invalid("node_name says which node's").into());
        }
        (Some(_), Some(_)) => {
            return Err(Error::invalid("node_name goes with the target node").into());
        }
        (None | Some(TargetName::Server), None) => Target::Server,
        (Some(TargetName::Link), None) => Target::Link,
        (Some(TargetName::Https), None) => Target::Https,
    };
    let renewed = to_the_end(async move { certificates.renew(target).await }).await?;
    let message = format!(
        "{} certificate{} renewed",
        renewed.len(),
        if renewed.len() == 1 { "" } else { "s" }
    );
    Ok(Json(Renewed { status: "success", message, renewed }))
}
