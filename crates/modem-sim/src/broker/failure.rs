//! Causes of a failed connection or operation.

/// The cause of a failure, which each dialect translates into its own result numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The name of the broker was not found.
    NameLookup,
    /// No TCP connection.
    Unreachable,
    /// The TLS handshake failed.
    Handshake,
    /// A file that the TLS settings name is missing.
    NoCertificate,
    /// A file that the TLS settings name cannot be used.
    BadCertificate,
    /// A packet that cannot be written, or bytes that are not a packet.
    Packet,
    /// Bytes that cannot be sent.
    Send,
    /// No answer in time.
    Timeout,
    /// The broker closed before it answered CONNECT.
    Closed,
    /// CONNACK 1: the version of MQTT.
    RefusedVersion,
    /// CONNACK 2: the client id.
    RefusedId,
    /// CONNACK 3: the broker is unavailable.
    RefusedUnavailable,
    /// CONNACK 4: user name or password.
    RefusedLogin,
    /// CONNACK 5: not authorized.
    RefusedNotAuthorized,
    /// SUBACK 0x80.
    NotGranted,
}
