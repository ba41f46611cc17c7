//! Has the C++ library of the H.264 decoder linked into the program: the decoder needs next to
//! nothing of it, and as a library of its own it takes more than a megabyte of memory, and has to
//! be there on the node.

use std::{
    env, fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

const LIBRARY: &str = "libstdc++.a";

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_RTSP").is_none() {
        return Ok(());
    }
    let Some(library) = library() else {
        // Another library of C++, or none that can be linked in: it is loaded, then.
        return Ok(());
    };
    let Some(dir) = env::var_os("OUT_DIR").map(PathBuf::from) else {
        return Ok(());
    };
    // A folder that has this library alone: where the linker looks first, it finds no other.
    let link = dir.join(LIBRARY);
    if fs::symlink_metadata(&link).is_ok() {
        fs::remove_file(&link)?;
    }
    symlink(library, &link)?;
    println!("cargo:rustc-link-search=native={}", dir.display());
    Ok(())
}

/// Where the compiler of C++ for the target keeps its library.
fn library() -> Option<PathBuf> {
    let compiler = cc::Build::new().cpp(true).try_get_compiler().ok()?;
    let argument = format!("-print-file-name={LIBRARY}");
    let said = compiler.to_command().arg(argument).output().ok()?;
    let path = String::from_utf8(said.stdout).ok()?;
    let path = Path::new(path.trim());
    path.is_absolute().then(|| path.to_owned()).filter(|path| path.is_file())
}
