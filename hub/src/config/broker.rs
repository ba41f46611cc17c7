//! Where somebody else's MQTT broker is.

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

/// Where the broker is, and how to get in.
#[derive(Clone)]
pub struct Place {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether by TLS.
    pub tls: bool,
    /// User name and password.
    pub login: Option<(String, SecretString)>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl Place {
    /// Understands `mqtt(s)://user:password@host:port`.
    ///
    /// # Errors
    /// A sentence that does not repeat the URL, which holds a password.
    pub fn parse(url: &SecretString) -> Result<Self, String> {
        let url = Url::parse(url.expose_secret()).map_err(|e| format!("it is no URL: {e}"))?;
        let (tls, port) = match url.scheme() {
            "mqtt" => (false, 1883),
            "mqtts" => (true, 8883),
            _ => return Err("it must be mqtt:// or mqtts://".into()),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("it names no host")?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err("it must end after host and port".into());
        }
        let plain = |text: &str| {
            percent_decoded(text).ok_or("user name or password is not UTF-8".to_owned())
        };
        let login = match (url.username(), url.password()) {
            ("", None) => None,
            (username, password) => {
                Some((plain(username)?, plain(password.unwrap_or_default())?.into()))
            }
        };
        Ok(Self {
            // An IPv6 address stands in brackets in a URL, and nowhere else.
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(port),
            tls,
            login,
        })
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digit = |b: u8| char::from(b).to_digit(16);
                bytes.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
                rest = tail;
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test that is surprised has failed")]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Place, String> {
        Place::parse(&SecretString::from(url))
    }

    #[test]
    fn a_place_has_defaults_and_no_password_in_words() {
        let place = parse("mqtts://hub:s%40cret@broker.example").expect("a URL");
        assert_eq!((place.host.as_str(), place.port, place.tls), ("broker.example", 8883, true));
        let (username, password) = place.login.as_ref().expect("a login");
        assert_eq!((username.as_str(), password.expose_secret()), ("hub", "s@cret"));
        assert_eq!(format!("{place} {place:?}").matches("cret").count(), 0);
        let place = parse("mqtt://[::1]:2883").expect("a URL");
        assert_eq!((place.host.as_str(), place.port, place.tls), ("::1", 2883, false));
        assert!(place.login.is_none());
    }

    #[test]
    fn other_places_are_refused_without_repeating_them() {
        for url in
            ["", "broker:1883", "http://b", "mqtt://", "mqtt://u:secret@b/path", "mqtt://b?x"]
        {
            let why = parse(url).expect_err(url);
            assert!(!why.contains("secret"), "{why}");
        }
    }
}
