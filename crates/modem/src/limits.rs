//! The sizes of a message that a model takes.

use serde::{Deserialize, Serialize};

/// What the MQTT stack of a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttLimits {
    /// Clients at the same time.
    pub clients: u8,
    /// Bytes of a topic.
    pub topic: usize,
    /// Bytes of a payload.
    pub payload: usize,
    /// Bytes of the shortest payload: 0, but for stacks that publish nothing empty.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub least_payload: usize,
}

/// Whether a limit need not be told.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
pub(crate) fn is_zero(number: &usize) -> bool {
    *number == 0
}
