//! TLS on the modem: `AT+QSSLCFG`, `AT+QMTCFG="ssl"` and files by `AT+QF…`, from public logs of EC25, EG25,
//! EC200 and BG95 units; none of the logs is ours.
//!
//! For the names of the files in the modem see [`modem::tls`]. Each client has the TLS context of its own
//! number. The modem lists a file with its length, so half a file is not taken for the whole. A file of the
//! right length that an earlier run left is trusted until a handshake fails.

use std::net::IpAddr;
use std::time::Duration;

use at::{Answer, Failure, WaitingFor};
use modem::mqtt::command::{quote, sequence};
use modem::mqtt::{Client, Connection, MqttError};
use modem::port::{At, ExchangeError, Kind};
use modem::profile::{self, PATIENCE};
use modem::tls::{File, Tls, files, is_unused, set_clock};

use crate::code::{FAILED, NETWORK_ERROR};
use crate::exchange::{STACK, TRIES, exchange, set};

/// Clients of a modem, and TLS contexts.
const CLIENTS: [Client; 6] = [Client(0), Client(1), Client(2), Client(3), Client(4), Client(5)];

/// The modem's wait for bytes of a file, in seconds, before it accepts the bytes that it has.
const PAUSE_S: u8 = 10;

/// The time of an upload, over a slow line to a slow flash.
const UPLOAD: Duration = Duration::from_secs(15);

/// The longest file that is put into a modem, in bytes; its flash takes more.
pub(crate) const MAX_FILE: usize = 10_240;

/// Options that leave parts of the broker's certificate unchecked if they are on, as in much public code.
const IGNORED: [&str; 3] =
    ["ignoreinvalidcertsign", "ignoremulticertchainverify", "ignorecertitem"];

/// The setting that turns TLS on for a client, in errors.
const SSL: &str = "QMTCFG \"ssl\"";

/// TLS 1.2; 4 would fall back as far as SSL 3.
const TLS_1_2: u8 = 3;

/// Turns TLS on or off for a client: with the files in the modem, the clock and the context set. The client
/// must be closed.
pub(crate) async fn prepare(
    at: &At,
    client: Client,
    connection: &Connection,
) -> Result<(), MqttError> {
    let index = client.0;
    let Some(tls) = &connection.tls else {
        // A setting of an earlier run stays until the modem boots.
        return match set(at, SSL, &format!("AT+QMTCFG=\"ssl\",{index},0")).await {
            Err(MqttError::NoCode { .. }) => {
                tracing::debug!("this firmware does not support MQTT over TLS, so TLS is off");
                Ok(())
            }
            set => set,
        };
    };
    if tls.ca.is_some() {
        set_clock(at).await;
    }
    let files = needed(client, tls);
    store(at, client, &files).await?;
    configure(at, client, tls, &connection.host, &files).await?;
    set(at, SSL, &format!("AT+QMTCFG=\"ssl\",{index},1,{index}")).await
}

/// Removes our files of all clients that are not `secured`.
pub(crate) async fn tidy(at: &At, secured: &[Client]) {
    let Ok(_turn) = sequence(at, STACK).await else { return };
    let Ok(there) = list(at).await else { return };
    for client in CLIENTS.iter().filter(|client| !secured.contains(client)) {
        remove(at, there.iter().filter(|file| is_unused(&file.name, *client, &[]))).await;
    }
}

/// Reports whether TLS may be the cause of a failed OPEN: public logs show -1 for every cause in a handshake,
/// and a network error; or no result at all.
pub(crate) fn is_suspect(error: &MqttError) -> bool {
    match error {
        MqttError::Refused { code, .. } => [FAILED, NETWORK_ERROR].contains(&code.number),
        MqttError::Exchange {
            source: ExchangeError::Failed { failure: Failure::Timeout(WaitingFor::Result), .. },
            ..
        } => true,
        _ => false,
    }
}

/// Removes the possible causes of a failed OPEN: each file that was there before this run. Files written in
/// this run stay, so an absent network costs the flash one upload at most.
pub(crate) async fn doubt(at: &At, client: Client, connection: &Connection) {
    // Without a CA there are no files.
    let Some(tls) = connection.tls.as_ref().filter(|tls| tls.ca.is_some()) else { return };
    for name in at.written().doubtful(client, tls) {
        match delete(at, &name).await {
            Ok(()) => tracing::warn!(
                name,
                "no connection over TLS, and this file was in the modem already: removing it and writing it again"
            ),
            Err(error) => {
                tracing::debug!(name, "a possibly damaged file stays in the modem: {error}")
            }
        }
    }
}

// --- files -----------------------------------------------------------------------------------------

/// A file in the modem.
#[derive(Debug, PartialEq, Eq)]
struct Stored {
    name: String,
    length: usize,
}

impl Stored {
    /// Reads `+QFLST: "UFS:x.pem",1188`; some firmware leaves out the word for the flash.
    fn parse(line: &str) -> Option<Self> {
        let (name, length) = line.strip_prefix("+QFLST:")?.trim().rsplit_once(',')?;
        let name = name.trim().trim_matches('"');
        let name = name.strip_prefix("UFS:").unwrap_or(name).to_owned();
        let length = length.trim().parse().ok()?;
        (!name.is_empty()).then_some(Self { name, length })
    }

    /// Reports whether this is the whole `file`.
    fn is(&self, file: &File<'_>) -> bool {
        self.name == file.name && self.length == file.content.len()
    }
}

/// Returns the files of a connection. Without a CA the modem shows no certificate, so it needs no private key.
fn needed(client: Client, tls: &Tls) -> Vec<File<'_>> {
    if tls.ca.is_some() { files(client, tls) } else { Vec::new() }
}

/// Uploads the missing files, and removes files that the client used before.
async fn store(at: &At, client: Client, files: &[File<'_>]) -> Result<(), MqttError> {
    let there = list(at).await?;
    remove(at, there.iter().filter(|stored| is_unused(&stored.name, client, files))).await;
    for file in files.iter().filter(|file| !there.iter().any(|stored| stored.is(file))) {
        upload(at, file).await?;
    }
    Ok(())
}

/// Lists the files in the modem. A modem that refuses the list is taken to have none.
async fn list(at: &At) -> Result<Vec<Stored>, MqttError> {
    let asked = exchange("QFLST", "AT+QFLST=\"*\"", PATIENCE)?.answer(Answer::Prefix("+QFLST:"));
    match profile::persist(at, Kind::Setup, asked, TRIES).await {
        Ok(reply) => Ok(reply.lines.iter().filter_map(|line| Stored::parse(line)).collect()),
        Err(error) if error.refusal().is_some() => Ok(Vec::new()),
        Err(source) => Err(MqttError::Exchange { operation: "QFLST", source }),
    }
}

async fn remove(at: &At, files: impl Iterator<Item = &Stored>) {
    for Stored { name, .. } in files {
        match delete(at, name).await {
            Ok(()) => {
                tracing::info!(name, "an unused file was removed from the modem");
            }
            Err(error) => {
                tracing::warn!(name, "an unused file stays in the modem: {error}");
            }
        }
    }
}

async fn delete(at: &At, name: &str) -> Result<(), MqttError> {
    set(at, "QFDEL", &format!("AT+QFDEL={}", quote("the name of a file", name)?)).await
}

/// Uploads a file, twice if the first try failed: a torn file of this name may be there (407).
async fn upload(at: &At, file: &File<'_>) -> Result<(), MqttError> {
    for is_last in [false, true] {
        let Err(error) = upload_once(at, file).await else {
            let length = file.content.len();
            tracing::info!(name = file.name, length, "a file was written to the modem");
            at.written().note(file);
            return Ok(());
        };
        if error.is_hopeless() {
            return Err(error);
        }
        // Any file that is there now is not the file that was sent; the next connect must not use it.
        if let Err(error) = delete(at, &file.name).await {
            tracing::debug!("{error}");
        }
        if is_last {
            return Err(error);
        }
        tracing::debug!("{error}; trying once more");
    }
    Ok(())
}

async fn upload_once(at: &At, file: &File<'_>) -> Result<(), MqttError> {
    let File { option, name, content } = file;
    let length = content.len();
    if length > MAX_FILE {
        return Err(MqttError::FileTooLong { option, length, limit: MAX_FILE });
    }
    let name = quote("the name of a file", name)?;
    let command = format!("AT+QFUPL={name},{length},{PAUSE_S}");
    // Padding would be a file of this name and length with another content.
    let exchange = exchange("QFUPL", &command, UPLOAD)?
        .prompt(content.as_bytes())
        .after_connect()
        .takes_effect()
        .secret()
        .answer(Answer::Prefix("+QFUPL:"));
    let reply = at.run(Kind::Prompt, exchange).await;
    let reply = reply.map_err(|source| MqttError::Exchange { operation: "QFUPL", source })?;
    let arrived =
        reply.lines.iter().any(|line| uploaded(line) == Some((length, checksum(content))));
    if arrived { Ok(()) } else { Err(MqttError::FileTorn { option }) }
}

/// Reads the length and the check sum of `+QFUPL: 1188,2d13`, which have no leading zeros.
fn uploaded(line: &str) -> Option<(usize, u16)> {
    let (length, sum) = line.strip_prefix("+QFUPL:")?.split_once(',')?;
    Some((length.trim().parse().ok()?, u16::from_str_radix(sum.trim(), 16).ok()?))
}

/// Combines all pairs of bytes by XOR, the first byte being the high byte; a single last byte is a high byte.
fn checksum(content: &str) -> u16 {
    content.as_bytes().chunks(2).fold(0, |sum, pair| match pair {
        [high, low] => sum ^ u16::from_be_bytes([*high, *low]),
        [high] => sum ^ u16::from_be_bytes([*high, 0]),
        _ => sum,
    })
}

// --- settings --------------------------------------------------------------------------------------

async fn configure(
    at: &At,
    client: Client,
    tls: &Tls,
    host: &str,
    files: &[File<'_>],
) -> Result<(), MqttError> {
    // 0 checks nothing, 1 checks the server, 2 checks the server, which may ask for the client's certificate.
    let level = match (&tls.ca, &tls.identity) {
        (None, _) => 0,
        (Some(_), None) => 1,
        (Some(_), Some(_)) => 2,
    };
    if tls.ca.is_none() && tls.identity.is_some() {
        tracing::warn!(
            "this modem sends its certificate only if it checks the broker's: set tls.ca instead of insecure"
        );
    }
    option(at, client, "sslversion", TLS_1_2).await?;
    option(at, client, "ciphersuite", "0XFFFF").await?;
    option(at, client, "seclevel", level).await?;
    if tls.ca.is_some() {
        // An option that an earlier program turned on would disable the check.
        for part in IGNORED {
            option_if_known(at, client, part, 0).await?;
        }
    }
    option(at, client, "ignorelocaltime", u8::from(tls.ca.is_none())).await?;
    for file in files {
        let name = quote("the name of a file", &file.name)?;
        option(at, client, file.option, name).await?;
    }
    // RFC 6066 §3: an address is not a name.
    let is_name = host.parse::<IpAddr>().is_err();
    let checks_name = is_name && tls.ca.is_some();
    if !option_if_known(at, client, "checkhost", u8::from(checks_name)).await? && checks_name {
        tracing::debug!(
            "this firmware does not know checkhost: it may not compare the broker's name with the certificate"
        );
    }
    if !option_if_known(at, client, "sni", u8::from(is_name)).await? && is_name {
        tracing::warn!("this firmware cannot send the broker's name (SNI); shared hosts need it");
    }
    Ok(())
}

/// Sets an option that not all firmware has, and reports whether this firmware has it.
async fn option_if_known(
    at: &At,
    client: Client,
    name: &str,
    value: u8,
) -> Result<bool, MqttError> {
    match option(at, client, name, value).await {
        Ok(()) => Ok(true),
        Err(MqttError::NoCode { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn option(
    at: &At,
    client: Client,
    option: &str,
    value: impl std::fmt::Display,
) -> Result<(), MqttError> {
    set(at, "QSSLCFG", &format!("AT+QSSLCFG=\"{option}\",{},{value}", client.0)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_file_has_a_name_and_a_length() {
        let stored = |name: &str, length| Some(Stored { name: name.to_owned(), length });
        for (line, want) in [
            ("+QFLST: \"UFS:isrgx1.pem\",1939", stored("isrgx1.pem", 1_939)),
            ("+QFLST: \"rootCA.pem\",1220", stored("rootCA.pem", 1_220)),
            ("+QFLST: \"security/\",2", stored("security/", 2)),
            ("+QFLST: \"UFS:a,b\",1", stored("a,b", 1)),
            ("+QFLST: \"\",1", None),
            ("+QFLST: \"x\"", None),
            ("+QFLST:", None),
        ] {
            assert_eq!(Stored::parse(line), want, "{line}");
        }
    }

    #[test]
    fn the_check_sum_is_told_without_leading_zeros() {
        for (content, line) in [
            ("\u{12}4", "+QFUPL: 2,1234"),
            ("\u{12}4V", "+QFUPL: 3,4434"),
            ("aa\u{1}a", "+QFUPL: 4,6000"),
            ("aaaa", "+QFUPL: 4,0"),
            ("\0W", "+QFUPL: 2,57"),
        ] {
            assert_eq!(uploaded(line), Some((content.len(), checksum(content))), "{line}");
        }
        for torn in ["+QFUPL: 2", "+QFUPL: 2,", "+QFUPL: 2,10000", "+QFUPL: -1,2", ""] {
            assert_eq!(uploaded(torn), None, "{torn}");
        }
    }
}
