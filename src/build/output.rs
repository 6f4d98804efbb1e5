//! Running a program and reading what it says.

use std::{
    io,
    process::{ExitStatus, Stdio},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
};

/// A line of a program's output is not kept beyond this.
const MAX_LINE_BYTES: usize = 4 << 20;

/// Where a line came from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

/// Runs a program to its end and hands on all its lines. Dropping the future
/// kills it and what it started.
pub(super) async fn run(command: Command, mut line: impl FnMut(&str)) -> io::Result<ExitStatus> {
    run_streams(command, |_, text| line(text)).await
}

/// The same, with the stream of each line.
pub(super) async fn run_streams(
    mut command: Command,
    mut line: impl FnMut(Stream, &str),
) -> io::Result<ExitStatus> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Group::spawn(command)?;
    let mut out = Lines::new(child.child.stdout.take());
    let mut err = Lines::new(child.child.stderr.take());
    while out.open() || err.open() {
        tokio::select! {
            text = out.next(), if out.open() => if let Some(text) = text? {
                line(Stream::Out, text);
            },
            text = err.next(), if err.open() => if let Some(text) = text? {
                line(Stream::Err, text);
            },
        }
    }
    child.wait().await
}

struct Lines<R> {
    reader: Option<BufReader<R>>,
    buffer: Vec<u8>,
    text: String,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(reader: Option<R>) -> Self {
        Self { reader: reader.map(BufReader::new), buffer: Vec::new(), text: String::new() }
    }

    fn open(&self) -> bool {
        self.reader.is_some()
    }

    /// Safe to cancel: what was read of a line stays in the buffer.
    async fn next(&mut self) -> io::Result<Option<&str>> {
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        if reader.read_until(b'\n', &mut self.buffer).await? == 0 && self.buffer.is_empty() {
            self.reader = None;
            return Ok(None);
        }
        self.buffer.truncate(MAX_LINE_BYTES);
        self.text.clear();
        self.text.push_str(String::from_utf8_lossy(&self.buffer).trim_end());
        self.buffer.clear();
        Ok(Some(&self.text))
    }
}

/// A program that is the head of a process group of its own, so that the
/// compilers that cargo started go with it.
struct Group {
    child: Child,
    over: bool,
}

impl Group {
    fn spawn(mut command: Command) -> io::Result<Self> {
        #[cfg(unix)]
        command.process_group(0);
        command.kill_on_drop(true);
        Ok(Self { child: command.spawn()?, over: false })
    }

    async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.over = true;
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        #[cfg(unix)]
        if !self.over
            && let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok())
            && let Some(group) = rustix::process::Pid::from_raw(id)
        {
            // The child was not waited for, so its id is still its own. If the
            // group is gone, all is well.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

/// The line of a program's complaint that says what is wrong.
pub(super) fn first_error(text: &str) -> String {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines().find_map(|line| line.strip_prefix("error: "));
    error.or_else(|| lines().next_back()).unwrap_or("it says nothing").to_owned()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::io::Read;

    /// The reading end of a pipe ends when the last process that writes to it
    /// is gone.
    #[tokio::test]
    async fn dropping_a_run_kills_what_it_started() {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let pipe = dir.path().join("pipe");
        let mut command = Command::new("sh");
        command.current_dir(dir.path());
        command.args(["-c", "mkfifo pipe; (exec sleep 1000 > pipe) & echo up; wait"]);
        let (up, is_up) = tokio::sync::oneshot::channel();
        let mut up = Some(up);
        let task = tokio::spawn(run(command, move |line| {
            assert_eq!(line, "up");
            let _ = up.take().map(|up| up.send(()));
        }));
        is_up.await.expect("it comes up");
        let open = tokio::task::spawn_blocking(move || std::fs::File::open(pipe));
        let mut pipe = open.await.expect("no panic").expect("somebody writes");
        task.abort();
        assert!(task.await.is_err_and(|e| e.is_cancelled()));
        let read = tokio::task::spawn_blocking(move || pipe.read(&mut [0]));
        assert_eq!(read.await.expect("no panic").ok(), Some(0));
    }
}
