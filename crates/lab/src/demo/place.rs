//! The demo's own folder, and the fleet file in it.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::json;

/// The modems by name in the fleet file: two SIM7600 and one SIM8200.
pub(super) const MODEMS: [&str; 3] = ["north", "south", "east"];

/// A folder that only its owner can read. It is removed when this value is dropped.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Creates it among the temporary files. An existing folder is never used.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn new() -> io::Result<Self> {
        let name = format!("modemfleet-demo-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// Returns a path in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // An agent that was killed a moment ago may still create a file there, so it is tried
        // twice.
        if fs::remove_dir_all(&self.0).is_err() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Returns the fleet file. Each modem is the first choice of one sensor and the reserve of the
/// others, so that every fault affects messages in flight.
pub(super) fn fleet(
    folder: &Folder,
    http: SocketAddr,
    broker: SocketAddr,
    ttys: [&Path; 3],
) -> String {
    // JSON is YAML, and quotes any path.
    let quoted = |path: &Path| json!(path.to_string_lossy()).to_string();
    let mut text = format!(
        "gateway: demo\nhttp: {{ listen: \"{http}\" }}\nqueue: {{ path: {}, max_bytes: 64MiB }}\n\
         brokers:\n  demo: {{ url: \"mqtt://{broker}\" }}\nmodems:\n",
        quoted(&folder.join("queue")),
    );
    for (name, tty) in MODEMS.iter().zip(ttys) {
        text += &format!(
            "  {name}:\n    match: {{ port: {} }}\n    poll: 2s\n    sessions: {{ cloud: {{ broker: demo }} }}\n",
            quoted(tty),
        );
    }
    text += "routes:\n";
    // The first match wins, so the route for all other topics comes last.
    for first in [1, 2, 0] {
        let order = MODEMS.iter().cycle().skip(first).take(MODEMS.len());
        let to: Vec<String> = order.map(|name| format!("{name}/cloud")).collect();
        let filter = if first == 0 { "#".to_owned() } else { format!("demo/sensor{first}/#") };
        text += &format!("  - {{ topic: \"{filter}\", to: [{}] }}\n", to.join(", "));
    }
    text
}
