//! The limits on a message's size that a model has.

use serde::{Deserialize, Serialize};

/// The limits of a model's MQTT stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttLimits {
    /// Clients at the same time.
    pub clients: u8,
    /// Bytes of a topic.
    pub topic: usize,
    /// Bytes of a payload.
    pub payload: usize,
    /// Bytes of the shortest payload: 0, except for stacks that cannot publish an empty payload.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub least_payload: usize,
}

/// Reports whether a limit is 0 and need not be written.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
pub(crate) fn is_zero(number: &usize) -> bool {
    *number == 0
}
