//! The cluster's nodes, and how many pods each has.

use std::{collections::BTreeMap, sync::Arc};

use cloudcore_protocol::Timestamp;
use k8s_openapi::api::core::v1::Node as Whole;

use super::{Cluster, Standing, timestamp};

/// The label that says what a node is, before its role.
const ROLE: &str = "node-role.kubernetes.io/";
/// The label that kubelets, and edgecore, give their node.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// By which pods are pinned to it.
    pub(super) hostname: String,
    /// Whether it says of itself that it is ready.
    pub is_ready: bool,
    /// What it is, `agent` and `edge` for one of `KubeEdge`.
    pub roles: Vec<String>,
    /// When it came.
    pub created_at: Option<Timestamp>,
    /// Of its kubelet, or edgecore: `v1.29.5-kubeedge-v1.18.0`.
    pub version: Option<String>,
    /// Its addresses: kind and address.
    pub addresses: Vec<(String, String)>,
}

impl Node {
    pub(super) fn of(node: Whole) -> Option<Self> {
        let status = node.status.unwrap_or_default();
        let labels = node.metadata.labels.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let name = node.metadata.name?;
        Some(Self {
            hostname: labels.get(HOSTNAME).unwrap_or(&name).clone(),
            name,
            is_ready: conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"),
            roles: labels.keys().filter_map(|l| l.strip_prefix(ROLE)).map(str::to_owned).collect(),
            created_at: timestamp(node.metadata.creation_timestamp.as_ref()),
            version: status.node_info.map(|info| info.kubelet_version),
            addresses: status
                .addresses
                .unwrap_or_default()
                .into_iter()
                .map(|address| (address.type_, address.address))
                .collect(),
        })
    }

    /// Whether it is at the edge.
    #[must_use]
    pub fn is_edge(&self) -> bool {
        self.roles.iter().any(|role| role == "edge")
    }

    /// `1.18.0` of the version `v1.29.5-kubeedge-v1.18.0`.
    #[must_use]
    pub fn kubeedge_version(&self) -> Option<&str> {
        let (_, release) = self.version.as_deref()?.split_once("-kubeedge-")?;
        Some(release.strip_prefix('v').unwrap_or(release))
    }

    /// `Ready` or `NotReady`.
    #[must_use]
    pub const fn status(&self) -> &'static str {
        if self.is_ready { "Ready" } else { "NotReady" }
    }
}

/// What the cluster knows of the edge, at one moment.
#[derive(Debug, Default)]
pub struct Edge {
    nodes: BTreeMap<String, (Arc<Node>, Option<u64>)>,
}

impl Edge {
    /// A node at the edge and how many pods it has, where that is known.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<(&Node, Option<u64>)> {
        self.nodes.get(name).map(|(node, pods)| (node.as_ref(), *pods))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// All of them, by name.
    pub fn nodes(&self) -> impl Iterator<Item = (&Node, Option<u64>)> {
        self.nodes.values().map(|(node, pods)| (node.as_ref(), *pods))
    }
}

/// The cluster in numbers.
#[derive(Debug, Default)]
pub struct Numbers {
    /// Its release.
    pub version: Option<String>,
    /// Its nodes.
    pub nodes: Option<u64>,
    /// Its pods that have not ended.
    pub pods: Option<u64>,
}

impl Cluster {
    /// The nodes at the edge: none without a cluster, and while it is away, when nothing is known
    /// of them.
    #[must_use]
    pub fn edge(&self) -> Edge {
        if self.standing() != Standing::Connected {
            return Edge::default();
        }
        let counted = self.pods.all().map(|pods| {
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            for pod in pods.iter().filter(|pod| pod.is_live) {
                if let Some(node) = &pod.node {
                    *counts.entry(node.clone()).or_default() += 1;
                }
            }
            counts
        });
        let count = |name: &str| Some(counted.as_ref()?.get(name).copied().unwrap_or(0));
        let nodes = self.nodes.all().unwrap_or_default().into_iter().filter(|node| node.is_edge());
        Edge {
            nodes: nodes
                .map(|node| (node.name.clone(), (node.clone(), count(&node.name))))
                .collect(),
        }
    }

    /// The cluster in numbers, each as it was last known.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        let pods = self.pods.all();
        Numbers {
            version: self.connection.version(),
            nodes: self.nodes.all().map(|nodes| nodes.len() as u64),
            pods: pods.map(|pods| pods.iter().filter(|pod| pod.is_live).count() as u64),
        }
    }
}
