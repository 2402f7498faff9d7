//! Reloading the fleet file: who asks for it, and what is answered.
//!
//! The agent takes one reload after the other, so that two never mix; those that are asked for while it
//! starts wait for its start. What a new file changes is a plan (`plan.rs`); doing it is `agent/reload.rs`, and working it
//! out for a file that somebody sent is `planner.rs`.

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

/// Requests that wait for their turn. One more is told so.
const REQUESTS: usize = 8;

/// Why nothing was changed.
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
    /// What the SIMs have carried could not be read.
    #[error("could not read the budget's count: {0}")]
    Books(#[source] std::io::Error),
    /// The thread that reads the file ended early.
    #[error("the thread that reads the fleet file panicked")]
    Thread,
    /// More requests wait than make sense.
    #[error("{REQUESTS} reloads are waiting already")]
    Busy,
    /// A file is judged for somebody else.
    #[error("another fleet file is being compared with what runs; try again in a second")]
    Planning,
    /// The agent ends.
    #[error("the agent is ending")]
    Ending,
}

impl Refused {
    /// Why, in words for the log: no line of the fleet file stands in them.
    pub(crate) fn for_log(&self) -> String {
        match self {
            Self::File(problems) => problems.places(),
            other => modem::session::Chain(other).to_string(),
        }
    }
}

/// Receiver of the answer to a request.
pub type Request = oneshot::Sender<Result<Vec<Line>, Refused>>;

/// Where a reload is asked for.
#[derive(Clone)]
pub struct Reloads(mpsc::Sender<Request>);

impl Reloads {
    /// A place to ask, and where the agent takes the requests from.
    pub fn new() -> (Self, mpsc::Receiver<Request>) {
        let (sender, requests) = mpsc::channel(REQUESTS);
        (Self(sender), requests)
    }

    /// Has the fleet file read again, and waits for the answer: what was changed.
    ///
    /// # Errors
    /// [`Refused`]; nothing was changed.
    ///
    /// # Cancel safety
    /// Once asked for, a reload is done whether or not anybody waits for it.
    pub async fn ask(&self) -> Result<Vec<Line>, Refused> {
        let (answer, done) = oneshot::channel();
        self.0.try_send(answer).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refused::Busy,
            mpsc::error::TrySendError::Closed(_) => Refused::Ending,
        })?;
        done.await.unwrap_or(Err(Refused::Ending))
    }
}
