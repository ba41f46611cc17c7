//! Puts the dashboard into the program, where it was built before: what `make dashboard` left in
//! `dashboard/dist`, each file beside its compressed twin. Without it the hub is built all the
//! same, and says how to build the dashboard.

use std::{
    env, fs,
    io::{Error, Result},
    path::{Path, PathBuf},
};

fn main() -> Result<()> {
    let variable =
        |name| env::var_os(name).map(PathBuf::from).ok_or_else(|| Error::other("no cargo here"));
    let dist = variable("CARGO_MANIFEST_DIR")?.join("dashboard/dist");
    println!("cargo::rerun-if-changed=build.rs");
    // The folder is always there: one that is not would have the hub compiled at each build.
    println!("cargo::rerun-if-changed={}", dist.display());
    let mut files = Vec::new();
    if dist.join("index.html").is_file() {
        collect(&dist, &dist, &mut files)?;
        files.sort();
    }
    let table = format!("&[{}]", files.join(","));
    fs::write(variable("OUT_DIR")?.join("dashboard.rs"), table)
}

/// Each file as `(path, bytes, compressed bytes)`, in Rust.
fn collect(root: &Path, folder: &Path, files: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
            continue;
        }
        let inside = path.strip_prefix(root).map_err(Error::other)?.display().to_string();
        if inside.ends_with(".gz") || inside.starts_with('.') {
            continue;
        }
        let packed = format!("{}.gz", path.display());
        if !Path::new(&packed).is_file() {
            return Err(Error::other(format!("{packed} is missing: run `make dashboard` again")));
        }
        let name = if inside == "index.html" { String::new() } else { inside };
        files.push(format!(
            "({:?}, include_bytes!({:?}), include_bytes!({packed:?}))",
            format!("/{name}"),
            path.display().to_string(),
        ));
    }
    Ok(())
}
