//! Debian's ModemManager: it checks the simulator, and modemfleet must work beside it.

use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::{Process, run};
use serde_json::Value;

use crate::gadget::wait;

/// A running `ModemManager`.
pub(crate) struct Stranger(Process);

impl Stranger {
    /// Starts it, and the bus if there is none yet.
    pub(crate) fn start() -> Self {
        if !Path::new("/run/dbus/system_bus_socket").exists() {
            fs::create_dir_all("/run/dbus").unwrap();
            let started = Command::new("dbus-daemon").args(["--system", "--fork"]).status();
            assert!(started.unwrap().success(), "no bus");
        }
        Self(Process::start("ModemManager", Command::new("ModemManager").arg("--debug")))
    }

    /// Returns its log so far.
    pub(crate) fn log(&self) -> String {
        let lines = [self.0.stdout(), self.0.stderr()].concat();
        lines.join("\n")
    }

    /// Waits until its log contains `text`.
    #[track_caller]
    pub(crate) fn logged(&self, text: &str) {
        wait(&format!("ModemManager to log {text:?}"), || self.log().contains(text).then_some(()));
    }

    /// Returns the first modem that it lists, in the keys of `mmcli`.
    #[track_caller]
    pub(crate) fn modem() -> Value {
        wait("a modem of ModemManager", || {
            let list = mmcli(&["-L"])?;
            let path = list["modem-list"][0].as_str()?.to_owned();
            Some(mmcli(&["-m", &path])?["modem"].clone())
        })
    }
}

fn mmcli(arguments: &[&str]) -> Option<Value> {
    let done = run(Command::new("mmcli").arg("-J").args(arguments), b"");
    serde_json::from_slice(&done.stdout).ok()
}
