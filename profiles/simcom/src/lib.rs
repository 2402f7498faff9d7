//! SIMCom modems: SIM7500, SIM7600, SIM8200, A76xx and their like on the `AT+CMQTT…` dialect, SIM7020 on `AT+CMQ…`.

use async_trait::async_trait;
use at::{Announced, Answer, Framing, Quoted, Update};
use modem::mqtt::Mqtt;
use modem::port::{At, Kind};
use modem::profile::{Listener, Plugin, Profile, Status, StepError, run, slow};
use modem::reply::PinTries;

mod aliauth;
pub mod ceng;
pub mod cmgrmi;
mod cmq;
mod cmqtt;
mod code;
mod commands;
pub mod cpsi;
mod exchange;
mod listener;
mod poll;
mod results;
mod sim7020;
pub mod status;
mod tls;

pub use code::result_code;
pub use sim7020::{SIM7020, Sim7020};

use cmqtt::Cmqtt;
use listener::{BARE_URCS, BOOTS, MAX_PAYLOAD, UrcListener};

/// The vendor's plug-in, as the agent gets it.
pub static PLUGIN: Plugin = Plugin {
    models: include_str!("../models.yaml"),
    profiles: &[&SIM7600, &SIM8200, &A76XX, &SIM7020],
    decoders: status::DECODERS,
    codes: code::TABLES,
    lines: code::LINES,
    commands: commands::COMMANDS,
    script: commands::SCRIPT,
};

/// SIM7500 and SIM7600: LTE and below.
pub static SIM7600: Simcom = Simcom { id: "sim7600", mqtt: Cmqtt::SIM7600 };

/// SIM8200 and SIM8202: 5G as well.
pub static SIM8200: Simcom = Simcom { id: "sim8200", mqtt: Cmqtt::SIM7600 };

/// A7670, A7600E-H, A7608 and their like: LTE and below, on another platform.
pub static A76XX: Simcom = Simcom { id: "a76xx", mqtt: Cmqtt::A76XX };

/// A family on the CMQTT dialect.
#[derive(Debug)]
pub struct Simcom {
    id: &'static str,
    mqtt: Cmqtt,
}

#[async_trait]
impl Profile for Simcom {
    fn id(&self) -> &'static str {
        self.id
    }

    fn framing(&self) -> Framing {
        framing()
    }

    fn listener(&self) -> Box<dyn Listener> {
        Box::new(UrcListener::default())
    }

    fn mqtt(&self) -> &dyn Mqtt {
        &self.mqtt
    }

    /// `AT+CICCID` answers with the prefix `+ICCID:` (manual V3.00 p. 57).
    async fn iccid(&self, at: &At) -> Result<String, StepError> {
        let lines = run(at, Kind::Status, "AT+CICCID", Answer::Prefix("+ICCID:")).await?;
        Ok(status::card(&lines)?)
    }

    async fn pin_tries(&self, at: &At) -> Result<PinTries, StepError> {
        let lines = run(at, Kind::Status, "AT+SPIC", Answer::Prefix("+SPIC:")).await?;
        Ok(status::pin_tries(&lines)?)
    }

    async fn reset(&self, at: &At) -> Result<(), StepError> {
        slow(at, "AT+CRESET").await
    }

    async fn status(&self, at: &At) -> Result<Status, StepError> {
        poll::poll(at).await
    }
}

/// Lines of `AT+CFOTA` and `AT+LFOTA`. No log of an update was at hand, so the last line is not known. An
/// update is over if the modem prints nothing for a while.
const UPDATES: [Update; 2] =
    [Update { prefix: "+CFOTA:", end: "END" }, Update { prefix: "+LFOTA:", end: "END" }];

/// Returns the lines that the family announces by length, and those that it prints without a `+`.
fn framing() -> Framing {
    Framing {
        // A76xx, for a client that an earlier program configured with `AT+CMQTTCFG="argtopic"`.
        quoted: vec![Quoted { prefix: "+CMQTTRECV:" }],
        announced: vec![
            Announced { prefix: "+CMQTTRXTOPIC:", length_at: 1 },
            Announced { prefix: "+CMQTTRXPAYLOAD:", length_at: 1 },
        ],
        urcs: BARE_URCS.to_vec(),
        boots: BOOTS.to_vec(),
        max_prompt_data: MAX_PAYLOAD,
        guarded: commands::GUARDED.to_vec(),
        updates: UPDATES.to_vec(),
        parts: vec!["+CMQTTRXSTART:", "+CMQTTRXEND:"],
    }
}
