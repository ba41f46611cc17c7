//! Who holds which field of an object: as much of server-side apply as a conflict takes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// A step on the way to a field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Field(String),
    /// An element of a list, by the fields that name it.
    Element(String),
}

pub type Path = Vec<Step>;
pub type Leaves = BTreeMap<Path, Value>;

/// As the API server writes it: `.spec.replicas`.
pub fn show(path: &Path) -> String {
    path.iter()
        .map(|step| match step {
            Step::Field(name) => format!(".{name}"),
            Step::Element(key) => format!("[{key}]"),
        })
        .collect()
}

/// By which fields a list's elements are told apart; `None` for a list that is one value.
fn keys(list: &str, element: &Value) -> Option<&'static [&'static str]> {
    match list {
        "containers" | "initContainers" | "volumes" | "env" | "imagePullSecrets" | "versions" => {
            Some(&["name"])
        }
        "volumeMounts" => Some(&["mountPath"]),
        "conditions" | "addresses" => Some(&["type"]),
        "ownerReferences" => Some(&["uid"]),
        "ports" if element.get("containerPort").is_some() => Some(&["containerPort", "protocol"]),
        "ports" if element.get("port").is_some() => Some(&["port", "protocol"]),
        _ => None,
    }
}

fn key(names: &[&str], element: &Value) -> String {
    let part = |name: &&str| match element.get(*name) {
        Some(value) => format!("{name}={value}"),
        None => format!("{name}=\"TCP\""),
    };
    names.iter().map(part).collect::<Vec<_>>().join(",")
}

/// All fields of a value.
pub fn leaves(value: &Value) -> Leaves {
    let mut all = Leaves::new();
    gather(value, &mut Vec::new(), &mut all);
    all
}

fn gather(value: &Value, at: &mut Path, all: &mut Leaves) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                at.push(Step::Field(name.clone()));
                gather(value, at, all);
                at.pop();
            }
        }
        Value::Array(list) if !list.is_empty() => {
            let name = match at.last() {
                Some(Step::Field(name)) => name.clone(),
                _ => String::new(),
            };
            let named: Option<Vec<_>> =
                list.iter().map(|e| keys(&name, e).map(|k| key(k, e))).collect();
            match named {
                Some(named) => {
                    for (key, element) in named.into_iter().zip(list) {
                        at.push(Step::Element(key));
                        gather(element, at, all);
                        at.pop();
                    }
                }
                None => drop(all.insert(at.clone(), value.clone())),
            }
        }
        // A null says nothing.
        Value::Null => {}
        _ => drop(all.insert(at.clone(), value.clone())),
    }
}

enum Node {
    Map(BTreeMap<String, Node>),
    List(BTreeMap<String, Node>),
    Leaf(Value),
}

/// The value that has these fields.
pub fn value(all: &Leaves) -> Value {
    let mut root = Node::Map(BTreeMap::new());
    for (path, leaf) in all {
        plant(&mut root, path, leaf);
    }
    grow(root)
}

fn plant(node: &mut Node, path: &[Step], leaf: &Value) {
    let Some((step, rest)) = path.split_first() else {
        let filled = matches!(node, Node::Map(map) | Node::List(map) if !map.is_empty());
        if !filled {
            *node = Node::Leaf(leaf.clone());
        }
        return;
    };
    let empty = || Node::Map(BTreeMap::new());
    match step {
        Step::Field(name) => {
            if !matches!(node, Node::Map(_)) {
                *node = empty();
            }
            let Node::Map(map) = node else { return };
            plant(map.entry(name.clone()).or_insert_with(empty), rest, leaf);
        }
        Step::Element(key) => {
            if !matches!(node, Node::List(_)) {
                *node = Node::List(BTreeMap::new());
            }
            let Node::List(list) = node else { return };
            plant(list.entry(key.clone()).or_insert_with(empty), rest, leaf);
        }
    }
}

fn grow(node: Node) -> Value {
    match node {
        Node::Map(map) => {
            Value::Object(map.into_iter().map(|(k, v)| (k, grow(v))).collect::<Map<_, _>>())
        }
        Node::List(list) => Value::Array(list.into_values().map(grow).collect()),
        Node::Leaf(value) => value,
    }
}

/// An object's fields, and who holds them.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    pub all: Leaves,
    held: BTreeMap<String, BTreeSet<Path>>,
}

impl Fields {
    pub fn managers(&self) -> impl Iterator<Item = &String> {
        self.held.keys()
    }

    /// Server-side apply: with `force`, what others hold is taken from them.
    ///
    /// # Errors
    /// The fields that others hold with another value.
    pub fn apply(
        &mut self,
        manager: &str,
        wanted: &Leaves,
        force: bool,
    ) -> Result<(), Vec<(String, Path)>> {
        let mut conflicts = Vec::new();
        for (path, value) in wanted {
            if self.all.get(path).is_none_or(|now| now == value) {
                continue;
            }
            for (other, held) in &self.held {
                if other != manager && held.contains(path) {
                    conflicts.push((other.clone(), path.clone()));
                }
            }
        }
        if !conflicts.is_empty() && !force {
            return Err(conflicts);
        }
        for (other, path) in conflicts {
            self.held.entry(other).or_default().remove(&path);
        }
        let before = self.held.remove(manager).unwrap_or_default();
        for path in before.iter().filter(|path| !wanted.contains_key(*path)) {
            if !self.held.values().any(|held| held.contains(path)) {
                self.all.remove(path);
            }
        }
        self.all.extend(wanted.clone());
        self.held.insert(manager.to_owned(), wanted.keys().cloned().collect());
        Ok(())
    }

    /// Any other write: what it changes is the writer's.
    pub fn write(&mut self, manager: &str, after: Leaves) {
        let changed: Vec<Path> = after
            .iter()
            .filter(|(p, v)| self.all.get(*p) != Some(v))
            .map(|(p, _)| p.clone())
            .collect();
        for held in self.held.values_mut() {
            held.retain(|path| after.contains_key(path) && !changed.contains(path));
        }
        self.held.entry(manager.to_owned()).or_default().extend(changed);
        self.all = after;
    }
}
