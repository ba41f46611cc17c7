//! A program that the hub may have run, as the node's owner wrote it down.

use std::collections::{BTreeMap, BTreeSet};

use regex_lite::Regex;
use serde::{Deserialize, Serialize};

/// `[exec.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// The program and its arguments; `{name}` stands for a parameter's value, in arguments only.
    pub argv: Vec<String>,
    /// By parameter, the regular expression that its whole value must match.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Most seconds that it runs, by the clock and by its CPU time; 1 to 3600.
    #[serde(default = "default_timeout")]
    pub timeout: u32,
    /// Most bytes that are kept of each of its outputs; 1 to 1048576. A result holds less.
    #[serde(default = "default_max_output")]
    pub max_output: u32,
}

const fn default_timeout() -> u32 {
    30
}

const fn default_max_output() -> u32 {
    64 * 1024
}

/// A piece of an argument.
enum Piece<'a> {
    Text(&'a str),
    Parameter(&'a str),
}

/// Text in braces that is no name stays as it is.
fn pieces(argument: &str) -> Vec<Piece<'_>> {
    let (mut pieces, mut rest) = (Vec::new(), argument);
    while let Some(open) = rest.find('{') {
        let after = &rest[open + 1..];
        let name = after.split_once('}').map(|(name, _)| name).filter(|name| is_name(name));
        let end = match name {
            Some(name) => {
                pieces.extend([Piece::Text(&rest[..open]), Piece::Parameter(name)]);
                open + name.len() + 2
            }
            None => {
                pieces.push(Piece::Text(&rest[..=open]));
                open + 1
            }
        };
        rest = &rest[end..];
    }
    pieces.push(Piece::Text(rest));
    pieces
}

fn is_name(text: &str) -> bool {
    (1..=50).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Of the whole value, whatever anchors the pattern has.
fn whole(pattern: &str) -> Result<Regex, String> {
    Regex::new(&format!("^(?:{pattern})$")).map_err(|e| e.to_string())
}

impl Program {
    /// What is wrong with it, with the key.
    pub(super) fn check(&self) -> Result<(), String> {
        let program = self.argv.first().filter(|program| !program.is_empty());
        let program = program.ok_or("argv: a program is missing")?;
        if program.contains('{') || self.argv.iter().any(|argument| argument.contains('\0')) {
            return Err("argv: the program itself takes no parameter, and nothing has a NUL".into());
        }
        let used: BTreeSet<&str> = self.argv[1..]
            .iter()
            .flat_map(|argument| pieces(argument))
            .filter_map(|piece| match piece {
                Piece::Parameter(name) => Some(name),
                Piece::Text(_) => None,
            })
            .collect();
        if let Some(name) = used.iter().find(|name| !self.parameters.contains_key(**name)) {
            return Err(format!("argv: {{{name}}} has no parameters.{name}"));
        }
        for (name, pattern) in &self.parameters {
            if !used.contains(name.as_str()) {
                return Err(format!("parameters.{name}: argv does not use it"));
            }
            whole(pattern).map_err(|e| format!("parameters.{name}: {e}"))?;
        }
        if !(1..=3600).contains(&self.timeout) {
            return Err("timeout: 1 to 3600 seconds".into());
        }
        if !(1..=1 << 20).contains(&self.max_output) {
            return Err("max_output: 1 to 1048576 bytes".into());
        }
        Ok(())
    }

    /// What is run for these values: all of the parameters, each as its pattern wants it.
    ///
    /// # Errors
    /// What is wrong with which.
    pub fn argv(&self, values: &BTreeMap<String, String>) -> Result<Vec<String>, String> {
        if let Some(name) = values.keys().find(|name| !self.parameters.contains_key(*name)) {
            return Err(format!("there is no parameter '{}'", name.escape_debug()));
        }
        for (name, pattern) in &self.parameters {
            let value = values.get(name).ok_or_else(|| format!("parameter '{name}' is missing"))?;
            if !whole(pattern)?.is_match(value) {
                return Err(format!("parameter '{name}' does not match {pattern}"));
            }
        }
        let filled = |argument: &String| {
            let piece = |piece| match piece {
                Piece::Text(text) => text,
                Piece::Parameter(name) => values.get(name).map_or("", String::as_str),
            };
            pieces(argument).into_iter().map(piece).collect()
        };
        Ok(self.argv.iter().map(filled).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    fn program(argv: &[&str], parameters: &[(&str, &str)]) -> Program {
        Program {
            argv: argv.iter().map(ToString::to_string).collect(),
            parameters: parameters.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            timeout: 5,
            max_output: 100,
        }
    }

    fn values(values: &[(&str, &str)]) -> BTreeMap<String, String> {
        values.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    #[test]
    fn a_value_is_one_argument_or_a_part_of_one() {
        let disk = program(&["df", "--at={path}", "{}", "{path"], &[("path", "/[a-z/;. ]*")]);
        disk.check().unwrap();
        let argv = disk.argv(&values(&[("path", "/a; rm {path}")]));
        assert!(argv.is_err(), "a brace is not in the pattern");
        let argv = disk.argv(&values(&[("path", "/a; rm b")])).unwrap();
        assert_eq!(argv, ["df", "--at=/a; rm b", "{}", "{path"]);
        for bad in [&[][..], &[("path", "x/")], &[("path", "/\n")], &[("path", "/"), ("more", "")]]
        {
            assert!(disk.argv(&values(bad)).is_err(), "{bad:?}");
        }
        // An alternative does not escape the anchors.
        let either = program(&["a", "{x}"], &[("x", "b|c")]);
        assert!(either.argv(&values(&[("x", "bad")])).is_err());
    }

    #[test]
    fn a_bad_program_is_refused_when_it_is_read() {
        for bad in [
            program(&[], &[]),
            program(&[""], &[]),
            program(&["{x}"], &[("x", "a")]),
            program(&["a", "{x}"], &[]),
            program(&["a"], &[("x", "a")]),
            program(&["a", "{x}"], &[("x", "(")]),
            Program { timeout: 0, ..program(&["a"], &[]) },
            Program { max_output: 0, ..program(&["a"], &[]) },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
