//! Who may come without TLS where the setting `require_tls` is on.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request};
use url::Url;

use super::authority;
use crate::{
    api::{Refusal, Transport},
    error::{Code, Error},
};

/// API-003 for a request that should have come to the TLS listener, `https`, also where this start
/// of the hub has none. This machine itself may always come in the clear: an operator who has lost
/// the certificate must not have locked himself out.
pub(super) fn refusal(
    https: Option<SocketAddr>,
    request: &Request,
    public: Option<&Url>,
) -> Option<Refusal> {
    if matches!(request.extensions().get(), Some(Transport::Tls)) {
        return None;
    }
    let from = request.extensions().get::<ConnectInfo<SocketAddr>>();
    if from.is_some_and(|ConnectInfo(from)| from.ip().to_canonical().is_loopback()) {
        return None;
    }
    let address = match (public, https) {
        (Some(url), _) if url.scheme() == "https" => url.as_str().trim_end_matches('/').to_owned(),
        (_, Some(https)) => address(https, authority(request)),
        (_, None) => "its TLS listener, which --https opens".to_owned(),
    };
    let message = format!("this hub takes plain HTTP from its own machine only: use {address}");
    Some(Error::new(Code::Forbidden, message).into())
}

/// The TLS listener by the name that the client knows the hub by.
fn address(https: SocketAddr, asked: Option<&str>) -> String {
    // An IPv6 address has colons of its own, inside brackets.
    let host = asked.map(|asked| match asked.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => asked,
    });
    match host.filter(|host| !host.is_empty()) {
        Some(host) => format!("https://{host}:{}", https.port()),
        None => format!("https://{https}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use axum::body::Body;

    use super::*;

    fn said(from: &str, transport: Transport) -> Option<String> {
        said_by("0.0.0.0:5443".parse().ok(), from, transport)
    }

    fn said_by(https: Option<SocketAddr>, from: &str, transport: Transport) -> Option<String> {
        let mut request = Request::new(Body::empty());
        request.headers_mut().insert("host", "hub.example.org:5000".parse().unwrap());
        request.extensions_mut().insert(ConnectInfo::<SocketAddr>(from.parse().unwrap()));
        request.extensions_mut().insert(transport);
        refusal(https, &request, None).map(|refusal| {
            assert_eq!(refusal.error.code, Code::Forbidden);
            refusal.error.message.into_owned()
        })
    }

    #[test]
    fn only_this_machine_comes_in_the_clear() {
        let other = said("192.0.2.1:1000", Transport::Plain).unwrap();
        assert!(other.ends_with("use https://hub.example.org:5443"), "{other}");
        assert_eq!(said("192.0.2.1:1000", Transport::Tls), None);
        // What was asked for holds, though the hub was started without the listener.
        assert!(said_by(None, "192.0.2.1:1000", Transport::Plain).is_some());
        for from in ["127.0.0.1:1000", "[::1]:1000", "[::ffff:127.0.0.1]:1000"] {
            assert_eq!(said(from, Transport::Plain), None);
        }
    }

    #[test]
    fn the_address_has_the_port_of_the_tls_listener() {
        let https = "[::]:5443".parse().unwrap();
        for (asked, address_is) in [
            (Some("hub:5000"), "https://hub:5443"),
            (Some("hub"), "https://hub:5443"),
            (Some("[2001:db8::1]:5000"), "https://[2001:db8::1]:5443"),
            (Some("[2001:db8::1]"), "https://[2001:db8::1]:5443"),
            (Some(":5000"), "https://[::]:5443"),
            (None, "https://[::]:5443"),
        ] {
            assert_eq!(address(https, asked), address_is);
        }
    }
}
