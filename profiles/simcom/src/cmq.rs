//! The `AT+CMQ…` dialect of the SIM7020, NB-IoT on a UART (SIM7020 manual V1.05 ch. 11). None of it was seen on
//! a unit of our own.
//!
//! There is a single client. A payload is an argument in hexadecimal digits, so nothing prompts. An operation
//! has no result code: it ends with `OK` or `ERROR`.
//!
//! The meaning of `OK` is a setting. As delivered, the modem prints `OK` once it has taken a packet. In its
//! synchronisation mode (`AT+CMQTSYNC=1`, V1.05 on) it prints `OK` after the broker has acknowledged. Users
//! report this; the manual names the mode and does not describe it. A message is removed from the queue at that
//! `OK`, so no session opens if the mode cannot be set.

use std::time::Duration;

use async_trait::async_trait;
use at::{Answer, Exchange};
use modem::mqtt::command::{quote, sequence};
use modem::mqtt::{Client, Connection, Message, Mqtt, MqttError, Qos};
use modem::port::{At, ExchangeError, Kind};
use modem::profile::{PATIENCE, persist};
use secrecy::ExposeSecret;
use tokio::time::Instant;
use zeroize::Zeroizing;

mod hex;
pub(crate) mod listener;
pub(crate) mod replies;

/// The longest topic and filter (manual V1.05 §11.2.4 to §11.2.6).
const MAX_TOPIC: usize = 128;

/// The payload's length in hexadecimal digits is 2 to 1,000 (§11.2.6). A firmware that counts bytes there still
/// takes this many.
const PAYLOAD: (usize, usize) = (1, 500);

/// The longest name of a broker (§11.2.1), client id and login (§11.2.2).
const MAX_HOST: usize = 50;
const MAX_CLIENT_ID: usize = 120;
const MAX_LOGIN: usize = 100;

/// The longest keep-alive, in seconds (§11.2.2).
const MAX_KEEP_ALIVE_S: u16 = 64_800;

/// The modem's buffer for one packet, at its largest (§11.2.1).
const BUFFER: u16 = 1_132;

/// The modem's time-out for an answer of the broker: `<command_timeout_ms>`, at most 60,000 (§11.2.1). NB-IoT
/// repeats a packet for ten seconds and more if the signal is poor.
const MODEM_TIMEOUT: Duration = Duration::from_secs(30);

/// The time for an answer of the broker. The modem's own timer decides. It may start only when the packet is
/// sent, and a poor signal delays that by tens of seconds. To give up before the modem does would tear the port
/// down under a healthy publish. A lost command is noticed no sooner, since nothing comes before the end.
const OPERATION: Duration = Duration::from_secs(60);

/// A publish of QoS 2 waits for two answers.
const TWO_ANSWERS: Duration = Duration::from_secs(90);

/// An `ERROR` as late as this may be the modem's own time-out. An earlier `ERROR` means that the connection was
/// lost. The modem's timer starts no sooner than the command.
const OWN_TIMEOUT: Duration = Duration::from_secs(20);

/// NEW looks a name up and opens TCP. The manual gives no time; users wait for 153 s.
const NEW: Duration = Duration::from_secs(155);

/// The time of a disconnect, which needs no answer of the broker.
const DISCONNECT: Duration = Duration::from_secs(35);

/// The number of tries of a query or setting if its answer is missing.
const TRIES: u32 = 3;

/// The stack's name in errors.
const STACK: &str = "CMQ";

/// The only client.
const CLIENT: Client = Client(0);

/// The dialect. It holds no state: the modem's state is torn down, never guessed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cmq;

#[async_trait]
impl Mqtt for Cmq {
    /// Signs out the client of an earlier run, if any. There is nothing to start.
    async fn start(&self, at: &At) -> Result<(), MqttError> {
        let _turn = sequence(at, STACK).await?;
        tear_down(at).await
    }

    async fn open(
        &self,
        at: &At,
        client: Client,
        connection: &Connection,
    ) -> Result<(), MqttError> {
        let sign_in = sign_in(client, connection)?;
        let new = new(connection)?;
        let _turn = sequence(at, STACK).await?;
        wait_for_the_broker(at).await?;
        print_digits(at).await?;
        tear_down(at).await?;
        let answer = at.run(Kind::Setup, new).await.map_err(|error| failed("CMQNEW", error))?;
        match answer.lines.iter().find_map(|line| replies::created(line)) {
            Some(number) if number == client.0 => {}
            number => {
                if let Some(number) = number {
                    sign_out(at, Client(number)).await;
                }
                return Err(refused("CMQNEW"));
            }
        }
        at.run(Kind::Setup, sign_in).await.map_err(|error| failed("CMQCON", error))?;
        Ok(())
    }

    /// Sends a command for each filter: there is no other form.
    async fn subscribe(
        &self,
        at: &At,
        client: Client,
        filters: &[(String, Qos)],
    ) -> Result<(), MqttError> {
        let _turn = sequence(at, STACK).await?;
        for (filter, qos) in filters {
            let filter = text("the filter", filter, (1, MAX_TOPIC))?;
            let command = format!("AT+CMQSUB={},{filter},{}", client.0, qos.number());
            run(at, "CMQSUB", Kind::Setup, &command, OPERATION).await?;
        }
        Ok(())
    }

    async fn unsubscribe(&self, at: &At, client: Client, filter: &str) -> Result<(), MqttError> {
        let _turn = sequence(at, STACK).await?;
        let filter = text("the filter", filter, (1, MAX_TOPIC))?;
        let command = format!("AT+CMQUNSUB={},{filter}", client.0);
        run(at, "CMQUNSUB", Kind::Setup, &command, OPERATION).await
    }

    /// Publishes a message. It is never repeated, since a message without an answer may have arrived.
    async fn publish(&self, at: &At, client: Client, message: &Message) -> Result<(), MqttError> {
        let topic = text("the topic", &message.topic, (1, MAX_TOPIC))?;
        let digits = payload("the payload", &message.payload)?;
        let (qos, retain) = (message.qos.number(), u8::from(message.retain));
        let command = format!(
            "AT+CMQPUB={},{topic},{qos},{retain},0,{},\"{digits}\"",
            client.0,
            digits.len()
        );
        let _turn = sequence(at, STACK).await?;
        let answers = if message.qos == Qos::ExactlyOnce { TWO_ANSWERS } else { OPERATION };
        let started = Instant::now();
        match run(at, "CMQPUB", Kind::Publish, &command, answers).await {
            Err(MqttError::Uncoded { operation, .. }) if started.elapsed() >= OWN_TIMEOUT => {
                Err(MqttError::Unanswered { operation })
            }
            ended => ended,
        }
    }

    async fn close(&self, at: &At, client: Client) {
        // Another session's publish must not be torn apart.
        let turn = sequence(at, STACK).await;
        sign_out(at, client).await;
        drop(turn);
    }

    /// Does nothing: a closed client leaves nothing to stop.
    async fn stop(&self, _: &At) {}
}

/// Signs the client out if it is used. The client keeps its name until then, connected or not.
async fn tear_down(at: &At) -> Result<(), MqttError> {
    match told(at, "CMQNEW", "AT+CMQNEW?", "+CMQNEW:").await? {
        Some(lines) if lines.iter().any(|line| replies::is_free(line)) => {}
        _ => sign_out(at, CLIENT).await,
    }
    Ok(())
}

/// Makes the modem answer a packet only after the broker did. The setting outlives a reset. It is written only
/// if it differs, since each write wears the modem's memory.
async fn wait_for_the_broker(at: &At) -> Result<(), MqttError> {
    let lines = told(at, "CMQTSYNC", "AT+CMQTSYNC?", "+CMQTSYNC:").await?;
    if lines.is_some_and(|lines| lines.iter().any(|line| replies::is_on(line))) {
        return Ok(());
    }
    match set(at, "CMQTSYNC", "AT+CMQTSYNC=1").await {
        Err(MqttError::Uncoded { operation, .. }) => Err(MqttError::NoReceipts { operation }),
        ended => ended,
    }
}

/// Makes the modem print payloads in hexadecimal digits, both ways. Firmware that does not know the setting has
/// digits only.
async fn print_digits(at: &At) -> Result<(), MqttError> {
    let lines = told(at, "CREVHEX", "AT+CREVHEX?", "+CREVHEX:").await?;
    let is_known = lines.is_some();
    if lines.is_some_and(|lines| lines.iter().any(|line| replies::is_on(line))) {
        return Ok(());
    }
    match set(at, "CREVHEX", "AT+CREVHEX=1").await {
        Err(MqttError::Uncoded { .. }) if !is_known => {
            tracing::warn!(
                "this firmware does not know CREVHEX, so payloads are assumed to be hexadecimal digits: check one at the broker"
            );
            Ok(())
        }
        ended => ended,
    }
}

/// Sends DISCON, in whatever state the client is.
async fn sign_out(at: &At, client: Client) {
    let command = format!("AT+CMQDISCON={}", client.0);
    if let Err(error) = run(at, "CMQDISCON", Kind::Setup, &command, DISCONNECT).await {
        // `ERROR` is expected if there was nothing to disconnect.
        tracing::debug!("CMQDISCON: {error}");
    }
}

/// Returns the command that opens TCP; the modem's network looks the name up.
fn new(connection: &Connection) -> Result<Exchange, MqttError> {
    let host = text("the broker's address", &connection.host, (1, MAX_HOST))?;
    let (port, timeout) = (connection.port, MODEM_TIMEOUT.as_millis());
    let command = format!("AT+CMQNEW={host},\"{port}\",{timeout},{BUFFER}");
    Ok(exchange("CMQNEW", &command, NEW)?.answer(Answer::Prefix("+CMQNEW:")))
}

fn sign_in(client: Client, connection: &Connection) -> Result<Exchange, MqttError> {
    let id = text("the client id", &connection.client_id, (1, MAX_CLIENT_ID))?;
    let keep_alive = connection.keep_alive_s.min(MAX_KEEP_ALIVE_S);
    if keep_alive < connection.keep_alive_s {
        tracing::warn!("this modem takes a keep-alive of {MAX_KEEP_ALIVE_S} s at most");
    }
    let clean = u8::from(connection.clean_session);
    // 4 is MQTT 3.1.1.
    let start = format!("AT+CMQCON={},4,{id},{keep_alive},{clean}", client.0);
    let start = match &connection.will {
        None => format!("{start},0"),
        Some(will) => format!("{start},1,{}", self::will(will)?),
    };
    let (mut command, mut shown) = (Zeroizing::new(start.clone()), start);
    if let Some(username) = &connection.username {
        let username = text("the user name", username, (0, MAX_LOGIN))?;
        let password = connection.password.as_ref().map_or("", |password| password.expose_secret());
        // The two go together: a user without a password gets an empty password.
        let password = Zeroizing::new(text("the password", password, (0, MAX_LOGIN))?);
        command = Zeroizing::new(format!("{},{username},{}", *command, *password));
        shown = format!("{shown},{username},***");
    }
    Ok(exchange("CMQCON", &command, OPERATION)?.shown_as(shown))
}

/// Returns the will as a single string of names and values (§11.2.2). This form cannot hold a comma in a topic.
fn will(will: &Message) -> Result<String, MqttError> {
    // Refuses a topic that is not a valid string.
    text("the will's topic", &will.topic, (1, MAX_TOPIC))?;
    if will.topic.contains(',') {
        let reason = "a comma ends the topic in this modem's form of a will";
        return Err(MqttError::Inexpressible { what: "the will's topic", reason });
    }
    let digits = payload("the will's payload", &will.payload)?;
    let (topic, qos, retain) = (&will.topic, will.qos.number(), u8::from(will.retain));
    let length = digits.len();
    Ok(format!(
        "\"topic={topic},QoS={qos},retained={retain},message_len={length},message={digits}\""
    ))
}

fn payload(what: &'static str, payload: &[u8]) -> Result<String, MqttError> {
    in_range(what, payload.len(), PAYLOAD)?;
    Ok(hex::digits(payload))
}

/// Quotes a string of a command. A backslash is refused: users of this modem write `\"` for a quotation mark in
/// a string. A backslash may thus change the meaning of the next character, the closing mark included.
fn text(what: &'static str, value: &str, range: (usize, usize)) -> Result<String, MqttError> {
    in_range(what, value.len(), range)?;
    if value.contains('\\') {
        let reason = "a backslash may give the character after it another meaning";
        return Err(MqttError::Inexpressible { what, reason });
    }
    quote(what, value)
}

fn in_range(
    what: &'static str,
    length: usize,
    (least, most): (usize, usize),
) -> Result<(), MqttError> {
    if (least..=most).contains(&length) {
        return Ok(());
    }
    Err(MqttError::OutOfRange { what, length, least, most })
}

// --- exchanges -------------------------------------------------------------------------------------

fn exchange(
    operation: &'static str,
    command: &str,
    timeout: Duration,
) -> Result<Exchange, MqttError> {
    Exchange::new(command, timeout)
        .map_err(|source| MqttError::Unsendable { what: operation, source })
}

/// Runs a command that `OK` ends, a single time.
async fn run(
    at: &At,
    operation: &'static str,
    kind: Kind,
    command: &str,
    timeout: Duration,
) -> Result<(), MqttError> {
    let exchange = exchange(operation, command, timeout)?;
    at.run(kind, exchange).await.map(drop).map_err(|error| failed(operation, error))
}

/// Returns the lines of a query's answer; `None` if the modem refused the query.
async fn told(
    at: &At,
    operation: &'static str,
    query: &str,
    prefix: &'static str,
) -> Result<Option<Vec<String>>, MqttError> {
    let exchange = exchange(operation, query, PATIENCE)?.answer(Answer::Prefix(prefix));
    match persist(at, Kind::Setup, exchange, TRIES).await {
        Ok(reply) => Ok(Some(reply.lines)),
        Err(error) if error.refusal().is_some() => Ok(None),
        Err(source) => Err(MqttError::Exchange { operation, source }),
    }
}

/// Writes a setting, twice if need be.
async fn set(at: &At, operation: &'static str, command: &str) -> Result<(), MqttError> {
    let exchange = exchange(operation, command, PATIENCE)?;
    let ended = persist(at, Kind::Setup, exchange, TRIES).await;
    ended.map(drop).map_err(|error| failed(operation, error))
}

fn failed(operation: &'static str, error: ExchangeError) -> MqttError {
    match error.refusal() {
        Some(_) => refused(operation),
        None => MqttError::Exchange { operation, source: error },
    }
}

/// Names the usual cause of a refusal: the modem prints `ERROR` whatever the reason.
fn refused(operation: &'static str) -> MqttError {
    let advice = match operation {
        "CMQNEW" => "check the broker's address and port, the APN and the signal",
        "CMQCON" => {
            "check user name, password and client id at the broker, and that its port speaks MQTT without TLS"
        }
        "CMQSUB" => "the broker may forbid the filter, or the connection was lost",
        "CMQPUB" => {
            "the connection was lost, or the broker gave no answer; it may forbid the topic"
        }
        _ => "the firmware may not know this command",
    };
    MqttError::Uncoded { operation, advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        Connection {
            host: "h".to_owned(),
            port: 1883,
            client_id: "7600|securemode=3,signmethod=hmacsha1|".to_owned(),
            username: Some("u".to_owned()),
            password: Some("p,w".into()),
            keep_alive_s: u16::MAX,
            clean_session: true,
            will: None,
            tls: None,
            is_shared: false,
            context: 1,
            triple: None,
        }
    }

    fn message(topic: &str, payload: &[u8]) -> Message {
        let (topic, payload) = (topic.to_owned(), payload.to_vec());
        Message { topic, payload, qos: Qos::AtLeastOnce, retain: true }
    }

    #[test]
    fn commands_as_the_manual_has_them_and_no_password_in_a_log() {
        let line = |exchange: Exchange| exchange.line().to_owned();
        assert_eq!(line(new(&connection()).unwrap()), "AT+CMQNEW=\"h\",\"1883\",30000,1132");
        let id = "\"7600|securemode=3,signmethod=hmacsha1|\"";
        let plain = sign_in(CLIENT, &connection()).unwrap();
        assert!(!format!("{plain:?}").contains("p,w"), "{plain:?}");
        assert_eq!(line(plain), format!("AT+CMQCON=0,4,{id},64800,1,0,\"u\",\"p,w\""));
        let with_will =
            Connection { will: Some(message("a/b", b"\x00gone")), username: None, ..connection() };
        let will = "\"topic=a/b,QoS=1,retained=1,message_len=10,message=00676F6E65\"";
        let with_will = sign_in(CLIENT, &with_will).unwrap();
        assert_eq!(line(with_will), format!("AT+CMQCON=0,4,{id},64800,1,1,{will}"));
    }

    /// A value that a command cannot hold is refused by name, before anything is sent.
    #[test]
    fn what_cannot_be_said_is_refused_by_name() {
        type Change = fn(&mut Connection);
        let refused = |change: Change| {
            let mut connection = connection();
            change(&mut connection);
            let tried = new(&connection).and_then(|_| sign_in(CLIENT, &connection));
            let error = tried.expect_err("refused");
            assert!(error.is_hopeless(), "{error}");
            error.to_string()
        };
        let cases: [(&str, Change); 11] = [
            ("the broker's address has 51", |c| c.host = "h".repeat(51)),
            ("the client id has 0", |c| c.client_id.clear()),
            ("the client id has 121", |c| c.client_id = "c".repeat(121)),
            ("the client id cannot", |c| c.client_id = "c\\".to_owned()),
            ("the client id cannot be sent", |c| c.client_id = "c\"".to_owned()),
            ("the user name cannot be sent", |c| c.username = Some("u\r".to_owned())),
            ("the password has 101", |c| c.password = Some("p".repeat(101).into())),
            ("the password cannot", |c| c.password = Some("p\\".into())),
            ("the will's topic cannot", |c| c.will = Some(message("a,b", b"x"))),
            ("the will's payload has 0", |c| c.will = Some(message("a", b""))),
            ("the will's payload has 501", |c| c.will = Some(message("a", &[0; 501]))),
        ];
        for (words, change) in cases {
            let refused = refused(change);
            assert!(refused.starts_with(words), "{words}: {refused}");
        }
    }

    /// A sign-in with each value at its longest still fits a command line.
    #[test]
    fn the_longest_sign_in_fits() {
        let longest = Connection {
            client_id: "c".repeat(MAX_CLIENT_ID),
            username: Some("u".repeat(MAX_LOGIN)),
            password: Some("p".repeat(MAX_LOGIN).into()),
            will: Some(message(&"t".repeat(MAX_TOPIC), &[0xff; 500])),
            ..connection()
        };
        assert!(sign_in(CLIENT, &longest).is_ok());
    }
}
