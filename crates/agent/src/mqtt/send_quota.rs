//! The send quota of a client (MQTT 5.0 §4.9): its messages of QoS 1 that it has not acknowledged.

use std::collections::HashSet;

use super::IN_FLIGHT;
use super::wire::Id;

/// The messages on their way to a client. No two of them have the same number, and there are never more than the client
/// takes.
#[derive(Debug)]
pub(super) struct SendQuota {
    most: usize,
    in_flight: HashSet<Id>,
    last_id: u16,
}

impl SendQuota {
    pub(super) fn new() -> Self {
        Self { most: usize::from(IN_FLIGHT), in_flight: HashSet::new(), last_id: 0 }
    }

    /// The client takes at most so many messages without acknowledging one (Receive Maximum).
    pub(super) fn limit(&mut self, receive_max: u16) {
        self.most = self.most.min(usize::from(receive_max));
    }

    /// Reports whether one more message may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight.len() < self.most
    }

    /// A number that no message in flight has; there are far fewer than numbers.
    pub(super) fn next_id(&mut self) -> Option<Id> {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            match Id::new(self.last_id) {
                Some(id) if !self.in_flight.contains(&id) => return Some(id),
                _ => {}
            }
        }
    }

    /// Notes that a message was sent; one of QoS 0 has no number and takes no room.
    pub(super) fn sent(&mut self, id: Option<Id>) {
        self.in_flight.extend(id);
    }

    /// Notes that a message was acknowledged.
    pub(super) fn acknowledged(&mut self, id: Id) {
        self.in_flight.remove(&id);
    }

    /// The numbers of the messages in flight.
    pub(super) fn in_flight(&self) -> &HashSet<Id> {
        &self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn numbers_in_flight_differ_and_are_never_more_than_the_client_takes(
            receive_max in 1_u16..60,
            last_id in prop_oneof![Just(0), Just(u16::MAX - 3), any::<u16>()],
            steps in prop::collection::vec(prop::option::of(0_usize..40), 0..300),
        ) {
            let mut quota = SendQuota { last_id, ..SendQuota::new() };
            quota.limit(receive_max);
            let most = usize::from(receive_max.min(IN_FLIGHT));
            let mut sent = Vec::new();
            for step in steps {
                match step {
                    Some(at) if at < sent.len() => quota.acknowledged(sent.swap_remove(at)),
                    _ if quota.has_room() => {
                        let id = quota.next_id().unwrap();
                        prop_assert!(!sent.contains(&id));
                        quota.sent(Some(id));
                        sent.push(id);
                    }
                    _ => prop_assert_eq!(sent.len(), most),
                }
                prop_assert!(sent.len() <= most && quota.in_flight().len() == sent.len());
            }
        }
    }
}
