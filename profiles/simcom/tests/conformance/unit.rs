//! A scripted unit: it answers like a healthy modem, except for the answers in the test's script.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use modem_conformance::bench::Bench;
use modem_sim::Model;
use profile_simcom::PLUGIN;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Returns the model line of a unit.
pub(crate) fn cgmm(model: Model) -> &'static str {
    match model {
        Model::Sim7600 => "SIMCOM_SIM7600E",
        Model::A7670 => "A7670E-FASE",
        Model::Sim7020 => "SIM7020E",
        _ => "SIMCOM_SIM8200EA-M2",
    }
}

/// Returns the commands that acquire the first client: over TCP (0) or TLS (1), for MQTT 3.1.1 and payloads of
/// any bytes.
pub(crate) fn acquisition(model: Model, id: &str, server: u8) -> Vec<String> {
    let of = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
    let accq = format!("AT+CMQTTACCQ=0,\"{id}\",{server}");
    let plain = "AT+CMQTTCFG=\"checkUTF8\",0,0";
    match model {
        Model::A7670 => of(&[&accq, plain, "AT+CMQTTCFG=\"version\",0,4"]),
        _ => of(&[&format!("{accq},4"), plain]),
    }
}

/// Returns a bench on a scripted unit.
pub(crate) async fn scripted(unit: Unit) -> Bench {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(unit.on_stream(theirs));
    Bench::on(&PLUGIN, ours, tasks).await
}

/// An IMEI with a valid check digit.
pub(crate) const IMEI: &str = "490154203237518";

/// A unit with its script: a command's prefix and the answer to it, in the order given. `|` stands for CR LF. A
/// prompt is `>`, and the answer to its data follows `~`. Text after `^` is late: it comes before the answer to
/// the next command.
pub(crate) struct Unit {
    model: String,
    script: VecDeque<(&'static str, &'static str)>,
    heard: Arc<Mutex<Vec<String>>>,
    line: Vec<u8>,
    data: Option<(usize, &'static str)>,
    late: String,
}

impl Unit {
    pub(crate) fn new(model: Model, script: &[(&'static str, &'static str)]) -> Self {
        Self {
            model: cgmm(model).to_owned(),
            script: script.iter().copied().collect(),
            heard: Arc::default(),
            line: Vec::new(),
            data: None,
            late: String::new(),
        }
    }

    /// Returns the same unit with another model name.
    pub(crate) fn called(self, model: &str) -> Self {
        Self { model: model.to_owned(), ..self }
    }

    /// Returns the commands received, so far and from now on.
    pub(crate) fn heard(&self) -> Arc<Mutex<Vec<String>>> {
        Arc::clone(&self.heard)
    }

    /// Takes bytes and returns the unit's answer to them.
    fn receive(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut said = String::new();
        for &byte in bytes {
            if let Some((left, after)) = self.data.take() {
                match left {
                    1 => said.push_str(&self.in_time(after)),
                    _ => self.data = Some((left - 1, after)),
                }
            } else if byte != b'\r' {
                self.line.push(byte);
            } else if !self.line.is_empty() {
                let line = String::from_utf8(std::mem::take(&mut self.line)).unwrap();
                said.push_str(&std::mem::take(&mut self.late));
                let answer = self.answer(&line);
                said.push_str(&self.in_time(&answer));
                self.heard.lock().unwrap().push(line);
            }
        }
        said.replace('|', "\r\n").into_bytes()
    }

    /// Returns the timely part of an answer and keeps the late part.
    fn in_time(&mut self, said: &str) -> String {
        let (now, late) = said.split_once('^').unwrap_or((said, ""));
        self.late.push_str(late);
        now.to_owned()
    }

    fn answer(&mut self, line: &str) -> String {
        if let Some(at) = self.script.iter().position(|(start, _)| line.starts_with(start)) {
            let said = self.script.remove(at).unwrap().1;
            let (before, after) = said.split_once('~').unwrap_or((said, ""));
            if before.ends_with('>') {
                let length = line.split(',').nth(1).unwrap().parse().unwrap();
                self.data = Some((length, after));
            }
            return before.to_owned();
        }
        // No client of this unit is connected unless the script connects it.
        if let Some(index) = line.strip_prefix("AT+CMQTTDISC=") {
            let index = index.split(',').next().unwrap();
            return format!("|+CMQTTDISC: {index},11||ERROR|");
        }
        let info = match line {
            "AT+CGMM" => self.model.as_str(),
            "AT+CGSN" => IMEI,
            "AT+CPIN?" => "+CPIN: READY",
            "AT+CEREG?" => "+CEREG: 0,1",
            _ => return "|OK|".to_owned(),
        };
        format!("|{info}||OK|")
    }

    /// Runs on a stream in memory until the stream closes.
    pub(crate) async fn on_stream(mut self, mut stream: DuplexStream) {
        let mut buffer = [0; 4_096];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            let said = self.receive(&buffer[..count]);
            if stream.write_all(&said).await.is_err() {
                return;
            }
        }
    }

    /// Runs on a pty of its own, on a thread that ends with the process.
    pub(crate) fn on_pty(mut self) -> PathBuf {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = PathBuf::from(ptsname(&master, Vec::new()).unwrap().into_string().unwrap());
        // Raw, since the pty would echo; and open, since the master ends whenever no process has the slave
        // open.
        let slave = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let mut settings = tcgetattr(&slave).unwrap();
        settings.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &settings).unwrap();
        let mut master = std::fs::File::from(master);
        std::thread::spawn(move || {
            let _open = slave;
            let mut buffer = [0; 4_096];
            while let Ok(count @ 1..) = master.read(&mut buffer) {
                let said = self.receive(&buffer[..count]);
                master.write_all(&said).unwrap();
            }
        });
        path
    }
}
