//! Reloading the fleet file: requests and their answers.
//!
//! The agent takes one reload after the other, so that two never mix. Requests while the agent
//! starts wait for its start. A plan (`plan.rs`) holds the changes of a new file; `agent/reload.rs` applies a plan, and
//! `planner.rs` makes one for a file in a request.

mod contents;
pub mod plan;
pub(crate) mod planner;

use tokio::sync::{mpsc, oneshot};

use api::reload::Line;
pub use contents::Contents;
pub use plan::Plan;
pub use planner::{Planner, Sent};

use fleet::Problems;
use fleet::models::ModelsError;
use fleet::secret::SecretError;

/// Requests that wait for their turn. One more gets an error.
const REQUESTS: usize = 8;

/// The reason why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The file has errors.
    #[error("{0}")]
    File(Problems),
    /// A file of models has errors.
    #[error(transparent)]
    Models(#[from] ModelsError),
    /// A secret went away after the file was checked.
    #[error("could not read a secret")]
    Secret(#[from] SecretError),
    /// The count of the SIMs' bytes could not be read.
    #[error("could not read the budget's count: {0}")]
    Books(#[source] std::io::Error),
    /// The thread that reads the file ended early.
    #[error("the thread that reads the fleet file panicked")]
    Thread,
    /// Too many requests wait.
    #[error("{REQUESTS} reloads are waiting already")]
    Busy,
    /// A file of another caller is being compared.
    #[error("another fleet file is being compared with what runs; try again in a second")]
    Planning,
    /// The agent ends.
    #[error("the agent is ending")]
    Ending,
}

impl Refused {
    /// The reason, in words for the log, without any line of the fleet file.
    pub(crate) fn for_log(&self) -> String {
        match self {
            Self::File(problems) => problems.places(),
            other => modem::session::Chain(other).to_string(),
        }
    }
}

/// Receiver of the answer to a request.
pub type Request = oneshot::Sender<Result<Vec<Line>, Refused>>;

/// The way to request a reload.
#[derive(Clone)]
pub struct Reloads(mpsc::Sender<Request>);

impl Reloads {
    /// The two ends: for callers, and for the agent.
    pub fn new() -> (Self, mpsc::Receiver<Request>) {
        let (sender, requests) = mpsc::channel(REQUESTS);
        (Self(sender), requests)
    }

    /// Requests a reload, and returns the lines of its changes.
    ///
    /// # Errors
    /// [`Refused`]; nothing was changed.
    ///
    /// # Cancel safety
    /// A requested reload is done, also if its caller leaves.
    pub async fn ask(&self) -> Result<Vec<Line>, Refused> {
        let (answer, done) = oneshot::channel();
        self.0.try_send(answer).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refused::Busy,
            mpsc::error::TrySendError::Closed(_) => Refused::Ending,
        })?;
        done.await.unwrap_or(Err(Refused::Ending))
    }
}
