//! A Kubernetes API server over real HTTP whose script the stories write: what it holds, whom it
//! knows, and how it fails. It remembers what it was asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::{
    kinds::{self, Kind},
    objects::{Refusal, Store},
    rbac::{Act, Rights},
};

/// Who a token belongs to.
#[derive(Debug, Clone)]
pub struct Account {
    pub username: String,
    pub groups: Vec<String>,
}

/// How a request fails.
#[derive(Debug, Clone)]
pub enum How {
    /// With this status and reason.
    Status(u16, &'static str),
    /// With 429, and when to come back.
    Busy { retry_after: u64 },
    /// The connection breaks in the middle of the answer.
    Drop,
    /// It is never answered.
    Hang,
}

struct Fault {
    method: Method,
    path: String,
    times: usize,
    how: How,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub content_type: String,
    pub body: Value,
    pub token: String,
}

struct Script {
    store: Store,
    accounts: BTreeMap<String, Account>,
    grants: BTreeSet<(String, String)>,
    faults: Vec<Fault>,
    seen: Vec<Seen>,
    /// What the hub may do; everything where absent.
    rights: Option<Rights>,
}

/// What ends watches and wakes them.
#[derive(Debug, Clone, Copy, Default)]
struct Signals {
    changes: u64,
    bookmarks: u64,
    ended: u64,
}

struct Shared {
    script: Mutex<Script>,
    signals: watch::Sender<Signals>,
}

/// The API server.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: Option<JoinHandle<()>>,
}

/// The hub's account.
const HUB: &str = "system:serviceaccount:cloudcore:hub";
/// The token of whoever tells the story.
pub const STORYTELLER: &str = "storyteller";

impl Server {
    pub async fn start() -> Self {
        let script = Script {
            store: Store::new(),
            accounts: BTreeMap::new(),
            grants: BTreeSet::new(),
            faults: Vec::new(),
            seen: Vec::new(),
            rights: Some(Rights::read()),
        };
        let signals = watch::Sender::new(Signals::default());
        let mut server = Self {
            shared: Arc::new(Shared { script: Mutex::new(script), signals }),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            task: None,
        };
        server.knows(STORYTELLER, "kubernetes-admin", &["system:masters"]);
        server.come_back().await;
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Listens, where it listened before.
    pub async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("a port");
        self.address = listener.local_addr().expect("an address");
        let router = Router::new().fallback(answer).with_state(Arc::clone(&self.shared));
        self.task = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((stream, _)) = listener.accept() => {
                        let service = TowerToHyperService::new(router.clone());
                        connections.spawn(async move {
                            let _ = Builder::new(TokioExecutor::new())
                                .serve_connection(TokioIo::new(stream), service)
                                .await;
                        });
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        }));
    }

    /// Ends with all its connections, in the middle of whatever they do.
    pub async fn go_away(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.shared.script.lock().expect("a story that panicked is over")
    }

    fn signal(&self, change: impl FnOnce(&mut Signals)) {
        self.shared.signals.send_modify(change);
    }

    /// Lets whoever shows this token in.
    pub fn knows(&self, token: &str, username: &str, groups: &[&str]) {
        let groups = groups.iter().map(ToString::to_string).collect();
        let account = Account { username: username.to_owned(), groups };
        self.script().accounts.insert(token.to_owned(), account);
    }

    /// Lets the hub do everything, as an administrator.
    pub fn trusts_the_hub(&self) {
        self.script().rights = None;
    }

    pub fn forgets(&self, token: &str) {
        self.script().accounts.remove(token);
    }

    /// Lets a user `use` one of the hub's roles.
    pub fn grants(&self, username: &str, role: &str) {
        self.script().grants.insert((username.to_owned(), role.to_owned()));
    }

    /// Fails the next requests with this method whose path has this in it.
    pub fn fails(&self, method: Method, path: &str, times: usize, how: How) {
        self.script().faults.push(Fault { method, path: path.to_owned(), times, how });
    }

    /// Whether all faults have struck.
    pub fn has_failed(&self) -> bool {
        self.script().faults.iter().all(|fault| fault.times == 0)
    }

    /// Goes on as if nothing had failed.
    pub fn works_again(&self) {
        self.script().faults.clear();
    }

    /// Tells each watch how far it has come.
    pub fn bookmarks(&self) {
        self.signal(|signals| signals.bookmarks += 1);
    }

    /// Ends each watch, as after its time.
    pub fn ends_watches(&self) {
        self.signal(|signals| signals.ended += 1);
    }

    /// Forgets what watches could resume from, and ends them.
    pub fn compacts(&self) {
        self.script().store.compact();
        self.ends_watches();
    }

    /// The requests of the hub's that changed, or would have changed, something.
    pub fn changes(&self) -> Vec<Seen> {
        self.seen(|seen| seen.method != Method::GET)
    }

    pub fn seen(&self, which: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let script = self.script();
        let hub = script.seen.iter().filter(|seen| seen.token != STORYTELLER);
        hub.filter(|seen| which(seen)).cloned().collect()
    }

    /// Forgets what it was asked.
    pub fn forget_seen(&self) {
        self.script().seen.clear();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// What a path names.
struct Target {
    kind: Kind,
    namespace: String,
    name: Option<String>,
    subresource: Option<String>,
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 4 << 20).await.unwrap_or_default();
    let query: BTreeMap<String, String> = parts
        .uri
        .query()
        .map(|query| {
            let url = format!("http://x/?{query}");
            let url = reqwest::Url::parse(&url).expect("a query");
            url.query_pairs().into_owned().collect()
        })
        .unwrap_or_default();
    let token = bearer(&parts.headers);
    let seen = Seen {
        method: parts.method.clone(),
        path: parts.uri.path().to_owned(),
        query,
        content_type: text(&parts.headers, header::CONTENT_TYPE),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        token: token.clone(),
    };
    let (fault, known) = {
        let mut script = shared.script.lock().expect("a story that panicked is over");
        script.seen.push(seen.clone());
        let fault = script
            .faults
            .iter_mut()
            .filter(|_| token != STORYTELLER)
            .find(|f| f.times > 0 && f.method == seen.method && seen.path.contains(&f.path))
            .map(|fault| {
                fault.times -= 1;
                fault.how.clone()
            });
        (fault, script.accounts.contains_key(&token))
    };
    match fault {
        Some(How::Hang) => std::future::pending().await,
        Some(How::Drop) => {
            let broken = futures_util::stream::iter([
                Ok(bytes::Bytes::from_static(b"{\"kind\":")),
                Err(std::io::Error::other("cut")),
            ]);
            return Response::builder()
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from_stream(broken))
                .expect("a response");
        }
        Some(How::Busy { retry_after }) => {
            let mut response = (StatusCode::TOO_MANY_REQUESTS, "Too many requests").into_response();
            response.headers_mut().insert(header::RETRY_AFTER, retry_after.into());
            return response;
        }
        Some(How::Status(code, reason)) => {
            return refused(&Refusal::new(code, reason, format!("scripted: {reason}")));
        }
        None => {}
    }
    if !known {
        return refused(&Refusal::new(401, "Unauthorized", "Unauthorized"));
    }
    let done = serve(&shared, &seen);
    if seen.method != Method::GET {
        shared.signals.send_modify(|signals| signals.changes += 1);
    }
    match done {
        Ok(Answer::Json(value)) => json_response(StatusCode::OK, &value),
        Ok(Answer::Created(value)) => json_response(StatusCode::CREATED, &value),
        Ok(Answer::Watch(kind, namespace)) => watched(shared, &seen, kind, namespace),
        Err(refusal) => refused(&refusal),
    }
}

enum Answer {
    Json(Value),
    Created(Value),
    Watch(Kind, String),
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> String {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
}

fn bearer(headers: &HeaderMap) -> String {
    text(headers, header::AUTHORIZATION).trim_start_matches("Bearer ").trim().to_owned()
}

fn json_response(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

fn refused(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.code).expect("a status");
    json_response(status, &refusal.body())
}

fn serve(shared: &Shared, seen: &Seen) -> Result<Answer, Refusal> {
    let mut script = shared.script.lock().expect("a story that panicked is over");
    let parts: Vec<&str> = seen.path.split('/').filter(|part| !part.is_empty()).collect();
    if let Some(page) = discovery(&script.store.kinds(), &parts) {
        return Ok(Answer::Json(page));
    }
    let target = target(&script.store.kinds(), &parts).ok_or_else(|| {
        Refusal::new(404, "NotFound", "the server could not find the requested resource")
    })?;
    if script.accounts.get(&seen.token).is_some_and(|account| account.username == HUB) {
        permitted(&script, seen, &target)?;
    }
    let query = |name: &str| seen.query.get(name).map_or("", String::as_str);
    let Target { kind, namespace, name, subresource } = target;
    let manager = match query("fieldManager") {
        "" => "kubectl",
        manager => manager,
    };
    match (&seen.method, name) {
        (&Method::POST, None) if kind.kind == "TokenReview" => {
            kinds::check(&kind, &seen.body).map_err(|why| Refusal::new(400, "BadRequest", why))?;
            let account = seen.body["spec"]["token"].as_str().and_then(|t| script.accounts.get(t));
            let status = match account {
                Some(account) => json!({
                    "authenticated": true, "audiences": ["https://kubernetes.default.svc"],
                    "user": { "username": account.username, "uid": "u", "groups": account.groups },
                }),
                None => json!({ "authenticated": false, "error": "invalid bearer token" }),
            };
            let mut review = seen.body.clone();
            review["status"] = status;
            Ok(Answer::Created(review))
        }
        (&Method::POST, None) if kind.kind == "SubjectAccessReview" => {
            kinds::check(&kind, &seen.body).map_err(|why| Refusal::new(400, "BadRequest", why))?;
            let asked = &seen.body["spec"]["resourceAttributes"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let allowed = asked["group"] == "cloudcore.io"
                && asked["resource"] == "roles"
                && asked["verb"] == "use"
                && script
                    .grants
                    .contains(&(text(&seen.body["spec"]["user"]), text(&asked["name"])));
            let mut review = seen.body.clone();
            review["status"] = json!({ "allowed": allowed });
            Ok(Answer::Created(review))
        }
        (&Method::GET, None) if query("watch") == "true" => Ok(Answer::Watch(kind, namespace)),
        (&Method::GET, None) => Ok(Answer::Json(list(&script.store, seen, &kind, &namespace))),
        (&Method::GET, Some(name)) => script.store.get(&kind, &namespace, &name).map(Answer::Json),
        (&Method::POST, None) => {
            let name = seen.body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            if script.store.get(&kind, &namespace, &name).is_ok() {
                let message = format!("{} \"{name}\" already exists", kind.plural);
                return Err(Refusal::new(409, "AlreadyExists", message));
            }
            let store = &mut script.store;
            store.write(&kind, &namespace, &name, manager, &seen.body, false).map(Answer::Created)
        }
        (&Method::PUT, Some(name)) => script
            .store
            .write(&kind, &namespace, &name, manager, &seen.body, false)
            .map(Answer::Json),
        (&Method::PATCH, Some(name)) if seen.content_type == "application/apply-patch+yaml" => {
            let how = (query("force") == "true", query("dryRun") == "All");
            let place = (namespace.as_str(), name.as_str());
            script.store.apply(&kind, place, manager, &seen.body, how).map(Answer::Json)
        }
        (&Method::PATCH, Some(name)) => {
            let store = &mut script.store;
            let patch = if subresource.as_deref() == Some("status") {
                json!({ "status": seen.body["status"] })
            } else {
                seen.body.clone()
            };
            store.write(&kind, &namespace, &name, manager, &patch, true).map(Answer::Json)
        }
        (&Method::DELETE, Some(name)) => {
            let wanted = &seen.body["preconditions"]["uid"];
            script.store.delete(&kind, &namespace, &name, wanted).map(Answer::Json)
        }
        _ => Err(Refusal::new(405, "MethodNotAllowed", "the server does not allow this method")),
    }
}

/// Whether the hub's account may do this.
fn permitted(script: &Script, seen: &Seen, target: &Target) -> Result<(), Refusal> {
    let Some(rights) = &script.rights else { return Ok(()) };
    let Target { kind, namespace, name, subresource } = target;
    let act = |verb| Act {
        verb,
        kind,
        subresource: subresource.as_deref(),
        namespace,
        name: name.as_deref(),
    };
    let there = name.as_deref().and_then(|name| script.store.get(kind, namespace, name).ok());
    let verbs: &[&str] = match (&seen.method, name) {
        (&Method::GET, None) if seen.query.get("watch").is_some_and(|w| w == "true") => &["watch"],
        (&Method::GET, None) => &["list"],
        (&Method::GET, Some(_)) => &["get"],
        (&Method::POST, _) => &["create"],
        (&Method::PUT, _) => &["update"],
        // What an apply makes has to be allowed to be made.
        (&Method::PATCH, _) if there.is_none() => &["patch", "create"],
        (&Method::PATCH, _) => &["patch"],
        _ => &["delete"],
    };
    let forbidden = |why: String| {
        let what = format!("{} \"{}\" is forbidden: ", kind.plural, act("").name.unwrap_or(""));
        Refusal::new(403, "Forbidden", format!("{what}{why}"))
    };
    for verb in verbs {
        if !rights.allow(&act(verb)) {
            return Err(forbidden(format!("the hub's roles don't let it {verb} this: {seen:?}")));
        }
    }
    if seen.method == Method::GET || seen.method == Method::DELETE {
        return Ok(());
    }
    let refers = &seen.body["roleRef"];
    let (rules, granted, verb) = match kind.kind.as_str() {
        "Role" | "ClusterRole" => (seen.body["rules"].clone(), act("escalate"), "escalate"),
        "RoleBinding" | "ClusterRoleBinding" => {
            let kinds = script.store.kinds();
            let Some(kind) = kinds.iter().find(|kind| refers["kind"] == kind.kind.as_str()) else {
                return Ok(());
            };
            let place = if kind.namespaced { namespace.as_str() } else { "" };
            let role = refers["name"].as_str().unwrap_or_default();
            // Bound before it is there, it grants nothing yet.
            let Ok(object) = script.store.get(kind, place, role) else { return Ok(()) };
            let bind = Act { verb: "bind", kind, subresource: None, namespace, name: Some(role) };
            if rights.allow(&bind) {
                return Ok(());
            }
            (object["rules"].clone(), act("bind"), "bind")
        }
        _ => return Ok(()),
    };
    match rights.lacks(&rules, namespace) {
        Some(right) if !rights.allow(&granted) => {
            Err(forbidden(format!("it grants what the hub has not itself ({verb}): {right}")))
        }
        _ => Ok(()),
    }
}

fn target(kinds: &[Kind], parts: &[&str]) -> Option<Target> {
    let (group, version, rest) = match parts {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, plural, rest @ ..]
            if !["status", "finalize"].contains(plural) =>
        {
            (*namespace, [&[*plural], rest].concat())
        }
        _ => ("", rest.to_vec()),
    };
    let (plural, rest) = rest.split_first()?;
    let kind =
        kinds.iter().find(|k| k.group == group && k.version == version && k.plural == *plural)?;
    let owned = |at: usize| rest.get(at).map(ToString::to_string);
    Some(Target {
        kind: kind.clone(),
        namespace: namespace.to_owned(),
        name: owned(0),
        subresource: owned(1),
    })
}

fn discovery(kinds: &[Kind], parts: &[&str]) -> Option<Value> {
    let groups: BTreeSet<&str> =
        kinds.iter().map(|k| k.group.as_str()).filter(|g| !g.is_empty()).collect();
    let group = |name: &str| {
        let versions: BTreeSet<&str> =
            kinds.iter().filter(|k| k.group == name).map(|k| k.version.as_str()).collect();
        let all: Vec<Value> = versions
            .iter()
            .map(|v| json!({ "groupVersion": format!("{name}/{v}"), "version": v }))
            .collect();
        json!({ "name": name, "versions": all, "preferredVersion": all.last() })
    };
    let resources = |name: &str, version: &str| {
        let of: Vec<Value> = kinds
            .iter()
            .filter(|k| k.group == name && k.version == version)
            .map(|k| {
                json!({
                    "name": k.plural, "singularName": "", "namespaced": k.namespaced,
                    "kind": k.kind, "verbs": ["create", "delete", "get", "list", "patch", "watch"],
                })
            })
            .collect();
        let api = if name.is_empty() { version.to_owned() } else { format!("{name}/{version}") };
        (!of.is_empty()).then(|| {
            json!({
                "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api, "resources": of,
            })
        })
    };
    match parts {
        ["version"] => Some(json!({
            "major": "1", "minor": "32", "gitVersion": "v1.32.0", "gitCommit": "x",
            "gitTreeState": "clean", "buildDate": "2024-12-11T17:59:15Z", "goVersion": "go1.23.3",
            "compiler": "gc", "platform": "linux/amd64",
        })),
        ["api"] => Some(
            json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] }),
        ),
        ["apis"] => Some(json!({
            "kind": "APIGroupList", "apiVersion": "v1",
            "groups": groups.iter().map(|name| group(name)).collect::<Vec<_>>(),
        })),
        ["api", version] => resources("", version),
        ["apis", name] if groups.contains(name) => {
            let mut one = group(name);
            one["kind"] = "APIGroup".into();
            one["apiVersion"] = "v1".into();
            Some(one)
        }
        ["apis", name, version] => resources(name, version),
        _ => None,
    }
}

/// Whether the selectors of a request take an object.
fn selects(seen: &Seen, object: &Value) -> bool {
    let each = |name: &str| -> Vec<String> {
        let text = seen.query.get(name).cloned().unwrap_or_default();
        text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let labels = &object["metadata"]["labels"];
    each("labelSelector").iter().all(|term| match term.split_once('=') {
        Some((name, value)) => labels[name] == value.trim_start_matches('='),
        None => labels.get(term).is_some(),
    }) && each("fieldSelector").iter().all(|term| {
        let (path, value) = term.split_once('=').expect("a field selector");
        let pointer = format!("/{}", path.trim_end_matches('!').replace('.', "/"));
        let same = object.pointer(&pointer).and_then(Value::as_str).unwrap_or_default()
            == value.trim_start_matches('=');
        same != path.ends_with('!')
    })
}

fn list(store: &Store, seen: &Seen, kind: &Kind, namespace: &str) -> Value {
    let after = seen.query.get("continue").cloned().unwrap_or_default();
    let limit = seen.query.get("limit").and_then(|l| l.parse().ok()).unwrap_or(usize::MAX);
    let place = |key: &super::objects::Key| format!("{}/{}", key.2, key.3);
    let mut items: Vec<_> = store
        .list(kind, namespace)
        .into_iter()
        .filter(|(key, object)| place(key) > after && selects(seen, object))
        .collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|(key, _)| place(key)).unwrap_or_default();
    json!({
        "kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(),
        "metadata": { "resourceVersion": store.version().to_string(), "continue": next },
        "items": items.into_iter().map(|(_, object)| object).collect::<Vec<_>>(),
    })
}

/// The stream of what happens, until its time is over or the script ends it.
fn watched(shared: Arc<Shared>, seen: &Seen, kind: Kind, namespace: String) -> Response {
    let from = seen.query.get("resourceVersion").and_then(|v| v.parse().ok()).unwrap_or(0);
    let signals = shared.signals.subscribe();
    let Signals { bookmarks, ended, .. } = *signals.borrow();
    let begun = Watch {
        shared,
        seen: seen.clone(),
        kind,
        namespace,
        from,
        bookmarks,
        ended,
        signals,
        over: false,
    };
    let stream = futures_util::stream::unfold(begun, |mut watch| async move {
        let chunk = watch.next().await?;
        Some((Ok::<_, Infallible>(bytes::Bytes::from(chunk)), watch))
    });
    Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from_stream(stream))
        .expect("a response")
}

struct Watch {
    shared: Arc<Shared>,
    seen: Seen,
    kind: Kind,
    namespace: String,
    from: u64,
    signals: watch::Receiver<Signals>,
    bookmarks: u64,
    ended: u64,
    over: bool,
}

impl Watch {
    async fn next(&mut self) -> Option<String> {
        let end = tokio::time::Instant::now() + Duration::from_secs(290);
        loop {
            if self.over {
                return None;
            }
            let now = *self.signals.borrow_and_update();
            if now.ended != self.ended {
                return None;
            }
            let mut lines = self.lines();
            if now.bookmarks != self.bookmarks {
                self.bookmarks = now.bookmarks;
                if self.seen.query.get("allowWatchBookmarks").is_some_and(|b| b == "true") {
                    let object = json!({
                        "kind": self.kind.kind, "apiVersion": self.kind.api_version(),
                        "metadata": { "resourceVersion": self.from.to_string() },
                    });
                    lines.push_str(&line("BOOKMARK", &object));
                }
            }
            if !lines.is_empty() {
                return Some(lines);
            }
            match tokio::time::timeout_at(end, self.signals.changed()).await {
                Ok(Ok(())) => {}
                _ => return None,
            }
        }
    }

    /// What happened since.
    fn lines(&mut self) -> String {
        let script = self.shared.script.lock().expect("a story that panicked is over");
        if self.from < script.store.oldest() {
            self.over = true;
            let refusal = Refusal::new(410, "Expired", "too old resource version");
            return line("ERROR", &refusal.body());
        }
        let mut lines = String::new();
        for happened in script.store.happened.iter().filter(|h| h.version > self.from) {
            let (group, plural, within, _) = &happened.key;
            let mine = *group == self.kind.group
                && *plural == self.kind.plural
                && (self.namespace.is_empty() || *within == self.namespace);
            if mine && selects(&self.seen, &happened.object) {
                lines.push_str(&line(happened.kind, &happened.object));
            }
        }
        self.from = script.store.version();
        lines
    }
}

fn line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({ "type": kind, "object": object }))
}
