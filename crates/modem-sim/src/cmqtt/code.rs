//! Result codes (SIM7600 manual p.365, the same in the SIM82XX manual p.341).

use crate::broker::Failure;

pub(super) const OK: u8 = 0;
pub(super) const FAILED: u8 = 1;
pub(super) const BAD_UTF8: u8 = 2;
pub(super) const SOCKET_CONNECT: u8 = 3;
pub(super) const RECEIVE: u8 = 6;
pub(super) const NETWORK_OPEN: u8 = 7;
pub(super) const NOT_OPENED: u8 = 9;
pub(super) const INDEX: u8 = 10;
pub(super) const NO_CONNECTION: u8 = 11;
pub(super) const PARAMETER: u8 = 12;
pub(super) const NOT_SUPPORTED: u8 = 13;
pub(super) const BUSY: u8 = 14;
pub(super) const SOCKET_SEND: u8 = 16;
pub(super) const TIMEOUT: u8 = 17;
pub(super) const NO_TOPIC: u8 = 18;
pub(super) const USED: u8 = 19;
pub(super) const NOT_ACQUIRED: u8 = 20;
pub(super) const NOT_RELEASED: u8 = 21;
pub(super) const LENGTH: u8 = 22;
pub(super) const OPENED: u8 = 23;
pub(super) const PACKET: u8 = 24;
pub(super) const DNS: u8 = 25;
pub(super) const CLOSED_BY_SERVER: u8 = 26;
pub(super) const REFUSED_VERSION: u8 = 27;
pub(super) const REFUSED_ID: u8 = 28;
pub(super) const REFUSED_UNAVAILABLE: u8 = 29;
pub(super) const REFUSED_LOGIN: u8 = 30;
pub(super) const REFUSED_NOT_AUTHORIZED: u8 = 31;
pub(super) const HANDSHAKE: u8 = 32;
pub(super) const NO_CERTIFICATE: u8 = 33;
pub(super) const SSL_SESSION: u8 = 34;

/// Returns the code of a connection's failure.
pub(super) fn of(failure: Failure) -> u8 {
    match failure {
        Failure::NameLookup => DNS,
        Failure::Unreachable => SOCKET_CONNECT,
        Failure::Handshake => HANDSHAKE,
        Failure::NoCertificate => NO_CERTIFICATE,
        Failure::BadCertificate => SSL_SESSION,
        Failure::Packet => PACKET,
        Failure::Send => SOCKET_SEND,
        Failure::Timeout => TIMEOUT,
        Failure::Closed => CLOSED_BY_SERVER,
        Failure::RefusedVersion => REFUSED_VERSION,
        Failure::RefusedId => REFUSED_ID,
        Failure::RefusedUnavailable => REFUSED_UNAVAILABLE,
        Failure::RefusedLogin => REFUSED_LOGIN,
        Failure::RefusedNotAuthorized => REFUSED_NOT_AUTHORIZED,
        Failure::NotGranted => FAILED,
    }
}
