//! An app as it is to be on a node.

use std::{fmt, str::FromStr};

use cloudcore_protocol::command::{DeployApp, hide_secrets};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    config::is_label,
    error::{Error, Result},
    keys,
};

/// A node that apps are pinned to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppNode {
    /// Its name.
    pub name: String,
    /// Its label `kubernetes.io/hostname`, by which pods are pinned to it.
    pub hostname: String,
}

/// The name of a Secret in the hub's namespace: a DNS subdomain
/// ([RFC 1123](https://www.rfc-editor.org/rfc/rfc1123)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

impl SecretName {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() <= 253 && text.split('.').all(is_label) {
            return Ok(Self(text.to_owned()));
        }
        Err("a name in image_pull_secrets must be lower-case letters, digits, '-' and '.', and \
             begin and end with a letter or digit")
    }
}

impl TryFrom<String> for SecretName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.0
    }
}

/// An app as it is to be on a node. Stored only sealed: its config may hold secrets.
#[derive(Clone, Serialize, Deserialize)]
pub struct NodeApp {
    pub(super) app: DeployApp,
    pub(super) device_id: String,
    pub(super) node: AppNode,
    pub(super) pull_secrets: Vec<SecretName>,
    /// Goes into the hash that tells one config from another, so that nobody finds a short secret by
    /// trying.
    salt: String,
}

impl fmt::Debug for NodeApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "app {} on node {}", self.app.name, self.node.name)
    }
}

/// What an app is told, by where it stands in the cluster.
pub(super) struct Settings {
    /// For all who may look.
    pub(super) plain: Vec<(String, String)>,
    /// What its names say is secret.
    pub(super) secret: Vec<(String, String)>,
}

impl NodeApp {
    /// This app on this node, called so among the hub's devices; `former` is what was there before.
    ///
    /// # Errors
    /// API-001 for ports that a pod can't have.
    pub fn new(
        app: DeployApp,
        device_id: &str,
        node: AppNode,
        pull_secrets: Vec<SecretName>,
        former: Option<&Self>,
    ) -> Result<Self> {
        let containers: Vec<_> = app.ports.iter().map(|port| port.container).collect();
        let again = containers.iter().enumerate().find(|(n, port)| containers[..*n].contains(port));
        if let Some((_, port)) = again {
            return Err(Error::invalid(format!(
                "ports has the container's port {port} twice, which a pod on a node of the cluster \
                 can't have"
            )));
        }
        let salt = match former {
            Some(former) => former.salt.clone(),
            None => keys::hex(&keys::random::<16>()?),
        };
        Ok(Self { app, device_id: device_id.to_owned(), node, pull_secrets, salt })
    }

    /// What is to run.
    #[must_use]
    pub const fn app(&self) -> &DeployApp {
        &self.app
    }

    /// The node.
    #[must_use]
    pub const fn node(&self) -> &AppNode {
        &self.node
    }

    /// The TCP port of the node that leads into it first.
    #[must_use]
    pub fn port(&self) -> Option<i64> {
        self.app.ports.iter().next().map(|port| port.host.get().into())
    }

    /// The app's environment. Where one part of its config is secret, so is the whole.
    pub(super) fn settings(&self) -> Settings {
        let config = Map::from(self.app.config.clone());
        let hides = |value: &Value| hide_secrets(value) != *value;
        let whole = hides(&config.clone().into());
        let is_secret =
            |name: &str| config.get(name).map_or(whole, |value| hides(&json!({ name: value })));
        let (secret, mut plain): (Vec<_>, Vec<_>) =
            self.app.config.environment().into_iter().partition(|(name, _)| is_secret(name));
        plain.push(("CLOUDCORE_DEVICE_ID".to_owned(), self.device_id.clone()));
        Settings { plain, secret }
    }

    /// What tells this config from another: pods read theirs once.
    pub(super) fn config_hash(&self) -> String {
        let Settings { plain, secret } = self.settings();
        let all = json!([self.salt, plain, secret]).to_string();
        keys::sha256_hex(all.as_bytes())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "made where it is given")]
    fn app(config: Value) -> NodeApp {
        let app = json!({ "name": "a", "image": "a:1", "config": config });
        let node = AppNode { name: "n".into(), hostname: "n".into() };
        NodeApp::new(serde_json::from_value(app).unwrap(), "d", node, Vec::new(), None).unwrap()
    }

    #[test]
    fn what_is_secret_stands_apart_and_in_no_text() {
        let app = app(json!({ "MODEL": "yolo", "DB_PASSWORD": "s3cret", "N": 5 }));
        let Settings { plain, secret } = app.settings();
        let names = |of: &[(String, String)]| of.iter().map(|p| p.0.clone()).collect::<Vec<_>>();
        assert_eq!(names(&plain), ["MODEL", "N", "CLOUDCORE_DEVICE_ID"]);
        assert_eq!(names(&secret), ["DB_PASSWORD", "CLOUDCORE_APP_CONFIG"]);
        assert!(!format!("{app:?} {plain:?}").contains("s3cret"));
    }

    #[test]
    fn a_hash_tells_configs_apart_and_is_worth_nothing_elsewhere() {
        let (one, other) = (app(json!({ "A": 1 })), app(json!({ "A": 1 })));
        assert_ne!(one.config_hash(), other.config_hash(), "each has a salt of its own");
        let again = NodeApp::new(
            one.app.clone(),
            "d",
            one.node.clone(),
            vec!["regcred".parse().unwrap()],
            Some(&one),
        );
        assert_eq!(again.unwrap().config_hash(), one.config_hash());
        assert_eq!(app(json!({})).settings().secret, []);
    }

    #[test]
    fn names_of_secrets_are_those_of_kubernetes() {
        for good in ["regcred", "a.b-c", "0"] {
            assert!(good.parse::<SecretName>().is_ok(), "{good}");
        }
        for bad in ["", "A", "a_b", "-a", "a..b", "a/b", "a b", "--flag", &"a.".repeat(127)] {
            assert!(bad.parse::<SecretName>().is_err(), "{bad}");
        }
    }
}
