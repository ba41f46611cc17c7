//! The objects of the scripted API server: their versions, what happened to them, and the rules by
//! which an API server changes them.

use std::collections::BTreeMap;

use cloudcore_protocol::Timestamp;
use serde_json::{Value, json};

use super::{
    fields::{self, Fields, Leaves},
    kinds::{self, Kind},
    schema,
};

/// Group and plural, namespace, name.
pub type Key = (String, String, String, String);

/// A refusal, as the API writes one.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    pub causes: Vec<Value>,
}

impl Refusal {
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), causes: Vec::new() }
    }

    fn not_found(kind: &Kind, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} \"{name}\" not found", kind.plural))
    }

    pub fn body(&self) -> Value {
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
            "details": { "causes": self.causes },
        })
    }
}

/// What happened to an object.
#[derive(Debug, Clone)]
pub struct Happening {
    pub version: u64,
    pub key: Key,
    pub kind: &'static str,
    pub object: Value,
}

struct Stored {
    fields: Fields,
    /// `apiVersion`, `kind`, and what the server alone writes.
    head: Value,
}

/// Everything in the cluster.
pub struct Store {
    objects: BTreeMap<Key, Stored>,
    version: u64,
    /// What watches may still ask for begins after this.
    oldest: u64,
    pub happened: Vec<Happening>,
    uids: u64,
}

pub fn key(kind: &Kind, namespace: &str, name: &str) -> Key {
    (kind.group.clone(), kind.plural.clone(), namespace.to_owned(), name.to_owned())
}

/// Fields of metadata that only the server writes.
const OWN: [&str; 6] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "deletionTimestamp",
];

/// What its writers say of an object, without what names it and what the server adds.
fn said(object: &Value) -> Leaves {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.shift_remove("apiVersion");
        map.shift_remove("kind");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for name in OWN.iter().chain(&["name", "namespace"]) {
            metadata.shift_remove(*name);
        }
        if metadata.is_empty() {
            object.as_object_mut().map(|map| map.shift_remove("metadata"));
        }
    }
    fields::leaves(&object)
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                if value.is_null() {
                    into.shift_remove(name);
                } else {
                    merge(into.entry(name.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => *into = from.clone(),
    }
}

impl Store {
    pub fn new() -> Self {
        let mut store = Self {
            objects: BTreeMap::new(),
            version: 1000,
            oldest: 0,
            happened: Vec::new(),
            uids: 0,
        };
        for name in ["default", "kube-system"] {
            let namespace =
                json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
            let kind = kinds::built_in().remove(0);
            store.write(&kind, "", name, "kube-apiserver", &namespace, false).expect("a namespace");
        }
        store
    }

    pub const fn version(&self) -> u64 {
        self.version
    }

    pub const fn oldest(&self) -> u64 {
        self.oldest
    }

    /// Forgets what happened so far, for watches that come back.
    pub fn compact(&mut self) {
        self.version += 1;
        self.oldest = self.version;
        self.happened.clear();
    }

    pub fn kinds(&self) -> Vec<Kind> {
        let defined = self
            .objects
            .iter()
            .filter(|((_, plural, ..), _)| plural == "customresourcedefinitions")
            .flat_map(|(_, stored)| kinds::defined(&stored.object()));
        kinds::built_in().into_iter().chain(defined).collect()
    }

    pub fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Value, Refusal> {
        let stored = self.objects.get(&key(kind, namespace, name));
        stored.map(Stored::object).ok_or_else(|| Refusal::not_found(kind, name))
    }

    /// All objects of a kind, in a namespace or in all where that is empty.
    pub fn list(&self, kind: &Kind, namespace: &str) -> Vec<(Key, Value)> {
        self.objects
            .iter()
            .filter(|((group, plural, within, _), _)| {
                *group == kind.group
                    && *plural == kind.plural
                    && (namespace.is_empty() || within == namespace)
            })
            .map(|(key, stored)| (key.clone(), stored.object()))
            .collect()
    }

    fn check_namespace(&self, kind: &Kind, namespace: &str) -> Result<(), Refusal> {
        if !kind.namespaced {
            return Ok(());
        }
        let spaces = ("".to_owned(), "namespaces".to_owned(), String::new(), namespace.to_owned());
        let Some(stored) = self.objects.get(&spaces) else {
            let message = format!("namespaces \"{namespace}\" not found");
            return Err(Refusal::new(404, "NotFound", message));
        };
        if stored.object()["status"]["phase"] != "Terminating" {
            return Ok(());
        }
        Err(Refusal {
            causes: vec![json!({
                "reason": "NamespaceTerminating", "field": "metadata.namespace",
                "message": format!("namespace {namespace} is being terminated"),
            })],
            ..Refusal::new(
                403,
                "Forbidden",
                format!(
                    "{} is forbidden: unable to create new content in namespace {namespace} \
                     because it is being terminated",
                    kind.plural
                ),
            )
        })
    }

    fn checked(&self, kind: &Kind, name: &str, object: &Value) -> Result<(), Refusal> {
        if object["kind"] != kind.kind.as_str()
            || object["apiVersion"] != kind.api_version().as_str()
        {
            let message = format!("the object is no {} of {}", kind.kind, kind.api_version());
            return Err(Refusal::new(400, "BadRequest", message));
        }
        let label = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !part.starts_with('-')
                && !part.ends_with('-')
        };
        if object["metadata"]["name"] != name || !name.split('.').all(label) {
            let message = format!("{} \"{name}\" is invalid: metadata.name", kind.kind);
            return Err(Refusal::new(422, "Invalid", message));
        }
        kinds::check(kind, object).map_err(|why| {
            Refusal::new(400, "BadRequest", format!("strict decoding error: {why}"))
        })?;
        if let Some(schema) = self.schema(kind) {
            let mut object = object.clone();
            // Known of every object.
            if let Some(fields) = object.as_object_mut() {
                fields.retain(|name, _| !["apiVersion", "kind", "metadata"].contains(&&**name));
            }
            schema::check(&schema, &object, "").map_err(|why| {
                let strict = why.starts_with("unknown field");
                let (code, reason) = if strict { (400, "BadRequest") } else { (422, "Invalid") };
                Refusal::new(code, reason, format!("{} \"{name}\" is invalid: {why}", kind.kind))
            })?;
        }
        if kind.kind == "Service" {
            self.check_ports(name, object)?;
        }
        if kind.kind == "Deployment" {
            let selector = object["spec"]["selector"]["matchLabels"].as_object();
            let labels = &object["spec"]["template"]["metadata"]["labels"];
            if selector
                .is_none_or(|s| s.iter().any(|(name, value)| labels.get(name) != Some(value)))
            {
                let message = "`selector` does not match template `labels`";
                return Err(Refusal::new(422, "Invalid", message));
            }
        }
        Ok(())
    }

    /// The schema of a kind that was defined.
    fn schema(&self, kind: &Kind) -> Option<Value> {
        let definitions =
            self.objects.iter().filter(|(key, _)| key.1 == "customresourcedefinitions");
        let definition = definitions.map(|(_, stored)| stored.object()).find(|definition| {
            definition["spec"]["group"] == kind.group.as_str()
                && definition["spec"]["names"]["plural"] == kind.plural.as_str()
        })?;
        let versions = definition["spec"]["versions"].as_array()?;
        let version = versions.iter().find(|v| v["name"] == kind.version.as_str())?;
        Some(version["schema"]["openAPIV3Schema"].clone())
    }

    fn check_ports(&self, name: &str, object: &Value) -> Result<(), Refusal> {
        let services = kinds::built_in().into_iter().find(|k| k.kind == "Service");
        let Some(services) = services else { return Ok(()) };
        let taken = |port: &Value| {
            self.list(&services, "").iter().any(|(key, other)| {
                let theirs = other["spec"]["ports"].as_array().cloned().unwrap_or_default();
                (key.3 != name || key.2 != object["metadata"]["namespace"].as_str().unwrap_or(""))
                    && theirs.iter().any(|other| other["nodePort"] == *port)
            })
        };
        for port in object["spec"]["ports"].as_array().into_iter().flatten() {
            if !port["nodePort"].is_null() && taken(&port["nodePort"]) {
                let message = format!(
                    "Service \"{name}\" is invalid: spec.ports[0].nodePort: Invalid value: {}: \
                     provided port is already allocated",
                    port["nodePort"]
                );
                return Err(Refusal::new(422, "Invalid", message));
            }
        }
        Ok(())
    }

    /// Server-side apply.
    pub fn apply(
        &mut self,
        kind: &Kind,
        (namespace, name): (&str, &str),
        manager: &str,
        object: &Value,
        (force, dry_run): (bool, bool),
    ) -> Result<Value, Refusal> {
        self.checked(kind, name, object)?;
        let key = key(kind, namespace, name);
        let before = self.objects.get(&key);
        if before.is_none() {
            self.check_namespace(kind, namespace)?;
        }
        let mut fields = before.map(|stored| stored.fields.clone()).unwrap_or_default();
        fields.apply(manager, &said(object), force).map_err(|conflicts| {
            let using = kind.api_version();
            let causes = conflicts.iter().map(|(manager, path)| {
                json!({
                    "reason": "FieldManagerConflict", "field": fields::show(path),
                    "message": format!("conflict with \"{manager}\" using {using}"),
                })
            });
            let message = format!("Apply failed with {} conflicts", conflicts.len());
            Refusal { causes: causes.collect(), ..Refusal::new(409, "Conflict", message) }
        })?;
        self.settle(kind, key, fields, dry_run)
    }

    /// A write of any other sort: of the whole object, or with `patch` of what is in it.
    pub fn write(
        &mut self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        manager: &str,
        object: &Value,
        patch: bool,
    ) -> Result<Value, Refusal> {
        let key = key(kind, namespace, name);
        let before = self.objects.get(&key);
        let mut whole = object.clone();
        if patch {
            whole = before.map(Stored::object).ok_or_else(|| Refusal::not_found(kind, name))?;
            merge(&mut whole, object);
        }
        if before.is_none() {
            self.check_namespace(kind, namespace)?;
        }
        if let (Some(before), Some(wanted)) =
            (before, object["metadata"]["resourceVersion"].as_str())
            && before.head["metadata"]["resourceVersion"] != wanted
        {
            let message =
                "the object has been modified; please apply your changes to the latest version";
            return Err(Refusal::new(409, "Conflict", message));
        }
        if !patch {
            self.checked(kind, name, &whole)?;
        }
        let mut fields = before.map(|stored| stored.fields.clone()).unwrap_or_default();
        fields.write(manager, said(&whole));
        self.settle(kind, key, fields, false)
    }

    /// Stores what the fields say, where that is something new.
    fn settle(
        &mut self,
        kind: &Kind,
        key: Key,
        mut fields: Fields,
        dry_run: bool,
    ) -> Result<Value, Refusal> {
        let mut filled = fields::value(&fields.all);
        kinds::fill_in(kind, &mut filled);
        for (path, value) in said(&filled) {
            // Held by nobody: a default is given up for whoever applies another value.
            fields.all.entry(path).or_insert(value);
        }
        let before = self.objects.get(&key);
        if let Some(before) = before
            && before.fields.all == fields.all
        {
            let head = before.head.clone();
            let stored = Stored { fields, head };
            let object = stored.object();
            if !dry_run {
                self.objects.insert(key, stored);
            }
            return Ok(object);
        }
        let spec = |fields: &Fields| fields::value(&fields.all)["spec"].clone();
        let mut head = before.map_or_else(
            || {
                json!({
                    "apiVersion": kind.api_version(), "kind": kind.kind,
                    "metadata": {
                        "name": key.3, "uid": format!("uid-{}", self.uids + 1), "generation": 0,
                        "creationTimestamp": Timestamp::now().to_string(),
                    },
                })
            },
            |stored| stored.head.clone(),
        );
        if kind.namespaced {
            head["metadata"]["namespace"] = key.2.clone().into();
        }
        if before.is_none_or(|before| spec(&before.fields) != spec(&fields)) {
            let generation = head["metadata"]["generation"].as_u64().unwrap_or(0);
            head["metadata"]["generation"] = (generation + 1).into();
        }
        let happened = if before.is_none() { "ADDED" } else { "MODIFIED" };
        head["metadata"]["resourceVersion"] = (self.version + 1).to_string().into();
        let stored = Stored { fields, head };
        let object = stored.object();
        if dry_run {
            return Ok(object);
        }
        self.uids += u64::from(happened == "ADDED");
        self.version += 1;
        self.note(&key, happened, object.clone());
        let gone = !object["metadata"]["deletionTimestamp"].is_null()
            && object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        self.objects.insert(key.clone(), stored);
        if gone {
            self.remove(&key);
        }
        Ok(object)
    }

    fn note(&mut self, key: &Key, kind: &'static str, object: Value) {
        let version = self.version;
        self.happened.push(Happening { version, key: key.clone(), kind, object });
    }

    /// A deletion: the object goes once nobody's finalizer holds it.
    pub fn delete(
        &mut self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        uid: &Value,
    ) -> Result<Value, Refusal> {
        let key = key(kind, namespace, name);
        let Some(stored) = self.objects.get_mut(&key) else {
            return Err(Refusal::not_found(kind, name));
        };
        let object = stored.object();
        if !uid.is_null() && object["metadata"]["uid"] != *uid {
            let message = "the UID in the precondition does not match the UID in record";
            return Err(Refusal::new(409, "Conflict", message));
        }
        if object["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty()) {
            if object["metadata"]["deletionTimestamp"].is_null() {
                self.version += 1;
                stored.head["metadata"]["deletionTimestamp"] = Timestamp::now().to_string().into();
                stored.head["metadata"]["resourceVersion"] = self.version.to_string().into();
                if kind.kind == "Namespace" {
                    stored.fields.write("kube-apiserver", {
                        let mut fields = stored.fields.all.clone();
                        fields.extend(fields::leaves(
                            &json!({ "status": { "phase": "Terminating" } }),
                        ));
                        fields
                    });
                }
                let object = stored.object();
                self.note(&key, "MODIFIED", object);
            }
            return self.get(kind, namespace, name);
        }
        self.remove(&key);
        Ok(json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }))
    }

    fn remove(&mut self, key: &Key) {
        let Some(mut stored) = self.objects.remove(key) else { return };
        self.version += 1;
        stored.head["metadata"]["resourceVersion"] = self.version.to_string().into();
        let object = stored.object();
        let uid = object["metadata"]["uid"].clone();
        self.note(key, "DELETED", object);
        // What is in a namespace goes with it, and what an object owns with its owner.
        let owned: Vec<Key> = self
            .objects
            .iter()
            .filter(|(other, stored)| {
                let owners = stored.object()["metadata"]["ownerReferences"].clone();
                (key.1 == "namespaces" && other.2 == key.3)
                    || owners.as_array().into_iter().flatten().any(|owner| owner["uid"] == uid)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in owned {
            self.remove(&key);
        }
    }
}

impl Stored {
    /// As the API shows it.
    fn object(&self) -> Value {
        let mut object = self.head.clone();
        merge(&mut object, &fields::value(&self.fields.all));
        object["metadata"]["managedFields"] = self
            .fields
            .managers()
            .map(|manager| {
                json!({
                    "manager": manager, "operation": "Apply", "apiVersion": object["apiVersion"],
                    "fieldsType": "FieldsV1", "fieldsV1": {},
                })
            })
            .collect();
        object
    }
}
