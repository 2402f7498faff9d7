//! `baud` and `flow_control` of a modem: how a UART is set.

use modem::serial::{Line, RATES};

use super::build::{Build, Place};
use crate::choices::FLOW_CONTROL;
use crate::words::Fault;

impl Build<'_> {
    pub(super) fn line(&mut self, modem: &Place<'_>) -> Option<Line> {
        for key in ["baud", "flow_control"] {
            if modem.has(key) && !modem.at("match").has("port") {
                let message = format!("`{key}` needs `port` in `match`");
                let help = "only a UART has a speed; the tty of a USB modem is as fast as USB";
                self.error_at_name(&modem.at(key), message, Some(help));
            }
        }
        let rate = |text: &str| match text.parse() {
            Ok(rate) if RATES.contains(&rate) => Ok(rate),
            _ => Err(Fault::new(format!("must be one of {}", rates()))),
        };
        let baud = self.value(modem, "baud", rate);
        let flow_control = self.word(modem, "flow_control", &FLOW_CONTROL);
        Some(Line { baud: baud?, flow_control: flow_control? })
    }
}

fn rates() -> String {
    RATES.map(|rate| rate.to_string()).join(", ")
}
