//! The API's front: merges the rooms' routes, and does once what every request wants: a request
//! id, an identity, a limit, a line in the audit log, and errors in the contract's form.

mod deprecation;
mod idempotency;
mod openapi;
mod postman;
mod problem;
mod rate;
mod serve;
mod tls;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension, Router,
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tower_http::catch_panic::CatchPanicLayer;
use url::Url;
use utoipa_axum::router::OpenApiRouter;

pub use self::serve::Server;
use crate::{
    api::{BaseUrl, Refusal, Transport, to_the_end},
    auth::{Acted, Audit, Auth, Entry, Grant, Identity, Outcome, PublicMonitoring},
    dashboard,
    error::{Code, Error, Result},
    keys,
    settings::Settings,
    traffic::Traffic,
};

pub use idempotency::Answers;
use rate::Rates;

/// Longest answer, but for streams, which have begun by then.
const ANSWER: Duration = Duration::from_secs(30);
/// Longest upload of a model, whose bytes may come over a slow line.
const UPLOAD: Duration = Duration::from_secs(1800);
/// Where models are uploaded.
const UPLOADS: &str = "/api/kubeedge/models";
/// Where pictures are, by signed links.
const PICTURES: &str = "/api/kubeedge/images/";

/// What the front needs to know.
pub struct Front {
    /// Who is who.
    auth: Arc<Auth>,
    /// Base of links, where it is set.
    public_url: Option<Url>,
    /// Whether anybody may watch.
    public_monitoring: bool,
    /// What the TLS listener bound, where there is one.
    https: Option<SocketAddr>,
    /// How many requests a caller may make, and whether only over TLS.
    settings: Arc<Settings>,
    /// Where changes and refusals are recorded.
    audit: Audit,
    /// What was answered to requests that may be repeated.
    answers: Arc<Answers>,
    /// Where all requests are counted.
    traffic: Traffic,
    rates: Rates,
}

impl Front {
    /// The front of a hub.
    #[must_use]
    pub fn new(
        auth: Arc<Auth>,
        audit: Audit,
        settings: Arc<Settings>,
        answers: Arc<Answers>,
        (public_url, public_monitoring): (Option<Url>, bool),
        https: Option<SocketAddr>,
        traffic: Traffic,
    ) -> Self {
        let rates = Rates::default();
        Self {
            auth,
            public_url,
            public_monitoring,
            https,
            settings,
            audit,
            answers,
            traffic,
            rates,
        }
    }
}

/// The whole API, and the OpenAPI document that describes it.
pub fn router(
    front: Arc<Front>,
    rooms: impl IntoIterator<Item = OpenApiRouter>,
) -> (Router, Value) {
    let (all, collected) = rooms
        .into_iter()
        .fold(OpenApiRouter::new(), OpenApiRouter::merge)
        .merge(openapi::own_routes())
        .split_for_parts();
    let document = openapi::document(collected);
    let router = all
        .merge(openapi::swagger())
        .layer(Extension(openapi::Pages::new(&document)))
        .fallback(|| async { Error::new(Code::NotFound, "there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            Refusal {
                error: Error::invalid("this path does not take this method"),
                status: Some(StatusCode::METHOD_NOT_ALLOWED),
            }
        })
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(middleware::from_fn(deprecation::tell))
        .layer(middleware::from_fn_with_state(front, enter))
        .layer(middleware::from_fn(problem::finish));
    (router, document)
}

/// A request that changes something goes to its end with its entry in the audit log, also when its
/// client hangs up.
async fn enter(State(front): State<Arc<Front>>, request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return take(front, request, next).await;
    }
    match to_the_end(async move { Ok(take(front, request, next).await) }).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

/// Finds out who asks, counts the request, and records it where it changes something or is refused.
async fn take(front: Arc<Front>, mut request: Request, next: Next) -> Response {
    let from = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::from([0, 0, 0, 0]), |ConnectInfo(from)| from.ip());
    // A page's file is for anybody: it costs no look at who asks, and no place in a limit.
    let is_page = dashboard::has(request.uri().path());
    let identified = if is_page {
        Ok((Identity::Anonymous, None))
    } else {
        identify(&front.auth, request.headers(), request.uri()).await
    };
    let (identity, grant, unknown) = match identified {
        Ok((identity, grant)) => (identity, grant, None),
        Err(error) => (Identity::Anonymous, None, Some(error)),
    };
    let limit = front.settings.live().rate_limit;
    let standing = match request.uri().path() {
        _ if is_page => None,
        path if path.starts_with(PICTURES) => front.rates.take_picture(from, limit),
        _ => front.rates.take(&identity, from, limit),
    };
    let base = base_url(front.public_url.as_ref(), &request);
    let extensions = request.extensions_mut();
    extensions.insert(identity.clone());
    if let Some(grant) = grant {
        extensions.insert(grant);
    }
    extensions.insert(BaseUrl(base.into()));
    if front.public_monitoring {
        extensions.insert(PublicMonitoring);
    }
    let about = About::of(&request, &identity, from);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (method, start) = (request.method().clone(), Instant::now());
    let longest = if is_upload(&request) { UPLOAD } else { ANSWER };
    let mut response = match (standing.filter(|standing| standing.is_over()), unknown) {
        (Some(standing), _) => too_many(standing),
        (None, Some(error)) => error.into_response(),
        (None, None) => match tokio::time::timeout(longest, answer(&front, request, next)).await {
            Ok(response) => response,
            Err(_) => {
                Error::new(Code::Unavailable, "the answer took too long; try again").into_response()
            }
        },
    };
    if let Some(standing) = standing {
        standing.tell(response.headers_mut());
    }
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    front.traffic.note(method.as_str(), route, response.status().as_u16(), start.elapsed());
    let repeated = standing.is_some_and(|s| s.is_over() && !s.is_first_over());
    if !repeated && let Some(entry) = about.entry(&mut response) {
        front.audit.record(entry).await;
    }
    response
}

fn is_upload(request: &Request) -> bool {
    request.method() == Method::POST && request.uri().path() == UPLOADS
}

fn too_many(standing: rate::Standing) -> Response {
    let mut response = Error::new(
        Code::RateLimited,
        "too many requests: Retry-After says when there is room again",
    )
    .into_response();
    response.headers_mut().insert(header::RETRY_AFTER, standing.wait().into());
    response
}

async fn answer(front: &Front, request: Request, next: Next) -> Response {
    if front.settings.live().require_tls
        && let Some(refusal) = tls::refusal(front.https, &request, front.public_url.as_ref())
    {
        return refusal.into_response();
    }
    if let Some(refusal) = unknown_version(request.headers()) {
        return refusal.into_response();
    }
    // An upload can be repeated as it is: the catalog knows it again by its bytes.
    if request.method() != Method::POST || is_upload(&request) {
        return next.run(request).await;
    }
    match idempotency::key_of(&request) {
        Ok(None) => next.run(request).await,
        Ok(Some(key)) => match front.answers.answer(key, request, next).await {
            Ok(response) => response,
            Err(refusal) => refusal.into_response(),
        },
        Err(error) => error.into_response(),
    }
}

/// What the audit log says of a request.
struct About {
    changes: bool,
    entry: Entry,
}

impl About {
    fn of(request: &Request, identity: &Identity, from: IpAddr) -> Self {
        let (actor, role) = match identity {
            Identity::Caller(caller) => (caller.name().to_owned(), Some(caller.role())),
            Identity::Anonymous | Identity::Invalid(_) => ("anonymous".to_owned(), None),
        };
        let route = request.extensions().get::<MatchedPath>();
        let route = route.map_or(request.uri().path(), MatchedPath::as_str);
        Self {
            changes: !request.method().is_safe(),
            entry: Entry {
                actor,
                role,
                address: from.to_string(),
                action: format!("{} {route}", request.method()),
                target: request.uri().path().to_owned(),
                outcome: Outcome::Done,
                status: 0,
                request_id: problem::id_of(request),
            },
        }
    }

    /// The entry, where there has to be one.
    fn entry(self, response: &mut Response) -> Option<Entry> {
        let status = response.status();
        let outcome = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => {
                Outcome::Refused
            }
            _ if status.is_client_error() || status.is_server_error() => Outcome::Failed,
            _ => Outcome::Done,
        };
        if !self.changes && outcome != Outcome::Refused {
            return None;
        }
        let mut entry = Entry { outcome, status: status.as_u16(), ..self.entry };
        if let Some(Acted(name)) = response.extensions_mut().remove() {
            entry.actor = name;
        }
        Some(entry)
    }
}

/// The streams that take a ticket in their URL.
const STREAMS: [&str; 2] = ["/api/kubeedge/monitor/stream", "/ws"];

/// What a request proves about its sender, and what ends that.
///
/// # Errors
/// When the database can't say.
async fn identify(
    auth: &Auth,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<(Identity, Option<Grant>)> {
    let invalid = |why: String| Ok((Identity::Invalid(why), None));
    let ticket = uri.query().filter(|_| STREAMS.contains(&uri.path()));
    let ticket = ticket.and_then(|query| {
        url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "ticket")
    });
    let grant = if let Some(value) = headers.get(header::AUTHORIZATION) {
        // The scheme's case does not matter (RFC 9110, 11.1).
        let token = value
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, token)) = token else {
            return invalid("Authorization must be Bearer <token>".into());
        };
        auth.grant(token.trim()).await
    } else if let Some(key) = headers.get("x-api-key") {
        auth.grant(key.to_str().unwrap_or_default()).await
    } else if let Some((_, ticket)) = ticket {
        auth.redeem_ticket(&ticket).await
    } else {
        return Ok((Identity::Anonymous, None));
    };
    match grant {
        Ok(grant) => Ok((Identity::Caller(grant.caller.clone()), Some(grant))),
        Err(error) if error.code == Code::Unauthenticated => invalid(error.message.into_owned()),
        Err(error) => Err(error),
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

/// Where the client reaches us: as set, or as it asked.
fn base_url(public: Option<&Url>, request: &Request) -> String {
    if let Some(url) = public {
        return url.as_str().trim_end_matches('/').to_owned();
    }
    let scheme = match request.extensions().get() {
        Some(Transport::Tls) => "https",
        _ => "http",
    };
    authority(request).map_or_else(String::new, |host| format!("{scheme}://{host}"))
}

/// The host, with its port, that the client asked for; what can't be one is left out. HTTP/2 has
/// it in the address, HTTP/1 in a header.
fn authority(request: &Request) -> Option<&str> {
    let asked = request.uri().authority().map(axum::http::uri::Authority::as_str);
    let header = || request.headers().get(header::HOST)?.to_str().ok();
    asked
        .or_else(header)
        .filter(|host| host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b)))
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
