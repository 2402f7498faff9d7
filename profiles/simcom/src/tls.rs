//! TLS on the modem: `AT+CSSLCFG`, `AT+CCERT…` and `AT+CCLK` (SIM7500/7600 manual V3.00 p. 261, SIM82xx
//! manual V1.02 p. 247).
//!
//! A file in the modem is named by the hash of its content, so that one that is there need not be read,
//! and a changed one is another. The names begin with our own word and the client's index: nothing else
//! in the modem's flash is touched. Each client has the TLS context of its own number.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use at::Answer;
use modem::mqtt::command::quote;
use modem::mqtt::{Client, MqttError};
use modem::port::{At, Kind};
use modem::profile::{self, StepError};
use modem::reply;
use modem::tls::Tls;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use crate::cmqtt::{CLIENTS, exchange, outcome, persist, plain_command};

/// Writing a file to flash, with 10 KiB over a slow line before it.
const DOWNLOAD: Duration = Duration::from_secs(10);

/// The longest file that `AT+CCERTDOWN` takes, in bytes.
const MAX_FILE: usize = 10_240;

/// A clock further off than this is set: zones that are not told and slow clocks are less.
const FAR_OFF: u64 = 86_400;

/// 2026-01-01: a clock that shows less was never set.
const PLAUSIBLE: i64 = 1_767_225_600;

/// TLS 1.2: the newest that the modems speak; 4 would fall back as far as SSL 3.
const TLS_1_2: u8 = 3;

/// A file that a client needs.
struct File<'a> {
    /// The option of `AT+CSSLCFG` that names it.
    option: &'static str,
    name: String,
    content: &'a str,
}

impl<'a> File<'a> {
    fn new(client: Client, option: &'static str, word: &str, content: &'a str) -> Self {
        let hash = Sha256::digest(content.as_bytes());
        let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { option, name: format!("{}{word}-{hash}.pem", prefix(client)), content }
    }
}

/// How the names of a client's files begin.
fn prefix(client: Client) -> String {
    format!("mf{}-", client.0)
}

/// Makes the client's context what `tls` says, with its files in the modem and the clock set.
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

/// The command that gives a client its context; firmware forgets it after each connection.
pub(crate) async fn select(at: &At, client: Client) -> Result<(), MqttError> {
    let command = format!("AT+CMQTTSSLCFG={0},{0}", client.0);
    plain_command(at, "CMQTTSSLCFG", &command, "+CMQTTSSLCFG:").await
}

fn files(client: Client, tls: &Tls) -> Vec<File<'_>> {
    let mut files = Vec::new();
    if let Some(ca) = &tls.ca {
        files.push(File::new(client, "cacert", "ca", ca));
    }
    if let Some(identity) = &tls.identity {
        files.push(File::new(client, "clientcert", "cert", &identity.cert));
        files.push(File::new(client, "clientkey", "key", identity.key.expose_secret()));
    }
    files
}

/// Whether a file is ours, of this client, and none that it needs.
fn is_unused(name: &str, client: Client, needed: &[File<'_>]) -> bool {
    name.starts_with(&prefix(client)) && !needed.iter().any(|file| file.name == name)
}

/// The files that are in the modem. One that refuses to tell is taken to have none.
async fn list(at: &At) -> Result<Vec<String>, MqttError> {
    let asked = exchange("CCERTLIST", "AT+CCERTLIST", profile::PATIENCE)?;
    match persist(at, Kind::Setup, asked.answer(Answer::Prefix("+CCERTLIST:"))).await {
        Ok(reply) => Ok(reply.lines.iter().filter_map(|line| listed(line)).collect()),
        Err(error) if error.refusal().is_some() => Ok(Vec::new()),
        Err(source) => Err(MqttError::Exchange { operation: "CCERTLIST", source }),
    }
}

/// The name in `+CCERTLIST: "x.pem"`.
fn listed(line: &str) -> Option<String> {
    let name = line.strip_prefix("+CCERTLIST:")?.trim().trim_matches('"');
    (!name.is_empty()).then(|| name.to_owned())
}

async fn remove(at: &At, names: impl Iterator<Item = &String>) {
    for name in names {
        let removed = match quote("the name of a file", name) {
            Ok(quoted) => {
                let command = format!("AT+CCERTDELE={quoted}");
                plain_command(at, "CCERTDELE", &command, "+CCERTDELE:").await
            }
            Err(error) => Err(error),
        };
        match removed {
            Ok(()) => {
                tracing::info!(name, "a file that is not used any more was removed from the modem")
            }
            Err(error) => {
                tracing::warn!(name, "a file that is not used stays in the modem: {error}")
            }
        }
    }
}

async fn download(at: &At, file: &File<'_>) -> Result<(), MqttError> {
    let length = file.content.len();
    if length > MAX_FILE {
        return Err(MqttError::FileTooLong { option: file.option, length, limit: MAX_FILE });
    }
    let command = format!("AT+CCERTDOWN={},{length}", quote("the name of a file", &file.name)?);
    // Padding would be a file of this name with another content, which the next session takes for the right one.
    let exchange = exchange("CCERTDOWN", &command, DOWNLOAD)?;
    let exchange = exchange.prompt(file.content.as_bytes()).secret().takes_effect();
    let downloaded = outcome("CCERTDOWN", persist(at, Kind::Prompt, exchange).await);
    if downloaded.as_ref().is_err_and(MqttError::is_timeout) {
        // What may be there under this name is padding.
        remove(at, std::iter::once(&file.name)).await;
    }
    downloaded?;
    tracing::info!(name = file.name, length, "a file was put into the modem");
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
    // RFC 6066 §3: an address is no name. Firmware of 2018 does not know the option.
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

/// Sets the modem's clock by the system's where it is far off: against it the modem judges from when
/// until when a certificate is valid. One that cannot be set shows in the handshake.
async fn set_clock(at: &At) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let system = i64::try_from(since.as_secs()).unwrap_or(0);
    let shown = match clock(at).await {
        Ok(shown) => shown.filter(|shown| *shown >= PLAUSIBLE),
        Err(error) => return tracing::warn!("the modem does not tell its clock: {error}"),
    };
    if system < PLAUSIBLE {
        if shown.is_none() {
            tracing::warn!(
                "neither the modem's clock nor this gateway's is set: certificates will seem not yet valid"
            );
        }
        return;
    }
    if shown.is_some_and(|shown| shown.abs_diff(system) <= FAR_OFF) {
        return;
    }
    let command = format!("AT+CCLK=\"{}\"", reply::clock_setting(system));
    match profile::run(at, Kind::Setup, &command, Answer::None).await {
        Ok(_) => tracing::info!("the modem's clock was far off and is set by this gateway's"),
        Err(error) => tracing::warn!("the modem's clock is far off and cannot be set: {error}"),
    }
}

/// What the clock shows, in seconds since 1970; none while it is not set.
async fn clock(at: &At) -> Result<Option<i64>, StepError> {
    let lines = profile::run(at, Kind::Setup, "AT+CCLK?", Answer::Prefix("+CCLK:")).await?;
    Ok(reply::clock(&lines)?.unix_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_by_client_kind_and_content() {
        let tls = Tls { ca: Some("a".to_owned()), identity: None };
        let [file] = files(Client(1), &tls).try_into().unwrap_or_else(|_| panic!("one file"));
        assert_eq!((file.option, file.name.as_str()), ("cacert", "mf1-ca-ca978112ca1bbdca.pem"));
        for (name, unused) in [
            ("mf1-ca-ca978112ca1bbdca.pem", false),
            ("mf1-ca-0000000000000000.pem", true),
            ("mf0-ca-0000000000000000.pem", false),
            ("mf10-ca-000000000000000.pem", false),
            ("server-ca.pem", false),
        ] {
            assert_eq!(is_unused(name, Client(1), std::slice::from_ref(&file)), unused, "{name}");
        }
        assert_eq!(listed("+CCERTLIST: \"x.pem\"").as_deref(), Some("x.pem"));
        assert_eq!(listed("+CCERTLIST:"), None);
    }
}
