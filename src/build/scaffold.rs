//! A new plugin: a crate that builds and passes its tests as it stands.

use super::BuildError;
use std::{fs, path::Path};

/// Longest name of a crate, in bytes (what registries take).
const MAX_NAME_BYTES: usize = 64;

/// Names that cargo refuses for a crate: Rust's words, and crates of its own.
const TAKEN: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "cometbox",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// Files of a new plugin; `{{name}}` stands for its name.
const TEMPLATE: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("template/Cargo.toml.txt")),
    ("README.md", include_str!("template/README.md.txt")),
    ("cometbox.toml", include_str!("template/cometbox.toml.txt")),
    (".gitignore", include_str!("template/gitignore.txt")),
    ("src/lib.rs", include_str!("template/lib.rs.txt")),
    ("cometbox/README.md", include_str!("template/cometbox.md.txt")),
];

macro_rules! copies {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../", $path)))),*]
    };
}

/// What goes into the folder `cometbox` as it is, so that a plugin needs
/// nothing but this program and Rust.
const COPIES: &[(&str, &str)] = copies![
    "guest-sdk/Cargo.toml",
    "guest-sdk/src/action.rs",
    "guest-sdk/src/answer.rs",
    "guest-sdk/src/codec.rs",
    "guest-sdk/src/context.rs",
    "guest-sdk/src/error.rs",
    "guest-sdk/src/event.rs",
    "guest-sdk/src/lib.rs",
    "guest-sdk/src/memory.rs",
    "guest-sdk/src/message.rs",
    "guest-sdk/src/plugin.rs",
    "guest-sdk/src/test.rs",
    "guest-sdk/src/wasm.rs",
    "wit/0.1/plugin.wit",
];

/// Writes a new plugin crate into a folder of its name, which must not exist
/// yet.
///
/// # Errors
/// If the folder's name is none for a crate, or it exists, or cannot be
/// written.
pub fn scaffold(path: &Path) -> Result<(), BuildError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    check_name(name).map_err(|why| {
        BuildError::new(format!("{name:?} is no name for a plugin: {why}; try \"my-plugin\""))
    })?;
    // Creating it is also the check that nobody else has it. Its parents are
    // made as well, as `cargo new` does.
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)
            .map_err(|e| BuildError::io(format_args!("cannot make {}", parent.display()), &e))?;
    }
    fs::create_dir(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => BuildError::new(format!(
            "{} exists already: choose another name or remove it",
            path.display()
        )),
        _ => BuildError::io(format_args!("cannot make {}", path.display()), &e),
    })?;
    for (file, text) in TEMPLATE {
        write(&path.join(file), &text.replace("{{name}}", name))?;
    }
    for (file, text) in COPIES {
        write(&path.join("cometbox").join(file), text)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), BuildError> {
    path.parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(path, text))
        .map_err(|e| BuildError::io(format_args!("cannot write {}", path.display()), &e))
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.len() > MAX_NAME_BYTES {
        return Err("it has more than 64 characters");
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err("it does not start with a small letter");
    }
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if !name.chars().all(fits) {
        return Err("only small letters, digits, '-' and '_' go into a crate's name");
    }
    // The SDK's crates are part of the new one's workspace and dependencies.
    if TAKEN.contains(&name) || ["cometbox-guest", "serde"].contains(&name) {
        return Err("it has a meaning of its own");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn names_are_those_of_crates() {
        for name in ["a", "my-plugin", "room_2"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "2rooms", "My", "a b", "a.b", "é", "fn", "test", "serde", "..", "-a"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_name(&"a".repeat(65)).is_err());
    }

    /// A file that is added to the SDK has to be listed here as well.
    #[test]
    fn the_whole_sdk_is_embedded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut found = Vec::new();
        let mut folders = vec![PathBuf::from("guest-sdk"), PathBuf::from("wit")];
        while let Some(folder) = folders.pop() {
            for entry in root.join(&folder).read_dir().expect("part of the source") {
                let entry = entry.expect("readable");
                let path = folder.join(entry.file_name());
                let is_dir = entry.file_type().expect("readable").is_dir();
                let ignored = ["target", "tests", "Cargo.lock"];
                if ignored.iter().any(|name| path.ends_with(name)) {
                } else if is_dir {
                    folders.push(path);
                } else {
                    found.push(path.to_str().expect("our names are text").to_owned());
                }
            }
        }
        found.sort();
        let mut listed: Vec<_> = COPIES.iter().map(|(path, _)| (*path).to_owned()).collect();
        listed.sort();
        assert_eq!(found, listed);
    }
}
