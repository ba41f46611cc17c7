//! Settings of the cluster: which one, and how CloudCore is made in it.

use std::{path::PathBuf, str::FromStr};

/// The cluster, and what the hub makes in it.
#[derive(Debug, Clone)]
pub struct Kubernetes {
    /// The file that says where the cluster is; where absent, that of the pod that the hub is in.
    pub kubeconfig: Option<PathBuf>,
    /// Which of its contexts; its current one where absent.
    pub context: Option<String>,
    /// Namespace of all that the hub makes.
    pub namespace: String,
    /// CloudCore's image, without its tag.
    pub image: String,
    /// Ports of CloudCore's service.
    pub ports: Vec<ServicePort>,
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            namespace: "kubeedge".into(),
            image: "docker.io/kubeedge/cloudcore".into(),
            ports: ["cloudhub=10000:30374", "cloudstream=10002:31305", "websocket=10004:32203"]
                .iter()
                .filter_map(|text| text.parse().ok())
                .collect(),
        }
    }
}

/// A port of CloudCore's service: `NAME=PORT` or `NAME=PORT:NODEPORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name in the service.
    pub name: String,
    /// The port of `KubeEdge`: 10000 WebSocket, 10001 QUIC, 10002 certificates, 10003 stream, 10004
    /// tunnel.
    pub port: u16,
    /// The nodes' port; one that the cluster chooses where absent.
    pub node_port: Option<u16>,
}

impl ServicePort {
    /// Whether it is `KubeEdge`'s QUIC port, the one that is UDP.
    #[must_use]
    pub const fn is_quic(&self) -> bool {
        self.port == 10001
    }
}

impl FromStr for ServicePort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("'{text}' is not NAME=PORT:NODEPORT");
        let (name, ports) = text.split_once('=').ok_or_else(bad)?;
        let (port, node_port) = match ports.split_once(':') {
            Some((port, node_port)) => (port, Some(node_port.parse().map_err(|_| bad())?)),
            None => (ports, None),
        };
        let port = port.parse().map_err(|_| bad())?;
        if !is_label(name) || name.len() > 15 {
            return Err(format!("'{name}' is no name of a port: a-z, 0-9 and '-', at most 15"));
        }
        if !(10_000..=10_004).contains(&port) {
            return Err(format!("{port} is no port of CloudCore, which has 10000 to 10004"));
        }
        if node_port == Some(0) {
            return Err(bad());
        }
        Ok(Self { name: name.to_owned(), port, node_port })
    }
}

/// Whether this is a label of DNS (RFC 1123), as Kubernetes wants of most names.
#[must_use]
pub fn is_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Checks the settings.
///
/// # Errors
/// The setting that can't be, and why.
pub(super) fn check(
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    namespace: Option<String>,
    image: Option<String>,
    ports: Option<Vec<String>>,
) -> Result<Kubernetes, (&'static str, String)> {
    let usual = Kubernetes::default();
    if context.is_some() && kubeconfig.is_none() {
        return Err(("kube-context", "needs kubeconfig, the file that it is in".into()));
    }
    let namespace = namespace.unwrap_or(usual.namespace);
    if !is_label(&namespace) {
        return Err(("kube-namespace", format!("'{namespace}' is no name of a namespace")));
    }
    let image = image.unwrap_or(usual.image);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"./-_:".contains(&b);
    let path = image.rsplit_once('/').map_or(image.as_str(), |(_, last)| last);
    if image.is_empty()
        || image.len() > 200
        || !image.bytes().all(plain)
        || !image.starts_with(|c: char| c.is_ascii_alphanumeric())
        || path.is_empty()
        || path.contains(':')
    {
        return Err(("cloudcore-image", format!("'{image}' is no image without a tag")));
    }
    let ports = match ports {
        None => usual.ports,
        Some(given) => given
            .iter()
            .map(|text| text.parse())
            .collect::<Result<Vec<ServicePort>, _>>()
            .map_err(|why| ("cloudcore-ports", why))?,
    };
    let twice = |n: usize| {
        let port: &ServicePort = &ports[n];
        ports[..n].iter().any(|other| {
            other.name == port.name
                || other.port == port.port
                || (other.node_port.is_some() && other.node_port == port.node_port)
        })
    };
    if ports.is_empty() || (0..ports.len()).any(twice) {
        return Err(("cloudcore-ports", "must name each port once, and at least one".into()));
    }
    Ok(Kubernetes { kubeconfig, context, namespace, image, ports })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    fn ports(text: &str) -> Result<Vec<ServicePort>, String> {
        let given = text.split(',').map(str::to_owned).collect();
        check(None, None, None, None, Some(given)).map(|k| k.ports).map_err(|(_, why)| why)
    }

    #[test]
    fn the_usual_ports_are_the_documented_ones() {
        let usual = check(None, None, None, None, None).unwrap();
        let shown: Vec<_> =
            usual.ports.iter().map(|p| (p.name.as_str(), p.port, p.node_port.unwrap())).collect();
        assert_eq!(
            shown,
            [
                ("cloudhub", 10000, 30374),
                ("cloudstream", 10002, 31305),
                ("websocket", 10004, 32203)
            ]
        );
    }

    #[test]
    fn ports_are_those_of_cloudcore_and_each_once() {
        assert_eq!(ports("cloudhub=10000").unwrap()[0].node_port, None);
        for bad in [
            "",
            "a",
            "a=1",
            "A=10000",
            "a=10000:0",
            "a=10000:x",
            "a=10000,a=10002",
            "a=10000,b=10000",
        ] {
            assert!(ports(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_the_cluster_are_checked() {
        let namespace = |name: &str| check(None, None, Some(name.into()), None, None).is_ok();
        assert!(namespace("edge-1") && !namespace("Edge") && !namespace("-a") && !namespace(""));
        let image = |name: &str| check(None, None, None, Some(name.into()), None).is_ok();
        assert!(image("registry:5000/kubeedge/cloudcore"));
        assert!(!image("cloudcore:v1") && !image("--flag") && !image("a b") && !image("a/"));
        assert!(check(None, Some("x".into()), None, None, None).is_err());
    }
}
