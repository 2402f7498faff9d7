//! Passes received messages from a session of a modem to the local consumers.

use fleet::{SessionId, topic_matches};
use modem::mqtt::{Inbox, Received};

use crate::messages::downlink::{Downlink, Message};

/// The inbox of one session, which hands its messages to the downlink.
pub struct SessionInbox {
    session: SessionId,
    subscriptions: Vec<fleet::Subscription>,
    downlink: Downlink,
}

impl SessionInbox {
    /// Makes the inbox of a configured session.
    pub fn new(configured: &fleet::Session, downlink: Downlink) -> Self {
        let (session, subscriptions) = (configured.id.clone(), configured.subscribe.clone());
        Self { session, subscriptions, downlink }
    }
}

impl Inbox for SessionInbox {
    fn take(&self, received: Received) {
        let matching =
            self.subscriptions.iter().filter(|it| topic_matches(&it.filter, &received.topic));
        // A broker may send messages for subscriptions of an earlier run: they get QoS 0.
        let qos = matching.map(|it| it.qos.number()).max().unwrap_or(0);
        self.downlink.deliver(Message {
            session: self.session.clone(),
            topic: received.topic,
            qos,
            payload: received.payload.into(),
        });
    }
}

#[cfg(test)]
mod tests {
    use fleet::{Name, Subscription};
    use modem::mqtt::Qos;

    use super::*;
    use crate::metrics::Metrics;

    #[tokio::test]
    async fn a_message_carries_its_session_and_the_best_qos_that_the_session_asked_for() {
        let downlink = Downlink::new(Metrics::new().unwrap(), None);
        let mut stream = downlink.reader().unwrap();
        stream.want_everything();
        let name = |text| Name::new(text).unwrap();
        let session = SessionId { modem: name("north"), session: name("cloud") };
        let subscribed = |filter: &str, qos| Subscription { filter: filter.to_owned(), qos };
        let subscriptions =
            vec![subscribed("down/#", Qos::AtLeastOnce), subscribed("down/+", Qos::ExactlyOnce)];
        let inbox = SessionInbox { session: session.clone(), subscriptions, downlink };
        for (topic, qos) in [("down/a/b", 1), ("down/a", 2), ("of/an/earlier/run", 0)] {
            inbox.take(Received { topic: topic.to_owned(), payload: b"x".to_vec() });
            let (message, granted) = stream.next().await;
            assert_eq!((message.topic.as_str(), granted), (topic, qos));
            assert_eq!((&message.session, &*message.payload), (&session, b"x".as_slice()));
        }
    }
}
