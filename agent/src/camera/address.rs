//! The URL of a camera in the network, whose secrets are shown to nobody.

use std::{fmt, net::IpAddr};

use url::{Host, Url};

/// A URL with a host. It shows itself without what may be a secret: the password, the query, and
/// what follows a `=` in the path, where some cameras want user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Url);

/// Whom the camera wants to know.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

impl Address {
    /// `None` where the URL names no host.
    pub(super) fn new(url: Url) -> Option<Self> {
        url.host().is_some().then_some(Self(url))
    }

    /// The whole URL, with its secrets: for the settings' own file.
    pub(super) fn secret(&self) -> &str {
        self.0.as_str()
    }

    pub(super) fn scheme(&self) -> &str {
        self.0.scheme()
    }

    /// Whether the connection is by TLS.
    pub(super) fn tls(&self) -> bool {
        matches!(self.scheme(), "https" | "rtsps")
    }

    /// The host as a socket wants it: an IPv6 address has no brackets.
    pub(super) fn host(&self) -> String {
        match self.0.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => IpAddr::V4(address).to_string(),
            Some(Host::Ipv6(address)) => IpAddr::V6(address).to_string(),
            None => String::new(),
        }
    }

    pub(super) fn port(&self) -> u16 {
        let usual = match self.scheme() {
            "https" => 443,
            "rtsp" => 554,
            "rtsps" => 322,
            _ => 80,
        };
        self.0.port().unwrap_or(usual)
    }

    /// Host and port as in a `Host` header.
    pub(super) fn authority(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Path and query, as a request names them.
    pub(super) fn path(&self) -> String {
        let path = self.0.path();
        let path = if path.is_empty() { "/" } else { path };
        self.0.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
    }

    /// The URL as a request names it: no user, no password.
    #[cfg(feature = "rtsp")]
    pub(super) fn request_url(&self) -> Url {
        let mut url = self.0.clone();
        // Neither can fail: there is a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url
    }

    /// User and password of the URL, decoded.
    pub(super) fn login(&self) -> Option<Login> {
        let decoded = |text: &str| {
            let mut bytes = Vec::with_capacity(text.len());
            let mut rest = text.as_bytes();
            while let [first, more @ ..] = rest {
                let pair = more.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
                match pair.filter(|_| *first == b'%').map(|pair| u8::from_str_radix(pair, 16)) {
                    Some(Ok(byte)) => {
                        bytes.push(byte);
                        rest = &more[2..];
                    }
                    _ => {
                        bytes.push(*first);
                        rest = more;
                    }
                }
            }
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let password = self.0.password();
        (!self.0.username().is_empty() || password.is_some()).then(|| Login {
            user: decoded(self.0.username()),
            password: decoded(password.unwrap_or_default()),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme())?;
        if let Some(login) = self.login() {
            // What looks like a token in the user's place is one.
            let user = if login.password.is_empty() { "***" } else { self.0.username() };
            write!(f, "{user}:***@")?;
        }
        let path = self.0.path();
        match path.split_once('=') {
            Some((shown, _)) => write!(f, "{}{shown}=***", self.authority())?,
            None => write!(f, "{}{path}", self.authority())?,
        }
        if self.0.query().is_some() { f.write_str("?***") } else { Ok(()) }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may fail by panicking
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        for (url, shows) in [
            ("rtsp://cam/stream", "rtsp://cam/stream"),
            ("rtsp://eve:s3cret@cam:8554/a/b", "rtsp://eve:***@cam:8554/a/b"),
            ("rtsp://s3cret@cam/a", "rtsp://***:***@cam/a"),
            ("http://:s3cret@cam/", "http://:***@cam/"),
            ("http://cam/video.cgi?user=eve&pwd=s3cret", "http://cam/video.cgi?***"),
            ("rtsp://cam/user=eve_password=s3cret_channel=1", "rtsp://cam/user=***"),
            ("https://eve:s3cret@[::1]:8443/x?y", "https://eve:***@[::1]:8443/x?***"),
        ] {
            let address = Address::new(Url::parse(url).unwrap()).unwrap();
            assert_eq!(address.to_string(), shows);
            assert!(!format!("{address:?}").contains("s3cret"));
            assert_eq!(address.secret(), url);
        }
    }

    #[test]
    fn a_login_is_decoded() {
        let url = Url::parse("http://eve%40x:p%3Aw%2F%C3%A9%@cam").unwrap();
        let login = Address::new(url).unwrap().login().unwrap();
        assert_eq!((login.user.as_str(), login.password.as_str()), ("eve@x", "p:w/é%"));
    }
}
