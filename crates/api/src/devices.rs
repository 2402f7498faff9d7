//! `GET /api/v1/devices`: every USB modem.

use serde::{Deserialize, Serialize};

/// The answer. `D` is the report of a device; a scan without an agent makes the same report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Devices<D> {
    /// The devices.
    pub devices: Vec<D>,
    /// The version of this state. A request with it as `after` waits for a different state.
    pub version: String,
}
