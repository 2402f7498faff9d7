//! Paths and limits that several parts of the server know.

use std::time::Duration;

/// Paths that need no token, and are answered while all other places are taken.
pub(super) const OPEN: [&str; 4] = ["/metrics", "/healthz", "/livez", "/readyz"];

/// The path that compares a fleet file with the running one.
pub(super) const PLAN: &str = "/api/v1/reload/plan";

/// The largest fleet file, and no byte more.
pub(super) const MAX_FILE: usize = 1024 * 1024;

/// Commands to a modem's port.
pub(super) const CONSOLE: &str = "/api/v1/at";

/// No request takes longer than one fsync of a slow card; a client that sends its body drop by drop
/// is cut off.
pub(super) const REQUEST: Duration = Duration::from_secs(30);
