//! The result codes of `AT+CMQTT…` (SIM7500/7600 manual V3.00 p. 365; SIM82xx manual V1.02 p. 341).

use std::ops::RangeInclusive;

use modem::mqtt::{ResultCode, Scope};

/// Success.
pub(crate) const OK: u16 = 0;
/// The client index is in use, perhaps by an earlier run of ours.
pub(crate) const CLIENT_USED: u16 = 19;

/// What a handshake may fail with.
pub(crate) const TLS_FAILED: RangeInclusive<u16> = 32..=34;

/// What to try when the modem's own network does not come up.
const NETWORK: &str = "check the APN, the SIM's data plan and the signal";
/// What to try when TLS fails.
const TLS: &str = "check tls.ca against the broker's certificate and its dates, tls.cert and tls.key where the broker asks for them, the modem's clock, and that the port speaks TLS";

/// Every code the manuals name. 35 is printed by A76xx only.
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
            "the broker closed the connection; it may want TLS, or a client certificate (tls.cert, tls.key)",
            Session,
        ),
        code(27, "refused: protocol version", "the broker does not speak MQTT 3.1.1", Session),
        code(28, "refused: client id rejected", "choose another client id", Session),
        code(29, "refused: server unavailable", "", Session),
        code(30, "refused: bad user name or password", "check user name and password", Session),
        code(
            31,
            "refused: not authorized",
            "check user name and password, for which some brokers tell this too; else the broker forbids this client",
            Session,
        ),
        code(32, "TLS handshake failed", TLS, Session),
        code(
            33,
            "certificate not set",
            "a certificate that the settings name is not in the modem",
            Session,
        ),
        code(34, "TLS session failed to open", TLS, Session),
        code(35, "disconnect failed", "", Session),
    ]
};

const fn code(number: u16, name: &'static str, advice: &'static str, scope: Scope) -> ResultCode {
    // 6, 26 and 31 are what a broker's kick looks like (transcripts of AWS policies).
    let kick = matches!(number, 6 | 26 | 31);
    // Clients in a state that the stack does not agree on with itself, and its sockets and packets.
    let own = matches!(number, 1 | 5 | 8 | 10 | 13 | 14 | 18..=21 | 24);
    ResultCode { number, name, advice, scope, kick, own }
}

/// What a code means; `None` for one that no manual names.
pub(crate) fn named(number: u16) -> Option<ResultCode> {
    CODES.iter().find(|code| code.number == number).copied()
}

/// What a code means. Codes that no manual names end the session: that is what cures most.
pub fn result_code(number: u16) -> ResultCode {
    named(number).unwrap_or(code(number, "not in any manual", "", Scope::Session))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_with_a_code_is_the_session_but_for_these() {
        let of = |scope: Scope| {
            (0..=u16::from(u8::MAX))
                .filter(|number| result_code(*number).scope == scope)
                .collect::<Vec<_>>()
        };
        assert_eq!(of(Scope::Message), [OK, 2, 12, 22]);
        assert_eq!(of(Scope::Busy), [14, 18]);
        assert_eq!(of(Scope::Service), [7, 9]);
        let kicks: Vec<_> = (0..100).filter(|number| result_code(*number).kick).collect();
        assert_eq!(kicks, [6, 26, 31]);
    }

    /// Two of one number would leave one of the manual's without its name.
    #[test]
    fn the_manuals_numbers_have_names_and_no_others_do() {
        let known: Vec<_> = (0..100).filter(|number| named(*number).is_some()).collect();
        assert_eq!(known, (0..=35).collect::<Vec<_>>());
        assert_eq!(
            result_code(30).to_string(),
            "30 (refused: bad user name or password): check user name and password"
        );
    }
}
