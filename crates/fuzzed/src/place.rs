//! Surroundings of targets: a folder in memory, and a runtime for async code.

use std::cell::RefCell;
use std::future::Future;
use std::path::Path;

use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// The file system in memory, on systems that have one: a run writes many small files and needs
/// none of them.
const IN_MEMORY: &str = "/dev/shm";

/// Creates a folder that is removed with its value.
pub(crate) fn folder() -> TempDir {
    let made = match Path::new(IN_MEMORY).is_dir() {
        true => tempfile::tempdir_in(IN_MEMORY),
        false => tempfile::tempdir(),
    };
    made.expect("there is a place for temporary files")
}

/// Runs a future to its end on this thread.
pub(crate) fn wait_for<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: RefCell<Option<Runtime>> = const { RefCell::new(None) };
    }
    RUNTIME.with_borrow_mut(|runtime| {
        let make = || Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.get_or_insert_with(make).block_on(future)
    })
}
