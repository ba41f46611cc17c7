//! Contract, "Testing Endpoints".

use std::sync::Arc;

use axum::{Json, extract::State};
use cloudcore_protocol::{DeviceId, Timestamp, command::Ports};
use serde::{Deserialize, Serialize};
use utoipa::{
    ToSchema,
    openapi::schema::{Array, ArrayBuilder, ObjectBuilder, SchemaType, Type},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Diagnostics, Probe, Report};
use crate::{
    api::{self, Body, Path, Refusal},
    auth::{Operator, Viewer},
    error::Error,
};

/// This room's routes.
pub fn routes(diagnostics: Arc<Diagnostics>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(test_connection))
        .routes(routes!(test_results))
        .with_state(diagnostics)
}

/// What to test.
#[derive(Deserialize, ToSchema)]
struct TestConnection {
    /// On which device.
    #[schema(value_type = String, example = "edge-device-001", min_length = 1, max_length = 100,
        pattern = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]
    device_id: DeviceId,
    /// Which tests, none twice.
    #[schema(value_type = std::collections::HashSet<Probe>, min_items = 1, max_items = 3,
        example = json!(["ping", "port_check", "camera_test"]))]
    tests: Vec<Probe>,
    /// TCP ports of the device that have to be open for `port_check` to pass, none twice. Where
    /// absent, it looks at 22, 80, 443 and 5001, and passes whatever it finds.
    #[schema(schema_with = ports_schema)]
    ports: Option<Ports>,
}

fn ports_schema() -> Array {
    let port = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .maximum(Some(65_535))
        .build();
    ArrayBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
        .items(port)
        .min_items(Some(1))
        .max_items(Some(Ports::MAX))
        .unique_items(true)
        .description(Some(
            "TCP ports of the device that have to be open for port_check to pass. Where absent, it \
             looks at 22, 80, 443 and 5001, and passes whatever it finds.",
        ))
        .build()
}

/// Tests that began.
#[derive(Serialize, ToSchema)]
#[schema(as = TestStarted)]
struct Started {
    /// `success`: they have begun.
    #[schema(example = "success")]
    status: &'static str,
    /// For their results.
    #[schema(example = "test_3f9c2a71d0b84e56")]
    test_id: String,
    /// The device that runs them.
    #[schema(value_type = String, example = "edge-device-001")]
    device_id: DeviceId,
    /// Which.
    tests: Vec<Probe>,
    /// When they began.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
}

/// Test the connection to a device
///
/// The tests run on the device; a device that is away is API-008 at once.
#[utoipa::path(post, path = "/api/kubeedge/test/connection", tag = "Testing",
    security(("bearer" = ["operator"]), ("api_key" = ["operator"])),
    request_body(content = TestConnection, example = json!({
        "device_id": "edge-device-001", "tests": ["ping", "port_check", "camera_test"]
    })),
    responses((status = 200, description = "They have begun", body = Started, example = json!({
        "status": "success", "test_id": "test_3f9c2a71d0b84e56", "device_id": "edge-device-001",
        "tests": ["ping", "port_check", "camera_test"], "started_at": "2024-01-15T10:30:00Z"
    }))))]
async fn test_connection(
    State(diagnostics): State<Arc<Diagnostics>>,
    _: Operator,
    Body(body): Body<TestConnection>,
) -> Result<Json<Started>, Refusal> {
    let TestConnection { device_id, tests, ports } = body;
    if tests.is_empty() {
        return Err(Error::invalid("tests must name at least one test").into());
    }
    if tests.iter().enumerate().any(|(at, test)| tests[..at].contains(test)) {
        return Err(Error::invalid("tests must not name a test twice").into());
    }
    let (device, asked) = (device_id.clone(), tests.clone());
    let begun =
        api::to_the_end(async move { diagnostics.begin(&device, &asked, ports.as_ref()).await })
            .await?;
    Ok(Json(Started {
        status: "success",
        test_id: begun.test_id,
        device_id,
        tests,
        started_at: begun.started_at,
    }))
}

/// Get what came of tests
#[utoipa::path(get, path = "/api/kubeedge/test/results/{test_id}", operation_id = "get_test_results",
    tag = "Testing",
    security(("bearer" = ["viewer"]), ("api_key" = ["viewer"])),
    params(("test_id" = String, Path, description = "Id of the tests", max_length = 40,
        example = "test_3f9c2a71d0b84e56")),
    responses((status = 200, description = "How they stand", body = Report,
        example = json!({
            "test_id": "test_3f9c2a71d0b84e56", "device_id": "edge-device-001",
            "status": "completed",
            "results": [{
                "test": "ping", "status": "passed", "latency": "12ms", "latency_ms": 12.3,
                "details": { "success": true, "round_trip_ms": 12.3 }, "error": null
            }],
            "started_at": "2024-01-15T10:30:00Z", "completed_at": "2024-01-15T10:30:01Z"
        }))))]
async fn test_results(
    State(diagnostics): State<Arc<Diagnostics>>,
    _: Viewer,
    Path(test_id): Path<String>,
) -> Result<Json<Report>, Refusal> {
    Ok(Json(diagnostics.report(&test_id).await?))
}
