//! Simulated modems in their own process, as `modemfleet sim` runs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binary::modemfleet;
use crate::process::Process;
use crate::wait::until;

/// Running simulated modems, reached by the links `modem0`, `modem1` … of a folder.
#[derive(Debug)]
pub struct Sim {
    /// The process.
    pub process: Process,
    dir: PathBuf,
}

impl Sim {
    /// Starts SIM7600 modems whose network leads to `broker`, with their links in `dir`.
    #[must_use]
    pub fn start(dir: &Path, count: usize, broker: &str, more: &[&str]) -> Self {
        Self::of_model("sim7600", dir, count, broker, more)
    }

    /// Starts modems of a model.
    ///
    /// # Panics
    /// If they do not come up.
    #[must_use]
    pub fn of_model(model: &str, dir: &Path, count: usize, broker: &str, more: &[&str]) -> Self {
        let mut command = Command::new(modemfleet());
        command.args(["sim", "--model", model, "--broker", broker, "--count", &count.to_string()]);
        command.arg("--dir").arg(dir).args(more);
        let mut process = Process::start("sim", &mut command);
        until("the simulated modems", || {
            let ended = process.ended();
            assert!(ended.is_none(), "the simulator ended: {:?}", process.stderr());
            (process.stdout().len() >= count).then_some(())
        });
        Self { process, dir: dir.to_owned() }
    }

    /// Unplugs the modems: their ttys disappear.
    ///
    /// The node of a real tty disappears with its device. The number of a dead pty is given to the
    /// next pty, perhaps another test's modem. A link that stayed would lead there.
    ///
    /// # Panics
    /// If a link cannot be removed.
    pub fn unplug(&mut self) {
        for entry in fs::read_dir(&self.dir).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        self.process.kill();
    }

    /// Returns the tty of a modem.
    #[must_use]
    pub fn tty(&self, modem: usize) -> PathBuf {
        self.dir.join(format!("modem{modem}"))
    }
}
