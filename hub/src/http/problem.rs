//! Errors as answers: the contract's code, status and body, with the request's id.

use std::any::Any;

use axum::{
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{REQUEST_ID, header_value, request_id};
use crate::{
    api::Refusal,
    error::{Code, Error},
};

const fn status(code: Code) -> StatusCode {
    match code {
        Code::Invalid => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Forbidden => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Exists => StatusCode::CONFLICT,
        Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Unreachable => StatusCode::BAD_GATEWAY,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// An error on its way out, until [`finish`] knows the request's id.
#[derive(Clone)]
struct Problem(std::sync::Arc<Error>);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        Refusal::from(self).into_response()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status.unwrap_or(status(self.error.code)).into_response();
        response.extensions_mut().insert(Problem(std::sync::Arc::new(self.error)));
        response
    }
}

/// A panic's answer; its text is for the log.
#[allow(clippy::needless_pass_by_value, reason = "the layer's signature")]
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a text");
    Error::internal(format!("panic: {text}")).into_response()
}

#[derive(Clone)]
struct RequestId(String);

/// The id that [`finish`] gave a request.
pub(super) fn id_of(request: &Request) -> String {
    request.extensions().get().map_or_else(String::new, |RequestId(id)| id.clone())
}

/// Names the request, and gives errors their body.
pub(super) async fn finish(mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers()).unwrap_or_else(|_| "unknown".into());
    request.extensions_mut().insert(RequestId(id.clone()));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    if let Some(Problem(error)) = response.extensions_mut().remove::<Problem>() {
        log(&id, &method, &path, &error);
        let body = json!({
            "status": "error",
            "code": error.code.as_str(),
            "message": error.message,
            "details": error.details,
            "request_id": id,
        });
        let (mut parts, _) = response.into_parts();
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if error.code == Code::Unauthenticated {
            parts.headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if error.is_passing() {
            parts.headers.entry(header::RETRY_AFTER).or_insert(HeaderValue::from_static("5"));
        }
        response = Response::from_parts(parts, axum::body::Body::from(body.to_string()));
    }
    response.headers_mut().insert(REQUEST_ID, header_value(&id));
    response
}

fn log(request_id: &str, method: &axum::http::Method, path: &str, error: &Error) {
    match error.code {
        Code::Internal | Code::Unavailable => {
            tracing::error!(request_id, %method, path, ?error, "request failed");
        }
        Code::Unauthenticated | Code::Forbidden => {
            tracing::info!(request_id, %method, path, message = %error.message, "request refused");
        }
        _ => tracing::debug!(request_id, %method, path, message = %error.message, "bad request"),
    }
}
