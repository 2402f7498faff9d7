//! A fleet of simulated modems, as `modemfleet sim` runs it.

use std::{fs, path::PathBuf};

use tokio::task::JoinSet;

use crate::{handle::Handle, modem::Modem, options::Options, port::PortError};

/// What a fleet is made of.
#[derive(Debug, Clone)]
pub struct FleetOptions {
    /// What each modem is; its index is counted up from the one given here.
    pub modem: Options,
    /// How many modems. Those beyond `ttys` get a pty each; more ttys than this are more modems.
    pub count: usize,
    /// A folder that gets a link `modemN` for each modem. It is made where it is missing.
    pub dir: Option<PathBuf>,
    /// Ttys that are there: one modem for each entry, one AT port for each tty in it.
    pub ttys: Vec<Vec<PathBuf>>,
}

/// One modem of a fleet.
#[derive(Debug, Clone)]
pub struct Member {
    /// `modemN`
    pub name: String,
    /// What to open: the link where there is a folder, else the tty.
    pub tty: PathBuf,
    /// To do things to it.
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
    /// [`PortError`] of the first modem that cannot be had; those before it are taken down.
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

    /// The modems.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Runs every modem until it is dropped. One that panics does not end the others.
    ///
    /// # Cancel safety
    /// Dropping it takes the fleet down: connections break, links go.
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

/// Makes a fleet, tells each of its modems to `ready`, and runs it until it is dropped.
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
