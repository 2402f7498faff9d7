//! A child process: its output is kept, and it does not outlive the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{until, within};

/// The number of last lines that a failed test prints of each process.
const TAIL: usize = 40;

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// The lines that a stream has brought so far.
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
    /// If it cannot be started.
    #[must_use]
    pub fn start(name: &str, command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let stdout = Lines::of(child.stdout.take().unwrap());
        let stderr = Lines::of(child.stderr.take().unwrap());
        Self { name: name.to_owned(), child, stdout, stderr }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the lines of its standard output so far.
    #[must_use]
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.all()
    }

    /// Returns the lines of its standard error so far.
    #[must_use]
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.all()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If the process no longer exists.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).expect("a process id");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Kills it with SIGKILL, and waits for its end.
    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Returns its exit status if it has ended; its whole output is there then.
    ///
    /// # Panics
    /// If the system does not report it.
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

    /// Waits for a line on either stream for which `fits` holds.
    ///
    /// # Panics
    /// If none comes in time.
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

/// Runs a program to its end with `input` on its standard input.
///
/// # Panics
/// If it cannot be started.
#[must_use]
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    // The program may end without reading; the test judges its output.
    drop(child.stdin.take().map(|mut stdin| stdin.write_all(input)));
    child.wait_with_output().unwrap()
}
