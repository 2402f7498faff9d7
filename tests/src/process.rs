//! A child process: what it prints is kept, and it does not outlive the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{until, within};

/// How many of its last lines a failed test shows of each process.
const TAIL: usize = 40;

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// The lines that one stream has brought so far.
#[derive(Debug)]
struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    /// Ends with the stream.
    reader: Option<JoinHandle<()>>,
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                sink.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                line.clear();
            }
        });
        Self { lines, reader: Some(reader) }
    }

    /// Waits until the last line is there.
    fn finish(&mut self) {
        drop(self.reader.take().map(JoinHandle::join));
    }

    fn all(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Process {
    /// Starts a program.
    ///
    /// # Panics
    /// Where it cannot be started.
    #[must_use]
    pub fn start(name: &str, command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let stdout = Lines::of(child.stdout.take().unwrap());
        let stderr = Lines::of(child.stderr.take().unwrap());
        Self { name: name.to_owned(), child, stdout, stderr }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed on standard output.
    #[must_use]
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.all()
    }

    /// What it has printed on standard error.
    #[must_use]
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.all()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// Where there is no such process any more.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).expect("a process id");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Kills it without a word (SIGKILL), and waits for its end.
    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// How it ended, if it did. All that it printed is there then.
    ///
    /// # Panics
    /// Where the system does not tell.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().unwrap()?;
        self.stdout.finish();
        self.stderr.finish();
        Some(status)
    }

    /// Waits for its end.
    pub fn end_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        within(limit, || self.ended())
    }

    /// Waits for a line on either stream that fits.
    ///
    /// # Panics
    /// When none comes in time.
    #[track_caller]
    pub fn line(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        until(what, || self.stdout().into_iter().chain(self.stderr()).find(|line| fits(line)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            for (stream, lines) in [("stdout", self.stdout()), ("stderr", self.stderr())] {
                let skipped = lines.len().saturating_sub(TAIL);
                for line in &lines[skipped..] {
                    eprintln!("[{} {stream}] {line}", self.name);
                }
            }
        }
        self.kill();
    }
}

/// Runs a program to its end with this on its standard input.
///
/// # Panics
/// Where it cannot be started.
#[must_use]
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    // It may end without reading: what it says then is the matter of the test.
    drop(child.stdin.take().map(|mut stdin| stdin.write_all(input)));
    child.wait_with_output().unwrap()
}
