//! Finding cargo and rustup, and the environment they run in.

use super::{BuildError, Progress, TARGET, output};
use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
};
use tokio::process::Command;

/// The Rust installation that builds the plugins of one folder.
#[derive(Debug)]
pub(super) struct Toolchain {
    dir: PathBuf,
    cargo: PathBuf,
    /// The folder has a toolchain file, and the toolchain in the environment
    /// is not one that the user chose for it.
    forget_rustup_toolchain: bool,
}

/// What cargo tells the programs it runs begins with `CARGO_`; so do these,
/// which are the user's.
const USERS_OWN: [&str; 8] = [
    "CARGO_HOME",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_JOBS",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRY_",
    "CARGO_REGISTRIES_",
    "CARGO_SOURCE_",
];

/// Flags and wrappers that are meant for other builds, such as the gateway's
/// own: they would make every rebuild a full one, or fail for wasm.
const OTHERS: [&str; 8] = [
    "CARGO",
    "OUT_DIR",
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_BOOTSTRAP",
];

impl Toolchain {
    pub(super) fn find(dir: &Path) -> Result<Self, BuildError> {
        if !dir.is_dir() {
            return Err(BuildError::new(format!("there is no folder {}", dir.display())));
        }
        let dir = dir
            .canonicalize()
            .map_err(|e| BuildError::io(format_args!("cannot open {}", dir.display()), &e))?;
        // The cargo in the environment comes last: it is the real one, while
        // the one in the path is rustup's and heeds the folder's toolchain.
        let given = env::var_os("CARGO").map(PathBuf::from).filter(|path| path.is_file());
        let cargo = find_program("cargo").or(given).ok_or_else(|| {
            BuildError::new(
                "cargo was not found, neither in the PATH nor in ~/.cargo/bin: install Rust \
                 from https://rustup.rs",
            )
        })?;
        // rustup's cargo tells programs that it runs which toolchain it took,
        // in the variable by which a user would choose one. Under `cargo run`
        // the plugin's own toolchain file is the better word.
        let started_by_cargo = env::var_os("CARGO").is_some();
        let has_file = dir.ancestors().any(|dir| {
            dir.join("rust-toolchain.toml").is_file() || dir.join("rust-toolchain").is_file()
        });
        Ok(Self { dir, cargo, forget_rustup_toolchain: started_by_cargo && has_file })
    }

    /// The plugin's folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A command of cargo in the plugin's folder.
    pub(super) fn cargo(&self) -> Command {
        self.command(&self.cargo)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.dir);
        for (name, _) in env::vars_os() {
            if self.is_foreign(&name) {
                command.env_remove(name);
            }
        }
        command
    }

    fn is_foreign(&self, name: &OsStr) -> bool {
        let Some(name) = name.to_str() else {
            return false;
        };
        OTHERS.contains(&name)
            || name.starts_with("CARGO_") && !USERS_OWN.iter().any(|own| name.starts_with(own))
            || name.starts_with("__CARGO")
            || name == "RUSTUP_TOOLCHAIN" && self.forget_rustup_toolchain
    }

    /// Installs the wasm target if the toolchain that cargo takes in the
    /// plugin's folder lacks it.
    pub(super) async fn ensure_target(&self, progress: Progress<'_>) -> Result<(), BuildError> {
        if self.has_target().await? {
            return Ok(());
        }
        let Some(rustup) = find_program("rustup") else {
            return Err(BuildError::new(format!(
                "this Rust has no {TARGET} target and there is no rustup to install it: install \
                 Rust from https://rustup.rs, or that target with your system's packages"
            )));
        };
        progress(&format!("installing the missing target {TARGET} with rustup"));
        let mut command = self.command(&rustup);
        command.args(["target", "add", TARGET]);
        let mut last = String::new();
        let status = output::run(command, |line| {
            progress(line);
            if !line.trim().is_empty() {
                last = line.trim().to_owned();
            }
        })
        .await
        .map_err(|e| BuildError::io("cannot run rustup", &e))?;
        if !status.success() || !self.has_target().await? {
            return Err(BuildError::new(format!(
                "rustup could not install {TARGET} ({last}): run `rustup target add {TARGET}` in {}",
                self.dir.display()
            )));
        }
        Ok(())
    }

    async fn has_target(&self) -> Result<bool, BuildError> {
        // The one next to cargo is the one that cargo runs: both are rustup's,
        // or both are of one installation.
        let rustc = self.cargo.with_file_name(format!("rustc{}", env::consts::EXE_SUFFIX));
        let rustc = if rustc.is_file() { rustc } else { PathBuf::from("rustc") };
        let mut command = self.command(&rustc);
        command.args(["--print", "target-libdir", "--target", TARGET]);
        let out = command
            .output()
            .await
            .map_err(|e| BuildError::io(format_args!("cannot run {}", rustc.display()), &e))?;
        if !out.status.success() {
            return Err(BuildError::new(format!(
                "rustc does not run: {}",
                output::first_error(&String::from_utf8_lossy(&out.stderr))
            )));
        }
        let folder = String::from_utf8_lossy(&out.stdout);
        Ok(Path::new(folder.trim()).is_dir())
    }
}

/// In the path, then where rustup puts programs.
fn find_program(name: &str) -> Option<PathBuf> {
    let name = format!("{name}{}", env::consts::EXE_SUFFIX);
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    env::split_paths(&path)
        .chain(cargo_home.map(|home| home.join("bin")))
        .map(|dir| dir.join(&name))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_variables_of_other_builds_are_taken_away() {
        let toolchain = |forget| Toolchain {
            dir: PathBuf::new(),
            cargo: PathBuf::new(),
            forget_rustup_toolchain: forget,
        };
        for (name, forget, foreign) in [
            ("CARGO_MANIFEST_DIR", false, true),
            ("CARGO_PKG_NAME", false, true),
            ("CARGO_ENCODED_RUSTFLAGS", false, true),
            ("CARGO_PROFILE_RELEASE_DEBUG", false, true),
            ("RUSTFLAGS", false, true),
            ("RUSTC_WRAPPER", false, true),
            ("CARGO_HOME", false, false),
            ("CARGO_NET_OFFLINE", false, false),
            ("RUSTUP_HOME", true, false),
            ("RUSTUP_TOOLCHAIN", false, false),
            ("RUSTUP_TOOLCHAIN", true, true),
            ("PATH", true, false),
        ] {
            assert_eq!(toolchain(forget).is_foreign(OsStr::new(name)), foreign, "{name}");
        }
    }
}
