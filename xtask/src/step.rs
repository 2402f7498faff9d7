//! A step of a task: a command that is announced, timed and judged by its exit code.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// A command that failed.
#[derive(Debug, thiserror::Error)]
#[error("`{shown}` ended with {status}")]
pub(crate) struct Failed {
    shown: String,
    status: ExitStatus,
}

impl Failed {
    /// Returns the exit code to hand on: the command's own, or a shell's code for a signal.
    pub(crate) fn code(&self) -> u8 {
        use std::os::unix::process::ExitStatusExt as _;
        let code = self.status.code().or_else(|| self.status.signal().map(|signal| 128 + signal));
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
    }
}

/// A command as it is printed and run: from the root of the repository, without stdin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invocation {
    program: &'static str,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl Invocation {
    /// Makes `program` with `arguments`, passed unchanged: no shell reads them.
    pub(crate) fn new(program: &'static str, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { program, arguments, environment: Vec::new() }
    }

    /// Uses the cargo that runs this program, so that a toolchain of `cargo +X xtask` holds for
    /// every step.
    pub(crate) fn cargo(arguments: &[&str]) -> Self {
        Self::new("cargo", arguments)
    }

    /// Sets an environment variable for this command only.
    pub(crate) fn env(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Runs the command with its output on ours.
    ///
    /// # Errors
    /// [`Failed`] if it fails; an I/O error if it cannot be started.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let status = self.command().status().with_context(|| format!("cannot start `{self}`"))?;
        if status.success() {
            return Ok(());
        }
        Err(Failed { shown: self.to_string(), status }.into())
    }

    /// Reports whether the command succeeds; its output is dropped. A command that cannot be
    /// started does not.
    pub(crate) fn succeeds(&self) -> bool {
        let mut command = self.command();
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// Runs the command, and returns its output, even if it fails.
    ///
    /// # Errors
    /// An I/O error if it cannot be started.
    pub(crate) fn said(&self) -> anyhow::Result<Said> {
        let output = self.command().output().with_context(|| format!("cannot start `{self}`"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (success, output, errors) =
            (output.status.success(), text(&output.stdout), text(&output.stderr));
        Ok(Said { success, output, errors })
    }

    fn command(&self) -> process::Command {
        let mut command = process::Command::new(self.path());
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        forget_xtask(&mut command);
        // A prompt would block a run without a terminal.
        command.current_dir(root()).stdin(Stdio::null());
        command
    }

    fn path(&self) -> OsString {
        if self.program == "cargo" { cargo_path() } else { self.program.into() }
    }
}

/// The output of a command that ended.
#[derive(Debug)]
pub(crate) struct Said {
    /// True if it succeeded.
    pub(crate) success: bool,
    /// Its standard output.
    pub(crate) output: String,
    /// Its standard error.
    pub(crate) errors: String,
}

/// Returns the cargo that runs this program, for commands that are not steps.
pub(crate) fn cargo() -> process::Command {
    let mut command = process::Command::new(cargo_path());
    forget_xtask(&mut command);
    command.current_dir(root());
    command
}

fn cargo_path() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Removes the variables that cargo sets for this package. Build scripts read them, and would run
/// again with all dependents at each change between `cargo` and `cargo xtask`.
fn forget_xtask(command: &mut process::Command) {
    let is_of_xtask = |name: &str| {
        let starts = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_NAME", "CARGO_CRATE_NAME"];
        starts.iter().any(|start| name.starts_with(start))
    };
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter(|name| is_of_xtask(name)).for_each(|name| {
        command.env_remove(name);
    });
}

/// Prints the command as a person would type it.
impl fmt::Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.environment {
            write!(f, "{name}={} ", quoted(value))?;
        }
        f.write_str(self.program)?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {}", quoted(argument)))
    }
}

/// Quotes words with spaces. For display only: no shell reads the result.
fn quoted(word: &str) -> String {
    if word.contains(char::is_whitespace) { format!("'{word}'") } else { word.to_owned() }
}

/// Returns the root of the repository.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Returns the folder that cargo builds in.
pub(crate) fn target() -> PathBuf {
    root().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// The time since a start, and the processor time of the commands that ended since then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch {
    start: Instant,
    spent: Duration,
}

impl Stopwatch {
    /// Starts now.
    #[expect(
        clippy::disallowed_methods,
        reason = "times real programs; there is no clock to pause"
    )]
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), spent: spent() }
    }

    /// Returns the time since the start, as `8.4 s, processor 2 min 03 s`.
    pub(crate) fn shown(self) -> String {
        let spent = spent().saturating_sub(self.spent);
        format!("{}, processor {}", shown(self.start.elapsed()), shown(spent))
    }
}

/// Returns the processor time of all ended commands and their children; zero if `/proc` does not
/// report it.
fn spent() -> Duration {
    fs::read_to_string("/proc/self/stat").ok().and_then(|stat| spent_of(&stat)).unwrap_or_default()
}

/// Reads the fields `cutime` and `cstime` (proc_pid_stat(5)), in hundredths of a second on all of
/// Linux's present architectures.
fn spent_of(stat: &str) -> Option<Duration> {
    // The program's name may contain spaces and brackets; the third field follows it.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(13).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>().ok()?;
    Some(Duration::from_millis(10 * ticks))
}

fn shown(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{}.{} s", seconds, time.subsec_millis() / 100)
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_hands_on_the_exit_code() {
        let failure = Invocation::new("sh", &["-c", "exit 7"]).run().unwrap_err();
        assert_eq!(failure.downcast_ref().map(Failed::code), Some(7));
        assert!(failure.to_string().contains("sh -c 'exit 7'"), "{failure}");
    }

    #[test]
    fn a_signal_becomes_the_code_a_shell_gives_it() {
        let failure = Invocation::new("sh", &["-c", "kill -TERM $$"]).run().unwrap_err();
        assert_eq!(failure.downcast_ref().map(Failed::code), Some(128 + 15));
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_and_no_success() {
        let absent = Invocation::new("no-such-program-here", &[]);
        assert!(!absent.succeeds());
        let failure = absent.run().unwrap_err();
        assert!(failure.downcast_ref::<Failed>().is_none());
        assert!(failure.to_string().contains("cannot start `no-such-program-here`"), "{failure}");
    }

    #[test]
    fn commands_get_their_environment_and_no_stdin() {
        let script = "test \"$GREETING\" = 'good day' && ! read -r line";
        assert!(Invocation::new("sh", &["-c", script]).env("GREETING", "good day").succeeds());
    }

    #[test]
    fn commands_are_not_told_of_this_package() {
        assert!(env::var_os("CARGO_PKG_NAME").is_some(), "cargo runs this test");
        let script = "test -z \"$CARGO_PKG_NAME$CARGO_MANIFEST_DIR\" && test -n \"$PATH\"";
        assert!(Invocation::new("sh", &["-c", script]).succeeds());
    }

    #[test]
    fn a_command_is_shown_as_it_is_typed() {
        let doc = Invocation::cargo(&["doc", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(doc.to_string(), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
    }

    #[test]
    fn times_are_shown_in_words_of_people() {
        assert_eq!(shown(Duration::from_millis(8_460)), "8.4 s");
        assert_eq!(shown(Duration::from_millis(123_900)), "2 min 03 s");
    }

    #[test]
    fn the_processor_time_of_what_ended_is_counted() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 0 1 2 3 4 50 60 123 77 20 0 1";
        assert_eq!(spent_of(stat), Some(Duration::from_secs(2)));
        assert_eq!(spent_of("7 (a) S 1"), Some(Duration::ZERO));
        assert_eq!(spent_of("nothing"), None);
        let before = spent();
        let busy = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
        assert!(Invocation::new("sh", &["-c", busy]).succeeds());
        assert!(spent() > before);
    }
}
