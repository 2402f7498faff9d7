//! SIMCom modems: SIM7500, SIM7600, SIM8200 and their like, on one `AT+CMQTT…` dialect.

use async_trait::async_trait;
use at::{Announced, Answer, Framing};
use modem::mqtt::Mqtt;
use modem::port::{At, Kind};
use modem::profile::{Listener, Plugin, Profile, Status, StepError, registration_in, run};
use modem::reply::{Domain, Registration};

mod cmqtt;
mod code;
pub mod cpsi;
mod listener;
mod poll;
pub mod status;

pub use code::result_code;

use listener::{BARE_URCS, BOOTS, Ears, MAX_PAYLOAD, MAX_TOPIC};

/// What the agent is handed.
pub static PLUGIN: Plugin = Plugin {
    models: include_str!("../models.yaml"),
    profiles: &[&Sim7600, &Sim8200],
    decoders: status::DECODERS,
};

/// SIM7500 and SIM7600: LTE and below.
#[derive(Debug)]
pub struct Sim7600;

#[async_trait]
impl Profile for Sim7600 {
    fn id(&self) -> &'static str {
        "sim7600"
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

    async fn iccid(&self, at: &At) -> Result<String, StepError> {
        iccid(at).await
    }

    async fn status(&self, at: &At) -> Result<Status, StepError> {
        poll::poll(at).await
    }
}

/// SIM8200 and SIM8300: 5G as well. In standalone mode only `+C5GREG` tells the registration.
#[derive(Debug)]
pub struct Sim8200;

#[async_trait]
impl Profile for Sim8200 {
    fn id(&self) -> &'static str {
        "sim8200"
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

    async fn iccid(&self, at: &At) -> Result<String, StepError> {
        iccid(at).await
    }

    async fn registration(&self, at: &At) -> Result<Registration, StepError> {
        registration_in(at, &[Domain::Eps, Domain::FiveGs, Domain::Ps, Domain::Cs]).await
    }

    async fn status(&self, at: &At) -> Result<Status, StepError> {
        poll::poll(at).await
    }
}

/// What the family announces by length, and prints without a `+`.
fn framing() -> Framing {
    Framing {
        announced: vec![
            Announced { prefix: "+CMQTTRXTOPIC:", length_at: 1, max: MAX_TOPIC },
            Announced { prefix: "+CMQTTRXPAYLOAD:", length_at: 1, max: MAX_PAYLOAD },
        ],
        urcs: BARE_URCS.to_vec(),
        boots: BOOTS.to_vec(),
        max_prompt_data: MAX_PAYLOAD,
    }
}

/// `AT+CICCID` answers with the prefix `+ICCID:` (manual V3.00 p. 57).
async fn iccid(at: &At) -> Result<String, StepError> {
    let lines = run(at, Kind::Status, "AT+CICCID", Answer::Prefix("+ICCID:")).await?;
    Ok(status::card(&lines)?)
}
