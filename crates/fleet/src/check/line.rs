//! `baud` and `flow_control` of a modem: how a UART is set.

use modem::serial::{Line, RATES};

use super::build::{Build, Place};
use crate::choices::FLOW_CONTROL;
use crate::words::{self, Fault};

impl Build<'_> {
    pub(super) fn line(&mut self, modem: &Place<'_>) -> Line {
        for key in ["baud", "flow_control"] {
            if modem.has(key) && !modem.at("match").has("port") {
                let message = format!("`{key}` needs `port` in `match`");
                let help = "only a UART has a speed; a tty of a USB modem is as fast as its USB";
                self.error_at_name(&modem.at(key), message, Some(help));
            }
        }
        let rate = |text: &str| match text.parse() {
            Ok(rate) if RATES.contains(&rate) => Ok(rate),
            _ => Err(Fault::new(format!("must be one of {}", rates()))),
        };
        let flow = |text: &str| words::one_of(text, &FLOW_CONTROL);
        let baud = self.optional(modem, "baud", rate);
        let flow_control = self.optional(modem, "flow_control", flow);
        Line {
            baud: baud.unwrap_or(Line::DEFAULT.baud),
            flow_control: flow_control.unwrap_or(Line::DEFAULT.flow_control),
        }
    }
}

fn rates() -> String {
    RATES.map(|rate| rate.to_string()).join(", ")
}
