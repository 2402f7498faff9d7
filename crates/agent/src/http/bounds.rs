//! Places for requests that cost more than others: how many of each are served at the same time.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Commands to modems, of all modems: more than people type.
pub(super) const COMMANDS: usize = 16;

/// Open status pages.
pub(super) const PAGES: usize = 32;

/// Pages of the queue that are read; a further request waits.
pub(super) const LISTINGS: usize = 4;

/// Fleet files that are sent and judged: each is up to a megabyte, and more while it is read.
pub(super) const UPLOADS: usize = 4;

/// The places of each kind.
#[derive(Clone)]
pub struct Bounds {
    pub(super) commands: Arc<Semaphore>,
    pub(super) pages: Arc<Semaphore>,
    pub(super) listings: Arc<Semaphore>,
    pub(super) uploads: Arc<Semaphore>,
}

impl Default for Bounds {
    fn default() -> Self {
        let places = |most| Arc::new(Semaphore::new(most));
        Self {
            commands: places(COMMANDS),
            pages: places(PAGES),
            listings: places(LISTINGS),
            uploads: places(UPLOADS),
        }
    }
}
