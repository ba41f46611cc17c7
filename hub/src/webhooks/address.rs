//! Where webhooks may go. A user who may make webhooks must not reach through the hub what only
//! the hub can reach (server-side request forgery): the address is checked after its name is
//! resolved, and the connection goes to the address that was checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Resolves names to addresses that are allowed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resolver {
    pub(super) allow_private: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let (allowed, refused): (Vec<_>, Vec<_>) =
                found.partition(|address| allow_private || is_public(address.ip()));
            if allowed.is_empty() && !refused.is_empty() {
                return Err(NOT_ALLOWED.into());
            }
            Ok(Box::new(allowed.into_iter().collect::<Vec<SocketAddr>>().into_iter()) as Addrs)
        })
    }
}

const NOT_ALLOWED: &str = "the address is private: --webhook-allow-private allows those";

/// Why nothing may be posted to this URL, as far as it can be seen without resolving its name.
pub(super) fn refusal(url: &Url, allow_private: bool) -> Option<&'static str> {
    if !matches!(url.scheme(), "http" | "https") {
        return Some("url must be http:// or https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some("url must hold no password: it would be shown");
    }
    let literal = match url.host() {
        None => return Some("url must have a host"),
        Some(Host::Domain(_)) => return None,
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
    };
    (!allow_private && !is_public(literal)).then_some(NOT_ALLOWED)
}

/// Whether an address is of the public internet (IANA's special-purpose registries).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b))
        || a >= 240)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    let [_, _, _, _, _, _, high, low] = segments;
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // IPv4-mapped, and NAT64 and 6to4, which lead to an IPv4 address.
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // Only 2000::/3 is given out; of it, documentation and Teredo lead nowhere good.
        [0x2001, 0xdb8, ..] | [0x2001, 0, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that is surprised has failed")]

    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.0.8",
            "240.0.0.1",
            "::",
            "::1",
            "::127.0.0.1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn a_url_says_no_more_than_where() {
        let refused = |url: &str| refusal(&url.parse().unwrap(), false).is_some();
        for bad in [
            "ftp://example.org/",
            "http://user:secret@example.org/",
            "http://127.0.0.1/",
            "http://[::1]/",
            // The URL standard reads these as 127.0.0.1.
            "http://2130706433/",
            "http://0x7f.1/",
        ] {
            assert!(refused(bad), "{bad}");
        }
        assert!(!refused("https://example.org/hook"));
        assert!(refusal(&"http://127.0.0.1/".parse().unwrap(), true).is_none());
    }
}
