//! The settings of a client, `AT+QMTCFG`. The modem keeps the settings of an earlier program until it boots, so
//! each setting that could do harm is written before each OPEN. Names and ranges are from the lists of EC25 and
//! EG25 units (`AT+QMTCFG=?` in public logs); older firmware knows fewer settings.

use at::Answer;
use modem::mqtt::command::quote;
use modem::mqtt::{Client, Connection, MqttError};
use modem::port::{At, Kind};
use modem::profile::{self, PATIENCE};

use crate::exchange::{TRIES, exchange, set};
use crate::memory;

/// The longest keep-alive that `"keepalive"` takes, in seconds.
const MAX_KEEP_ALIVE_S: u16 = 3_600;

/// The modem's wait for a packet's acknowledgement, in seconds, and the number of times that it sends the
/// packet again.
const PACKET_TIMEOUT: (u8, u8) = (30, 1);

const RECEIVE: &str = "QMTCFG \"recv/mode\"";

/// A session on a firmware that refuses a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    /// The same: a firmware that does not know the setting behaves so by itself.
    Same,
    /// The session works, and not quite as requested.
    Less(&'static str),
    /// The session would not be as requested.
    Nothing,
}

/// A setting of a client.
#[derive(Debug)]
struct Setting {
    /// The command and the setting, for errors.
    name: &'static str,
    /// The setting in the form of the command, with the client and its values.
    value: String,
    without: Without,
}

/// All settings of a client, made before anything is sent: a value that cannot be expressed is refused by name.
#[derive(Debug)]
pub(crate) struct Settings {
    client: Client,
    settings: Vec<Setting>,
}

impl Settings {
    /// Makes all settings, independent of those that an earlier program left.
    pub(crate) fn of(client: Client, connection: &Connection) -> Result<Self, MqttError> {
        let (index, context) = (client.0, connection.context);
        let keep_alive = connection.keep_alive_s.min(MAX_KEEP_ALIVE_S);
        if keep_alive < connection.keep_alive_s {
            tracing::warn!("this modem's stack takes a keep-alive of {MAX_KEEP_ALIVE_S} s at most");
        }
        let (wait, again) = PACKET_TIMEOUT;
        let clean = u8::from(connection.clean_session);
        let setting = |name, value, without| Setting { name, value, without };
        let same = |name, value| setting(name, value, Without::Same);
        let mut settings = vec![
            // 4 is MQTT 3.1.1; the default of many firmwares is 3.1.
            setting(
                "QMTCFG \"version\"",
                format!("\"version\",{index},4"),
                Without::Less("the modem keeps its default version of MQTT"),
            ),
            setting(
                "QMTCFG \"keepalive\"",
                format!("\"keepalive\",{index},{keep_alive}"),
                Without::Less("the modem keeps its own keep-alive"),
            ),
            setting(
                "QMTCFG \"session\"",
                format!("\"session\",{index},{clean}"),
                // Without the setting each session is clean.
                if connection.clean_session { Without::Same } else { Without::Nothing },
            ),
            same("QMTCFG \"timeout\"", format!("\"timeout\",{index},{wait},{again},0")),
            same("QMTCFG \"pdpcid\"", format!("\"pdpcid\",{index},{context}")),
            // Messages are received as URCs, with their length.
            same(RECEIVE, format!("\"recv/mode\",{index},0,1")),
            // 1 would take a payload for hexadecimal digits, and publish other bytes. The name differs by
            // firmware.
            same("QMTCFG \"dataformat\"", format!("\"dataformat\",{index},0,0")),
            same("QMTCFG \"send/mode\"", format!("\"send/mode\",{index},0")),
            // No echo of a payload, and no end of its prompt before the payload is whole.
            same("QMTCFG \"view/mode\"", format!("\"view/mode\",{index},0")),
            same("QMTCFG \"edit/timeout\"", format!("\"edit/timeout\",{index},0,1")),
            // The longest wait for an answer to the keep-alive, in seconds: the shortest value, as delivered.
            same("QMTCFG \"qmtping\"", format!("\"qmtping\",{index},5")),
        ];
        settings.push(will(index, connection)?);
        Ok(Self { client, settings })
    }

    /// Writes all settings. The client must be closed.
    pub(crate) async fn write(&self, at: &At) -> Result<(), MqttError> {
        for Setting { name, value, without } in &self.settings {
            let written = set(at, name, &format!("AT+QMTCFG={value}")).await;
            if *name == RECEIVE {
                memory::of(at).note_no_length(written.is_err());
            }
            match (written, without) {
                (Err(error @ MqttError::NoCode { .. }), Without::Same) => {
                    tracing::debug!("not needed: {error}");
                }
                (Err(MqttError::NoCode { .. }), Without::Less(how)) => {
                    tracing::warn!("this firmware refuses {name}: {how}");
                }
                (written, _) => written?,
            }
        }
        forget_device(at, self.client).await
    }
}

fn will(index: u8, connection: &Connection) -> Result<Setting, MqttError> {
    let name = "QMTCFG \"will\"";
    let Some(will) = &connection.will else {
        let value = format!("\"will\",{index},0");
        return Ok(Setting { name, value, without: Without::Same });
    };
    let topic = quote("the will's topic", &will.topic)?;
    let (qos, retain) = (will.qos.number(), u8::from(will.retain));
    // The will is an argument, so it must be text.
    let payload = String::from_utf8_lossy(&will.payload);
    let payload = quote("the will's payload", &payload.replace('\u{fffd}', "\0"))?;
    let value = format!("\"will\",{index},1,{qos},{retain},{topic},{payload}");
    Ok(Setting { name, value, without: Without::Nothing })
}

/// Removes a device of Alibaba Cloud that an earlier program left: the modem would sign in with it instead of
/// the session's own login. The modem is asked first, since an empty device might turn this way to sign in on.
async fn forget_device(at: &At, client: Client) -> Result<(), MqttError> {
    if !has_device(at, client).await? {
        return Ok(());
    }
    let empty = format!("AT+QMTCFG=\"aliauth\",{},\"\",\"\",\"\"", client.0);
    let emptied = set(at, "QMTCFG \"aliauth\"", &empty).await;
    if matches!(emptied, Ok(()) | Err(MqttError::NoCode { .. })) && has_device(at, client).await? {
        tracing::warn!(
            "an earlier program left a device of Alibaba Cloud in this modem (QMTCFG \"aliauth\"), which the modem keeps and may sign in with; a reset of the modem removes it"
        );
    }
    Ok(())
}

/// Asks if the modem has a device of Alibaba Cloud for this client. A firmware that does not know the setting
/// has none.
async fn has_device(at: &At, client: Client) -> Result<bool, MqttError> {
    let operation = "QMTCFG \"aliauth\"";
    let asked = exchange(operation, &format!("AT+QMTCFG=\"aliauth\",{}", client.0), PATIENCE)?;
    let asked = asked.answer(Answer::Prefix("+QMTCFG:")).secret_answer();
    match profile::persist(at, Kind::Setup, asked, TRIES).await {
        Ok(reply) => Ok(reply.lines.iter().any(|line| names_device(line))),
        Err(error) if error.refusal().is_some() => Ok(false),
        Err(source) => Err(MqttError::Exchange { operation, source }),
    }
}

/// Looks in `+QMTCFG: "aliauth",…` for a string that is not empty, beside the setting's name.
fn names_device(line: &str) -> bool {
    let strings = line.split('"').skip(1).step_by(2);
    strings.into_iter().any(|text| !text.is_empty() && !text.eq_ignore_ascii_case("aliauth"))
}

#[cfg(test)]
mod tests {
    use modem::mqtt::{Message, Qos};

    use super::*;

    fn connection(will: Option<Message>) -> Connection {
        Connection {
            host: "h".to_owned(),
            port: 1883,
            client_id: "c".to_owned(),
            username: None,
            password: None,
            keep_alive_s: 60,
            clean_session: true,
            will,
            tls: None,
            is_shared: false,
            context: 1,
            triple: None,
        }
    }

    fn will(payload: &[u8]) -> Option<Message> {
        let (topic, payload) = ("t".to_owned(), payload.to_vec());
        Some(Message { topic, payload, qos: Qos::AtMostOnce, retain: false })
    }

    #[test]
    fn a_will_that_is_no_text_is_refused_by_name() {
        let refused = Settings::of(Client(0), &connection(will(&[0xff]))).unwrap_err().to_string();
        assert!(refused.contains("the will's payload"), "{refused}");
    }

    /// A session needs only the settings that it requests and would not have otherwise.
    #[test]
    fn a_session_needs_no_setting_but_what_it_asks_for() {
        let needed = |connection: &Connection| {
            let settings = Settings::of(Client(0), connection).unwrap().settings;
            let needed = settings.into_iter().filter(|it| it.without == Without::Nothing);
            needed.map(|it| it.name).collect::<Vec<_>>()
        };
        assert_eq!(needed(&connection(None)), [""; 0]);
        let persistent = Connection { clean_session: false, ..connection(will(b"gone")) };
        assert_eq!(needed(&persistent), ["QMTCFG \"session\"", "QMTCFG \"will\""]);
    }

    #[test]
    fn a_device_is_there_where_a_string_is() {
        for line in ["+QMTCFG: \"aliauth\",\"a1\",\"d\",\"s\"", "+QMTCFG: \"a1\",\"d\",\"s\""] {
            assert!(names_device(line), "{line}");
        }
        for line in ["+QMTCFG: \"aliauth\",\"\",\"\",\"\"", "+QMTCFG: \"aliauth\"", "+QMTCFG:", ""]
        {
            assert!(!names_device(line), "{line}");
        }
    }
}
