//! Plugin crates that tests write themselves.

use super::{BINARY, project};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Writes a plugin crate into `folder/name` and builds it with `cometbox
/// build`; the component. What it depends on is built once for all such crates.
pub fn build(folder: &Path, name: &str, source: &str) -> PathBuf {
    let dir = folder.join(name);
    let path = |relative: &str| project(relative).display().to_string();
    let manifest = format!(
        "[package]\nname = {name:?}\nversion = \"0.1.0\"\nedition = \"2024\"\n\
         [lib]\ncrate-type = [\"cdylib\"]\n\
         [dependencies]\ncometbox-guest = {{ path = {:?} }}\n\
         serde = {{ version = \"1.0\", features = [\"derive\"] }}\n[workspace]\n",
        path("guest-sdk")
    );
    let cargo_config = format!("[build]\ntarget-dir = {:?}\n", path("target/test-plugins"));
    for (file, content) in [
        ("Cargo.toml", manifest.as_str()),
        (".cargo/config.toml", cargo_config.as_str()),
        ("src/lib.rs", source),
    ] {
        let file = dir.join(file);
        fs::create_dir_all(file.parent().expect("it has a folder")).expect("folder is ours");
        fs::write(file, content).expect("folder is ours");
    }
    let built = Command::new(BINARY).arg("build").arg(&dir).output();
    let built = built.expect("the binary was built for this test");
    assert!(built.status.success(), "{name}: {}", String::from_utf8_lossy(&built.stderr));
    dir.join(format!("build/{name}.wasm"))
}
