//! What apps may do here, and who this node is to registries.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is to run, inside the data directory.
pub const APPS_FILE: &str = "apps.json";

/// What apps may do on this node, whatever the hub asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AppsConfig {
    /// The engine's network that they are in: `bridge`, `host`, `none`, or one of the owner's.
    pub network: String,
    /// Linux capabilities that they keep (`NET_BIND_SERVICE`).
    pub capabilities: Vec<String>,
}

impl Default for AppsConfig {
    fn default() -> Self {
        Self { network: "bridge".into(), capabilities: Vec::new() }
    }
}

/// Who this node is to a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// The user.
    pub username: String,
    /// Its password or token.
    pub password: Password,
}

/// Never shown; written to the agent's own file only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

impl Password {
    /// For who is to be told.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}
