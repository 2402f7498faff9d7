//! The `AT+CMQTT…` dialect: SIM7500/7600 manual V3.00 ch. 16, SIM82xx manual V1.02 ch. 14.
//!
//! For START, STOP, CONNECT, DISC, SUB, UNSUB and PUB, `OK` is acceptance only. The operation ends with its
//! `+CMQTTx:` line, which comes before or after `OK`, or with `ERROR`. All these commands share a lane: while a
//! result is pending, no other of them is sent on either client index. Code 14, and the clearing of topic and
//! payload by PUB, make that unsafe.
//!
//! The A76xx (A76XX manual V1.09) differ in two things, which [`Cmqtt`] holds: the choice of MQTT 3.1.1, and
//! the moment of CONNECT's `OK`.

use std::time::Duration;

use async_trait::async_trait;
use at::{Answer, Exchange, Reply, ResultLine};
use modem::mqtt::command::{quote, sequence, with_login};
use modem::mqtt::{Client, Connection, Message, Mqtt, MqttError, Qos};
use modem::port::{At, Kind};
use modem::profile::PATIENCE;

use crate::code::{CLIENT_USED, OK, without_code};
use crate::exchange::{CLIENTS, code_of, exchange, outcome, persist, plain_command, refused};
use crate::{aliauth, tls};

/// The stack's name in errors.
const STACK: &str = "CMQTT";

/// The longest time from the acceptance of CONNECT, SUB and their like to their result (manual V3.00: 120 s),
/// and a little more: the modem's own timer decides.
const OPERATION: Duration = Duration::from_secs(125);

/// The `timeout` argument of PUB and DISC; 60 s is the smallest that a 7600 takes.
const MODEM_TIMEOUT_S: u8 = 60;

/// The time after its own time-out by which a modem must have reported the end of an operation.
const GRACE: Duration = Duration::from_secs(5);

/// The time of DISC, SUB and UNSUB after their acceptance.
const AFTER_MODEM_TIMEOUT: Duration = Duration::from_secs(65);

/// The stack's own time-out for CONNECT if another session waits meanwhile: the smallest that
/// `AT+CMQTTCFG="optimeout"` takes (manual V3.00 p. 363), in seconds.
const SHARED_TIMEOUT_S: u8 = 20;

/// The time to accept an operation. On success `OK` comes at once; the manual's early failures need no network.
/// To give up too soon does no harm: the engine resynchronises, and the client is torn down.
const ACCEPTANCE: Duration = Duration::from_secs(10);

/// The time to wait for a prompt: whatever is sent before it would be taken for data. SIMCom's manuals give 9 s
/// for most commands. If the prompt or a byte of the data is lost, nothing is published for so long.
const PROMPT: Duration = Duration::from_secs(10);

/// The time after an `ERROR` in which the result line may give the reason, as the A76XX manual has it for
/// CONNECT.
const REASON: Duration = Duration::from_millis(500);

/// START may print its result before `OK`, and the result takes an activation of the network: seconds as a
/// rule, and 120 s by the manual. After this time the modem is probed, in case the command was lost.
const START: Duration = Duration::from_secs(30);

/// The longest client id that firmware of 2018 takes (MQTT AT command manual V1.00).
const OLD_CLIENT_ID: usize = 23;

/// The dialect of a family. It holds no state: the modem's state is torn down, never guessed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cmqtt {
    /// The way to choose MQTT 3.1.1.
    version: Version,
    /// The longest time until CONNECT's `OK`.
    connect_acceptance: Duration,
    /// The `timeout` argument of PUB, in seconds.
    publish_timeout_s: u8,
    /// True if `AT+CMQTTCFG="aliauth"` is known to exist.
    signs_aliyun: bool,
}

/// The place of the MQTT version in a stack's commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// The last argument of ACCQ.
    Argument,
    /// A setting after ACCQ; without it the stack speaks MQTT 3.1 (A76XX manual V1.09 p. 416).
    Setting,
}

impl Cmqtt {
    /// SIM7500, SIM7600 and SIM82xx.
    pub(crate) const SIM7600: Self = Self {
        version: Version::Argument,
        connect_acceptance: ACCEPTANCE,
        publish_timeout_s: MODEM_TIMEOUT_S,
        signs_aliyun: true,
    };

    /// A76xx. A CONNECT that fails over the network prints nothing before its result and `ERROR` (transcript of
    /// an A7670E). So its `OK` may take as long as the network does. The manual has no "aliauth". Its PUB takes
    /// 1 to 180 s.
    pub(crate) const A76XX: Self = Self {
        version: Version::Setting,
        connect_acceptance: OPERATION,
        publish_timeout_s: 30,
        signs_aliyun: false,
    };
}

#[async_trait]
impl Mqtt for Cmqtt {
    /// Starts the service. If START succeeds, nothing was running: a client needs the service (manual V3.00
    /// p. 346). A service that runs already holds clients, wills and half-filled topics of an earlier run, so all
    /// is torn down first.
    async fn start(&self, at: &At) -> Result<(), MqttError> {
        let _turn = sequence(at, STACK).await?;
        if start_service(at).await.is_ok() {
            return Ok(());
        }
        for client in CLIENTS {
            sign_out(at, client).await;
        }
        self.stop(at).await;
        start_service(at).await
    }

    fn speaks_tls(&self) -> bool {
        true
    }

    fn signs_aliyun(&self) -> bool {
        self.signs_aliyun
    }

    async fn tidy(&self, at: &At, secured: &[Client]) {
        tls::tidy(at, secured).await;
    }

    async fn open(
        &self,
        at: &At,
        client: Client,
        connection: &Connection,
    ) -> Result<(), MqttError> {
        let _turn = sequence(at, STACK).await?;
        if let Some(tls) = &connection.tls {
            tls::prepare(at, client, tls, &connection.host).await?;
        }
        acquire(at, client, connection, self.version).await?;
        // Payloads are bytes; by default a payload that is not UTF-8 is refused with code 2. Firmware that does
        // not know the setting does not check.
        if let Err(error) = set(at, client, "checkUTF8", 0).await {
            tracing::debug!("payloads that are not UTF-8 may be refused: {error}");
        }
        if self.version == Version::Setting
            && let Err(error) = set(at, client, "version", 4).await
        {
            tracing::warn!("the session speaks MQTT 3.1, which some brokers refuse: {error}");
        }
        if let Some(triple) = &connection.triple {
            aliauth::introduce(at, client, triple).await?;
        }
        if let Some(will) = &connection.will {
            set_will(at, client, will).await?;
        }
        if connection.tls.is_some() {
            tls::select(at, client).await?;
        }
        if connection.is_shared
            && let Err(error) = set(at, client, "optimeout", SHARED_TIMEOUT_S).await
        {
            tracing::debug!("the agent's own time limit applies to a broker that is away: {error}");
        }
        let connected = connect(at, client, connection, self.connect_acceptance).await;
        if let (Some(tls), Err(error)) = (&connection.tls, &connected) {
            tls::doubt(at, client, tls, error).await;
        }
        connected
    }

    /// Subscribes. A single filter goes with its command; several are collected first and subscribed in one
    /// packet.
    async fn subscribe(
        &self,
        at: &At,
        client: Client,
        filters: &[(String, Qos)],
    ) -> Result<(), MqttError> {
        let _turn = sequence(at, STACK).await?;
        let result = line("+CMQTTSUB:", client);
        if let [(filter, qos)] = filters {
            let command = format!("AT+CMQTTSUB={},{},{}", client.0, filter.len(), qos.number());
            let exchange = exchange("CMQTTSUB", &command, ACCEPTANCE)?
                .prompt(filter.as_bytes())
                .takes_effect();
            return operation(at, "CMQTTSUB", Kind::Setup, exchange, result, AFTER_MODEM_TIMEOUT)
                .await;
        }
        for (filter, qos) in filters {
            let command =
                format!("AT+CMQTTSUBTOPIC={},{},{}", client.0, filter.len(), qos.number());
            // Never repeated: SUBTOPIC collects filters, so a second try would add the filter again.
            let exchange =
                data_exchange("CMQTTSUBTOPIC", &command, "+CMQTTSUBTOPIC:", filter.as_bytes())?;
            outcome("CMQTTSUBTOPIC", at.run(Kind::Prompt, exchange).await)?;
        }
        let exchange = exchange("CMQTTSUB", &format!("AT+CMQTTSUB={}", client.0), ACCEPTANCE)?;
        operation(at, "CMQTTSUB", Kind::Setup, exchange, result, AFTER_MODEM_TIMEOUT).await
    }

    async fn unsubscribe(&self, at: &At, client: Client, filter: &str) -> Result<(), MqttError> {
        let _turn = sequence(at, STACK).await?;
        let command = format!("AT+CMQTTUNSUB={},{},0", client.0, filter.len());
        let exchange =
            exchange("CMQTTUNSUB", &command, ACCEPTANCE)?.prompt(filter.as_bytes()).takes_effect();
        let result = line("+CMQTTUNSUB:", client);
        operation(at, "CMQTTUNSUB", Kind::Setup, exchange, result, AFTER_MODEM_TIMEOUT).await
    }

    /// Sets topic and payload for each message, since PUB clears them whether it succeeds or not. A PUB without
    /// PAYLOAD is an empty message (application note V3.00 p. 12).
    async fn publish(&self, at: &At, client: Client, message: &Message) -> Result<(), MqttError> {
        let _turn = sequence(at, STACK).await?;
        let topic = format!("AT+CMQTTTOPIC={},{}", client.0, message.topic.len());
        data(at, "CMQTTTOPIC", &topic, "+CMQTTTOPIC:", message.topic.as_bytes()).await?;
        if !message.payload.is_empty() {
            let payload = format!("AT+CMQTTPAYLOAD={},{}", client.0, message.payload.len());
            data(at, "CMQTTPAYLOAD", &payload, "+CMQTTPAYLOAD:", &message.payload).await?;
        }
        let retain = if message.retain { ",1" } else { "" };
        let (qos, wait) = (message.qos.number(), self.publish_timeout_s);
        let command = format!("AT+CMQTTPUB={},{qos},{wait}{retain}", client.0);
        let exchange = exchange("CMQTTPUB", &command, ACCEPTANCE)?;
        let result = line("+CMQTTPUB:", client);
        let wait = Duration::from_secs(wait.into()) + GRACE;
        operation(at, "CMQTTPUB", Kind::Publish, exchange, result, wait).await
    }

    async fn close(&self, at: &At, client: Client) {
        // A DISC must not tear apart another session's topic, payload and publish.
        let turn = sequence(at, STACK).await;
        sign_out(at, client).await;
        drop(turn);
    }

    async fn stop(&self, at: &At) {
        let result = ResultLine { prefix: "+CMQTTSTOP:", first: None, ..ResultLine::BLANK };
        let stopped = match exchange("CMQTTSTOP", "AT+CMQTTSTOP", ACCEPTANCE) {
            Ok(exchange) => {
                operation(at, "CMQTTSTOP", Kind::Setup, exchange, result, ACCEPTANCE).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = stopped {
            tracing::debug!("STOP: {error}");
        }
    }
}

async fn start_service(at: &At) -> Result<(), MqttError> {
    let result = ResultLine { prefix: "+CMQTTSTART:", first: None, ..ResultLine::BLANK };
    let exchange = exchange("CMQTTSTART", "AT+CMQTTSTART", START)?.at_most(OPERATION);
    operation(at, "CMQTTSTART", Kind::Setup, exchange, result, OPERATION).await
}

/// Sends DISC and REL, in whatever state the client is.
async fn sign_out(at: &At, client: Client) {
    let command = format!("AT+CMQTTDISC={},{MODEM_TIMEOUT_S}", client.0);
    let disconnected = match exchange("CMQTTDISC", &command, ACCEPTANCE) {
        Ok(exchange) => {
            let result = line("+CMQTTDISC:", client);
            operation(at, "CMQTTDISC", Kind::Setup, exchange, result, AFTER_MODEM_TIMEOUT).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = disconnected {
        // Code 11 is expected if there was no connection.
        tracing::debug!("DISC: {error}");
    }
    let release = format!("AT+CMQTTREL={}", client.0);
    if let Err(error) = plain_command(at, "CMQTTREL", &release, "+CMQTTREL:").await {
        tracing::debug!("REL: {error}");
    }
}

/// Takes the client index. An index still used by an earlier run is torn down, not reused: its will and its
/// subscriptions are unknown. Units were seen whose START returns 0 although clients are left over. So both
/// indexes are torn down if no other session is in service.
async fn acquire(
    at: &At,
    client: Client,
    connection: &Connection,
    version: Version,
) -> Result<(), MqttError> {
    let (id, secured) = (connection.client_id.as_str(), connection.tls.is_some());
    let server = u8::from(secured);
    // Version 4 is MQTT 3.1.1, which is not the default of every firmware.
    let whole = match version {
        Version::Argument => format!(",{server},4"),
        Version::Setting => format!(",{server}"),
    };
    let Err(error) = acquire_once(at, client, id, &whole).await else { return Ok(()) };
    match code_of(&error) {
        Some(CLIENT_USED) => {
            let is_ours = |other: &Client| *other == client || !connection.is_shared;
            for left in CLIENTS.into_iter().filter(is_ours) {
                sign_out(at, left).await;
            }
            acquire_once(at, client, id, &whole).await
        }
        // Only a refusal shows something about the firmware.
        _ if !matches!(error, MqttError::Refused { .. } | MqttError::NoCode { .. }) => Err(error),
        _ => {
            let limit = client_id_limit(at).await;
            if let Some(limit) = limit.filter(|limit| *limit < id.len()) {
                return Err(MqttError::ClientIdTooLong { length: id.len(), limit });
            }
            if version == Version::Setting {
                return Err(error);
            }
            // Firmware of 2018 has no `mqtt_version` argument; it speaks 3.1.1 only.
            let short = if secured { ",1" } else { "" };
            acquire_once(at, client, id, short).await.map_err(|_| error)
        }
    }
}

async fn acquire_once(
    at: &At,
    client: Client,
    id: &str,
    // Server type (0 TCP, 1 TLS) and version, each after a comma.
    more: &str,
) -> Result<(), MqttError> {
    let command = format!("AT+CMQTTACCQ={},{}{more}", client.0, quote("the client id", id)?);
    plain_command(at, "CMQTTACCQ", &command, "+CMQTTACCQ:").await
}

/// Returns the longest client id that this firmware reports to take: `+CMQTTACCQ: (0-1),(1-128),…`.
async fn client_id_limit(at: &At) -> Option<usize> {
    let asked = exchange("CMQTTACCQ", "AT+CMQTTACCQ=?", PATIENCE).ok()?;
    let reply = at.run(Kind::Setup, asked.answer(Answer::Prefix("+CMQTTACCQ:"))).await.ok()?;
    reply.lines.iter().find_map(|line| parse_client_id_limit(line))
}

fn parse_client_id_limit(line: &str) -> Option<usize> {
    let ranges = line.strip_prefix("+CMQTTACCQ:")?;
    let range = ranges.split("),").nth(1)?.trim().trim_start_matches('(').trim_end_matches(')');
    range.rsplit('-').next()?.trim().parse().ok().filter(|limit| *limit >= OLD_CLIENT_ID)
}

/// Writes a setting of a client that is acquired and not connected.
async fn set(at: &At, client: Client, option: &str, value: u8) -> Result<(), MqttError> {
    let command = format!("AT+CMQTTCFG=\"{option}\",{},{value}", client.0);
    plain_command(at, "CMQTTCFG", &command, "+CMQTTCFG:").await
}

async fn set_will(at: &At, client: Client, will: &Message) -> Result<(), MqttError> {
    if will.retain {
        tracing::warn!(topic = will.topic, "this modem's stack cannot retain a will");
    }
    let topic = format!("AT+CMQTTWILLTOPIC={},{}", client.0, will.topic.len());
    data(at, "CMQTTWILLTOPIC", &topic, "+CMQTTWILLTOPIC:", will.topic.as_bytes()).await?;
    let message =
        format!("AT+CMQTTWILLMSG={},{},{}", client.0, will.payload.len(), will.qos.number());
    data(at, "CMQTTWILLMSG", &message, "+CMQTTWILLMSG:", &will.payload).await
}

async fn connect(
    at: &At,
    client: Client,
    connection: &Connection,
    acceptance: Duration,
) -> Result<(), MqttError> {
    let url =
        quote("the broker's address", &format!("tcp://{}:{}", connection.host, connection.port))?;
    let clean = u8::from(connection.clean_session);
    let start = format!("AT+CMQTTCONNECT={},{url},{},{clean}", client.0, connection.keep_alive_s);
    let (command, shown) = with_login(start, connection)?;
    let limit = match connection.is_shared {
        true => Duration::from_secs(SHARED_TIMEOUT_S.into()) + GRACE,
        false => OPERATION,
    };
    let exchange =
        exchange("CMQTTCONNECT", &command, acceptance.min(limit))?.shown_as(shown).at_most(limit);
    operation(at, "CMQTTCONNECT", Kind::Setup, exchange, line("+CMQTTCONNECT:", client), limit)
        .await
}

// --- exchanges -------------------------------------------------------------------------------------

fn line(prefix: &'static str, client: Client) -> ResultLine {
    ResultLine { prefix, first: Some(client.0), ..ResultLine::BLANK }
}

/// Runs a command with prompt data that `OK` ends. The value may be set again.
async fn data(
    at: &At,
    operation: &'static str,
    command: &str,
    prefix: &'static str,
    data: &[u8],
) -> Result<(), MqttError> {
    let exchange = data_exchange(operation, command, prefix, data)?;
    outcome(operation, persist(at, Kind::Prompt, exchange).await)
}

fn data_exchange(
    operation: &'static str,
    command: &str,
    prefix: &'static str,
    data: &[u8],
) -> Result<Exchange, MqttError> {
    let exchange = exchange(operation, command, PATIENCE)?.undisturbed_for(PROMPT);
    Ok(exchange.answer(Answer::Prefix(prefix)).prompt(data))
}

/// Runs a command that its result line ends. If the connection is lost, the result comes at once or never.
async fn operation(
    at: &At,
    operation: &'static str,
    kind: Kind,
    exchange: Exchange,
    result: ResultLine,
    timeout: Duration,
) -> Result<(), MqttError> {
    let lost = ResultLine { prefix: "+CMQTTCONNLOST:", first: result.first, ..ResultLine::BLANK };
    let no_answer = ResultLine { prefix: "+CMQTTPING:", first: result.first, ..ResultLine::BLANK };
    let no_network = ResultLine { prefix: "+CMQTTNONET", first: None, ..ResultLine::BLANK };
    // Some units print the result before `OK`, and take nothing until then.
    let exchange = exchange.busy_for(timeout.max(OPERATION));
    let exchange = exchange.result(result, timeout).cut_by([lost, no_answer, no_network]);
    let exchange = exchange.reason_within(REASON);
    let ended = at.run(kind, exchange).await;
    let Ok(Reply { result: Some(line), .. }) = &ended else { return outcome(operation, ended) };
    // A torn or unreadable line does not mean success.
    match result_in(line, result.first.is_some()) {
        Some(OK) => Ok(()),
        Some(number) => Err(refused(operation, number)),
        None => Err(without_code(operation, None)),
    }
}

/// Returns the code of a whole result line: `+CMQTTPUB: 0,6`, or `+CMQTTSTART: 23` without a client.
fn result_in(line: &str, with_client: bool) -> Option<i32> {
    let arguments: Vec<&str> = line.split_once(':')?.1.split(',').map(str::trim).collect();
    match (arguments.as_slice(), with_client) {
        ([code], false) | ([_, code], true) => code.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_result_is_no_success() {
        assert_eq!(result_in("+CMQTTPUB: 0,0", true), Some(0));
        assert_eq!(result_in("+CMQTTPUB: 1,14", true), Some(14));
        assert_eq!(result_in("+CMQTTSTART: 0", false), Some(0));
        for torn in
            ["+CMQTTPUB: 0", "+CMQTTPUB: 0,", "+CMQTTPUB: 0,x", "+CMQTTPUB:", "+CMQTTPUB: 0,0,0"]
        {
            assert_eq!(result_in(torn, true), None, "{torn}");
        }
        assert_eq!(result_in("+CMQTTSTART:", false), None);
    }

    #[test]
    fn firmware_tells_how_long_a_client_id_may_be() {
        assert_eq!(parse_client_id_limit("+CMQTTACCQ: (0-1),(1-128),(0-1),(3-4)"), Some(128));
        assert_eq!(parse_client_id_limit("+CMQTTACCQ: (0-1),(1-23),(0-1)"), Some(23));
        assert_eq!(parse_client_id_limit("+CMQTTACCQ: (0,1),(23)"), Some(23));
        assert_eq!(parse_client_id_limit("+CMQTTACCQ: (0-1)"), None);
    }
}
