//! The hub and a Kubernetes cluster.
//!
//! The stories meet a scripted API server over real HTTP; with `KUBECONFIG_TEST`, those that need no
//! script meet the API server that it names, in a namespace of their own (`make test-cluster`).

mod accounts;
mod apps;
mod cloudcore;
mod connection;
mod devices;
mod faults;
mod fields;
mod kinds;
mod nodes;
mod objects;
mod rbac;
mod schema;
mod server;

use std::panic::AssertUnwindSafe;

use axum::http;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::FutureExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::server::Server;
use crate::world::{World, eventually};

/// The hub's token at the scripted server, at first.
pub const HUB_TOKEN: &str = "hub-1";

/// A cluster, and the way of the stories to it.
pub struct Cluster {
    dir: TempDir,
    scripted: Option<Server>,
    client: kube::Client,
    kubeconfig: std::path::PathBuf,
    /// What the story makes is in here.
    pub namespace: String,
}

impl Cluster {
    /// One that the story scripts.
    pub async fn scripted() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = Server::start().await;
        server.knows(HUB_TOKEN, "system:serviceaccount:cloudcore:hub", &["system:serviceaccounts"]);
        let dir = TempDir::with_prefix("cloudcore-cluster-").expect("a folder");
        let token = dir.path().join("token");
        std::fs::write(&token, HUB_TOKEN).expect("a token");
        let kubeconfig = dir.path().join("kubeconfig");
        // JSON is YAML.
        let file = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "hub",
            "clusters": [{ "name": "c", "cluster": { "server": server.url() } }],
            "users": [{ "name": "hub", "user": { "tokenFile": token } }],
            "contexts": [{ "name": "hub", "context": { "cluster": "c", "user": "hub" } }],
        });
        std::fs::write(&kubeconfig, file.to_string()).expect("a kubeconfig");
        let mut config = kube::Config::new(server.url().parse().expect("a URL"));
        config.auth_info.token = Some(server::STORYTELLER.to_owned().into());
        let client = kube::Client::try_from(config).expect("a client");
        Self { dir, scripted: Some(server), client, kubeconfig, namespace: "kubeedge".into() }
    }

    /// The real one that `KUBECONFIG_TEST` names, or one to script.
    pub async fn any() -> Self {
        let Some(path) = std::env::var_os("KUBECONFIG_TEST") else {
            return Self::scripted().await;
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let kubeconfig = std::path::PathBuf::from(path);
        let file = kube::config::Kubeconfig::read_from(&kubeconfig).expect("a kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await;
        let client = kube::Client::try_from(config.expect("a context")).expect("a client");
        let dir = TempDir::with_prefix("cloudcore-cluster-").expect("a folder");
        let mut unique = [0; 4];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut unique)
            .expect("luck");
        let namespace = format!("cloudcore-test-{:08x}", u32::from_ne_bytes(unique));
        Self { dir, scripted: None, client, kubeconfig, namespace }
    }

    pub const fn is_scripted(&self) -> bool {
        self.scripted.is_some()
    }

    /// The scripted server.
    pub fn server(&self) -> &Server {
        self.scripted.as_ref().expect("this story scripts its cluster")
    }

    pub fn server_mut(&mut self) -> &mut Server {
        self.scripted.as_mut().expect("this story scripts its cluster")
    }

    /// Has the hub find another token where it found its last one.
    pub fn hub_token(&self, token: &str) {
        std::fs::write(self.dir.path().join("token"), token).expect("a token");
    }

    /// A hub with this cluster, and more arguments.
    pub async fn hub(&self, more: &[&str]) -> World {
        let kubeconfig = self.kubeconfig.display().to_string();
        let own = ["--kubeconfig", &kubeconfig, "--kube-namespace", &self.namespace];
        World::start_with(&[&own[..], more].concat()).await
    }

    /// The same, once it has found the cluster.
    pub async fn connected_hub(&self, more: &[&str]) -> World {
        let world = self.hub(more).await;
        stands(&world, "connected").await;
        world
    }

    /// A token of a new ServiceAccount, which may use this role of the hub's.
    pub async fn account(&self, name: &str, role: Option<&str>) -> String {
        let namespace = &self.namespace;
        let username = format!("system:serviceaccount:{namespace}:{name}");
        if let Some(server) = &self.scripted {
            // Signed by nobody: only the server says whose it is.
            let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"k"}"#);
            let token = format!("{head}.{}.c2ln", URL_SAFE_NO_PAD.encode(&username));
            server.knows(&token, &username, &["system:serviceaccounts"]);
            if let Some(role) = role {
                server.grants(&username, role);
            }
            return token;
        }
        let spaces = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace },
        });
        // Each account's story comes to the same namespace.
        let _ = self.ask(Method::POST, "/api/v1/namespaces", Some(&spaces)).await;
        let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name },
        });
        self.create(&accounts, account).await;
        if let Some(role) = role {
            let own = format!("{namespace}-{name}");
            let rbac = "/apis/rbac.authorization.k8s.io/v1";
            let rule = json!({
                "apiGroups": ["cloudcore.io"], "resources": ["roles"], "resourceNames": [role],
                "verbs": ["use"],
            });
            let version = "rbac.authorization.k8s.io/v1";
            let role = json!({
                "apiVersion": version, "kind": "ClusterRole", "metadata": { "name": own },
                "rules": [rule],
            });
            self.create(&format!("{rbac}/clusterroles"), role).await;
            let binding = json!({
                "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": { "name": own },
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": own,
                },
                "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": namespace }],
            });
            self.create(&format!("{rbac}/clusterrolebindings"), binding).await;
        }
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": { "expirationSeconds": 3600 },
        });
        let issued = self.create(&format!("{accounts}/{name}/token"), request).await;
        issued["status"]["token"].as_str().expect("a token").to_owned()
    }

    /// Takes what the story made out of a real cluster.
    async fn clean_up(&self) {
        if self.is_scripted() {
            return;
        }
        let namespace = &self.namespace;
        let rbac = "/apis/rbac.authorization.k8s.io/v1";
        for plural in ["clusterroles", "clusterrolebindings"] {
            let all = self.object(&format!("{rbac}/{plural}")).await.unwrap_or_default();
            for item in all["items"].as_array().into_iter().flatten() {
                let name = item["metadata"]["name"].as_str().unwrap_or_default();
                if name.contains(namespace.as_str()) {
                    self.delete(&format!("{rbac}/{plural}/{name}")).await;
                }
            }
        }
        let nodes = self.object("/api/v1/nodes").await.unwrap_or_default();
        for item in nodes["items"].as_array().into_iter().flatten() {
            let name = item["metadata"]["name"].as_str().unwrap_or_default();
            if name.starts_with(namespace.as_str()) {
                self.delete(&format!("/api/v1/nodes/{name}")).await;
            }
        }
        let ours = "labelSelector=app.kubernetes.io/managed-by%3Dcloudcore-hub";
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let all = self.object(&format!("{definitions}?{ours}")).await.unwrap_or_default();
        for item in all["items"].as_array().into_iter().flatten() {
            let name = item["metadata"]["name"].as_str().unwrap_or_default();
            let path = format!("{definitions}/{name}");
            self.delete(&path).await;
            // What the next story makes anew must not go with it.
            eventually("the definition to be gone", async || {
                self.object(&path).await.is_none().then_some(())
            })
            .await;
        }
        // An API server alone deletes nothing that is in a namespace, nor ends its deletion.
        let path = format!("/api/v1/namespaces/{namespace}");
        let core = ["configmaps", "pods", "secrets", "serviceaccounts", "services"];
        for plural in core.map(|plural| format!("{path}/{plural}")) {
            self.delete(&format!("{plural}?gracePeriodSeconds=0")).await;
        }
        self.delete(&format!("/apis/apps/v1/namespaces/{namespace}/deployments")).await;
        for plural in ["rolebindings", "roles"] {
            self.delete(&format!("{rbac}/namespaces/{namespace}/{plural}")).await;
        }
        self.delete(&path).await;
        if let Some(mut left) = self.object(&path).await {
            left["spec"]["finalizers"] = json!([]);
            let _ = self.ask(Method::PUT, &format!("{path}/finalize"), Some(&left)).await;
        }
    }

    /// Asks the API server itself: the answer, or the status that it refuses with.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, u16> {
        let kind = match method {
            Method::PATCH if path.contains("fieldManager=") => "application/apply-patch+yaml",
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = http::Request::builder()
            .method(method.as_str())
            .uri(path)
            .header("content-type", kind)
            .body(body.map(Value::to_string).unwrap_or_default().into_bytes())
            .expect("a request");
        match self.client.request::<Value>(request).await {
            Ok(value) => Ok(value),
            Err(kube::Error::Api(status)) => Err(status.code),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// An object, if it is there.
    pub async fn object(&self, path: &str) -> Option<Value> {
        self.ask(Method::GET, path, None).await.ok()
    }

    /// Makes an object, as somebody else.
    pub async fn create(&self, path: &str, body: Value) -> Value {
        self.ask(Method::POST, path, Some(&body)).await.expect("it is made")
    }

    /// Changes an object, or with `/status` its status, as somebody else.
    pub async fn merge(&self, path: &str, body: Value) -> Value {
        self.ask(Method::PATCH, path, Some(&body)).await.expect("it is changed")
    }

    /// Deletes an object, if it is there.
    pub async fn delete(&self, path: &str) {
        let _ = self.ask(Method::DELETE, path, None).await;
    }
}

/// Tells a story of any cluster, and cleans up behind it however it ends.
pub async fn told(story: impl AsyncFnOnce(&Cluster)) {
    let cluster = Cluster::any().await;
    let end = AssertUnwindSafe(story(&cluster)).catch_unwind().await;
    cluster.clean_up().await;
    if let Err(panic) = end {
        std::panic::resume_unwind(panic);
    }
}

/// Waits until the hub says this of its cluster.
pub async fn stands(world: &World, expected: &str) {
    eventually(&format!("the cluster to be {expected}"), async || {
        let health = world.get("/api/health").await;
        (health["components"]["kubernetes"] == expected).then_some(())
    })
    .await;
}
