//! The result codes of `AT+CMQTT…` (SIM7500/7600 manual V3.00 p. 365; SIM82xx manual V1.02 p. 341), and the
//! stack's other numbers (V3.00 p. 366).

use std::ops::RangeInclusive;

use at::FinalCode;
use modem::mqtt::{MqttError, ResultCode, Scope};
use modem::profile::{CodeTable, LineMeaning};

/// Success.
pub(crate) const OK: i32 = 0;
/// The client index is in use, perhaps by an earlier run of ours.
pub(crate) const CLIENT_USED: i32 = 19;

/// Codes of a failed handshake.
pub(crate) const TLS_FAILED: RangeInclusive<i32> = 32..=34;

/// Advice if the modem's own network is not up.
const NETWORK: &str = "check the APN, the SIM's data plan and the signal";
/// Advice if TLS fails.
const TLS: &str = "check tls.ca against the broker's certificate and its dates, tls.cert and tls.key if the broker needs them, the modem's clock, and that the port speaks TLS";

/// All codes in the manuals. 35 is printed by A76xx only.
const CODES: [ResultCode; 36] = {
    use Scope::{Busy, Message, Service, Session};
    [
        code(0, "operation succeeded", "", Message),
        code(1, "failed", "", Session),
        code(2, "bad UTF-8 string", "the topic must be UTF-8; payloads are not checked", Message),
        code(
            3,
            "socket connect failed",
            "check the broker's address and port, the APN and DNS",
            Session,
        ),
        code(4, "socket create failed", NETWORK, Session),
        code(5, "socket close failed", "", Session),
        code(
            6,
            "message receive failed",
            "the broker closed the session; it may forbid the topic",
            Session,
        ),
        code(7, "network open failed", NETWORK, Service),
        code(8, "network close failed", "", Session),
        code(9, "network not opened", NETWORK, Service),
        code(10, "client index error", "", Session),
        code(11, "no connection", "", Session),
        code(12, "invalid parameter", "a value is out of the modem's range", Message),
        code(13, "operation not supported", "the client may be connected already", Session),
        code(14, "client is busy", "", Busy),
        code(15, "connection failed", "", Session),
        code(16, "socket send failed", NETWORK, Session),
        code(17, "timeout", "the network or the broker gave no answer", Session),
        code(18, "topic is empty", "", Busy),
        code(19, "client is used", "", Session),
        code(20, "client not acquired", "", Session),
        code(21, "client not released", "", Session),
        code(
            22,
            "length out of range",
            "the topic or the payload is too long for this modem",
            Message,
        ),
        code(23, "network is opened", "", Session),
        code(24, "packet failed", "", Session),
        code(25, "DNS error", "check the broker's host name and the APN", Session),
        code(
            26,
            "socket closed by server",
            "the broker closed the connection; it may need TLS, or a client certificate (tls.cert, tls.key)",
            Session,
        ),
        code(27, "refused: protocol version", "the broker does not speak MQTT 3.1.1", Session),
        code(28, "refused: client id rejected", "choose another client id", Session),
        code(29, "refused: server unavailable", "", Session),
        code(30, "refused: bad user name or password", "check user name and password", Session),
        code(
            31,
            "refused: not authorized",
            "check user name and password, since some brokers send this code for them too; else the broker forbids this client",
            Session,
        ),
        code(32, "TLS handshake failed", TLS, Session),
        code(
            33,
            "certificate not set",
            "a certificate of the settings is not in the modem",
            Session,
        ),
        code(34, "TLS session failed to open", TLS, Session),
        code(35, "disconnect failed", "", Session),
    ]
};

/// Some units print -1 for an unknown cause.
const UNEXPLAINED: ResultCode = ResultCode {
    own: true,
    ..plain(
        -1,
        "failed without a reason",
        "if this lasts, restart the MQTT service or the modem",
        Scope::Session,
    )
};

/// Causes of `+CMQTTCONNLOST: <client>,<cause>` (V3.00 p. 366). `kick`: the broker closed the connection.
const LOSSES: [ResultCode; 3] = [
    ResultCode {
        kick: true,
        ..plain(
            1,
            "the broker closed the connection (cause 1)",
            "see the broker's log: another client may have the same client id, or the broker forbids the topic",
            Scope::Session,
        )
    },
    plain(2, "the connection was reset (cause 2)", NETWORK, Scope::Session),
    plain(3, "the network closed (cause 3)", NETWORK, Scope::Session),
];

/// The answers to `AT+CMQTTDISC?` for each client (V3.00 ch. 16).
const STATES: [ResultCode; 2] =
    [plain(0, "connected", "", Scope::Message), plain(1, "not connected", "", Scope::Message)];

const fn plain(number: i32, name: &'static str, advice: &'static str, scope: Scope) -> ResultCode {
    ResultCode { number, name, advice, scope, kick: false, own: false }
}

const fn code(number: i32, name: &'static str, advice: &'static str, scope: Scope) -> ResultCode {
    // A broker's kick shows as 6, 26 or 31 (transcripts of AWS policies).
    let kick = matches!(number, 6 | 26 | 31);
    // The stack's own failures: clients in a state that the stack itself disagrees about, its sockets and
    // packets.
    let own = matches!(number, 1 | 5 | 8 | 10 | 13 | 14 | 18..=21 | 24);
    ResultCode { number, name, advice, scope, kick, own }
}

/// Returns the meaning of a code; `None` for a code that no manual names.
pub(crate) fn named(number: i32) -> Option<ResultCode> {
    CODES.iter().chain([&UNEXPLAINED]).find(|code| code.number == number).copied()
}

/// Returns the meaning of a code in the line of this operation; `None` if no manual names it.
fn named_of(operation: &str, number: i32) -> Option<ResultCode> {
    let code = named(number)?;
    let takes = takes(operation);
    let advice = match number {
        12 if !takes.is_empty() => takes,
        22 if takes.contains("bytes") => takes,
        _ => code.advice,
    };
    Some(ResultCode { advice, ..code })
}

/// Returns the meaning of a code of this operation. Codes that no manual names end the session, which cures
/// most.
pub fn result_code(operation: &str, number: i32) -> ResultCode {
    named_of(operation, number).unwrap_or(code(number, "not in any manual", "", Scope::Session))
}

/// Returns the cause of a lost connection in words, and whether the broker closed it.
pub(crate) fn loss_cause(cause: Option<i32>) -> (&'static str, bool) {
    let known = LOSSES.iter().find(|loss| Some(loss.number) == cause);
    known.map_or(("the connection was lost for a cause that is in no manual", false), |loss| {
        (loss.name, loss.kick)
    })
}

/// Returns the arguments that an operation takes (V3.00 ch. 16; differences are from A76XX's V1.09 or the note
/// of 2018).
fn takes(operation: &str) -> &'static str {
    match operation {
        "CMQTTACCQ" => {
            "it takes a client id of 1 to 128 bytes, on firmware of 2018 of 23 at most (AT+CMQTTACCQ=? says)"
        }
        "CMQTTCONNECT" => {
            "it takes an address of 9 to 256 bytes with its tcp://, a keep-alive of 1 to 64800 s (60 and more on firmware of 2018), and user name and password of 1 to 256 bytes each"
        }
        "CMQTTTOPIC" => "it takes a topic of 1 to 1024 bytes",
        "CMQTTPAYLOAD" => "it takes a payload of 1 to 10240 bytes",
        "CMQTTWILLTOPIC" => "it takes a topic of 1 to 1024 bytes",
        "CMQTTWILLMSG" => "it takes a will of 1 to 1024 bytes: an empty one cannot be set",
        "CMQTTSUB" | "CMQTTSUBTOPIC" | "CMQTTUNSUB" | "CMQTTUNSUBTOPIC" => {
            "it takes a filter of 1 to 1024 bytes and QoS 0 to 2, and all filters of one SUB together 5120 bytes"
        }
        "CMQTTPUB" | "CMQTTDISC" => "it takes a time-out of 60 to 180 s, on an A76xx of 1 to 180 s",
        "CMQTTCFG" => "this firmware may not know the setting, or not this value",
        _ => "",
    }
}

/// Returns the usual cause if the modem refuses this operation without a code.
fn behind(operation: &str) -> &'static str {
    match operation {
        "CMQTTSTART" => {
            "usually the service runs already, or the modem has no network yet; check the APN, the SIM's data plan and the signal"
        }
        "CMQTTSTOP" => "usually the service is not started, or a client is not released yet",
        "CMQTTACCQ" => {
            "usually the service is not started (CMQTTSTART), or the client id is too long for this firmware (23 bytes in 2018)"
        }
        "CMQTTREL" => "usually the client was not acquired, or is connected still",
        "CMQTTCONNECT" => {
            "an A76xx needs a password if a user name is set; else a value is too long or too large, or the client was not acquired"
        }
        "CMQTTTOPIC" => {
            "usually the topic is empty or longer than 1024 bytes, or the client is not acquired"
        }
        "CMQTTPAYLOAD" => {
            "usually the payload is longer than 10240 bytes, or the client is not acquired"
        }
        "CMQTTPUB" => {
            "usually no topic is set, since an empty one is refused, or the client is not connected"
        }
        "CMQTTSUB" | "CMQTTSUBTOPIC" | "CMQTTUNSUB" => {
            "usually the filter is empty or longer than 1024 bytes, or the client is not connected; some A7670 firmware (B05) does not know SUBTOPIC"
        }
        "CMQTTWILLTOPIC" | "CMQTTWILLMSG" => {
            "usually the will is empty or longer than 1024 bytes, or the service is not started"
        }
        "CMQTTDISC" => "usually the client was not connected",
        "CMQTTCFG" | "CMQTTSSLCFG" | "CSSLCFG" => "usually this firmware does not know the setting",
        "CCERTDOWN" => "usually the modem's flash is full, or a file of this name exists",
        _ => "",
    }
}

/// Returns the error for a refusal of this operation without a code.
pub(crate) fn without_code(operation: &'static str, refusal: Option<&FinalCode>) -> MqttError {
    MqttError::without_code(operation, refusal, behind(operation))
}

/// This vendor's lines that hold a code.
pub(crate) const TABLES: &[CodeTable] = &[
    CodeTable {
        lines: &["+CMQTTSTART", "+CMQTTSTOP"],
        whose: "SIMCom's MQTT stack (AT+CMQTT…)",
        at: 0,
        meaning: named_of,
    },
    CodeTable {
        lines: &[
            "+CMQTTACCQ",
            "+CMQTTREL",
            "+CMQTTSSLCFG",
            "+CMQTTWILLTOPIC",
            "+CMQTTWILLMSG",
            "+CMQTTCONNECT",
            "+CMQTTDISC",
            "+CMQTTTOPIC",
            "+CMQTTPAYLOAD",
            "+CMQTTPUB",
            "+CMQTTSUBTOPIC",
            "+CMQTTSUB",
            "+CMQTTUNSUBTOPIC",
            "+CMQTTUNSUB",
            "+CMQTTCFG",
        ],
        whose: "SIMCom's MQTT stack (AT+CMQTT…)",
        at: 1,
        meaning: named_of,
    },
    CodeTable {
        lines: &["+CMQTTDISC"],
        whose: "the answer to SIMCom's AT+CMQTTDISC?",
        at: 1,
        meaning: |_, number| STATES.iter().find(|state| state.number == number).copied(),
    },
    CodeTable {
        lines: &["+CMQTTCONNLOST"],
        whose: "the cause of SIMCom's +CMQTTCONNLOST",
        at: 1,
        meaning: |_, number| LOSSES.iter().find(|loss| loss.number == number).copied(),
    },
];

/// This vendor's lines that have a meaning without a code.
pub(crate) const LINES: &[LineMeaning] = &[
    LineMeaning {
        line: "+CMQTTCONNLOST",
        says: "a client's connection to its broker is lost; its session connects again",
        advice: "",
    },
    LineMeaning {
        line: "+CMQTTNONET",
        says: "the modem's MQTT service lost its network; the agent starts the service again",
        advice: NETWORK,
    },
    LineMeaning {
        line: "+CMQTTPING",
        says: NO_PING,
        advice: "no manual explains its number; check the signal, and lower `keep_alive` in case a firewall drops silent connections",
    },
    LineMeaning {
        line: "+CMQTTRXSTART",
        says: "a received message follows: client, bytes of its topic, bytes of its payload",
        advice: "",
    },
    LineMeaning {
        line: "+CMQTTRXTOPIC",
        says: "a piece of a received topic: client, bytes that follow",
        advice: "",
    },
    LineMeaning {
        line: "+CMQTTRXPAYLOAD",
        says: "a piece of a received payload: client, bytes that follow",
        advice: "",
    },
    LineMeaning { line: "+CMQTTRXEND", says: "a received message is complete", advice: "" },
    LineMeaning {
        line: "+CMQTTRECV",
        says: "a received message in one line, as an A76xx prints it: client, topic, length, payload",
        advice: "",
    },
    LineMeaning {
        line: "+CMQDISCON",
        says: "a SIM7020's connection to its broker is lost",
        advice: "see the broker's log, and check the signal",
    },
];

/// The meaning of `+CMQTTPING` (V3.00 p. 366).
pub(crate) const NO_PING: &str = "the broker did not answer the modem's keep-alive";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_at_its_number_and_has_a_name() {
        for (number, code) in (0..).zip(CODES) {
            assert_eq!(code.number, number);
            assert!(!code.name.is_empty());
        }
        assert_eq!(result_code("CMQTTPUB", 99).scope, Scope::Session);
        assert_eq!(
            result_code("CMQTTCONNECT", 30).to_string(),
            "30 (refused: bad user name or password): check user name and password"
        );
    }

    #[test]
    fn what_is_out_of_range_is_said_by_the_operation() {
        let said = |operation, number| result_code(operation, number).to_string();
        assert!(said("CMQTTCONNECT", 12).contains("keep-alive of 1 to 64800 s"));
        assert!(said("CMQTTPUB", 12).contains("time-out of 60 to 180 s"));
        assert!(said("CMQTTTOPIC", 22).contains("1 to 1024 bytes"));
        assert_eq!(result_code("CMQTTPUB", -1).name, "failed without a reason");
        assert_eq!(result_code("CMQTTPUB", -2).name, "not in any manual");
    }

    #[test]
    fn a_cause_is_no_result_code() {
        assert_eq!(loss_cause(Some(1)), ("the broker closed the connection (cause 1)", true));
        assert!(!loss_cause(Some(2)).1 && !loss_cause(None).1 && !loss_cause(Some(32)).1);
    }

    #[test]
    fn a_refusal_without_a_code_says_what_is_usually_behind_it() {
        for (operation, words) in [
            ("CMQTTCONNECT", "an A76xx needs a password if a user name is set"),
            ("CMQTTACCQ", "the service is not started"),
            ("CMQTTSUB", "the filter is empty"),
            ("CMQTTPUB", "no topic is set"),
        ] {
            let said = without_code(operation, None).to_string();
            let start = format!("the modem refused {operation} (it gave no code): ");
            assert!(said.starts_with(&start) && said.contains(words), "{said}");
        }
        let busy = FinalCode::Cme("14".to_owned());
        let said = without_code("CMQTTSTART", Some(&busy)).to_string();
        assert!(said.contains("(+CME ERROR: 14, SIM busy): wait"), "{said}");
    }
}
