//! The SIM7020 (C, E, G): NB-IoT on a UART, on the `AT+CMQ…` dialect.

use async_trait::async_trait;
use at::{Answer, Framing};
use modem::mqtt::Mqtt;
use modem::port::{At, Kind};
use modem::profile::{Listener, Profile, Status, StepError, run, unless_gone};
use modem::reply::{self, iccid_digits};

use crate::ceng::ceng;
use crate::cmq::Cmq;
use crate::cmq::listener::{BOOTS, UrcListener};
use crate::commands;
use crate::listener::BARE_URCS;

/// The most data that a prompt of this family asks for: `AT+CIPSEND`, which an earlier program may have left
/// (SIM7020 manual V1.05 §7.2.3). The MQTT commands have no prompt.
const MAX_PROMPT_DATA: usize = 1_460;

/// SIM7020C, SIM7020E and SIM7020G.
pub static SIM7020: Sim7020 = Sim7020;

/// The family.
#[derive(Debug)]
pub struct Sim7020;

#[async_trait]
impl Profile for Sim7020 {
    fn id(&self) -> &'static str {
        "sim7020"
    }

    fn framing(&self) -> Framing {
        let urcs = BARE_URCS.into_iter().chain(["SMS Ready", "Call Ready"]).collect();
        Framing {
            urcs,
            boots: BOOTS.to_vec(),
            max_prompt_data: MAX_PROMPT_DATA,
            guarded: commands::GUARDED.to_vec(),
            updates: Vec::new(),
            ..Framing::default()
        }
    }

    fn listener(&self) -> Box<dyn Listener> {
        Box::new(UrcListener)
    }

    fn mqtt(&self) -> &dyn Mqtt {
        &Cmq
    }

    /// Reads the number, which is alone in its line (manual V1.05 §5.2.7).
    async fn iccid(&self, at: &At) -> Result<String, StepError> {
        let lines = run(at, Kind::Status, "AT+CCID", Answer::Matching(is_card)).await?;
        Ok(reply::iccid("AT+CCID", &["+CCID"], &lines)?)
    }

    /// Polls the serving cell only: the module reports no temperature.
    async fn status(&self, at: &At) -> Result<Status, StepError> {
        let mut status = Status::default();
        serving_cell(at, &mut status).await.or_else(unless_gone)?;
        Ok(status)
    }
}

fn is_card(line: &str) -> bool {
    line.starts_with("+CCID:") || iccid_digits(line).is_some()
}

async fn serving_cell(at: &At, status: &mut Status) -> Result<(), StepError> {
    let lines = run(at, Kind::Status, "AT+CENG?", Answer::Prefix("+CENG:")).await?;
    let cell = ceng(&lines)?;
    status.implausible += cell.implausible;
    status.signals.push(cell.signal());
    Ok(())
}
