//! A scripted unit, which differs from the simulator as a test specifies.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use modem_conformance::bench::Bench;
use profile_quectel::PLUGIN;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinSet;

const IMEI: &str = "490154203237518";

/// The script in which the first client is opened and signed in.
pub(crate) const OPENED: [(&str, &str); 2] =
    [("AT+QMTOPEN=", "|OK||+QMTOPEN: 0,0|"), ("AT+QMTCONN=", "|OK||+QMTCONN: 0,0,0|")];

/// Returns a unit that answers `OK` to all commands except the prefixes in its script, each used a single time.
/// `|` stands for CR LF. After `CONNECT|` the unit takes the announced data, after `>` the data up to Ctrl-Z,
/// and continues after `~`. `#` is the command's second argument, such as the number of a packet.
pub(crate) async fn unit(script: &[(&str, &str)]) -> (Bench, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let owned = |(start, said): &(&str, &str)| ((*start).to_owned(), said.replace('|', "\r\n"));
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let mut tasks = JoinSet::new();
    tasks.spawn(play(theirs, script.iter().map(owned).collect(), Arc::clone(&heard)));
    (Bench::on(&PLUGIN, ours, tasks).await, heard)
}

async fn play(
    mut wire: DuplexStream,
    mut script: VecDeque<(String, String)>,
    heard: Arc<Mutex<Vec<String>>>,
) {
    let mut line = Vec::new();
    while let Ok(byte) = wire.read_u8().await {
        if byte != b'\r' {
            line.push(byte);
            continue;
        }
        let mut command = String::from_utf8(std::mem::take(&mut line)).unwrap();
        if command.is_empty() {
            continue;
        }
        let at = script.iter().position(|(start, _)| command.starts_with(start));
        let said = at.and_then(|at| script.remove(at)).map(|(_, said)| said);
        let said = said.unwrap_or_else(|| match command.as_str() {
            "AT+CGMM" => "\r\nEC25\r\n\r\nOK\r\n".to_owned(),
            "AT+CGSN" => format!("\r\n{IMEI}\r\n\r\nOK\r\n"),
            _ => "\r\nOK\r\n".to_owned(),
        });
        let said = said.replace('#', command.split(',').nth(1).unwrap_or_default());
        let (now, then) = said.split_once('~').unwrap_or((&said, ""));
        wire.write_all(now.as_bytes()).await.unwrap();
        if now.ends_with("CONNECT\r\n") {
            let length: usize = command.split(',').nth(1).unwrap().parse().unwrap();
            wire.read_exact(&mut vec![0; length]).await.unwrap();
        }
        if now.ends_with('>') {
            let mut data = vec![wire.read_u8().await.unwrap()];
            while data.last() != Some(&0x1a) {
                data.push(wire.read_u8().await.unwrap());
            }
            command = format!("{command} {}", data.escape_ascii());
        }
        wire.write_all(then.as_bytes()).await.unwrap();
        heard.lock().unwrap().push(command);
    }
}
