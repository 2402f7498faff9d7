//! A fleet of simulated modems, as `modemfleet sim` runs it.

use std::{fs, path::PathBuf};

use tokio::task::JoinSet;

use crate::{handle::Handle, modem::Modem, options::Options, port::PortError};

/// The modems of a fleet and their ttys.
#[derive(Debug, Clone)]
pub struct FleetOptions {
    /// The options of each modem; the modem's index is counted up from the index given here.
    pub modem: Options,
    /// The number of modems. Modems beyond `ttys` get a pty each; more ttys than this mean more modems.
    pub count: usize,
    /// A folder that gets a link `modemN` for each modem. It is created if it is missing.
    pub dir: Option<PathBuf>,
    /// Existing ttys: a modem for each entry, an AT port for each tty in it.
    pub ttys: Vec<Vec<PathBuf>>,
}

/// A modem of a fleet.
#[derive(Debug, Clone)]
pub struct Member {
    /// `modemN`
    pub name: String,
    /// The path to open: the link if there is a folder, else the tty.
    pub tty: PathBuf,
    /// The handle to act on the modem.
    pub handle: Handle,
}

/// Modems on ttys, not yet running.
pub struct Fleet {
    members: Vec<Member>,
    modems: Vec<Modem>,
}

impl Fleet {
    /// Makes the modems, their ptys and their links. Needs a runtime.
    ///
    /// # Errors
    /// [`PortError`] of the first modem that cannot be created; the modems before it are removed.
    pub fn new(options: &FleetOptions) -> Result<Self, PortError> {
        if let Some(dir) = &options.dir {
            fs::create_dir_all(dir)
                .map_err(|source| PortError::Folder { path: dir.clone(), source })?;
        }
        let mut fleet = Self { members: Vec::new(), modems: Vec::new() };
        for place in 0..options.count.max(options.ttys.len()) {
            fleet.add(options, place)?;
        }
        Ok(fleet)
    }

    fn add(&mut self, options: &FleetOptions, place: usize) -> Result<(), PortError> {
        let name = format!("modem{place}");
        let link = options.dir.as_ref().map(|dir| dir.join(&name));
        let offset = u32::try_from(place).unwrap_or(u32::MAX);
        let index = options.modem.index.wrapping_add(offset);
        let modem = Modem::new(Options { index, ..options.modem.clone() });
        let modem = match options.ttys.get(place) {
            Some(ttys) => modem.on_ttys(ttys, link.as_deref())?,
            None => modem.on_pty(link.as_deref())?,
        };
        let handle = modem.handle();
        let tty = handle.tty().unwrap_or_default();
        self.members.push(Member { name, tty, handle });
        self.modems.push(modem);
        Ok(())
    }

    /// Returns the modems.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Runs every modem until the future is dropped. A modem that panics does not end the others.
    ///
    /// # Cancel safety
    /// Dropping it stops the fleet: connections break, and links are removed.
    pub async fn run(self) {
        let mut tasks = JoinSet::new();
        for modem in self.modems {
            tasks.spawn(modem.run());
        }
        while let Some(end) = tasks.join_next().await {
            if let Err(error) = end {
                tracing::error!(%error, "a simulated modem ended");
            }
        }
    }
}

/// Creates a fleet, passes each of its modems to `ready`, and runs the fleet until it is dropped.
///
/// # Errors
/// As [`Fleet::new`].
///
/// # Cancel safety
/// As [`Fleet::run`].
pub async fn run(options: &FleetOptions, ready: impl FnMut(&Member)) -> Result<(), PortError> {
    let fleet = Fleet::new(options)?;
    fleet.members().iter().for_each(ready);
    fleet.run().await;
    Ok(())
}
