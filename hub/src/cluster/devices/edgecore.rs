//! The settings of a node's `EdgeCore` (`edgecore.config.kubeedge.io/v1alpha2`): where it finds
//! CloudCore, and who it is. What is not said here is as `EdgeCore` has it by itself. No secret is
//! in it: a node gets its token from whoever joins it.

use cloudcore_protocol::NodeName;
use serde_json::json;

/// Ports of CloudCore, by `KubeEdge`'s numbers.
pub(super) const WEBSOCKET: u16 = 10000;
const QUIC: u16 = 10001;
pub(super) const CERTIFICATES: u16 = 10002;
const TUNNEL: u16 = 10004;

/// Host and port as one; an IPv6 address in brackets.
pub(super) fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The settings, as YAML, which JSON is. `port` is where nodes reach a port of CloudCore: its node
/// port where it has one.
pub(super) fn settings(node: &NodeName, host: &str, port: impl Fn(u16) -> Option<u16>) -> String {
    let at = |number: u16| address(host, port(number).unwrap_or(number));
    let tunnel = port(TUNNEL);
    let settings = json!({
        "apiVersion": "edgecore.config.kubeedge.io/v1alpha2",
        "kind": "EdgeCore",
        "modules": {
            "edged": { "enable": true, "hostnameOverride": node.as_str() },
            "edgeHub": {
                "enable": true,
                "heartbeat": 15,
                "httpServer": format!("https://{}", at(CERTIFICATES)),
                "websocket": { "enable": true, "server": at(WEBSOCKET) },
                "quic": { "enable": false, "server": at(QUIC) },
            },
            "metaManager": { "enable": true },
            "deviceTwin": { "enable": true },
            "edgeStream": { "enable": tunnel.is_some(), "server": at(TUNNEL) },
        },
    });
    format!("{settings:#}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_told_the_ports_that_it_can_reach() {
        let node: NodeName = "edge-1".parse().unwrap();
        let ports = |port| [(10000, 30374), (10002, 31305)].into_iter().find(|(p, _)| *p == port);
        let text = settings(&node, "3.70.53.21", |port| ports(port).map(|(_, node)| node));
        let settings: serde_json::Value = serde_json::from_str(&text).unwrap();
        let modules = &settings["modules"];
        assert_eq!(modules["edged"]["hostnameOverride"], "edge-1");
        assert_eq!(modules["edgeHub"]["websocket"]["server"], "3.70.53.21:30374");
        assert_eq!(modules["edgeHub"]["httpServer"], "https://3.70.53.21:31305");
        assert_eq!(modules["edgeStream"], json!({ "enable": false, "server": "3.70.53.21:10004" }));
        assert_eq!(address("::1", 1), "[::1]:1");
    }
}
