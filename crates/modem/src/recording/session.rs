//! The one MQTT session of a recording, and the values in it that name nothing.

use crate::mqtt::{Client, Connection, Message, Mqtt, MqttError, Qos};
use crate::port::At;

/// The topic and the payload of the publish. Neither names a person or a place.
pub const TOPIC: &str = "modemfleet/record";
/// See [`TOPIC`].
pub const PAYLOAD: &str = "hello";

/// The client id in a transcript, in place of the one that was used.
pub const CLIENT_ID: &str = "modemfleet-00000000";

/// The host in a transcript, in place of the broker's.
pub const HOST: &str = "broker.example.com";

/// The outcome of the one publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// No broker was given.
    NotAsked,
    /// The dialect of the modem is not known.
    NoDialect,
    /// The broker acknowledged it.
    Acknowledged,
    /// A step of the session failed: the failure as text.
    Failed(String),
    /// The recording ended before.
    NotReached,
}

/// Returns the connection of the one publish.
pub(super) fn connection(host: &str, port: u16, client_id: &str) -> Connection {
    Connection {
        host: host.to_owned(),
        port,
        client_id: client_id.to_owned(),
        username: None,
        password: None,
        keep_alive_s: 60,
        clean_session: true,
        will: None,
        tls: None,
        is_shared: false,
        context: 1,
        triple: None,
    }
}

/// Returns the message of the one publish.
fn message() -> Message {
    Message {
        topic: TOPIC.to_owned(),
        payload: PAYLOAD.as_bytes().to_vec(),
        qos: Qos::AtLeastOnce,
        retain: false,
    }
}

/// Runs one MQTT session with one publish, and signs out in any case.
pub(super) async fn run(
    at: &At,
    mqtt: &dyn Mqtt,
    connection: &Connection,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<(), MqttError> {
    let client = Client(0);
    progress("the MQTT service starts");
    let done = async {
        mqtt.start(at).await?;
        progress("the modem signs in");
        mqtt.open(at, client, connection).await?;
        progress("one message is published");
        mqtt.publish(at, client, &message()).await
    }
    .await;
    // A modem that is mute gives no answer to the end either, and each would be waited for.
    if !done.as_ref().is_err_and(MqttError::is_timeout) {
        progress("the modem signs out");
        sign_out(at, mqtt).await;
    }
    done
}

pub(super) async fn sign_out(at: &At, mqtt: &dyn Mqtt) {
    mqtt.close(at, Client(0)).await;
    mqtt.stop(at).await;
}
