//! The family's commands that a person may want at the console, by what they do.

use at::Guarded;
use modem::console::{CommandRule, OperationResult};

use crate::qmt::LANE;

const SESSIONS: &str = "works on the modem's MQTT connections, which the agent's sessions have";
const NETWORK: &str = "changes the connection that the sessions run over";
const LASTING: &str = "changes settings that last over a reset";
const BOOT: &str = "switches the modem off";
const USB: &str = "changes how the modem shows on USB: its ports may be gone after that";
const IMEI: &str = "writes the modem's identity, which may be a crime";
const FILES: &str =
    "deletes, writes or prints files of the modem, certificates and keys among them";

/// Lines that hold a secret. `+QMTCFG: "aliauth"` may or may not tell the client's number.
pub(crate) const GUARDED: [Guarded; 3] = [
    Guarded { prefix: "+QMTCFG:", from: 3 },
    Guarded { prefix: "+QICSGP:", from: 2 },
    Guarded { prefix: "+CGAUTH:", from: 2 },
];

const fn mqtt(name: &'static str) -> CommandRule {
    CommandRule::uses(name, SESSIONS).in_lane(LANE)
}

/// An operation of one client, whose code is this argument of its result.
const fn operation(name: &'static str, prefix: &'static str, code_at: usize) -> CommandRule {
    mqtt(name).ends_with(OperationResult { prefix, is_indexed: true, code_at, interim: None })
}

/// A packet with an identifier: 1 in the place of the code tells that it is sent once more.
const fn packet(name: &'static str, prefix: &'static str) -> CommandRule {
    let interim = Some((2, "1"));
    mqtt(name).ends_with(OperationResult { prefix, is_indexed: true, code_at: 2, interim })
}

pub(crate) const COMMANDS: &[CommandRule] = &[
    mqtt("+QMTCFG").but_with(2).secret_from(4),
    operation("+QMTOPEN", "+QMTOPEN:", 1),
    operation("+QMTCLOSE", "+QMTCLOSE:", 1),
    operation("+QMTCONN", "+QMTCONN:", 1).secret_from(3),
    operation("+QMTDISC", "+QMTDISC:", 1),
    packet("+QMTPUBEX", "+QMTPUBEX:").asks(5, 6),
    packet("+QMTPUB", "+QMTPUB:").asks(5, 6),
    packet("+QMTSUB", "+QMTSUB:"),
    packet("+QMTUNS", "+QMTUNS:"),
    CommandRule::reads("+QCCID"),
    CommandRule::reads("+QCSQ"),
    CommandRule::reads("+QENG"),
    CommandRule::reads("+QNWINFO"),
    CommandRule::reads("+QSPN"),
    CommandRule::reads("+QTEMP"),
    CommandRule::reads("+QCAINFO"),
    CommandRule::uses("+QICSGP", NETWORK).but_with(1).secret_from(3),
    CommandRule::uses("+QIACT", NETWORK),
    CommandRule::uses("+QIDEACT", NETWORK),
    CommandRule::harms("+QCFG", LASTING).but_with(1),
    CommandRule::harms("+QNWPREFCFG", LASTING).but_with(1),
    CommandRule::harms("+QPRTPARA", LASTING),
    CommandRule::harms("+QPOWD", BOOT).in_every_form(),
    CommandRule::harms("+QUSBCFG", USB),
    CommandRule::harms("+EGMR", IMEI),
    CommandRule::harms("+QSSLCFG", FILES).but_with(2).secret_from(2),
    CommandRule::harms("+QFDEL", FILES),
    CommandRule::harms("+QFUPL", FILES),
    CommandRule::harms("+QFDWL", FILES),
    CommandRule::harms("+QFOPEN", FILES),
    CommandRule::harms("+QFREAD", FILES),
    CommandRule::harms("+QFWRITE", FILES),
];
