//! The `AT+QMT…` dialect, from public logs and third-party drivers; Quectel's own note was not read.
//!
//! For OPEN, CONN, SUB, UNS, PUBEX, DISC and CLOSE `OK` is acceptance only: the operation ends with its
//! `+QMTx:` line. Packets are numbered, so that a late result is no other packet's. There is no service
//! to start: each client has a TCP connection of its own.

use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use at::{Answer, Exchange, Failure, Reply, ResultLine};
use modem::mqtt::command::{quote, sequence, with_login};
use modem::mqtt::{Client, Connection, Message, Mqtt, MqttError, Qos, ResultCode};
use modem::port::{At, ExchangeError, Kind};
use modem::profile::{self, PATIENCE};

use crate::code::{OCCUPIED, connack_code, granted_code, open_code, packet_code};
use crate::tls;

/// All QMT commands share one lane. That clients may overlap no transcript proves.
pub(crate) const LANE: &str = "qmt";

/// The stack, in errors.
pub(crate) const STACK: &str = "QMT";

/// The longest keep-alive that `AT+QMTCFG="keepalive"` takes, in seconds.
const MAX_KEEP_ALIVE_S: u16 = 3_600;

/// How long the modem waits for a packet's acknowledgement, in seconds, and how often it sends again.
const PACKET_TIMEOUT: (u8, u8) = (30, 1);

/// The modem tells the end of a packet within its time-outs (2 × 30 s), and a little more.
const PACKET: Duration = Duration::from_secs(65);

/// The result of OPEN takes a name look-up and a TCP connection: 75 s (not verified).
const OPEN: Duration = Duration::from_secs(80);

/// Acceptance of an operation.
const ACCEPTANCE: Duration = Duration::from_secs(10);

/// The end of DISC and CLOSE needs no answer of the broker.
const CLOSE: Duration = Duration::from_secs(15);

/// How often a setting is tried when its answer stays out.
pub(crate) const TRIES: u32 = 3;

/// Ends the data of `AT+QMTPUB`, whose length is not announced.
const END_OF_DATA: &[u8] = b"\x1a";

/// The dialect. What it holds is the number of the last packet.
#[derive(Debug)]
pub(crate) struct Qmt {
    packet: AtomicU16,
}

impl Qmt {
    pub(crate) const fn new() -> Self {
        Self { packet: AtomicU16::new(0) }
    }

    /// 1 to 65,535, and then from 1 again.
    fn packet(&self) -> u16 {
        let taken = self.packet.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
            Some(last.checked_add(1).unwrap_or(1))
        });
        taken.unwrap_or(0).checked_add(1).unwrap_or(1)
    }
}

#[async_trait]
impl Mqtt for Qmt {
    fn speaks_tls(&self) -> bool {
        true
    }

    async fn tidy(&self, at: &At, secured: &[Client]) {
        tls::tidy(at, secured).await;
    }

    /// There is nothing to start. What an earlier run left open is signed out.
    async fn start(&self, at: &At) -> Result<(), MqttError> {
        let _turn = sequence(at, STACK).await?;
        let asked = exchange("QMTOPEN", "AT+QMTOPEN?", PATIENCE)?;
        let asked = asked.answer(Answer::Prefix("+QMTOPEN:"));
        match profile::persist(at, Kind::Setup, asked, TRIES).await {
            Ok(reply) => {
                for client in reply.lines.iter().filter_map(|line| open_client(line)) {
                    sign_out(at, client).await;
                }
                Ok(())
            }
            // Firmware that cannot tell: OPEN itself says "occupied".
            Err(error) if error.refusal().is_some() => Ok(()),
            Err(source) => Err(MqttError::Exchange { operation: "QMTOPEN", source }),
        }
    }

    async fn open(
        &self,
        at: &At,
        client: Client,
        connection: &Connection,
    ) -> Result<(), MqttError> {
        let sign_in = sign_in(client, connection)?;
        let settings = settings(client, connection)?;
        let host = quote("the broker's address", &connection.host)?;
        let _turn = sequence(at, STACK).await?;
        // Settings are taken by a closed client only.
        let opened = async || {
            for setting in &settings {
                set(at, "QMTCFG", setting).await?;
            }
            tls::prepare(at, client, connection).await?;
            let opened = dial(at, client, connection, &host).await;
            if opened.as_ref().is_err_and(tls::is_suspect) {
                tls::doubt(at, client, connection).await;
            }
            opened
        };
        match opened().await {
            Err(MqttError::Refused { code: ResultCode { number: OCCUPIED, .. }, .. }) => {
                sign_out(at, client).await;
                opened().await?;
            }
            result => result?,
        }
        let result = ResultLine { interim: Some((1, "1")), ..line("+QMTCONN:", client) };
        let line = ended(at, "QMTCONN", Kind::Setup, sign_in, result, PACKET).await?;
        judge("QMTCONN", &line, 1, packet_code)?;
        // Without a third argument the broker has said yes.
        if argument(&line, 2).is_some() { judge("QMTCONN", &line, 2, connack_code) } else { Ok(()) }
    }

    /// One filter with each command, so that the one that is refused has a name.
    async fn subscribe(
        &self,
        at: &At,
        client: Client,
        filters: &[(String, Qos)],
    ) -> Result<(), MqttError> {
        let _turn = sequence(at, STACK).await?;
        for (filter, qos) in filters {
            let (packet, filter) = (self.packet(), quote("the filter", filter)?);
            let command = format!("AT+QMTSUB={},{packet},{filter},{}", client.0, qos.number());
            let exchange = exchange("QMTSUB", &command, ACCEPTANCE)?;
            let result = numbered("+QMTSUB:", client, packet);
            let line = ended(at, "QMTSUB", Kind::Setup, exchange, result, PACKET).await?;
            judge("QMTSUB", &line, 2, packet_code)?;
            if argument(&line, 3) == Some("128") {
                return Err(MqttError::Refused { operation: "QMTSUB", code: granted_code(128) });
            }
        }
        Ok(())
    }

    async fn unsubscribe(&self, at: &At, client: Client, filter: &str) -> Result<(), MqttError> {
        let _turn = sequence(at, STACK).await?;
        let (packet, filter) = (self.packet(), quote("the filter", filter)?);
        let command = format!("AT+QMTUNS={},{packet},{filter}", client.0);
        let exchange = exchange("QMTUNS", &command, ACCEPTANCE)?;
        let result = numbered("+QMTUNS:", client, packet);
        let line = ended(at, "QMTUNS", Kind::Setup, exchange, result, PACKET).await?;
        judge("QMTUNS", &line, 2, packet_code)
    }

    /// PUBEX counts its data and takes one byte at least; an empty message is PUB's, whose data ends
    /// with a control character.
    async fn publish(&self, at: &At, client: Client, message: &Message) -> Result<(), MqttError> {
        let _turn = sequence(at, STACK).await?;
        let topic = quote("the topic", &message.topic)?;
        let packet = if message.qos == Qos::AtMostOnce { 0 } else { self.packet() };
        let (qos, retain) = (message.qos.number(), u8::from(message.retain));
        let arguments = format!("{},{packet},{qos},{retain},{topic}", client.0);
        let (operation, prefix, command, data) = if message.payload.is_empty() {
            ("QMTPUB", "+QMTPUB:", format!("AT+QMTPUB={arguments}"), END_OF_DATA)
        } else {
            let length = message.payload.len();
            let command = format!("AT+QMTPUBEX={arguments},{length}");
            ("QMTPUBEX", "+QMTPUBEX:", command, message.payload.as_slice())
        };
        let exchange = exchange(operation, &command, ACCEPTANCE)?.prompt(data).takes_effect();
        let result = numbered(prefix, client, packet);
        let line = ended(at, operation, Kind::Publish, exchange, result, PACKET).await?;
        judge(operation, &line, 2, packet_code)
    }

    async fn close(&self, at: &At, client: Client) {
        // Another session's publish is not to be torn apart.
        let turn = sequence(at, STACK).await;
        sign_out(at, client).await;
        drop(turn);
    }

    /// There is nothing to stop: closed clients leave nothing.
    async fn stop(&self, _: &At) {}
}

/// OPEN alone, with all settings made.
async fn dial(
    at: &At,
    client: Client,
    connection: &Connection,
    host: &str,
) -> Result<(), MqttError> {
    let command = format!("AT+QMTOPEN={},{host},{}", client.0, connection.port);
    let exchange = exchange("QMTOPEN", &command, ACCEPTANCE)?;
    let result = line("+QMTOPEN:", client);
    let line = ended(at, "QMTOPEN", Kind::Setup, exchange, result, OPEN).await?;
    judge("QMTOPEN", &line, 1, open_code)
        .map_err(|error| tls::blame(error, argument(&line, 1), connection))
}

/// DISC and CLOSE, whatever state the client is in. DISC first: without it the broker publishes the will.
async fn sign_out(at: &At, client: Client) {
    for (operation, prefix) in [("QMTDISC", "+QMTDISC:"), ("QMTCLOSE", "+QMTCLOSE:")] {
        let command = format!("AT+{operation}={}", client.0);
        let signed_out = match exchange(operation, &command, ACCEPTANCE) {
            Ok(exchange) => {
                ended(at, operation, Kind::Setup, exchange, line(prefix, client), CLOSE).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = signed_out {
            // `ERROR` where there was no connection: as it should be.
            tracing::debug!("{operation}: {error}");
        }
    }
}

/// All settings, since the modem keeps those of an earlier run until it boots.
fn settings(client: Client, connection: &Connection) -> Result<Vec<String>, MqttError> {
    let index = client.0;
    let keep_alive = connection.keep_alive_s.min(MAX_KEEP_ALIVE_S);
    if keep_alive < connection.keep_alive_s {
        tracing::warn!("this modem's stack takes a keep-alive of {MAX_KEEP_ALIVE_S} s at most");
    }
    let (wait, again) = PACKET_TIMEOUT;
    let mut settings = vec![
        // 4 is MQTT 3.1.1; many firmwares begin with 3.1.
        format!("AT+QMTCFG=\"version\",{index},4"),
        format!("AT+QMTCFG=\"keepalive\",{index},{keep_alive}"),
        format!("AT+QMTCFG=\"session\",{index},{}", u8::from(connection.clean_session)),
        format!("AT+QMTCFG=\"timeout\",{index},{wait},{again},0"),
        // Messages come down as URCs, with their length.
        format!("AT+QMTCFG=\"recv/mode\",{index},0,1"),
    ];
    settings.push(match &connection.will {
        None => format!("AT+QMTCFG=\"will\",{index},0"),
        Some(will) => {
            let topic = quote("the will's topic", &will.topic)?;
            let (qos, retain) = (will.qos.number(), u8::from(will.retain));
            // The will is an argument: bytes that are no text cannot be sent.
            let payload = String::from_utf8_lossy(&will.payload);
            let payload = quote("the will's payload", &payload.replace('\u{fffd}', "\0"))?;
            format!("AT+QMTCFG=\"will\",{index},1,{qos},{retain},{topic},{payload}")
        }
    });
    Ok(settings)
}

/// Runs a command that `OK` ends, and that may be given twice.
pub(crate) async fn set(at: &At, operation: &'static str, command: &str) -> Result<(), MqttError> {
    let exchange = exchange(operation, command, PATIENCE)?;
    match profile::persist(at, Kind::Setup, exchange, TRIES).await {
        Ok(_) => Ok(()),
        Err(error) => Err(failed(operation, error)),
    }
}

fn sign_in(client: Client, connection: &Connection) -> Result<Exchange, MqttError> {
    let id = quote("the client id", &connection.client_id)?;
    let (command, shown) = with_login(format!("AT+QMTCONN={},{id}", client.0), connection)?;
    Ok(exchange("QMTCONN", &command, ACCEPTANCE)?.shown_as(shown))
}

// --- exchanges -------------------------------------------------------------------------------------

fn line(prefix: &'static str, client: Client) -> ResultLine {
    ResultLine { prefix, first: Some(client.0), ..ResultLine::BLANK }
}

/// The result of this packet. 1 tells that it is sent again, and is no end.
fn numbered(prefix: &'static str, client: Client, packet: u16) -> ResultLine {
    ResultLine { second: Some(packet), interim: Some((2, "1")), ..line(prefix, client) }
}

pub(crate) fn exchange(
    operation: &'static str,
    command: &str,
    timeout: Duration,
) -> Result<Exchange, MqttError> {
    let exchange = Exchange::new(command, timeout)
        .map_err(|source| MqttError::Unsendable { what: operation, source })?;
    Ok(exchange.lane(LANE))
}

/// Runs a command that its result line ends, and gives that line. The loss of the connection means that
/// the result is due at once or never.
async fn ended(
    at: &At,
    operation: &'static str,
    kind: Kind,
    exchange: Exchange,
    result: ResultLine,
    timeout: Duration,
) -> Result<String, MqttError> {
    let lost = ResultLine { prefix: "+QMTSTAT:", first: result.first, ..ResultLine::BLANK };
    let exchange = exchange.result(result, timeout).cut_by([lost]);
    match at.run(kind, exchange).await {
        Ok(Reply { result: Some(line), .. }) => Ok(line),
        Ok(_) => Err(MqttError::NoCode { operation }),
        Err(error) => Err(failed(operation, error)),
    }
}

fn failed(operation: &'static str, error: ExchangeError) -> MqttError {
    match error {
        ExchangeError::Failed { failure: Failure::Refused { .. }, .. } => {
            MqttError::NoCode { operation }
        }
        source => MqttError::Exchange { operation, source },
    }
}

/// What a result line says: 0 is success. A line that is torn, or has the -1 of a failure without a
/// reason, says nothing of success.
fn judge(
    operation: &'static str,
    line: &str,
    at: usize,
    code: fn(u16) -> ResultCode,
) -> Result<(), MqttError> {
    match argument(line, at).and_then(|text| text.parse().ok()) {
        Some(0) => Ok(()),
        Some(number) => Err(MqttError::Refused { operation, code: code(number) }),
        None => Err(MqttError::NoCode { operation }),
    }
}

fn argument(line: &str, at: usize) -> Option<&str> {
    line.split_once(':')?.1.split(',').nth(at).map(str::trim)
}

/// The client of a `+QMTOPEN: <client>,"<host>",<port>` line.
fn open_client(line: &str) -> Option<Client> {
    argument(line, 0)?.parse().ok().map(Client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_result_is_no_success() {
        let judge = |line: &str| judge("QMTPUBEX", line, 2, packet_code);
        assert!(judge("+QMTPUBEX: 0,7,0").is_ok());
        for torn in
            ["+QMTPUBEX: 0,7", "+QMTPUBEX: 0,7,", "+QMTPUBEX: 0,7,x", "+QMTPUBEX: 0,7,-1", ""]
        {
            assert!(matches!(judge(torn), Err(MqttError::NoCode { .. })), "{torn}");
        }
        assert!(matches!(judge("+QMTPUBEX: 0,7,2"), Err(MqttError::Refused { .. })));
    }

    #[test]
    fn packets_are_numbered_from_1_and_never_0() {
        let qmt = Qmt { packet: AtomicU16::new(u16::MAX - 1) };
        assert_eq!([qmt.packet(), qmt.packet(), qmt.packet()], [u16::MAX, 1, 2]);
    }

    #[test]
    fn a_will_that_is_no_text_is_refused_by_name() {
        let connection = Connection {
            host: "h".to_owned(),
            port: 1883,
            client_id: "c".to_owned(),
            username: None,
            password: None,
            keep_alive_s: 60,
            clean_session: true,
            will: Some(Message {
                topic: "t".to_owned(),
                payload: vec![0xff],
                qos: Qos::AtMostOnce,
                retain: false,
            }),
            tls: None,
            is_shared: false,
            triple: None,
        };
        let refused = settings(Client(0), &connection).unwrap_err().to_string();
        assert!(refused.contains("the will's payload"), "{refused}");
    }
}
