//! The OpenAPI document: whole, and about this hub.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::Command,
};

use serde_json::Value;

use crate::world::{World, program};

/// The document as `cloudcore-hub openapi` prints it.
pub fn printed() -> String {
    let output = Command::new(program("cloudcore-hub")).arg("openapi").output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the document is text")
}

/// Who changes the API sees it in the difference, as does who reviews it.
#[test]
fn the_document_is_the_one_in_docs() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let kept = std::fs::read_to_string(&path).expect("docs/openapi.json");
    assert!(printed() == kept, "the API has changed: run `make openapi` and commit what it writes");
}

/// A generator makes a method of each operation, named by its id.
#[test]
fn each_operation_has_an_id_of_its_own() {
    let document: Value = serde_json::from_str(&printed()).expect("JSON");
    let mut ids = BTreeSet::new();
    for operation in document["paths"].as_object().expect("paths").values() {
        for (method, operation) in operation.as_object().expect("operations") {
            let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method}"));
            assert!(ids.insert(id.to_owned()), "two operations are {id}");
        }
    }
    assert!(ids.len() > 50, "{ids:?}");
}

/// The document comes from the handlers' own attributes; a route that was put beside it has none.
#[tokio::test(flavor = "multi_thread")]
async fn no_route_is_beside_the_document() {
    let world = World::start().await;
    let document = world.get("/api/kubeedge/openapi.json").await;
    let documented = document["paths"].as_object().expect("paths");
    let mut beside = Vec::new();
    // The dashboard's files are pages, and no part of the API.
    let is_of_api = |(file, _): &(PathBuf, String)| !file.ends_with("src/dashboard.rs");
    for (file, text) in sources().into_iter().filter(is_of_api) {
        let calls = [".route(", ".route_service(", ".nest(", ".nest_service("];
        for (n, line) in text.lines().enumerate() {
            let Some(call) = calls.iter().find(|call| line.contains(**call)) else { continue };
            let path = line.split(call).nth(1).and_then(|rest| rest.split('"').nth(1));
            if !path.is_some_and(|path| documented.contains_key(path)) {
                beside.push(format!("{}:{}: {}", file.display(), n + 1, line.trim()));
            }
        }
    }
    assert_eq!(beside, Vec::<String>::new(), "routes that are not in the document");
}

/// The hub's sources, tests in them left out.
fn sources() -> Vec<(PathBuf, String)> {
    let mut folders = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../hub/src"))];
    let mut found = Vec::new();
    while let Some(path) = folders.pop() {
        if path.is_dir() {
            folders.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        found.push((path, code));
    }
    assert!(found.len() > 30, "the hub's sources are elsewhere");
    found
}

/// utoipa puts schemas of one name together, whatever they are: one of the two is then a lie.
#[test]
fn no_two_schemas_have_one_name() {
    let mut named: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, text) in sources() {
        let mut lines = text.lines().peekable();
        let mut attributes = String::new();
        while let Some(line) = lines.next() {
            let line = line.trim();
            // An attribute may have several lines.
            if line.starts_with("#[") {
                attributes += line;
                while attributes.matches('[').count() > attributes.matches(']').count() {
                    attributes += lines.next().expect("the attribute has an end").trim();
                }
                continue;
            }
            if line.starts_with("//") {
                continue;
            }
            if attributes.contains("ToSchema") {
                let kind = line.split(' ').position(|word| word == "struct" || word == "enum");
                if let Some(name) = kind.and_then(|at| line.split(' ').nth(at + 1)) {
                    let own = attributes.split("as = ").nth(1).unwrap_or(name);
                    let end = own.find(|c: char| !c.is_alphanumeric()).unwrap_or(own.len());
                    named
                        .entry(own[..end].to_owned())
                        .or_default()
                        .push(file.display().to_string());
                }
            }
            attributes.clear();
        }
    }
    assert!(named.len() > 20, "the schemas are elsewhere: {named:?}");
    named.retain(|_, files| files.len() > 1);
    assert_eq!(named, BTreeMap::new(), "give one of them #[schema(as = ...)]");
}
