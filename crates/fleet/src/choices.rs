//! Keys with one of a few words as their value: the words and their meanings.

use std::time::Duration;

use modem::serial::FlowControl;

use super::fleet::{ApnProtocol, Fsync, Owner, PdpType, Qos, Roaming, WhenFull};

/// The words of a list.
pub(super) fn words<T>(table: &[(&'static str, T)]) -> Vec<&'static str> {
    table.iter().map(|(word, _)| *word).collect()
}

pub(super) const ROAMING: [(&str, Roaming); 2] =
    [("deny", Roaming::Deny), ("allow", Roaming::Allow)];
pub(super) const APN_PROTOCOLS: [(&str, ApnProtocol); 3] =
    [("pap", ApnProtocol::Pap), ("chap", ApnProtocol::Chap), ("none", ApnProtocol::None)];
pub(super) const PDP_TYPES: [(&str, PdpType); 3] =
    [("ip", PdpType::Ipv4), ("ipv6", PdpType::Ipv6), ("ipv4v6", PdpType::Ipv4v6)];
pub(super) const QOS: [(&str, Qos); 3] =
    [("0", Qos::AtMostOnce), ("1", Qos::AtLeastOnce), ("2", Qos::ExactlyOnce)];
pub(super) const OWNERS: [(&str, Owner); 2] = [("ours", Owner::Ours), ("leave", Owner::Leave)];

pub(super) const FLOW_CONTROL: [(&str, FlowControl); 3] = [
    ("none", FlowControl::None),
    ("hardware", FlowControl::Hardware),
    ("software", FlowControl::Software),
];

pub(super) const WHEN_FULL: [(&str, WhenFull); 3] = [
    ("reject", WhenFull::Reject),
    ("drop_oldest", WhenFull::DropOldest),
    ("drop_newest", WhenFull::DropNewest),
];

/// The interval is a key of its own.
pub(super) const FSYNC: [(&str, Fsync); 3] =
    [("always", Fsync::Always), ("interval", Fsync::Interval(Duration::ZERO)), ("off", Fsync::Off)];

/// A cloud.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Provider {
    Aliyun,
    Aws,
}

pub(super) const PROVIDERS: [(&str, Provider); 2] =
    [("aliyun", Provider::Aliyun), ("aws", Provider::Aws)];
