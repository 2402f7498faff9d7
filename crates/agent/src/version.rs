//! The version, and the commit that it was built from (`build.rs` finds it).

/// The version of the release, such as `0.1.0`.
pub const NUMBER: &str = env!("CARGO_PKG_VERSION");

/// The commit, with `-modified` if the sources differed from it; empty if it is not known, as in a
/// development build.
pub const COMMIT: &str = env!("MODEMFLEET_BUILT_FROM");

/// Both, as people read them: `0.1.0 (f5f36ef1a2b3)`, or the version alone.
pub const SHOWN: &str = env!("MODEMFLEET_VERSION");
