//! A scan without an agent: discovery in this process, which probes each modem.

use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::error::ScanError;
use agent::modems::devices::{self, DeviceReport};
use agent::modems::factory;
use api::client::{DEFAULT_CONFIG, Target, TargetError};
use discovery::{self, Search, Sightings, WantedModems};
use fleet::Secrets;
use fleet::models::Models;

/// Returns the places of modems in the fleet file; none if it cannot be read.
pub(super) fn places(target: &Target) -> Vec<String> {
    let default = Path::new(DEFAULT_CONFIG);
    let file = target.config.as_deref().or_else(|| default.exists().then_some(default));
    let loaded = file.and_then(|file| fleet::load_with(file, Secrets::Skip).ok());
    let modems = loaded.iter().flat_map(|loaded| &loaded.fleet.modems);
    modems.filter_map(|modem| modem.matching.usb_path.clone()).collect()
}

/// A running discovery.
pub(crate) struct Around {
    sightings: watch::Receiver<Sightings>,
    /// Ends discovery.
    stop: CancellationToken,
    /// The task of discovery; it is aborted when this value is dropped.
    task: JoinSet<anyhow::Result<()>>,
}

impl Around {
    /// Starts discovery with the entries of the fleet file, if it is named or at its default place.
    pub(crate) fn start(target: &Target, models: Models) -> Result<Self, ScanError> {
        let default = Path::new(DEFAULT_CONFIG);
        let file = target.config.as_deref().or_else(|| default.exists().then_some(default));
        let load = |file| {
            fleet::load_with(file, Secrets::Skip)
                .map_err(|problems| TargetError::Config { rendered: problems.render(false) })
        };
        let fleet = file.map(load).transpose()?.map(|loaded| loaded.fleet);
        Ok(Self::look(fleet.as_ref().map(factory::wanted_modems).unwrap_or_default(), models))
    }

    /// Looks for these modems, and at all others.
    pub(super) fn look(wanted: WantedModems, models: Models) -> Self {
        let (told, sightings) = watch::channel(Sightings::default());
        let search = Search {
            catalog: watch::channel(Arc::new(models.catalog)).1,
            wanted: watch::channel(wanted).1,
            is_thorough: true,
            sightings: told,
        };
        let mut task = JoinSet::new();
        let stop = CancellationToken::new();
        task.spawn(discovery::run(search, stop.clone()));
        Self { sightings, stop, task }
    }

    /// Returns all devices after each was probed.
    ///
    /// # Cancel safety
    /// Discovery continues.
    pub(crate) async fn settled(&mut self) -> Result<Vec<DeviceReport>, ScanError> {
        let settled = self.sightings.wait_for(|seen| seen.is_settled).await;
        let Ok(seen) = settled.map(|seen| seen.devices.clone()) else {
            return Err(self.ended().await);
        };
        Ok(devices::complete(seen.into_iter().map(DeviceReport::from).collect()).await)
    }

    /// Returns all devices after a change.
    ///
    /// # Cancel safety
    /// A change that was not returned is in the next answer.
    pub(super) async fn next(&mut self) -> Result<Vec<DeviceReport>, ScanError> {
        if self.sightings.changed().await.is_err() {
            return Err(self.ended().await);
        }
        let seen = self.sightings.borrow_and_update().devices.clone();
        Ok(devices::complete(seen.into_iter().map(DeviceReport::from).collect()).await)
    }

    /// Ends discovery; after that no port is open.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        while self.task.join_next().await.is_some() {}
    }

    /// Returns the reason why discovery ended.
    async fn ended(&mut self) -> ScanError {
        let why = match self.task.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => anyhow!(error),
            Some(Ok(Ok(()))) | None => anyhow!("it ended unexpectedly"),
        };
        ScanError::Discovery(why)
    }
}
