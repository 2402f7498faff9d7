//! The answer to a request that is refused, by any path.

use serde::{Deserialize, Serialize};

/// The body of an answer of status 400 and above.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// A word for programs.
    pub error: String,
    /// A sentence for people.
    pub message: String,
}
