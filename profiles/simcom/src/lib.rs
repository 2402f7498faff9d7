//! SIMCom modems: SIM7500, SIM7600, SIM8200 and their like, on one `AT+CMQTT…` dialect.

use async_trait::async_trait;
use at::{Announced, Answer, Framing};
use modem::mqtt::Mqtt;
use modem::port::{At, Kind};
use modem::profile::{CodeTable, Listener, Plugin, Profile, Status, StepError, run, slow};
use modem::reply::PinTries;

mod aliauth;
mod cmqtt;
mod code;
mod commands;
pub mod cpsi;
mod listener;
mod poll;
mod results;
pub mod status;
mod tls;

pub use code::result_code;

use listener::{BARE_URCS, BOOTS, Ears, MAX_PAYLOAD, MAX_TOPIC};

/// What the agent is handed.
pub static PLUGIN: Plugin = Plugin {
    models: include_str!("../models.yaml"),
    profiles: &[&SIM7600, &SIM8200],
    decoders: status::DECODERS,
    codes: &[CodeTable {
        prefix: "+CMQTT",
        stack: "SIMCom's MQTT stack (AT+CMQTT…)",
        meaning: code::named,
    }],
    commands: commands::COMMANDS,
};

/// SIM7500 and SIM7600: LTE and below.
pub static SIM7600: Simcom = Simcom { id: "sim7600" };

/// SIM8200 and SIM8202: 5G as well.
pub static SIM8200: Simcom = Simcom { id: "sim8200" };

/// A family on the CMQTT dialect.
#[derive(Debug)]
pub struct Simcom {
    id: &'static str,
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
        Box::new(Ears::default())
    }

    fn mqtt(&self) -> &dyn Mqtt {
        &cmqtt::Cmqtt
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

/// What the family announces by length, and prints without a `+`.
fn framing() -> Framing {
    Framing {
        quoted: Vec::new(),
        announced: vec![
            Announced { prefix: "+CMQTTRXTOPIC:", length_at: 1, max: MAX_TOPIC },
            Announced { prefix: "+CMQTTRXPAYLOAD:", length_at: 1, max: MAX_PAYLOAD },
        ],
        urcs: BARE_URCS.to_vec(),
        boots: BOOTS.to_vec(),
        max_prompt_data: MAX_PAYLOAD,
        guarded: commands::GUARDED.to_vec(),
    }
}
