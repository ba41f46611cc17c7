//! Contract, "API Versioning": the headers of routes that will go, from one table.

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};

/// A route that will go.
struct Deprecated {
    /// As it is registered.
    route: &'static str,
    /// When it goes, an HTTP date (RFC 8594).
    sunset: &'static str,
    /// What takes its place.
    alternate: &'static str,
}

/// None so far. A route of v1 is also served under `/api/v2/kubeedge/` once it has a v2.
const DEPRECATED: &[Deprecated] = &[];

pub(super) async fn tell(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(route) = route {
        mark(DEPRECATED, route.as_str(), response.headers_mut());
    }
    response
}

fn mark(table: &[Deprecated], route: &str, headers: &mut HeaderMap) {
    let Some(found) = table.iter().find(|deprecated| deprecated.route == route) else { return };
    headers.insert(HeaderName::from_static("deprecation"), HeaderValue::from_static("true"));
    headers.insert(HeaderName::from_static("sunset"), HeaderValue::from_static(found.sunset));
    headers.insert(HeaderName::from_static("alternate"), HeaderValue::from_static(found.alternate));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_will_go_says_so() {
        let table = [Deprecated {
            route: "/api/kubeedge/devices",
            sunset: "Wed, 15 Jan 2025 00:00:00 GMT",
            alternate: "/api/v2/kubeedge/devices",
        }];
        let mut headers = HeaderMap::new();
        mark(&table, "/api/kubeedge/tokens", &mut headers);
        assert!(headers.is_empty());
        mark(&table, "/api/kubeedge/devices", &mut headers);
        assert_eq!(headers["deprecation"], "true");
        assert_eq!(headers["sunset"], "Wed, 15 Jan 2025 00:00:00 GMT");
        assert_eq!(headers["alternate"], "/api/v2/kubeedge/devices");
    }
}
