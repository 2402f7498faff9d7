//! The `AT+QMT…` dialect, from public logs and third-party drivers; Quectel's own application note was not
//! read.
//!
//! For OPEN, CONN, SUB, UNS, PUBEX, DISC and CLOSE, `OK` is acceptance only: the operation ends with its
//! `+QMTx:` line. Packets are numbered, so a late result does not count for another packet. There is no service
//! to start: each client has a TCP connection of its own.

use std::time::Duration;

use async_trait::async_trait;
use at::{Answer, Exchange, Reply, ResultLine};
use modem::mqtt::command::{quote, sequence, with_login};
use modem::mqtt::{Client, Connection, Message, Mqtt, MqttError, Qos, ResultCode};
use modem::port::{At, Kind};
use modem::profile::{self, PATIENCE};

use crate::code::{self, CONNACK, GRANTED, OCCUPIED, OPEN, PACKET, without_code};
use crate::exchange::{STACK, TRIES, exchange, failed};
use crate::memory::{self, Counted};
use crate::settings::Settings;
use crate::tls;

/// The time in which a modem reports the end of a packet: its time-outs (2 × 30 s), and a little more.
const PACKET_END: Duration = Duration::from_secs(65);

/// The result of OPEN takes a name look-up and a TCP connection: 75 s (not verified).
const OPEN_END: Duration = Duration::from_secs(80);

/// The time to accept an operation.
const ACCEPTANCE: Duration = Duration::from_secs(10);

/// The time of DISC and CLOSE, which need no answer of the broker.
const CLOSE: Duration = Duration::from_secs(15);

/// The same, and for CONN, if another session of the modem waits meanwhile.
const SHARED_END: Duration = Duration::from_secs(25);

/// Ends the data of `AT+QMTPUB`, whose length is not announced.
const END_OF_DATA: u8 = 0x1a;

/// Cancels the data of `AT+QMTPUB`.
const ESCAPE: u8 = 0x1b;

/// The dialect. Facts about a modem are in [`memory`].
#[derive(Debug)]
pub(crate) struct Qmt;

#[async_trait]
impl Mqtt for Qmt {
    fn has_service(&self) -> bool {
        false
    }

    fn speaks_tls(&self) -> bool {
        true
    }

    async fn tidy(&self, at: &At, secured: &[Client]) {
        tls::tidy(at, secured).await;
    }

    /// Signs out the clients of an earlier run, if any. There is nothing to start.
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
            // Firmware without this query: OPEN itself returns "occupied".
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
        let settings = Settings::of(client, connection)?;
        let host = quote("the broker's address", &connection.host)?;
        let _turn = sequence(at, STACK).await?;
        // Only a closed client takes settings.
        let opened = async || {
            settings.write(at).await?;
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
        let end = if connection.is_shared { SHARED_END } else { PACKET_END };
        let line = ended(at, "QMTCONN", Kind::Setup, sign_in, result, end).await?;
        judge("QMTCONN", &line, 1, PACKET)?;
        // Without a third argument the broker has accepted.
        if argument(&line, 2).is_some() { judge("QMTCONN", &line, 2, CONNACK) } else { Ok(()) }
    }

    /// Sends a command for each filter, so that a refused filter is known.
    async fn subscribe(
        &self,
        at: &At,
        client: Client,
        filters: &[(String, Qos)],
    ) -> Result<(), MqttError> {
        let _turn = sequence(at, STACK).await?;
        let memory = memory::of(at);
        if memory.has_no_length() {
            tracing::warn!(
                "this firmware prints received messages without their length (it refuses QMTCFG \"recv/mode\"): a message with a line end is lost"
            );
        }
        for (filter, qos) in filters {
            let (packet, filter) = (memory.packet(), quote("the filter", filter)?);
            let command = format!("AT+QMTSUB={},{packet},{filter},{}", client.0, qos.number());
            let exchange = exchange("QMTSUB", &command, ACCEPTANCE)?;
            let result = numbered("+QMTSUB:", client, packet);
            let line = ended(at, "QMTSUB", Kind::Setup, exchange, result, PACKET_END).await?;
            judge("QMTSUB", &line, 2, PACKET)?;
            if argument(&line, 3) == Some("128") {
                let code = code::of(GRANTED, 128);
                return Err(MqttError::Refused { operation: "QMTSUB", code });
            }
        }
        Ok(())
    }

    async fn unsubscribe(&self, at: &At, client: Client, filter: &str) -> Result<(), MqttError> {
        let _turn = sequence(at, STACK).await?;
        let (packet, filter) = (memory::of(at).packet(), quote("the filter", filter)?);
        let command = format!("AT+QMTUNS={},{packet},{filter}", client.0);
        let exchange = exchange("QMTUNS", &command, ACCEPTANCE)?;
        let result = numbered("+QMTUNS:", client, packet);
        let line = ended(at, "QMTUNS", Kind::Setup, exchange, result, PACKET_END).await?;
        judge("QMTUNS", &line, 2, PACKET)
    }

    /// Publishes a message. PUBEX counts its data and takes a byte at least. An empty message needs PUB, whose
    /// data ends with a control character. Older firmware has PUB alone.
    async fn publish(&self, at: &At, client: Client, message: &Message) -> Result<(), MqttError> {
        let _turn = sequence(at, STACK).await?;
        let memory = memory::of(at);
        if message.payload.is_empty() {
            return publish_to_its_end(at, client, message).await;
        }
        if memory.counted() != Counted::Missing {
            let published = publish_counted(at, client, message).await;
            let is_unknown = match &published {
                Err(MqttError::NoCode { .. }) if memory.counted() == Counted::Unknown => {
                    !knows(at, "QMTPUBEX", "AT+QMTPUBEX=?", "+QMTPUBEX:").await
                }
                Err(_) => false,
                Ok(()) => {
                    memory.note_counted(Counted::Known);
                    false
                }
            };
            if !is_unknown {
                return published;
            }
            tracing::warn!("this firmware does not know QMTPUBEX, so QMTPUB is used");
            memory.note_counted(Counted::Missing);
        }
        let published = publish_to_its_end(at, client, message).await;
        if matches!(published, Err(MqttError::NoCode { .. })) {
            // The message may be the cause; if not, the next message shows which commands the firmware has.
            memory.note_counted(Counted::Unknown);
        }
        published
    }

    /// Fetches a message. It is in the answer, and is heard like a message that comes unsolicited.
    async fn fetch(&self, at: &At, client: Client, slot: u8) -> Result<(), MqttError> {
        let command = format!("AT+QMTRECV={},{slot}", client.0);
        let exchange = exchange("QMTRECV", &command, PATIENCE)?;
        at.run(Kind::Setup, exchange).await.map(drop).map_err(|error| failed("QMTRECV", error))
    }

    async fn close(&self, at: &At, client: Client) {
        // Another session's publish must not be torn apart.
        let turn = sequence(at, STACK).await;
        sign_out(at, client).await;
        drop(turn);
    }

    /// Does nothing: closed clients leave nothing to stop.
    async fn stop(&self, _: &At) {}
}

/// Publishes with PUBEX, which counts its data.
async fn publish_counted(at: &At, client: Client, message: &Message) -> Result<(), MqttError> {
    let (packet, arguments) = arguments(at, client, message)?;
    let command = format!("AT+QMTPUBEX={arguments},{}", message.payload.len());
    let data = message.payload.as_slice();
    sent(at, client, packet, ("QMTPUBEX", "+QMTPUBEX:"), &command, data).await
}

/// Publishes with PUB, whose data ends with a control character and cannot hold one.
async fn publish_to_its_end(at: &At, client: Client, message: &Message) -> Result<(), MqttError> {
    if message.payload.iter().any(|byte| [END_OF_DATA, ESCAPE].contains(byte)) {
        return Err(MqttError::Inexpressible {
            what: "the payload",
            reason: "this firmware has no QMTPUBEX, and the bytes 0x1A and 0x1B would end the data of QMTPUB",
        });
    }
    let (packet, arguments) = arguments(at, client, message)?;
    let data = [message.payload.as_slice(), &[END_OF_DATA]].concat();
    let command = format!("AT+QMTPUB={arguments}");
    sent(at, client, packet, ("QMTPUB", "+QMTPUB:"), &command, &data).await
}

/// Returns the number of a message's packet, and the common beginning of both commands.
fn arguments(at: &At, client: Client, message: &Message) -> Result<(u16, String), MqttError> {
    let topic = quote("the topic", &message.topic)?;
    let packet = if message.qos == Qos::AtMostOnce { 0 } else { memory::of(at).packet() };
    let (qos, retain) = (message.qos.number(), u8::from(message.retain));
    Ok((packet, format!("{},{packet},{qos},{retain},{topic}", client.0)))
}

async fn sent(
    at: &At,
    client: Client,
    packet: u16,
    (operation, prefix): (&'static str, &'static str),
    command: &str,
    data: &[u8],
) -> Result<(), MqttError> {
    let exchange = exchange(operation, command, ACCEPTANCE)?.prompt(data).takes_effect();
    let result = numbered(prefix, client, packet);
    let line = ended(at, operation, Kind::Publish, exchange, result, PACKET_END).await?;
    judge(operation, &line, 2, PACKET)
}

/// Asks if the firmware knows a command. A firmware that does not answer is taken to know it.
async fn knows(at: &At, operation: &'static str, test: &str, prefix: &'static str) -> bool {
    let Ok(asked) = exchange(operation, test, PATIENCE) else { return true };
    let told = profile::persist(at, Kind::Setup, asked.answer(Answer::Prefix(prefix)), TRIES).await;
    !told.is_err_and(|error| error.refusal().is_some())
}

/// Runs OPEN alone, after all settings are written.
async fn dial(
    at: &At,
    client: Client,
    connection: &Connection,
    host: &str,
) -> Result<(), MqttError> {
    let command = format!("AT+QMTOPEN={},{host},{}", client.0, connection.port);
    let exchange = exchange("QMTOPEN", &command, ACCEPTANCE)?;
    let result = line("+QMTOPEN:", client);
    let end = if connection.is_shared { SHARED_END } else { OPEN_END };
    let line = ended(at, "QMTOPEN", Kind::Setup, exchange, result, end).await?;
    judge("QMTOPEN", &line, 1, OPEN)
}

/// Sends DISC and CLOSE, in whatever state the client is. DISC is first: without it the broker publishes the
/// will.
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
            // `ERROR` is expected if there was no connection.
            tracing::debug!("{operation}: {error}");
        }
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

/// The result of this packet. 1 means that the packet is sent again, and does not end the exchange.
fn numbered(prefix: &'static str, client: Client, packet: u16) -> ResultLine {
    ResultLine { second: Some(packet), interim: Some((2, "1")), ..line(prefix, client) }
}

/// Runs a command that its result line ends, and returns that line. If the connection is lost, the result comes
/// at once or never.
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
        Ok(_) => Err(without_code(operation, None)),
        Err(error) => Err(failed(operation, error)),
    }
}

/// Judges a result line: 0 is success. A torn line does not count as success.
fn judge(
    operation: &'static str,
    line: &str,
    at: usize,
    table: &[ResultCode],
) -> Result<(), MqttError> {
    match argument(line, at).and_then(|text| text.parse().ok()) {
        Some(0) => Ok(()),
        Some(number) => Err(MqttError::Refused { operation, code: code::of(table, number) }),
        None => Err(without_code(operation, None)),
    }
}

fn argument(line: &str, at: usize) -> Option<&str> {
    line.split_once(':')?.1.split(',').nth(at).map(str::trim)
}

/// Returns the client of a `+QMTOPEN: <client>,"<host>",<port>` line.
fn open_client(line: &str) -> Option<Client> {
    argument(line, 0)?.parse().ok().map(Client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_result_is_no_success() {
        let judge = |line: &str| judge("QMTPUBEX", line, 2, PACKET);
        assert!(judge("+QMTPUBEX: 0,7,0").is_ok());
        for torn in ["+QMTPUBEX: 0,7", "+QMTPUBEX: 0,7,", "+QMTPUBEX: 0,7,x", ""] {
            assert!(matches!(judge(torn), Err(MqttError::NoCode { .. })), "{torn}");
        }
        for (line, number) in [("+QMTPUBEX: 0,7,2", 2), ("+QMTPUBEX: 0,7,-1", -1)] {
            assert_eq!(judge(line).unwrap_err().code(), Some(number), "{line}");
        }
    }
}
