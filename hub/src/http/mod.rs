//! The API's front: merges the rooms' routes, and does once what every request wants: a request
//! id, an identity, a size limit, and errors in the contract's form.

mod problem;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use url::Url;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    api::{BaseUrl, Refusal},
    auth::{Auth, Caller, Identity, PublicMonitoring},
    error::{Code, Error, Result},
    keys,
};

/// Longest answer, but for streams, which have begun by then.
const ANSWER: Duration = Duration::from_secs(30);
/// How long requests may still run when the hub stops.
const DRAIN: Duration = Duration::from_secs(5);

/// What the front needs to know.
pub struct Front {
    /// Who is who.
    pub auth: Arc<Auth>,
    /// Base of links, where it is set.
    pub public_url: Option<Url>,
    /// Whether anybody may watch.
    pub public_monitoring: bool,
}

/// The whole API.
pub fn router(front: Arc<Front>, rooms: impl IntoIterator<Item = OpenApiRouter>) -> Router {
    let (all, _) =
        rooms.into_iter().fold(OpenApiRouter::new(), OpenApiRouter::merge).split_for_parts();
    all.fallback(|| async { Error::new(Code::NotFound, "there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            Refusal {
                error: Error::invalid("this path does not take this method"),
                status: Some(StatusCode::METHOD_NOT_ALLOWED),
            }
        })
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(middleware::from_fn(deadline))
        .layer(middleware::from_fn_with_state(front, enter))
        .layer(middleware::from_fn(problem::finish))
}

async fn deadline(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            Error::new(Code::Unavailable, "the answer took too long; try again").into_response()
        }
    }
}

/// Puts what the request proved about its sender into it, and checks the version it wants.
async fn enter(State(front): State<Arc<Front>>, mut request: Request, next: Next) -> Response {
    if let Some(refusal) = unknown_version(request.headers()) {
        return refusal.into_response();
    }
    let identity = identify(&front.auth, request.headers());
    let base = base_url(front.public_url.as_ref(), request.headers());
    let extensions = request.extensions_mut();
    extensions.insert(identity);
    extensions.insert(BaseUrl(base.into()));
    if front.public_monitoring {
        extensions.insert(PublicMonitoring);
    }
    next.run(request).await
}

fn identify(auth: &Auth, headers: &HeaderMap) -> Identity {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Identity::Anonymous };
    // The scheme's case does not matter (RFC 9110, 11.1).
    let token = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    match token {
        None => Identity::Invalid("Authorization must be Bearer <token>".into()),
        Some(token) => match auth.session(token) {
            Ok(user) => Identity::Caller(Caller::User(user)),
            Err(error) => Identity::Invalid(error.message.into_owned()),
        },
    }
}

/// Contract, "API Versioning": v1 is what there is.
fn unknown_version(headers: &HeaderMap) -> Option<Refusal> {
    const VENDOR: &str = "application/vnd.kubeedge.";
    let asked = headers.get(header::ACCEPT)?.to_str().ok()?;
    let mut versions = asked
        .split(',')
        .filter_map(|range| range.split(';').next()?.trim().strip_prefix(VENDOR))
        .peekable();
    versions.peek()?;
    if versions.any(|version| version == "v1+json") {
        return None;
    }
    Some(Refusal {
        error: Error::invalid("this hub speaks application/vnd.kubeedge.v1+json"),
        status: Some(StatusCode::NOT_ACCEPTABLE),
    })
}

/// Where the client reaches us: as set, or as it asked. A host that is no host is left out.
fn base_url(public: Option<&Url>, headers: &HeaderMap) -> String {
    if let Some(url) = public {
        return url.as_str().trim_end_matches('/').to_owned();
    }
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .filter(|host| host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b)));
    host.map_or_else(String::new, |host| format!("http://{host}"))
}

/// The header that names a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request's id: the client's own where it is a plain one.
fn request_id(headers: &HeaderMap) -> Result<String> {
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(|id| {
        (1..=64).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    });
    given.map_or_else(|| Ok(keys::hex(&keys::random::<8>()?)), |id| Ok(id.to_owned()))
}

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("invalid"))
}

/// Serves until `shutdown`, then lets what has begun end.
///
/// # Errors
/// The listener's.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let stop = shutdown.clone().cancelled_owned();
    let serving = axum::serve(listener, service).with_graceful_shutdown(stop);
    tokio::select! {
        served = serving => served,
        () = async {
            shutdown.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        } => Ok(()),
    }
}
