//! A publish on a client that may be busy.

use std::time::Duration;

use super::context::SessionContext;
use crate::mqtt::{Message, MqttError, Scope};

/// Code 14 "client is busy" passes by itself; the publish is tried this often, this far apart.
const BUSY_RETRIES: u32 = 20;
pub(super) const BUSY_WAIT: Duration = Duration::from_millis(250);

/// Publishes, and asks again while the client is busy with an earlier operation.
pub(super) async fn publish_patiently(
    context: &SessionContext<'_>,
    message: &Message,
) -> Result<(), MqttError> {
    let mut retries = 0;
    loop {
        match context.mqtt.publish(context.at, context.client, message).await {
            Err(error) if error.scope() == Scope::Busy && retries < BUSY_RETRIES => {
                retries += 1;
                tokio::time::sleep(BUSY_WAIT).await;
            }
            outcome => return outcome,
        }
    }
}
