//! Place of the queue: the running agent, or a folder.

use std::path::{Path, PathBuf};

use api::client::{Call, Client, ClientError, DEFAULT_CONFIG, Target, TargetError};
use fleet::Secrets;
use serde_json::Value;

use super::error::QueueError;

/// Path of the queue in the agent's API.
pub(super) const API: &str = "/api/v1/queue";

/// The place of the queue.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Place {
    #[command(flatten)]
    pub(super) target: Target,
    /// The queue's folder, which this command opens itself, whether or not an agent runs.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "url", "token_file"], help_heading = "Address of the agent")]
    pub(super) dir: Option<PathBuf>,
}

/// The source to ask.
pub(super) enum Source {
    /// The running agent, and its figures.
    Live(Box<Client>, Value),
    /// The folder itself.
    Folder(queue::Config),
}

impl Place {
    pub(super) async fn source(&self) -> Result<Source, QueueError> {
        if let Some(dir) = &self.dir {
            return Ok(Source::Folder(folder(queue::Config::new(dir))?));
        }
        let mut client = self.target.client()?;
        match client.json(&Call::get(API)).await {
            Ok(stat) => Ok(Source::Live(Box::new(client), stat)),
            Err(error @ ClientError::NotRunning(_)) => match self.of_fleet()? {
                Some(config) => Ok(Source::Folder(folder(config)?)),
                None => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the queue of the fleet file, if there is a fleet file.
    pub(super) fn of_fleet(&self) -> Result<Option<queue::Config>, QueueError> {
        let default = Path::new(DEFAULT_CONFIG);
        let file = self.target.config.as_deref();
        let file =
            file.or_else(|| (self.target.url.is_none() && default.exists()).then_some(default));
        let Some(file) = file else { return Ok(None) };
        let loaded = fleet::load_with(file, Secrets::Skip)
            .map_err(|problems| TargetError::Config { rendered: problems.render(false) })?;
        Ok(Some(loaded.fleet.queue.config()))
    }
}

/// Checks that the folder holds a queue, since reading must not create one.
pub(super) fn folder(config: queue::Config) -> Result<queue::Config, QueueError> {
    match config.dir.join("queue.db").exists() {
        true => Ok(queue::Config { check: None, ..config }),
        false => Err(QueueError::NoQueue(config.dir)),
    }
}
