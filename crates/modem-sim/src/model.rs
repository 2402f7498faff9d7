//! The models that can be simulated, and the numbers of each unit.

use std::str::FromStr;

/// A modem model. Differences between models are methods here; the common part of a family is in the module of
/// its dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Model {
    /// SIMCom SIM7600: LTE Cat-4.
    Sim7600,
    /// SIMCom SIM8200: 5G, in EN-DC by default.
    Sim8200,
    /// SIMCom A7670: LTE Cat-1.
    A7670,
    /// SIMCom SIM7020: NB-IoT.
    Sim7020,
    /// Quectel EC25: LTE Cat-4.
    Ec25,
    /// Quectel EG25: LTE Cat-4, all regions.
    Eg25,
    /// Quectel EC200: LTE Cat-1 and Cat-4.
    Ec200,
    /// Quectel RM500Q: 5G.
    Rm500q,
    /// Quectel RM520N: 5G.
    Rm520n,
}

/// The dialect of a model's MQTT and status commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// SIMCom's.
    Cmqtt,
    /// The dialect of SIMCom's SIM7020.
    Cmq,
    /// Quectel's.
    Qmt,
}

/// A name that is not a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a simulated model; known are {}", Model::names())]
pub struct UnknownModel {
    /// The given name.
    pub name: String,
}

impl Model {
    /// All models, in the order in which errors list them.
    pub const ALL: [Self; 9] = [
        Self::Sim7600,
        Self::Sim8200,
        Self::A7670,
        Self::Sim7020,
        Self::Ec25,
        Self::Eg25,
        Self::Ec200,
        Self::Rm500q,
        Self::Rm520n,
    ];

    /// Returns the name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sim7600 => "sim7600",
            Self::Sim8200 => "sim8200",
            Self::A7670 => "a7670",
            Self::Sim7020 => "sim7020",
            Self::Ec25 => "ec25",
            Self::Eg25 => "eg25",
            Self::Ec200 => "ec200",
            Self::Rm500q => "rm500q",
            Self::Rm520n => "rm520n",
        }
    }

    fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// Returns the model's dialect.
    pub(crate) fn dialect(self) -> Dialect {
        match self {
            Self::Sim7600 | Self::Sim8200 | Self::A7670 => Dialect::Cmqtt,
            Self::Sim7020 => Dialect::Cmq,
            Self::Ec25 | Self::Eg25 | Self::Ec200 | Self::Rm500q | Self::Rm520n => Dialect::Qmt,
        }
    }

    /// Reports whether the model is one of SIMCom's A76xx, which differ from its older families (A76XX manual
    /// V1.09).
    pub(crate) fn is_a76xx(self) -> bool {
        self == Self::A7670
    }

    /// Returns the line that a unit prints once it answers.
    pub(crate) fn ready_urc(self) -> &'static str {
        if self.is_a76xx() { "*ATREADY: 1" } else { "RDY" }
    }

    /// Returns the lines that a unit with an open SIM prints once it has booted.
    pub(crate) fn boot_urcs(self) -> &'static [&'static str] {
        match self.dialect() {
            Dialect::Cmqtt if self.is_a76xx() => &["+CGEV: EPS PDN ACT 1", "SMS DONE", "PB DONE"],
            Dialect::Cmqtt => &["SMS DONE", "PB DONE"],
            Dialect::Cmq => &["+CFUN: 1", "SMS Ready"],
            Dialect::Qmt => &["+QIND: SMS DONE", "+QIND: PB DONE"],
        }
    }

    /// Returns the maker's name as printed.
    pub(crate) fn maker(self) -> &'static str {
        if self.is_a76xx() { "INCORPORATED" } else { "SIMCOM INCORPORATED" }
    }

    /// Returns the answer to `AT+CGMM`.
    pub(crate) fn cgmm(self) -> &'static str {
        match self {
            Self::Sim7600 => "SIMCOM_SIM7600G-H",
            Self::Sim8200 => "SIMCOM_SIM8200EA-M2",
            Self::A7670 => "A7670E-FASE",
            Self::Sim7020 => "SIM7020E",
            Self::Ec25 => "EC25",
            Self::Eg25 => "EG25",
            Self::Ec200 => "EC200A",
            Self::Rm500q => "RM500Q-GL",
            Self::Rm520n => "RM520N-GL",
        }
    }

    /// Returns the answer to `AT+CGMR`, without its prefix.
    pub(crate) fn revision(self) -> &'static str {
        match self {
            Self::Sim7600 => "LE20B04SIM7600G22",
            Self::Sim8200 => "LE20B02SIM8200EA-M2",
            Self::A7670 => "A011B07A7670M7_F",
            Self::Sim7020 => "1752B12SIM7020E",
            Self::Ec25 => "EC25EFAR06A06M4G",
            Self::Eg25 => "EG25GGBR07A08M2G",
            Self::Ec200 => "EC200AEUHAR01A08M16",
            Self::Rm500q => "RM500QGLABR11A06M4G",
            Self::Rm520n => "RM520NGLAAR03A03M4G",
        }
    }

    /// Returns the order of `OK` and the result line of START and STOP. Units of the SIM7600 were seen to print
    /// the result first; the manual of the SIM8200 allows both.
    pub(crate) fn start_order(self) -> Order {
        match self {
            Self::Sim7600 => Order::ResultFirst,
            _ => Order::OkFirst,
        }
    }

    /// Reports whether the unit has New Radio, and with it C5GREG.
    pub(crate) fn has_nr(self) -> bool {
        matches!(self, Self::Sim8200 | Self::Rm500q | Self::Rm520n)
    }

    /// Returns the values that `AT+CNMP=` takes (SIM7600 manual p.100, SIM82XX manual p.100).
    pub(crate) fn network_modes(self) -> &'static [u32] {
        match self {
            // Automatic, GSM, LTE.
            Self::A7670 => &[2, 13, 38],
            Self::Sim7600 => &[2, 9, 10, 13, 14, 19, 22, 38, 39, 48, 51, 54, 59, 60, 63, 67],
            _ => &[2, 14, 38, 54, 55, 71, 109],
        }
    }
}

impl FromStr for Model {
    type Err = UnknownModel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|model| model.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownModel { name: text.to_owned() })
    }
}

/// The order of `OK` and the `+CMQTTx:` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// `OK`, then the result.
    OkFirst,
    /// The result, then `OK`.
    ResultFirst,
}

/// The numbers of a unit. They depend on its index only, so that a fleet looks the same on every run.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// 15 digits, the last being the Luhn check digit.
    pub(crate) imei: String,
    /// 15 digits.
    pub(crate) imsi: String,
    /// 20 digits.
    pub(crate) iccid: String,
    /// Tracking area code.
    pub(crate) tac: u32,
    /// Serving cell.
    pub(crate) cell: u32,
    /// The address of the first PDP context.
    pub(crate) address: String,
}

impl Identity {
    /// Returns the unit with this index. Indexes from a million on repeat.
    pub(crate) fn new(index: u32) -> Self {
        let serial = index % 1_000_000;
        let spread = index % 250;
        Self {
            imei: with_check_digit(format!("86123456{serial:06}")),
            imsi: format!("460001{:09}", 100_000 + serial),
            iccid: with_check_digit(format!("8986001{:012}", 420_000_000 + u64::from(serial))),
            tac: 0x3100 + spread,
            cell: 136_092_930 + serial,
            address: format!("10.64.{spread}.2"),
        }
    }
}

/// Appends the Luhn digit.
fn with_check_digit(digits: String) -> String {
    let sum: u32 = digits
        .chars()
        .rev()
        .filter_map(|c| c.to_digit(10))
        .enumerate()
        .map(|(place, digit)| match (place % 2 == 0, digit) {
            (true, 5..) => digit * 2 - 9,
            (true, _) => digit * 2,
            (false, _) => digit,
        })
        .sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_model_names_the_known_ones() {
        assert_eq!("SIM8200".parse(), Ok(Model::Sim8200));
        let error = "sim9".parse::<Model>().unwrap_err().to_string();
        assert!(error.contains("sim9") && error.contains("sim7600, sim8200"), "{error}");
    }

    #[test]
    fn identities_are_distinct_valid_and_stable() {
        // A well-known example of a valid IMEI.
        assert_eq!(with_check_digit("49015420323751".into()), "490154203237518");
        let (a, b) = (Identity::new(0), Identity::new(1));
        assert_eq!((a.imei.len(), a.imsi.len(), a.iccid.len()), (15, 15, 20));
        assert_ne!(a.imei, b.imei);
        assert_ne!(a.iccid, b.iccid);
        assert_eq!(a.imei, Identity::new(0).imei);
    }
}
