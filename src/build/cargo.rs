//! Running cargo and reading its messages.

use super::{
    BuildError, Progress, TARGET,
    output::{self, Stream},
    toolchain::Toolchain,
};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// What a component is built for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// To see at once what an edit does.
    Trying,
    /// To be run for long. It takes some seconds more, and a call of a plugin
    /// with some work to do takes a third less.
    Serving,
}

impl Purpose {
    /// Settings of the release profile. Set the same way every time, so that
    /// they never spoil what was built before: cargo keeps what it built for
    /// one purpose beside what it built for the other.
    fn profile(self) -> [(&'static str, &'static str); 5] {
        let (lto, units, incremental) = match self {
            Self::Trying => ("off", "16", "true"),
            Self::Serving => ("fat", "1", "false"),
        };
        [
            ("CARGO_PROFILE_RELEASE_LTO", lto),
            ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", units),
            ("CARGO_PROFILE_RELEASE_INCREMENTAL", incremental),
            ("CARGO_PROFILE_RELEASE_DEBUG", "none"),
            ("CARGO_PROFILE_RELEASE_STRIP", "debuginfo"),
        ]
    }
}

/// Of the compiler's messages, so much is kept.
const MAX_DETAILS_BYTES: usize = 64 << 10;

/// A plugin's crate.
#[derive(Debug)]
pub(super) struct Package {
    name: String,
    manifest: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
}

#[derive(Deserialize)]
struct MetadataPackage {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    crate_types: Vec<String>,
}

/// A line of `cargo build --message-format=json`.
#[derive(Deserialize)]
#[serde(tag = "reason")]
enum Message {
    #[serde(rename = "compiler-message")]
    Diagnostic { manifest_path: PathBuf, message: Diagnostic },
    #[serde(rename = "compiler-artifact")]
    Artifact { manifest_path: PathBuf, target: Target, filenames: Vec<PathBuf> },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Diagnostic {
    level: String,
    message: String,
    rendered: Option<String>,
    spans: Vec<Span>,
}

#[derive(Deserialize)]
struct Span {
    file_name: String,
    line_start: usize,
    column_start: usize,
    is_primary: bool,
}

impl Package {
    pub(super) async fn read(toolchain: &Toolchain, dir: &Path) -> Result<Self, BuildError> {
        let shown = dir.display();
        let manifest = toolchain.dir().join("Cargo.toml");
        if !manifest.is_file() {
            return Err(BuildError::new(format!(
                "{shown} is no plugin's folder, there is no Cargo.toml: `cometbox new NAME` makes one"
            )));
        }
        let mut command = toolchain.cargo();
        command.args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"]);
        command.arg(&manifest).kill_on_drop(true);
        let out = command.output().await.map_err(|e| BuildError::io("cannot run cargo", &e))?;
        if !out.status.success() {
            let text = String::from_utf8_lossy(&out.stderr).into_owned();
            let summary = format!("cargo cannot read {shown}: {}", output::first_error(&text));
            return Err(BuildError { summary, details: Some(text) });
        }
        let metadata: Metadata = serde_json::from_slice(&out.stdout)
            .map_err(|e| BuildError::new(format!("cargo's metadata is not understood: {e}")))?;
        let package = metadata
            .packages
            .into_iter()
            .find(|package| package.manifest_path == manifest)
            .ok_or_else(|| {
                BuildError::new(format!(
                    "{shown} holds a workspace and no crate: name the folder of a plugin"
                ))
            })?;
        if !package.targets.iter().any(Target::is_cdylib) {
            return Err(BuildError::new(format!(
                "{shown} is no plugin crate: add `[lib]` with `crate-type = [\"cdylib\", \
                 \"rlib\"]` to its Cargo.toml"
            )));
        }
        Ok(Self { name: package.name, manifest })
    }

    /// The crate's name as files are called after it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Compiles it to a core module and returns its path.
    pub(super) async fn compile(
        &self,
        toolchain: &Toolchain,
        purpose: Purpose,
        progress: Progress<'_>,
    ) -> Result<PathBuf, BuildError> {
        let mut command = toolchain.cargo();
        command.args(["build", "--release", "--lib", "--message-format=json"]);
        command.args(["--target", TARGET, "--manifest-path"]).arg(&self.manifest);
        command.envs(purpose.profile()).env("CARGO_TERM_COLOR", "never");
        command.env("CARGO_TERM_PROGRESS_WHEN", "never");
        let mut seen = Seen::default();
        let status = output::run_streams(command, |stream, line| match stream {
            Stream::Out => self.message(line, &mut seen, progress),
            Stream::Err => {
                progress(line);
                push_bounded(&mut seen.stderr, line);
            }
        })
        .await
        .map_err(|e| BuildError::io("cannot run cargo", &e))?;
        if !status.success() {
            return Err(seen.into_error());
        }
        seen.module.ok_or_else(|| {
            BuildError::new("cargo built no wasm module: is the crate's `[lib]` a cdylib?")
        })
    }

    fn message(&self, line: &str, seen: &mut Seen, progress: Progress<'_>) {
        // What is not a message comes from a build script or macro.
        let Ok(message) = serde_json::from_str(line) else {
            return;
        };
        match message {
            Message::Diagnostic { manifest_path, message } => {
                let error = message.level.starts_with("error");
                // Warnings of dependencies are not the author's.
                if !error && manifest_path != self.manifest {
                    return;
                }
                let rendered = message.rendered.as_deref().unwrap_or(&message.message).trim_end();
                progress(rendered);
                if error {
                    push_bounded(&mut seen.errors, rendered);
                    seen.first.get_or_insert_with(|| message.headline());
                }
            }
            Message::Artifact { manifest_path, target, filenames } => {
                if manifest_path == self.manifest && target.is_cdylib() {
                    let wasm = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "wasm");
                    seen.module = filenames.into_iter().find(wasm);
                }
            }
            Message::Other => {}
        }
    }
}

impl Target {
    fn is_cdylib(&self) -> bool {
        self.crate_types.iter().any(|kind| kind == "cdylib")
    }
}

impl Diagnostic {
    /// Place and message in one line.
    fn headline(&self) -> String {
        let first = self.message.lines().next().unwrap_or_default();
        match self.spans.iter().find(|span| span.is_primary) {
            Some(at) => format!("{}:{}:{}: {first}", at.file_name, at.line_start, at.column_start),
            None => first.to_owned(),
        }
    }
}

/// What a run of cargo said.
#[derive(Default)]
struct Seen {
    /// The first error in one line.
    first: Option<String>,
    /// All errors, rendered.
    errors: String,
    stderr: String,
    module: Option<PathBuf>,
}

impl Seen {
    fn into_error(self) -> BuildError {
        match self.first {
            Some(summary) => BuildError { summary, details: Some(self.errors) },
            // Not the compiler but cargo: a dependency, the network, the lock.
            None => BuildError {
                summary: format!("cargo: {}", output::first_error(&self.stderr)),
                details: Some(self.stderr),
            },
        }
    }
}

fn push_bounded(all: &mut String, text: &str) {
    if all.len() + text.len() < MAX_DETAILS_BYTES {
        all.push_str(text);
        all.push('\n');
    }
}
