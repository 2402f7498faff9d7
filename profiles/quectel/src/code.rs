//! What the results of `AT+QMT…` mean. Each operation has numbers of its own.

use modem::mqtt::{ResultCode, Scope};

/// The client index is open, perhaps by an earlier run of ours.
pub(crate) const OCCUPIED: u16 = 2;

/// The connection could not be made.
pub(crate) const NETWORK_ERROR: u16 = 5;

const NETWORK: &str = "check the APN, the SIM's data plan and the signal";

/// `+QMTOPEN: <client>,<result>`.
const OPEN: &[ResultCode] = &[
    code(1, "wrong parameter", "check the broker's host name and port", Scope::Message),
    ResultCode { own: true, ..code(2, "client index occupied", "", Scope::Session) },
    code(3, "PDP context not activated", NETWORK, Scope::Service),
    code(4, "DNS error", "check the broker's host name and the APN", Scope::Session),
    code(
        NETWORK_ERROR,
        "network error",
        "check the broker's address and port, the APN and DNS; over TLS also tls.ca, tls.cert and tls.key",
        Scope::Session,
    ),
];

/// What `+QMTOPEN: <client>,-1` may be. Units were seen to tell it of certificates that do not fit.
pub(crate) const OPEN_UNEXPLAINED: &str = "over TLS it is mostly the handshake: check tls.ca against the broker's certificate, its host name and its dates, tls.cert and tls.key, and whether the port speaks TLS; else the address, the APN and the signal";

/// `+QMTCONN: <client>,0,<code>`: the CONNACK codes of MQTT 3.1.1 §3.2.2.3.
const CONNACK: &[ResultCode] = &[
    code(1, "refused: protocol version", "the broker does not speak MQTT 3.1.1", Scope::Session),
    code(2, "refused: client id rejected", "choose another client id", Scope::Session),
    code(3, "refused: server unavailable", "", Scope::Session),
    code(4, "refused: bad user name or password", "check user name and password", Scope::Session),
    ResultCode {
        kick: true,
        ..code(
            5,
            "refused: not authorized",
            "check user name and password, for which some brokers tell this too; else the broker forbids this client",
            Scope::Session,
        )
    },
];

/// The other operations: 1 is no end, 2 is.
const PACKET: &[ResultCode] =
    &[code(2, "packet not sent or not answered", NETWORK, Scope::Session)];

/// The broker's refusal of a filter (MQTT 3.1.1 §3.9.3).
const GRANTED: &[ResultCode] =
    &[code(128, "the broker refused the filter", "it may forbid the topic", Scope::Session)];

const fn code(number: u16, name: &'static str, advice: &'static str, scope: Scope) -> ResultCode {
    ResultCode { number, name, advice, scope, kick: false, own: false }
}

fn find(table: &[ResultCode], number: u16) -> ResultCode {
    named(table, number).unwrap_or(code(number, "not in any manual", "", Scope::Session))
}

fn named(table: &[ResultCode], number: u16) -> Option<ResultCode> {
    table.iter().find(|code| code.number == number).copied()
}

/// A result of QMTOPEN, where there is one of this number.
pub(crate) fn named_open(number: u16) -> Option<ResultCode> {
    named(OPEN, number)
}

/// An answer of the broker to CONNECT, where there is one of this number.
pub(crate) fn named_connack(number: u16) -> Option<ResultCode> {
    named(CONNACK, number)
}

/// Why QMTOPEN failed.
pub(crate) fn open_code(number: u16) -> ResultCode {
    find(OPEN, number)
}

/// Why the broker refused to sign the client in.
pub(crate) fn connack_code(number: u16) -> ResultCode {
    find(CONNACK, number)
}

/// Why a packet came to nothing.
pub(crate) fn packet_code(number: u16) -> ResultCode {
    find(PACKET, number)
}

/// Why a subscription was not granted.
pub(crate) fn granted_code(number: u16) -> ResultCode {
    find(GRANTED, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_means_different_things() {
        assert_eq!(open_code(2).name, "client index occupied");
        assert_eq!(connack_code(2).name, "refused: client id rejected");
        assert_eq!(packet_code(2).scope, Scope::Session);
        assert_eq!(open_code(77).name, "not in any manual");
    }
}
