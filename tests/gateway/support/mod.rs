//! The real binary on a free port, and a client that sends what it is told,
//! byte for byte.

pub mod client;
pub mod crates;
pub mod disk;
pub mod faults;
pub mod stream;

use std::{
    io::{self, BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, Instant},
};

pub use client::{Client, Response};
pub use disk::{Disk, SmallDisk};
pub use faults::Faults;
pub use stream::{Source, Stream};

/// Far more than anything here takes, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// `cometbox dev` builds its plugins before it is up; from nothing, and beside
/// the builds of other tests, that takes minutes.
const FIRST_BUILD: Duration = Duration::from_secs(600);

pub const BINARY: &str = env!("CARGO_BIN_EXE_cometbox");

/// A folder or file of the project.
pub fn project(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// The component of a plugin's folder, built once per run of the tests by
/// `cometbox build`.
pub fn component(folder: &'static str) -> PathBuf {
    static BUILT: LazyLock<Mutex<Vec<(&'static str, PathBuf)>>> = LazyLock::new(Mutex::default);
    let mut built = BUILT.lock().expect("a build that failed fails them all");
    if let Some((_, path)) = built.iter().find(|(name, _)| *name == folder) {
        return path.clone();
    }
    let output = Command::new(BINARY)
        .arg("build")
        .arg(project(folder))
        .output()
        .expect("the binary was built for this test");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cannot build {folder}: {errors}");
    let said = String::from_utf8_lossy(&output.stdout);
    let path = said.split(" (").next().expect("split gives at least one part").trim();
    built.push((folder, PathBuf::from(path)));
    PathBuf::from(path)
}

/// Says that something is not tested here, past the harness, which keeps to itself
/// what a test prints that succeeds. With CI=true everything must be.
pub fn skip(what: &str, why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "not tested: {what}: {why}");
    writeln!(io::stderr(), "skipped: {what}: {why}").expect("stderr is open");
}

/// A number that the environment says, such as `COMETBOX_SEED`.
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text:?}")))
}

/// A running gateway. Killed when dropped.
pub struct Gateway {
    process: Process,
    pub addr: SocketAddr,
    /// Where it listens over TLS.
    pub tls: Option<SocketAddr>,
    pub admin: SocketAddr,
    log: Arc<Mutex<String>>,
    /// The first lines of its configuration: where it listens.
    addresses: String,
    dir: tempfile::TempDir,
}

/// The app `lab`: the hostile plugin, which echoes messages and opens what it
/// is asked to.
pub fn lab(more: &str) -> String {
    let plugin = component("tests/plugins/hostile");
    format!(
        "[[app]]\nname = \"lab\"\nplugins = [{:?}]\npublish_keys = [\"secret\", \"other\"]\n{more}\n",
        plugin.display().to_string()
    )
}

impl Gateway {
    /// Serves this configuration on free ports.
    pub fn start(config: &str) -> Self {
        Self::run("serve", config, PATIENCE)
    }

    /// The same on a system with faults.
    pub fn start_with(faults: &Faults, config: &str) -> Self {
        let environment = faults.environment();
        Self::run_in(&environment, "127.0.0.1", "serve", config, PATIENCE)
    }

    /// `cometbox dev` with the apps of this project.
    pub fn dev() -> Self {
        let app = |name: &str, folder| {
            let plugin = project(folder).display().to_string();
            format!(
                "[[app]]\nname = {name:?}\nplugins = [{plugin:?}]\n\
                 publish_keys = [\"dev-only-key\"]\n"
            )
        };
        let config = app("chat", "plugins/chat") + &app("quotes", "plugins/quotes");
        Self::run("dev", &config, FIRST_BUILD)
    }

    /// Serves this configuration at an address of this machine.
    pub fn start_at(address: &str, config: &str) -> Self {
        Self::run_at(address, "serve", config, PATIENCE)
    }

    fn run(command: &str, config: &str, patience: Duration) -> Self {
        Self::run_at("127.0.0.1", command, config, patience)
    }

    fn run_at(address: &str, command: &str, config: &str, patience: Duration) -> Self {
        Self::run_in(&[], address, command, config, patience)
    }

    fn run_in(
        environment: &[(&str, PathBuf)],
        address: &str,
        command: &str,
        config: &str,
        patience: Duration,
    ) -> Self {
        let dir = tempfile::tempdir().expect("the test machine has a temp folder");
        let file = dir.path().join("cometbox.toml");
        let listen = match config.contains("listen = \"\"") {
            true => String::new(),
            false => format!("listen = \"{address}:0\"\n"),
        };
        let addresses = format!("{listen}admin = \"127.0.0.1:0\"\n");
        std::fs::write(&file, format!("{addresses}{config}")).expect("fresh folder");
        let mut child = Command::new(BINARY)
            .args([command, "--config"])
            .arg(&file)
            .envs(environment.iter().cloned())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was built for this test");
        let stderr = child.stderr.take().expect("it is piped");
        // From here on it ends with the test, also if it does not start.
        let mut process = Process(child);
        let log = Arc::new(Mutex::new(String::new()));
        let into = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = into.lock().expect("nobody panics with it");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let address = |log: &str, after: &str| -> Option<SocketAddr> {
            log.split(after).nth(1)?.split_whitespace().next()?.parse().ok()
        };
        let started = Instant::now();
        loop {
            let text = log.lock().expect("nobody panics with it").clone();
            // The last of them is logged last.
            if let Some(admin) = address(&text, "health and metrics on http://") {
                let tls = address(&text, "listening on https://");
                let addr = address(&text, "listening on http://").or(tls).expect("it listens");
                return Self { process, addr, tls, admin, log, addresses, dir };
            }
            let has_ended = process.0.try_wait().expect("it is our child").is_some();
            assert!(!has_ended && started.elapsed() < patience, "does not start:\n{text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn client(&self) -> Client {
        Client::connect(self.addr)
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("nobody panics with it").clone()
    }

    /// The value of a metric's line, such as `cometbox_held_reads{app="lab"}`.
    pub fn metric(&self, line: &str) -> u64 {
        let text = Client::connect(self.admin).get("/metrics").text();
        let value = text.lines().find_map(|l| l.strip_prefix(line)?.trim().parse().ok());
        value.unwrap_or(0)
    }

    /// Waits until a metric has this value.
    pub fn until(&self, line: &str, value: u64) {
        eventually(|| self.metric(line) == value, line);
    }

    /// Waits until that many reads are held.
    pub fn until_held(&self, count: u64) {
        self.until("cometbox_held_reads{app=\"lab\"}", count);
    }

    /// Sends it a signal, such as TERM, as an operator does.
    pub fn signal(&self, name: &str) {
        let id = self.process.0.id().to_string();
        let kill = Command::new("kill").args(["-s", name, &id]).status().expect("there is a kill");
        assert!(kill.success());
    }

    /// Has it read another configuration, which says the same about addresses; what
    /// it logs about it.
    pub fn reload(&self, config: &str) -> String {
        self.reload_all_of(&format!("{}{config}", self.addresses))
    }

    /// The same with a configuration that says everything.
    pub fn reload_all_of(&self, config: &str) -> String {
        let before = self.log().len();
        std::fs::write(self.path("cometbox.toml"), config).expect("a folder of ours");
        self.signal("HUP");
        let mut said = String::new();
        let is_done = || {
            said = self.log()[before..].to_owned();
            ["configuration reloaded: ", "configuration not reloaded, "]
                .iter()
                .any(|end| said.split(end).nth(1).is_some_and(|rest| rest.contains('\n')))
        };
        eventually(is_done, "it reloads");
        said
    }

    /// A file in the folder of its configuration.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Its memory, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// The most memory that it has had, in bytes.
    pub fn peak_memory_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.0.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|it| it.strip_prefix(line)).expect("it has some");
        let kib = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
        kib * 1024
    }

    /// How it ended.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually(
            || {
                status = self.process.0.try_wait().expect("it is our child");
                status.is_some()
            },
            "the gateway ends",
        );
        status.expect("it was just there")
    }
}

/// A child that is killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Tries a system call again that a signal interrupted: those of children that
/// end come to any thread, and a call with a time-out is not resumed (signal(7)).
pub fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Waits until something is so.
pub fn eventually(mut is_so: impl FnMut() -> bool, what: &str) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
