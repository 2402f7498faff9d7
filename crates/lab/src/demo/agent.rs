//! The agent of the demo: an unmodified `modemfleet run` in its own process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The agent's `shutdown_grace`, and time for its queue to close.
const END: Duration = Duration::from_secs(20);

/// The number of lines of its log that are shown if it fails.
const TAIL: usize = 15;

/// The running agent. It is killed if it is dropped without [`AgentProcess::end`].
pub(super) struct AgentProcess {
    child: Child,
    log: PathBuf,
}

impl AgentProcess {
    /// Starts this program as the agent of a fleet file.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn start(fleet: &Path, log: PathBuf) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("could not find this program itself")?;
        let sink = File::create(&log).context("could not make the agent's log")?;
        let child = Command::new(&program)
            .args(["run", "--log", "info", "--config"])
            .arg(fleet)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(sink)
            // Ctrl-C in a terminal reaches the whole group, but the demo has to end first.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("could not start {}", program.display()))?;
        Ok(Self { child, log })
    }

    /// Returns its process id while it runs.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it ends by itself, which is always an error.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        match self.child.wait().await {
            Ok(status) => self.blame(status),
            Err(error) => anyhow::Error::new(error).context("could not wait for the agent"),
        }
    }

    /// Asks it to end (SIGTERM), and waits.
    ///
    /// # Errors
    /// An error if it takes too long, or if its exit code is not 0.
    pub(super) async fn end(&mut self) -> anyhow::Result<()> {
        let Some(id) = self.child.id() else { bail!(self.ended().await) };
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, Signal::TERM).context("could not send SIGTERM to the agent")?;
        let status = timeout(END, self.child.wait())
            .await
            .with_context(|| format!("the agent did not end within {END:?}"))?
            .context("could not wait for the agent")?;
        ensure!(status.success(), self.blame(status));
        Ok(())
    }

    /// Returns the error for an agent that ended, with the last lines of its log.
    fn blame(&self, status: ExitStatus) -> anyhow::Error {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default();
        anyhow::anyhow!("the agent ended with {status}; its last words:\n{}", tail.join("\n"))
    }
}
