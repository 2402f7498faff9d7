//! `GET /api/v1/devices`: every USB modem.

use serde::{Deserialize, Serialize};

/// The answer. `D` is the report of a device, which a look without an agent makes as well.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Devices<D> {
    /// The devices.
    pub devices: Vec<D>,
    /// The state that they are in: whoever asks with it as `after` waits until there is another.
    pub version: String,
}
