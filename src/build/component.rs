//! From a core module to a component in its place.

use super::BuildError;
use std::{fs, path::Path};

/// Makes a component of the module and puts it at `target`, where it appears
/// complete or not at all. Returns its size in bytes.
pub(super) fn encode(name: &str, module: &Path, target: &Path) -> Result<usize, BuildError> {
    let module = fs::read(module)
        .map_err(|e| BuildError::io(format_args!("cannot read {}", module.display()), &e))?;
    let component = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(wit_component::ComponentEncoder::encode)
        .map_err(|e| not_exported(name, &format!("{e:#}")))?;
    // A module that knows of no world becomes a component that does nothing.
    if !contains(&component, b"on-message") {
        return Err(not_exported(name, "it exports nothing"));
    }
    put(&component, target)
        .map_err(|e| BuildError::io(format_args!("cannot write {}", target.display()), &e))?;
    Ok(component.len())
}

fn not_exported(name: &str, why: &str) -> BuildError {
    BuildError {
        summary: format!(
            "{name} compiles but is no plugin: put `cometbox_guest::export!(YourPlugin);` into \
             its src/lib.rs"
        ),
        details: Some(why.to_owned()),
    }
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

fn put(component: &[u8], target: &Path) -> std::io::Result<()> {
    // The caller names a file in a folder.
    let folder = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    // The name says that it is nobody's yet: watchers look for .wasm.
    let temporary = target.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&temporary, component)?;
    fs::rename(&temporary, target).inspect_err(|_| {
        // The error that counts is the first one.
        let _ = fs::remove_file(&temporary);
    })
}
