//! Who may come without TLS.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::extract::{ConnectInfo, Request};
use url::Url;

use super::authority;
use crate::{
    api::{Refusal, Transport},
    error::{Code, Error},
};

/// The setting `security.require_tls`, live, and where the TLS listener is.
#[derive(Debug, Clone, Default)]
pub struct TlsPolicy {
    /// Whether only this machine may come in the clear. It always may: an operator who has lost
    /// the certificate must not have locked himself out.
    pub required: Arc<AtomicBool>,
    /// What the TLS listener bound, where there is one; without it nothing is refused.
    pub https: Option<SocketAddr>,
}

impl TlsPolicy {
    /// API-003 for a request that should have come over TLS.
    pub(super) fn refuses(&self, request: &Request, public: Option<&Url>) -> Option<Refusal> {
        let https = self.https.filter(|_| self.required.load(Ordering::Relaxed))?;
        if matches!(request.extensions().get(), Some(Transport::Tls)) {
            return None;
        }
        let from = request.extensions().get::<ConnectInfo<SocketAddr>>();
        if from.is_some_and(|ConnectInfo(from)| from.ip().to_canonical().is_loopback()) {
            return None;
        }
        let address = match public {
            Some(url) if url.scheme() == "https" => url.as_str().trim_end_matches('/').to_owned(),
            _ => address(https, authority(request)),
        };
        let message = format!("this hub takes plain HTTP from its own machine only: use {address}");
        Some(Error::new(Code::Forbidden, message).into())
    }
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

    fn refusal(policy: &TlsPolicy, from: &str, transport: Transport) -> Option<String> {
        let mut request = Request::new(Body::empty());
        request.headers_mut().insert("host", "hub.example.org:5000".parse().unwrap());
        request.extensions_mut().insert(ConnectInfo::<SocketAddr>(from.parse().unwrap()));
        request.extensions_mut().insert(transport);
        policy.refuses(&request, None).map(|refusal| {
            assert_eq!(refusal.error.code, Code::Forbidden);
            refusal.error.message.into_owned()
        })
    }

    #[test]
    fn only_this_machine_comes_in_the_clear_where_tls_is_required() {
        let https = Some("0.0.0.0:5443".parse().unwrap());
        let policy = TlsPolicy { required: Arc::new(true.into()), https };
        let said = refusal(&policy, "192.0.2.1:1000", Transport::Plain).unwrap();
        assert!(said.ends_with("use https://hub.example.org:5443"), "{said}");
        for from in ["127.0.0.1:1000", "[::1]:1000", "[::ffff:127.0.0.1]:1000"] {
            assert_eq!(refusal(&policy, from, Transport::Plain), None);
        }
        assert_eq!(refusal(&policy, "192.0.2.1:1000", Transport::Tls), None);

        policy.required.store(false, Ordering::Relaxed);
        assert_eq!(refusal(&policy, "192.0.2.1:1000", Transport::Plain), None);
        let policy = TlsPolicy { required: Arc::new(true.into()), https: None };
        assert_eq!(refusal(&policy, "192.0.2.1:1000", Transport::Plain), None);
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
