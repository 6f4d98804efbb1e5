//! A gateway as a service is: whichever process serves at the moment, started
//! from a link that leads to one name of the binary or the other. Both are of one
//! version: that a store of an older one opens is tested with a file
//! (src/store/tests/golden.rs).

use crate::support::{BINARY, Client, PATIENCE, eventually};
use std::{
    fs,
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Instant,
};
use tempfile::TempDir;

/// What stands for two versions: the same program under two names.
pub const VERSIONS: [&str; 2] = ["v1", "v2"];

pub struct Service {
    folder: TempDir,
    /// The process that was started by the test, which may have ended.
    first: Mutex<Child>,
    log: Arc<Mutex<String>>,
    pub addr: SocketAddr,
    pub tls: Option<SocketAddr>,
    pub admin: SocketAddr,
}

/// What is started, and with what.
pub struct Place<'a> {
    pub program: &'a Path,
    pub config: &'a Path,
    pub folder: &'a Path,
}

impl Place<'_> {
    pub fn serve(&self) -> Command {
        let mut command = Command::new(self.program);
        command.args(["serve", "--config"]).arg(self.config).stdin(Stdio::null());
        command
    }
}

impl Service {
    pub fn start(config: &str) -> Self {
        Self::start_in(temporary(), config, |place| place.serve())
    }

    /// By another command, in a folder that is there already.
    pub fn start_in(
        folder: TempDir,
        config: &str,
        command: impl FnOnce(&Place<'_>) -> Command,
    ) -> Self {
        let store = store(folder.path());
        Self::start_with(folder, &format!("{config}\n{store}"), command)
    }

    /// With more settings of its store.
    pub fn start_with_settings(config: &str, settings: &str) -> Self {
        let folder = temporary();
        let store = store(folder.path());
        let config = format!("{config}\n{store}{settings}\n");
        Self::start_with(folder, &config, |place| place.serve())
    }

    pub fn start_without_store(config: &str) -> Self {
        Self::start_with(temporary(), config, |place| place.serve())
    }

    fn start_with(
        folder: TempDir,
        config: &str,
        command: impl FnOnce(&Place<'_>) -> Command,
    ) -> Self {
        for version in VERSIONS {
            let file = folder.path().join(version);
            if fs::hard_link(BINARY, &file).is_err() {
                fs::copy(BINARY, &file).expect("a folder of ours");
            }
        }
        let program = folder.path().join("cometbox");
        symlink(VERSIONS[0], &program).expect("a folder of ours");
        let file = folder.path().join("cometbox.toml");
        write_config(&file, config);
        let place = Place { program: &program, config: &file, folder: folder.path() };
        let mut child = command(&place).stderr(Stdio::piped()).spawn().expect("a program");
        let stderr = child.stderr.take().expect("it is piped");
        let log = Arc::new(Mutex::new(String::new()));
        let into = log.clone();
        // All processes to come write there.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = into.lock().expect("nobody panics with it");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = Mutex::new(child);
        let mut service = Self { folder, first, log, addr: nowhere, tls: None, admin: nowhere };
        let started = Instant::now();
        loop {
            let log = service.log();
            let address =
                |after: &str| log.split(after).nth(1)?.split_whitespace().next()?.parse().ok();
            if let Some(admin) = address("health and metrics on http://") {
                service.admin = admin;
                service.addr = address("listening on http://").expect("it listens");
                service.tls = address("listening on https://");
                return service;
            }
            let has_ended = service.first().try_wait().expect("it is our child").is_some();
            assert!(!has_ended && started.elapsed() < PATIENCE, "does not start:\n{log}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    fn first(&self) -> std::sync::MutexGuard<'_, Child> {
        self.first.lock().expect("nobody panics with it")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("nobody panics with it").clone()
    }

    /// Another configuration, for the next process.
    pub fn configure(&self, config: &str) {
        self.configure_without_store(&format!("{config}\n{}", store(self.folder())));
    }

    pub fn configure_without_store(&self, config: &str) {
        write_config(&self.folder().join("cometbox.toml"), config);
    }

    /// From now on another version is what starts.
    pub fn point_to(&self, version: &str) {
        self.replace_program(|link| {
            fs::remove_file(link).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
            symlink(version, link)
        });
    }

    /// Makes a file aside, which takes the place of what starts.
    pub fn replace_program(&self, make: impl FnOnce(&Path) -> io::Result<()>) {
        let aside = self.folder().join("aside");
        make(&aside).expect("a folder of ours");
        if !aside.is_symlink() {
            fs::set_permissions(&aside, fs::Permissions::from_mode(0o755)).expect("ours");
        }
        fs::rename(aside, self.program()).expect("a folder of ours");
    }

    pub fn remove_program(&self) {
        fs::remove_file(self.program()).expect("it is there");
    }

    /// Undoes what one of these, or a configuration, has done.
    pub fn repair(&self, config: &str) {
        self.configure(config);
        self.point_to(VERSIONS[0]);
    }

    fn program(&self) -> PathBuf {
        self.folder().join("cometbox")
    }

    /// As an operator does; what it said, and whether it went well.
    pub fn upgrade(&self) -> (String, bool) {
        let output = Command::new(BINARY)
            .args(["upgrade", "--config"])
            .arg(self.folder().join("cometbox.toml"))
            .output()
            .expect("the binary was built for this test");
        let said = [output.stdout, output.stderr].concat();
        (String::from_utf8_lossy(&said).into_owned(), output.status.success())
    }

    pub fn upgrade_well(&self) {
        let (said, is_upgraded) = self.upgrade();
        assert!(is_upgraded, "{said}\n{}", self.log());
        let last = said.lines().last().unwrap_or_default();
        // The log is read by another thread.
        eventually(|| last == format!("process {} serves", self.process()), last);
    }

    /// Upgrades by signal.
    pub fn upgrade_by_signal(&self) {
        let before = self.process();
        self.signal("USR2");
        eventually(|| self.process() != before, "another process serves");
    }

    /// Which process serves.
    pub fn process(&self) -> u32 {
        let log = self.log();
        let mut serve = log.lines().filter_map(|line| {
            line.split("upgrade: process ").nth(1)?.strip_suffix(" serves")?.parse().ok()
        });
        serve.next_back().unwrap_or_else(|| self.first().id())
    }

    /// The version of which that is.
    pub fn version(&self) -> String {
        let file = fs::read_link(format!("/proc/{}/exe", self.process())).expect("it runs");
        file.file_name().expect("a file").to_string_lossy().into_owned()
    }

    pub fn signal(&self, name: &str) {
        signal(self.process(), name);
    }

    /// To the process that was started last, whatever it is at.
    pub fn signal_started(&self, name: &str) {
        signal(*self.started().last().expect("one was started"), name);
    }

    /// How the process ended that the test has started.
    pub fn wait_for_first(&self) -> ExitStatus {
        let mut status = None;
        eventually(
            || {
                status = self.first().try_wait().expect("it is our child");
                status.is_some()
            },
            "the first process ends",
        );
        status.expect("it was just there")
    }

    fn started(&self) -> Vec<u32> {
        let log = self.log();
        let id = |line: &str| line.split("upgrade: started process ").nth(1)?.trim().parse().ok();
        log.lines().filter_map(id).collect()
    }

    /// Waits until that many reads are held.
    pub fn until_held(&self, count: u64) {
        let line = format!("cometbox_held_reads{{app=\"lab\"}} {count}");
        let is_so = || Client::connect(self.admin).get("/metrics").text().contains(&line);
        eventually(is_so, &line);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for process in self.started() {
            // Only what is ours, in case its number was given to somebody else.
            let file = fs::read_link(format!("/proc/{process}/exe"));
            if file.is_ok_and(|file| file.starts_with(self.folder())) {
                signal(process, "KILL");
            }
        }
        let mut first = self.first();
        // It may have ended already.
        let _ = first.kill();
        let _ = first.wait();
    }
}

pub fn temporary() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn signal(process: u32, name: &str) {
    // It may have ended already.
    let _ = Command::new("kill").args(["-s", name, &process.to_string()]).status();
}

fn store(folder: &Path) -> String {
    format!("[store]\npath = {:?}\n", folder.join("store").display().to_string())
}

/// On free ports, unless it says where.
fn write_config(file: &Path, config: &str) {
    let of = |key: &str| match config.lines().any(|line| line.starts_with(key)) {
        true => String::new(),
        false => format!("{key} = \"127.0.0.1:0\"\n"),
    };
    let (listen, admin) = (of("listen"), of("admin"));
    fs::write(file, format!("{listen}{admin}{config}")).expect("a folder of ours");
}
