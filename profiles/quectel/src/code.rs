//! The meaning of numbers in lines of `AT+QMT…`. Each operation has numbers of its own.

use at::FinalCode;
use modem::mqtt::{MqttError, ResultCode, Scope};
use modem::profile::{CodeTable, LineMeaning};

/// The client index is open, perhaps by an earlier run of ours.
pub(crate) const OCCUPIED: i32 = 2;

/// The connection could not be made.
pub(crate) const NETWORK_ERROR: i32 = 5;

/// A failure without a reason. Units were seen to print it for certificates that do not match.
pub(crate) const FAILED: i32 = -1;

const NETWORK: &str = "check the APN, the SIM's data plan and the signal";

/// `+QMTOPEN: <client>,<result>`.
pub(crate) const OPEN: &[ResultCode] = &[
    code(
        FAILED,
        "failed to open the network",
        "over TLS mostly the handshake failed: check tls.ca against the broker's certificate, its host name and its dates, tls.cert and tls.key, and that the port speaks TLS; else check the address, the APN and the signal",
        Scope::Session,
    ),
    code(0, "opened", "", Scope::Message),
    code(1, "wrong parameter", "check the broker's host name and port", Scope::Message),
    ResultCode { own: true, ..code(OCCUPIED, "client index occupied", "", Scope::Session) },
    code(3, "PDP context not activated", NETWORK, Scope::Service),
    code(4, "DNS error", "check the broker's host name and the APN", Scope::Session),
    code(
        NETWORK_ERROR,
        "network error",
        "check the broker's address and port, the APN and DNS; over TLS also tls.ca, tls.cert and tls.key",
        Scope::Session,
    ),
];

/// `+QMTCONN: <client>,0,<code>`: the CONNACK codes of MQTT 3.1.1 §3.2.2.3.
pub(crate) const CONNACK: &[ResultCode] = &[
    code(0, "accepted", "", Scope::Message),
    code(1, "refused: protocol version", "the broker does not speak MQTT 3.1.1", Scope::Session),
    code(2, "refused: client id rejected", "choose another client id", Scope::Session),
    code(3, "refused: server unavailable", "", Scope::Session),
    code(4, "refused: bad user name or password", "check user name and password", Scope::Session),
    ResultCode {
        kick: true,
        ..code(
            5,
            "refused: not authorized",
            "check user name and password, since some brokers send this code for them too; else the broker forbids this client",
            Scope::Session,
        )
    },
];

/// `+QMTCONN: <client>,<state>` as the answer to `AT+QMTCONN?`.
const STATES: &[ResultCode] = &[
    code(1, "begins", "", Scope::Message),
    code(2, "connecting", "", Scope::Message),
    code(3, "connected", "", Scope::Message),
    code(4, "disconnecting", "", Scope::Message),
];

/// The operations with a packet. 2 ends an operation, 1 does not.
pub(crate) const PACKET: &[ResultCode] = &[
    code(FAILED, "failed", NETWORK, Scope::Session),
    code(0, "sent, and answered by the broker", "", Scope::Message),
    code(1, "sent again, since no answer arrived; the modem keeps trying", "", Scope::Session),
    code(2, "packet not sent or not answered", NETWORK, Scope::Session),
];

/// `+QMTDISC: <client>,<result>` and `+QMTCLOSE: <client>,<result>`.
const ENDED: &[ResultCode] = &[
    code(FAILED, "failed", "the client may be closed already", Scope::Session),
    code(0, "closed", "", Scope::Message),
];

/// `+QMTSUB: <client>,<packet>,0,<granted>` (MQTT 3.1.1 §3.9.3).
pub(crate) const GRANTED: &[ResultCode] = &[
    code(0, "granted at QoS 0", "", Scope::Message),
    code(1, "granted at QoS 1", "", Scope::Message),
    code(2, "granted at QoS 2", "", Scope::Message),
    code(128, "the broker refused the filter", "it may forbid the topic", Scope::Session),
];

/// Causes of `+QMTSTAT: <client>,<cause>`. `kick`: the broker closed the connection.
const LOSSES: &[ResultCode] = &[
    ResultCode {
        kick: true,
        ..code(
            1,
            "the broker closed or reset the connection (cause 1)",
            "see the broker's log: another client may have the same client id, or the broker forbids the topic; some close a connection on which CONNECT is late",
            Scope::Session,
        )
    },
    code(2, "the broker did not answer the modem's keep-alive (cause 2)", SILENCE, Scope::Session),
    code(3, "CONNECT could not be sent (cause 3)", NETWORK, Scope::Session),
    code(
        4,
        "the broker did not answer CONNECT (cause 4)",
        "check that the broker's port speaks MQTT, and whether it needs TLS",
        Scope::Session,
    ),
    code(ASKED_FOR[0], "the broker closed after our DISCONNECT (cause 5)", "", Scope::Message),
    code(6, "packets could not be sent (cause 6)", NETWORK, Scope::Session),
    code(7, "the network closed (cause 7)", NETWORK, Scope::Session),
    code(ASKED_FOR[1], "this client closed the connection (cause 8)", "", Scope::Message),
];

/// Causes of an end that the agent requested.
const ASKED_FOR: [i32; 2] = [5, 8];

/// `+QMTPING: <client>,<result>`.
const PING: &[ResultCode] =
    &[code(1, "the broker did not answer the modem's keep-alive", SILENCE, Scope::Session)];

const SILENCE: &str =
    "check the signal; a firewall may drop silent connections: lower `keep_alive`";

const fn code(number: i32, name: &'static str, advice: &'static str, scope: Scope) -> ResultCode {
    ResultCode { number, name, advice, scope, kick: false, own: false }
}

fn named(table: &[ResultCode], number: i32) -> Option<ResultCode> {
    table.iter().find(|code| code.number == number).copied()
}

/// Looks a number up in a table; a number that no manual names ends the session.
pub(crate) fn of(table: &[ResultCode], number: i32) -> ResultCode {
    named(table, number).unwrap_or(code(number, "not in any manual", "", Scope::Session))
}

/// Returns the cause of a lost connection in words, and whether the broker closed it; `None` for an end that
/// the agent requested.
pub(crate) fn loss_cause(cause: Option<i32>) -> Option<(&'static str, bool)> {
    let known = cause.and_then(|cause| named(LOSSES, cause));
    match known {
        Some(loss) if ASKED_FOR.contains(&loss.number) => None,
        Some(loss) => Some((loss.name, loss.kick)),
        None => Some(("the connection was lost for a cause that is in no manual", false)),
    }
}

/// Returns the error for a refusal of this operation without a code.
pub(crate) fn without_code(operation: &'static str, refusal: Option<&FinalCode>) -> MqttError {
    MqttError::without_code(operation, refusal, behind(operation))
}

/// Returns the usual cause if the modem refuses without a code.
fn behind(operation: &str) -> &'static str {
    match operation {
        "QMTOPEN" => {
            "usually the client is open or opening already, or the host is longer than 100 bytes"
        }
        "QMTCONN" => {
            "usually the connection of QMTOPEN is closed again, or a value is too long (client id 256 bytes; user name and password about as many)"
        }
        "QMTSUB" | "QMTUNS" => {
            "usually the filter is empty or longer than 255 bytes, or the client is not connected"
        }
        "QMTPUB" | "QMTPUBEX" => {
            "usually the topic is empty or longer than 255 bytes, the payload longer than 1500 bytes (4096 on some firmware), or the client is not connected"
        }
        "QMTDISC" | "QMTCLOSE" => "usually the client was not open",
        "QMTRECV" => "usually the modem has no message there any more",
        "QFUPL" => "usually the modem's flash is full, or a file of this name exists",
        _ if operation.starts_with("QMTCFG") || operation == "QSSLCFG" => {
            "usually this firmware does not know the setting; an update may add it"
        }
        _ => "",
    }
}

/// This vendor's lines that hold a code.
pub(crate) const TABLES: &[CodeTable] = &[
    CodeTable {
        lines: &["+QMTOPEN"],
        whose: "Quectel's AT+QMTOPEN",
        at: 1,
        meaning: |_, number| named(OPEN, number),
    },
    CodeTable {
        lines: &["+QMTCONN"],
        whose: "Quectel's AT+QMTCONN, the packet",
        at: 1,
        meaning: |_, number| named(PACKET, number),
    },
    CodeTable {
        lines: &["+QMTCONN"],
        whose: "Quectel's AT+QMTCONN, the broker's answer",
        at: 2,
        meaning: |_, number| named(CONNACK, number),
    },
    CodeTable {
        lines: &["+QMTCONN"],
        whose: "the answer to Quectel's AT+QMTCONN?",
        at: 1,
        meaning: |_, number| named(STATES, number),
    },
    CodeTable {
        lines: &["+QMTSUB", "+QMTUNS", "+QMTPUB", "+QMTPUBEX"],
        whose: "Quectel's AT+QMTPUBEX, AT+QMTPUB, AT+QMTSUB and AT+QMTUNS",
        at: 2,
        meaning: |_, number| named(PACKET, number),
    },
    CodeTable {
        lines: &["+QMTSUB"],
        whose: "Quectel's AT+QMTSUB, the broker's answer",
        at: 3,
        meaning: |_, number| named(GRANTED, number),
    },
    CodeTable {
        lines: &["+QMTDISC", "+QMTCLOSE"],
        whose: "Quectel's AT+QMTDISC and AT+QMTCLOSE",
        at: 1,
        meaning: |_, number| named(ENDED, number),
    },
    CodeTable {
        lines: &["+QMTSTAT"],
        whose: "the cause of Quectel's +QMTSTAT",
        at: 1,
        meaning: |_, number| named(LOSSES, number),
    },
    CodeTable {
        lines: &["+QMTPING"],
        whose: "Quectel's +QMTPING",
        at: 1,
        meaning: |_, number| named(PING, number),
    },
];

/// This vendor's lines that have a meaning without a code.
pub(crate) const LINES: &[LineMeaning] = &[
    LineMeaning {
        line: "+QMTSTAT",
        says: "a client's connection to its broker was lost or closed; its session connects again",
        advice: "",
    },
    LineMeaning {
        line: "+QMTRECV",
        says: "a received message: client, packet, topic, length, payload; a line with only two numbers means that the modem keeps the message until AT+QMTRECV",
        advice: "",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_means_different_things() {
        assert_eq!(of(OPEN, 2).name, "client index occupied");
        assert_eq!(of(CONNACK, 2).name, "refused: client id rejected");
        assert_eq!(of(PACKET, 2).scope, Scope::Session);
        assert_eq!(of(OPEN, -1).name, "failed to open the network");
        assert_eq!(of(OPEN, 77).name, "not in any manual");
    }

    #[test]
    fn ends_that_were_asked_for_are_no_losses() {
        assert_eq!([loss_cause(Some(5)), loss_cause(Some(8))], [None, None]);
        assert!(loss_cause(Some(1)).unwrap().1);
        for cause in [Some(2), Some(7), Some(9), None] {
            assert!(!loss_cause(cause).unwrap().1, "{cause:?}");
        }
    }

    #[test]
    fn a_setting_that_is_refused_has_a_name() {
        let said = without_code("QMTCFG \"recv/mode\"", None).to_string();
        assert!(said.starts_with("the modem refused QMTCFG \"recv/mode\" (it gave no code): usually this firmware does not know"), "{said}");
    }
}
