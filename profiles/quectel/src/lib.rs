//! Quectel modems: EC25, EG25, EC200, RM500Q, RM520N and their like, on the `AT+QMT…` dialect.

use async_trait::async_trait;
use at::{Answer, Framing, Quoted, Update};
use modem::attach::{self, ApnLogin};
use modem::mqtt::Mqtt;
use modem::port::{At, Kind};
use modem::profile::{Listener, Plugin, Profile, Status, StepError, run};
use modem::reply::PinTries;

mod access;
mod code;
mod commands;
mod exchange;
mod listener;
mod memory;
mod poll;
pub mod qcainfo;
pub mod qeng;
mod qmt;
mod settings;
pub mod status;
mod tls;
mod words;

use listener::{BARE_URCS, BOOTS, UrcListener};
use poll::Asked;

/// The vendor's plug-in, as the agent gets it.
pub static PLUGIN: Plugin = Plugin {
    models: include_str!("../models.yaml"),
    profiles: &[&LTE, &NR, &NR_IN_TENTHS],
    decoders: status::DECODERS,
    codes: code::TABLES,
    lines: code::LINES,
    commands: commands::COMMANDS,
    script: commands::SCRIPT,
};

/// `+QIND: "FOTA","UPDATING",<percent>` and its like (Quectel's DFOTA guide; public logs). It ends with `"END",<err>`.
const UPDATE: Update = Update { prefix: "+QIND: \"FOTA\"", end: "\"END\"" };

/// EC25, EG25, EC200: LTE and below.
pub static LTE: Quectel =
    Quectel { id: "quectel-lte", asked: Asked { nr_sinr_in_db: true, carriers: false } };

/// RM520N and its like: 5G as well.
pub static NR: Quectel =
    Quectel { id: "quectel-5g", asked: Asked { nr_sinr_in_db: true, carriers: true } };

/// RM500Q, whose firmware uses two units for NR's SINR.
pub static NR_IN_TENTHS: Quectel =
    Quectel { id: "quectel-5g-tenths", asked: Asked { nr_sinr_in_db: false, carriers: true } };

/// A family on the QMT dialect.
#[derive(Debug)]
pub struct Quectel {
    id: &'static str,
    asked: Asked,
}

#[async_trait]
impl Profile for Quectel {
    fn id(&self) -> &'static str {
        self.id
    }

    fn framing(&self) -> Framing {
        Framing {
            quoted: vec![Quoted { prefix: "+QMTRECV:" }],
            announced: Vec::new(),
            urcs: BARE_URCS.to_vec(),
            boots: BOOTS.to_vec(),
            // The data of a message is shorter.
            max_prompt_data: tls::MAX_FILE,
            guarded: commands::GUARDED.to_vec(),
            updates: vec![UPDATE],
            parts: Vec::new(),
        }
    }

    fn listener(&self) -> Box<dyn Listener> {
        Box::new(UrcListener)
    }

    fn mqtt(&self) -> &dyn Mqtt {
        &qmt::Qmt
    }

    async fn iccid(&self, at: &At) -> Result<String, StepError> {
        let lines = run(at, Kind::Status, "AT+QCCID", Answer::Prefix("+QCCID:")).await?;
        Ok(status::card(&lines)?)
    }

    async fn pin_tries(&self, at: &At) -> Result<PinTries, StepError> {
        let line = "AT+QPINC=\"SC\"";
        let lines = run(at, Kind::Status, line, Answer::Prefix("+QPINC:")).await?;
        Ok(status::pin_tries(&lines)?)
    }

    /// Falls back to the command of the TCP/IP stack, over which MQTT runs: all firmware has that command, and some
    /// has no `AT+CGAUTH`.
    async fn log_in(&self, at: &At, login: &ApnLogin<'_>) -> Result<(), StepError> {
        match attach::authenticate(at, login).await {
            Err(error) if error.is_refused() => access::log_in(at, login).await,
            done => done,
        }
    }

    async fn status(&self, at: &At) -> Result<Status, StepError> {
        poll::poll(at, self.asked).await
    }
}
