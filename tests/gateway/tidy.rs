//! Rules of the house that a compiler does not know.

use crate::support::project;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// All Rust files below a folder, those that builds leave behind excepted.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources_of(folders: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    folders.iter().for_each(|folder| sources(&project(folder), &mut found));
    assert!(!found.is_empty());
    let read =
        |path: PathBuf| (path.display().to_string(), fs::read_to_string(&path).expect("text"));
    found.into_iter().map(read).collect()
}

#[test]
fn files_stay_under_500_lines() {
    for (path, text) in sources_of(&["src", "guest-sdk", "plugins", "tests", "examples", "benches"])
    {
        assert!(text.lines().count() <= 500, "{path}: split it by responsibility");
    }
}

/// What ARCHITECTURE.md says is absent.
#[test]
fn rooms_know_only_what_they_may() {
    for (room, absent) in [
        (
            "src/core",
            &[
                "std::time",
                "tokio",
                "tracing",
                "getrandom",
                "serde_json",
                "std::thread",
                "std::fs",
                "std::net",
                "crate::app",
                "crate::plugin",
                "crate::server",
                "std::collections::HashMap",
            ][..],
        ),
        ("src/plugin", &["crate::app", "crate::server", "crate::config", "tokio", "std::net"]),
        (
            "src/app",
            &["crate::server", "crate::config", "tokio", "async ", "wasmtime", "std::time"],
        ),
        ("src/transport", &["crate::app", "crate::server", "crate::plugin", "tokio", "hyper"]),
        ("src/server", &["crate::reload", "crate::build", "crate::cli", "wasmtime"]),
    ] {
        for (path, text) in sources_of(&[room]) {
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for (line, text) in code.enumerate() {
                for word in absent {
                    assert!(!text.contains(word), "{path}, code line {}: {word}", line + 1);
                }
            }
        }
    }
}
