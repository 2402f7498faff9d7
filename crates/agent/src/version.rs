//! Which version this is, and from which commit it was built (`build.rs` finds out).

/// The version of the release, such as `0.1.0`.
pub const NUMBER: &str = env!("CARGO_PKG_VERSION");

/// The commit, with `-modified` where the sources differed from it; empty where nobody knows, as in a
/// development build.
pub const COMMIT: &str = env!("MODEMFLEET_BUILT_FROM");

/// Both as people are told them: `0.1.0 (f5f36ef1a2b3)`, or the version alone.
pub const SHOWN: &str = env!("MODEMFLEET_VERSION");
