//! The ranks of ARCHITECTURE.md hold: a room imports only from rooms below its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// From the top down: `>` goes one rank lower; rooms with a comma between them are of one rank and
/// do not know each other. ARCHITECTURE.md and the two lib.rs have the same lines.
const RANKS: [(&str, &str); 2] = [
    (
        "hub",
        "main > app > http, inbox, health, metrics, mqtt, overview > apps, diagnostics > commands > backup, certificates, detections, logs > devices, webhooks > alerts, link > live > blobs, cloudcore, configuration, dashboard, maintenance, models, releases, tokens > auth, pki > api, settings > cluster > keys, db, objects, traffic > error, config",
    ),
    (
        "agent",
        "main > cli > agent > exec, join, schedule > apps, watch > models > link > heartbeat > eye, config > camera, detect, identity, lock, machine, outbox, update > backoff, confine, files, logs, notify",
    ),
];

/// Imports against the ranks, as (crate, from, to). Aimed at empty: an entry needs a reason.
const EXCEPTIONS: [(&str, &str, &str); 0] = [];

#[test]
fn imports_go_down_the_ranks() {
    for (name, ranks) in RANKS {
        let ranks = parse(ranks);
        let mut faults = BTreeSet::new();
        for file in sources(&root().join(name).join("src")) {
            let from = room(&file);
            // lib.rs only names the rooms, a second binary is a `main`, and a room's tests may
            // borrow another room's samples.
            if from == "lib" || from == "bin" || file.inside.ends_with("tests.rs") {
                continue;
            }
            let Some(&rank) = ranks.get(from.as_str()) else {
                faults.insert(format!(
                    "{name}/src: room `{from}` has no rank: give it one in tests/it/ranks.rs and ARCHITECTURE.md"
                ));
                continue;
            };
            let text = fs::read_to_string(&file.path).expect("a source file is text");
            for to in imports(&text) {
                let down = match ranks.get(to.as_str()) {
                    Some(&other) => other > rank,
                    // A constant of lib.rs, such as the release's number, has no rank.
                    None => to.chars().all(|c| c.is_ascii_uppercase() || c == '_'),
                };
                let excepted = EXCEPTIONS.contains(&(name, from.as_str(), to.as_str()));
                if to != from && !down && !excepted {
                    let why = match ranks.get(to.as_str()) {
                        Some(&other) if other == rank => "is of the same rank",
                        Some(_) => "is above it",
                        None => "has no rank",
                    };
                    faults.insert(format!(
                        "{}: `{from}` imports `{to}`, which {why}",
                        file.path.strip_prefix(root()).unwrap_or(&file.path).display()
                    ));
                }
            }
        }
        let faults: Vec<_> = faults.into_iter().collect();
        assert!(faults.is_empty(), "imports against the ranks:\n{}", faults.join("\n"));
    }
}

#[test]
fn the_pages_have_the_same_ranks() {
    for (name, ranks) in RANKS {
        for page in ["ARCHITECTURE.md".to_owned(), format!("{name}/src/lib.rs")] {
            let text = fs::read_to_string(root().join(&page)).expect("a page");
            let words: Vec<_> = text.split_whitespace().filter(|word| *word != "//!").collect();
            assert!(words.join(" ").contains(ranks), "{page} lacks the ranks of {name}: {ranks}");
        }
    }
}

#[test]
fn a_ranked_room_exists() {
    for (name, ranks) in RANKS {
        let rooms: BTreeSet<_> = sources(&root().join(name).join("src")).iter().map(room).collect();
        for ranked in parse(ranks).keys() {
            assert!(rooms.contains(*ranked), "{name}: `{ranked}` has a rank and no sources");
        }
    }
}

#[test]
fn the_scanner_reads_what_rustfmt_writes() {
    let text = r#"
        //! Not crate::http.
        use crate::{
            db::{Db, rows::Row}, // crate::app
            error::{Error, Result},
            live,
        };
        use crate::tokens::Token;
        /// See [`crate::inbox`].
        fn f() { let url = "http://a/crate"; crate::auth::check(url); not_crate::x() }
        pub(crate) fn g() -> crate::VERSION {}
    "#;
    let found: Vec<_> = imports(text).into_iter().collect();
    assert_eq!(found, ["VERSION", "auth", "db", "error", "live", "tokens"]);
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("tests/ is in the workspace").to_owned()
}

/// Room → its rank, counted from the top.
fn parse(ranks: &str) -> BTreeMap<&str, usize> {
    ranks
        .split('>')
        .enumerate()
        .flat_map(|(rank, rooms)| rooms.split(',').map(move |room| (room.trim(), rank)))
        .collect()
}

struct Source {
    path: PathBuf,
    /// Below `src`.
    inside: PathBuf,
}

fn sources(src: &Path) -> Vec<Source> {
    let (mut found, mut folders) = (Vec::new(), vec![src.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("an entry of it").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let inside = path.strip_prefix(src).expect("it is below src").to_owned();
                found.push(Source { path, inside });
            }
        }
    }
    found
}

/// `commands` for `commands.rs` and for all that is in `commands/`.
fn room(source: &Source) -> String {
    let first = source.inside.iter().next().unwrap_or_default();
    Path::new(first).file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// First names behind `crate::`, in `use` and elsewhere.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().map(|line| without_comment(line).to_owned() + "\n").collect();
    let mut found = BTreeSet::new();
    for (at, path) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + path.len()..];
        match rest.strip_prefix('{') {
            None => found.extend(first_name(rest)),
            Some(list) => found.extend(outer_items(list).into_iter().filter_map(first_name)),
        }
    }
    found
}

/// The line up to a `//` that is not in a string.
fn without_comment(line: &str) -> &str {
    line.match_indices("//")
        .find(|(at, _)| line[..*at].replace("\\\"", "").matches('"').count().is_multiple_of(2))
        .map_or(line, |(at, _)| &line[..at])
}

/// `a::{b, c}, d` of `a::{b, c}, d}; …`, split at its outer commas.
fn outer_items(list: &str) -> Vec<&str> {
    let (mut items, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' => {
                items.push(&list[start..at]);
                break;
            }
            ',' if depth == 0 => {
                items.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items
}

fn first_name(path: &str) -> Option<String> {
    let name: String =
        path.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}
