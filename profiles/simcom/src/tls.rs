//! TLS on the modem: `AT+CSSLCFG`, `AT+CCERT…` and `AT+CCLK` (SIM7500/7600 manual V3.00 p. 261, SIM82xx
//! manual V1.02 p. 247).
//!
//! For the names of the files in the modem see [`modem::tls`]. Each client has the TLS context of its own
//! number. The modem does not report a file's length, so a file of an earlier run is trusted until a handshake
//! fails.

use std::net::Ipv4Addr;
use std::time::Duration;

use at::Answer;
use modem::mqtt::command::quote;
use modem::mqtt::{Client, MqttError};
use modem::port::{At, Kind};
use modem::profile;
use modem::tls::{File, Tls, files, is_unused, set_clock};

use crate::code::TLS_FAILED;
use crate::exchange::{CLIENTS, exchange, outcome, persist, plain_command};

/// The time to write a file to flash, after 10 KiB over a slow line.
const DOWNLOAD: Duration = Duration::from_secs(10);

/// The longest file that `AT+CCERTDOWN` takes, in bytes.
const MAX_FILE: usize = 10_240;

/// TLS 1.2: the newest that the modems speak; 4 would fall back as far as SSL 3.
const TLS_1_2: u8 = 3;

/// Sets up the client's context as in `tls`, with its files in the modem and the clock set.
pub(crate) async fn prepare(
    at: &At,
    client: Client,
    tls: &Tls,
    host: &str,
) -> Result<(), MqttError> {
    if tls.ca.is_some() {
        set_clock(at).await;
    }
    let files = files(client, tls);
    let there = list(at).await?;
    remove(at, there.iter().filter(|name| is_unused(name, client, &files))).await;
    for file in files.iter().filter(|file| !there.contains(&file.name)) {
        download(at, file).await?;
    }
    configure(at, client, tls, host, &files).await
}

/// Removes our files of all clients that are not `secured`.
pub(crate) async fn tidy(at: &At, secured: &[Client]) {
    let Ok(_turn) = at.sequence().await else { return };
    let Ok(there) = list(at).await else { return };
    for client in CLIENTS.iter().filter(|client| !secured.contains(client)) {
        remove(at, there.iter().filter(|name| is_unused(name, *client, &[]))).await;
    }
}

/// Sends the command that gives a client its context; firmware forgets it after each connection.
pub(crate) async fn select(at: &At, client: Client) -> Result<(), MqttError> {
    let command = format!("AT+CMQTTSSLCFG={0},{0}", client.0);
    plain_command(at, "CMQTTSSLCFG", &command, "+CMQTTSSLCFG:").await
}

/// Removes the possible causes of a failed CONNECT if its code is a TLS code: each file that was there before
/// this run.
pub(crate) async fn doubt(at: &At, client: Client, tls: &Tls, error: &MqttError) {
    if !matches!(error, MqttError::Refused { code, .. } if TLS_FAILED.contains(&code.number)) {
        return;
    }
    for name in at.written().doubtful(client, tls) {
        match delete(at, &name).await {
            Ok(()) => tracing::warn!(
                name,
                "TLS failed, and this file was in the modem already: removing it and writing it again"
            ),
            Err(error) => {
                tracing::debug!(name, "a possibly damaged file stays in the modem: {error}")
            }
        }
    }
}

/// Lists the files in the modem. A modem that refuses the list is taken to have none.
async fn list(at: &At) -> Result<Vec<String>, MqttError> {
    let asked = exchange("CCERTLIST", "AT+CCERTLIST", profile::PATIENCE)?;
    match persist(at, Kind::Setup, asked.answer(Answer::Prefix("+CCERTLIST:"))).await {
        Ok(reply) => Ok(reply.lines.iter().filter_map(|line| listed(line)).collect()),
        Err(error) if error.refusal().is_some() => Ok(Vec::new()),
        Err(source) => Err(MqttError::Exchange { operation: "CCERTLIST", source }),
    }
}

/// Returns the name in `+CCERTLIST: "x.pem"`.
fn listed(line: &str) -> Option<String> {
    let name = line.strip_prefix("+CCERTLIST:")?.trim().trim_matches('"');
    (!name.is_empty()).then(|| name.to_owned())
}

async fn remove(at: &At, names: impl Iterator<Item = &String>) {
    for name in names {
        match delete(at, name).await {
            Ok(()) => {
                tracing::info!(name, "an unused file was removed from the modem")
            }
            Err(error) => {
                tracing::warn!(name, "an unused file stays in the modem: {error}")
            }
        }
    }
}

async fn delete(at: &At, name: &str) -> Result<(), MqttError> {
    let command = format!("AT+CCERTDELE={}", quote("the name of a file", name)?);
    plain_command(at, "CCERTDELE", &command, "+CCERTDELE:").await
}

async fn download(at: &At, file: &File<'_>) -> Result<(), MqttError> {
    let length = file.content.len();
    if length > MAX_FILE {
        return Err(MqttError::FileTooLong { option: file.option, length, limit: MAX_FILE });
    }
    let command = format!("AT+CCERTDOWN={},{length}", quote("the name of a file", &file.name)?);
    // Padding would make a file of this name with another content, and the next session would trust it.
    let exchange = exchange("CCERTDOWN", &command, DOWNLOAD)?;
    let exchange = exchange.prompt(file.content.as_bytes()).secret().takes_effect();
    let downloaded = outcome("CCERTDOWN", persist(at, Kind::Prompt, exchange).await);
    // A file of this name may be padding, of this try or of the try before it.
    if downloaded.is_err()
        && let Err(error) = delete(at, &file.name).await
    {
        tracing::debug!("{error}");
    }
    downloaded?;
    at.written().note(file);
    tracing::info!(name = file.name, length, "a file was written to the modem");
    Ok(())
}

async fn configure(
    at: &At,
    client: Client,
    tls: &Tls,
    host: &str,
    files: &[File<'_>],
) -> Result<(), MqttError> {
    // 0 none, 1 the server, 2 server and client, 3 the client only.
    let authmode = match (&tls.ca, &tls.identity) {
        (None, None) => 0,
        (Some(_), None) => 1,
        (Some(_), Some(_)) => 2,
        (None, Some(_)) => 3,
    };
    set(at, client, "sslversion", TLS_1_2).await?;
    set(at, client, "authmode", authmode).await?;
    set(at, client, "ignorelocaltime", u8::from(tls.ca.is_none())).await?;
    for file in files {
        let name = quote("the name of a file", &file.name)?;
        set(at, client, file.option, name).await?;
    }
    // RFC 6066 §3: an address is not a name. Firmware of 2018 does not know the option.
    let sends_name = host.parse::<Ipv4Addr>().is_err();
    match set(at, client, "enableSNI", u8::from(sends_name)).await {
        Err(MqttError::NoCode { .. }) if sends_name => {
            tracing::warn!(
                "this firmware cannot send the broker's name (SNI); shared hosts need it"
            );
            Ok(())
        }
        Err(MqttError::NoCode { .. }) => Ok(()),
        set => set,
    }
}

async fn set(
    at: &At,
    client: Client,
    option: &str,
    value: impl std::fmt::Display,
) -> Result<(), MqttError> {
    let command = format!("AT+CSSLCFG=\"{option}\",{},{value}", client.0);
    plain_command(at, "CSSLCFG", &command, "+CSSLCFG:").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_file_has_a_name() {
        assert_eq!(listed("+CCERTLIST: \"x.pem\"").as_deref(), Some("x.pem"));
        assert_eq!(listed("+CCERTLIST:"), None);
    }
}
