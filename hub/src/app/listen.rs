//! What a hub listens on, and by which names it is known there.

use std::{net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;

use crate::{
    cloudcore::Port,
    config::{self, Config, HttpsConfig},
    error::{Code, Error, Result},
    mqtt,
    pki::{Https, HttpsSource},
};

/// What listens, by the contract's names where it has one.
pub(super) fn ports(quic: SocketAddr, tcp: [(&'static str, Option<SocketAddr>); 4]) -> Vec<Port> {
    let open = tcp.into_iter().filter_map(|(name, address)| {
        address.map(|address| Port::new(name, address.port(), "TCP"))
    });
    std::iter::once(Port::new("cloudhub", quic.port(), "UDP")).chain(open).collect()
}

/// What nodes can connect to where the hub listens on every address: the address that the
/// machine would use to reach others, without sending anything.
pub(super) fn advertised(bound: SocketAddr) -> SocketAddr {
    if !bound.ip().is_unspecified() {
        return bound;
    }
    let outward = || -> std::io::Result<SocketAddr> {
        let socket = std::net::UdpSocket::bind(("0.0.0.0", 0))?;
        // TEST-NET-1 (RFC 5737): connecting a UDP socket only asks the routing table.
        socket.connect(("192.0.2.1", 9))?;
        socket.local_addr()
    };
    let ip = outward().map_or(std::net::Ipv4Addr::LOCALHOST.into(), |address| address.ip());
    SocketAddr::new(ip, bound.port())
}

/// The host of HOST:PORT; an IPv6 address without its brackets.
pub(super) fn host_of(advertised: &str) -> String {
    let host = advertised.rsplit_once(':').map_or(advertised, |(host, _)| host);
    host.trim_matches(['[', ']']).to_owned()
}

/// Which MQTT broker, and what its clients know it by.
pub(super) fn mqtt_choice<'a>(
    config: &'a Config,
    certificate: Option<&Https>,
    advertised: &str,
) -> Result<mqtt::Choice<'a>> {
    Ok(match &config.mqtt {
        config::Mqtt::External(place, silence) => {
            let (place, silence) = (place.clone(), *silence);
            mqtt::Choice::External { place, silence, data_dir: &config.data_dir }
        }
        config::Mqtt::Own(plain, tls) => {
            let named = config.advertise.is_some() || plain.ip().is_unspecified();
            let host = advertised.rsplit_once(':').map(|(host, _)| host.to_owned());
            let tls = match tls.zip(certificate) {
                Some((address, certificate)) => {
                    let mut tls = certificate.tls()?;
                    tls.alpn_protocols = vec![b"mqtt".to_vec()];
                    Some((address, Arc::new(tls)))
                }
                None => None,
            };
            mqtt::Choice::Own { plain: *plain, tls, host: host.filter(|_| named) }
        }
    })
}

pub(super) async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await.map_err(|e| Error {
        cause: Some(e.into()),
        ..Error::new(Code::Unavailable, format!("can't listen on {address}/tcp"))
    })?;
    let bound = listener.local_addr().map_err(Error::internal)?;
    Ok((listener, bound))
}

/// Where the certificate of the TLS listeners for the API and MQTT comes from, and for an own one
/// all names by which clients may know this hub. `None` where neither is served by TLS.
pub(super) fn https_source(config: &Config, advertised: &str) -> Option<HttpsSource> {
    let mqtts = matches!(config.mqtt, config::Mqtt::Own(_, Some(_)));
    let mut names = match &config.https {
        Some(HttpsConfig { files: Some((certificate, key)), .. }) => {
            let (certificate, key) = (certificate.clone(), key.clone());
            return Some(HttpsSource::Files { certificate, key });
        }
        Some(https) => https.names.clone(),
        None if mqtts => Vec::new(),
        None => return None,
    };
    names.extend(config.public_url.as_ref().and_then(|url| Some(url.host_str()?.to_owned())));
    names.extend(advertised.rsplit_once(':').map(|(host, _)| host.to_owned()));
    names.extend(nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()));
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    let mut seen = std::collections::HashSet::new();
    for name in &mut names {
        // As in URLs, an IPv6 address may be in brackets.
        *name = name.trim_matches(['[', ']']).to_owned();
    }
    names.retain(|name| config::is_host_name(name) && seen.insert(name.clone()));
    Some(HttpsSource::Own(names))
}
