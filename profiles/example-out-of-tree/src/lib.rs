//! Acme modems, a vendor that does not exist: an example of a profile outside of the repository.
//!
//! Acme's firmware has SIMCom's MQTT stack in it, so framing, URCs and sessions are SIMCom's; its
//! commands for card and status are its own. A vendor with a stack of its own also implements
//! `modem::mqtt::Mqtt`: profiles/quectel/src/qmt.rs is an example.

use async_trait::async_trait;
use at::Answer;
use modem::mqtt::Mqtt;
use modem::port::{At, Kind};
use modem::profile::{Framing, Listener, Plugin, Profile, Status, StepError, operator, run};
use modem::reply::{
    self, Act, Decoder, Quantity, ReplyError, Sieve, Signal, own_rows, parse_decimal,
};
use profile_simcom::SIM7600;
use serde_json::json;

/// The plugin for the agent.
pub static PLUGIN: Plugin = Plugin {
    models: include_str!("models.yaml"),
    profiles: &[&Acme],
    decoders: DECODERS,
    ..Plugin::NONE
};

/// The decoders for `profiles decode`.
const DECODERS: &[(&str, Decoder)] = &[("AT+CPMUTEMP", |raw| {
    Ok(json!({ "celsius": temperature(&reply::body("AT+CPMUTEMP", raw)?)? }))
})];

/// All Acme modems.
#[derive(Debug)]
pub struct Acme;

#[async_trait]
impl Profile for Acme {
    fn id(&self) -> &'static str {
        "acme"
    }

    fn framing(&self) -> Framing {
        SIM7600.framing()
    }

    fn listener(&self) -> Box<dyn Listener> {
        SIM7600.listener()
    }

    fn mqtt(&self) -> &dyn Mqtt {
        SIM7600.mqtt()
    }

    async fn iccid(&self, at: &At) -> Result<String, StepError> {
        let lines = run(at, Kind::Status, "AT+CICCID", Answer::Prefix("+ICCID:")).await?;
        Ok(reply::iccid("AT+CICCID", &["+ICCID"], &lines)?)
    }

    async fn status(&self, at: &At) -> Result<Status, StepError> {
        let mut sieve = Sieve::default();
        let lines = run(at, Kind::Status, "AT+CSQ", Answer::Prefix("+CSQ:")).await?;
        let power = reply::csq(&lines)?.rssi_dbm;
        let rssi_dbm = power.and_then(|power| sieve.keep(Quantity::Rssi, power));
        let network = operator(at).await?;
        let rat = network.act.and_then(Act::rat).filter(|_| rssi_dbm.is_some());
        let lines = run(at, Kind::Status, "AT+CPMUTEMP", Answer::Prefix("+CPMUTEMP:")).await?;
        Ok(Status {
            signals: rat
                .map(|rat| Signal { rssi_dbm, ..Signal::unknown(rat) })
                .into_iter()
                .collect(),
            // A broken sensor must not cost the other readings.
            temperature_celsius: temperature(&lines).ok(),
            implausible: sieve.implausible(),
            ..Status::default()
        })
    }
}

/// Reads `+CPMUTEMP: <degrees Celsius>`.
fn temperature<L: AsRef<str>>(lines: &[L]) -> Result<f64, ReplyError> {
    let command = "AT+CPMUTEMP";
    let rows = own_rows(command, "+CPMUTEMP", lines);
    let args = rows.last().ok_or(ReplyError::Missing { command, wanted: "+CPMUTEMP: line" })?;
    let celsius = args.text(0).and_then(parse_decimal);
    celsius
        .filter(|celsius| (-60.0..=150.0).contains(celsius))
        .ok_or_else(|| args.refuse(0, "temp", "a temperature in degrees Celsius"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_models_are_good_beside_those_of_the_repository() {
        let plugins = [&PLUGIN, &profile_simcom::PLUGIN, &profile_quectel::PLUGIN];
        let catalog = modem::Catalog::new(&plugins).unwrap();
        let (model, profile) = catalog.identify("ACME-ONE rev. 2").unwrap();
        assert_eq!((model.id.as_str(), profile.id()), ("acme-one", "acme"));
    }

    #[test]
    fn a_temperature_is_one_or_refused() {
        assert_eq!(temperature(&["+CSQ: 1,99", "+CPMUTEMP: -7"]), Ok(-7.0));
        for wrong in ["+CPMUTEMP: 255", "+CPMUTEMP:", "OK"] {
            assert!(temperature(&[wrong]).is_err(), "{wrong}");
        }
    }
}
