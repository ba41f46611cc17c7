//! What the page says beside its requests: that each of it has a story.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{
    page::{self, Page},
    shape::Allowed,
};

/// `facts.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    fact: Vec<Fact>,
}

/// A line of the page.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    pub line: usize,
    pub text: String,
    /// The test that shows it: a file and a function.
    pub story: String,
    /// A command that provokes an error.
    pub curl: Option<String>,
    /// What has to go wrong for it.
    pub fault: Option<String>,
    /// Where the real thing may differ.
    #[serde(default)]
    pub allowed: Allowed,
}

impl Fact {
    /// The JSON at the end of the line.
    pub fn json(&self) -> Value {
        let start = self.text.find('{').expect("there is JSON");
        serde_json::from_str(&self.text[start..]).expect("it is JSON")
    }

    /// The columns of a row of a table.
    pub fn columns(&self) -> Vec<&str> {
        self.text.split('\t').collect()
    }
}

/// All that name this story.
pub fn of(story: &str) -> Vec<Fact> {
    let facts: Vec<_> = all().into_iter().filter(|fact| fact.story.ends_with(story)).collect();
    assert!(!facts.is_empty(), "no fact of {story}");
    facts
}

fn all() -> Vec<Fact> {
    let data: Data = toml::from_str(&page::file("facts.toml")).expect("the data is as described");
    data.fact
}

#[test]
fn every_fact_of_the_page_has_a_story() {
    let (page, data) = (Page::read(), all());
    let on_page: Vec<_> = page.facts().map(|(n, text)| (n, text.to_owned())).collect();
    let in_data: Vec<_> = data.iter().map(|fact| (fact.line, fact.text.clone())).collect();
    for ((line, text), fact) in on_page.iter().zip(&in_data) {
        assert_eq!((line, text), (&fact.0, &fact.1));
    }
    assert_eq!(on_page.len(), in_data.len());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for Fact { story, text, .. } in &data {
        let (file, function) = story.split_once("::").expect("FILE::FUNCTION");
        let code = std::fs::read_to_string(root.join(file)).unwrap_or_default();
        assert!(code.contains(&format!("fn {function}(")), "{text:?} has no story {story}");
    }
}
