//! Facts beyond the text of a file: its folder, the machine, the gateway, the known models.

use std::path::{Path, PathBuf};

use modem::Catalog;
use tokio_util::sync::CancellationToken;

use super::ability::Ability;

/// The environment variable that names the gateway, as `--gateway` does.
pub const GATEWAY: &str = "MODEMFLEET_GATEWAY";

/// The treatment of the secrets that a file refers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Secrets {
    /// They are: a missing one refuses the file.
    #[default]
    Read,
    /// They are not: for a check on another machine.
    Skip,
}

/// The facts that a file's meaning depends on, besides its text.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The folder that relative paths in the file begin at.
    pub folder: PathBuf,
    /// The machine's name, for `gateway`.
    pub host_name: Option<String>,
    /// The gateway's name from the command line, which has priority over file and host name.
    pub gateway: Option<String>,
    /// The treatment of secrets.
    pub secrets: Secrets,
    /// The abilities of each known model. Without any, the demands of a file are not checked.
    pub abilities: Vec<Ability>,
    /// Ends the check early once it is cancelled, because its caller has left.
    pub stop: CancellationToken,
}

impl Context {
    /// [`Self::of`], for the gateway that was named, if one was.
    pub fn named(path: &Path, secrets: Secrets, gateway: Option<String>) -> Self {
        let context = Self::of(path, secrets);
        Self { gateway: gateway.or(context.gateway), ..context }
    }

    /// The context of the file at `path` on this machine.
    pub fn of(path: &Path, secrets: Secrets) -> Self {
        let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        Self {
            folder: path.parent().map(Path::to_owned).unwrap_or_default(),
            host_name: host_name.map(|name| name.trim().to_owned()),
            gateway: std::env::var(GATEWAY).ok().filter(|name| !name.is_empty()),
            secrets,
            abilities: Vec::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Returns the context with these models.
    #[must_use]
    pub fn with_models(self, catalog: &Catalog) -> Self {
        Self { abilities: Ability::all(catalog), ..self }
    }
}
