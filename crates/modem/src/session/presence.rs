//! What a session says of itself at its start and before an orderly end. The end that is not orderly is
//! the will's part.

use std::time::Duration;

use super::{Broken, Ground, Job, Outcome, Progress, STALL, Session, publish_patiently};
use crate::mqtt::Message;
use crate::observe::PublishResult;

/// How long the last word may take before DISC.
const FAREWELL: Duration = Duration::from_secs(3);

/// After so many sessions that the broker closed under their first word it is left out: the broker may
/// forbid its topic, which is no reason to carry nothing else.
const KICKS: u32 = 3;

/// First and last word of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Published after each CONNECT, before anything else.
    pub online: Message,
    /// Published before DISC, since the broker then publishes no will.
    pub offline: Message,
}

impl Session {
    /// Says the first word.
    pub(super) async fn greet(&mut self, ground: &mut Ground<'_>) -> Result<(), Broken> {
        let Some(presence) = self.config.presence.clone() else { return Ok(()) };
        if self.kicked_greetings >= KICKS {
            return Ok(());
        }
        let topic = presence.online.topic.clone();
        let (job, mut news) = Job::new(presence.online, STALL);
        let said = self.publish(ground, job).await;
        let mut kicked = false;
        while let Ok(progress) = news.try_recv() {
            kicked = matches!(progress, Progress::Done(Outcome::Lost { by_broker: true }));
        }
        self.kicked_greetings = if kicked { self.kicked_greetings + 1 } else { 0 };
        if self.kicked_greetings >= KICKS {
            tracing::error!(
                session = self.name(),
                topic,
                "its broker closes the session each time it says that it is online; not said any more"
            );
        }
        said
    }

    /// Says the last word, if there is time.
    pub(super) async fn part(&mut self, ground: &Ground<'_>) {
        let Some(presence) = self.config.presence.clone() else { return };
        let message = presence.offline;
        self.observer.sending(self.name(), &message);
        let started = tokio::time::Instant::now();
        let said = tokio::time::timeout(FAREWELL, publish_patiently(ground, &message));
        let result = match self.while_down(said).await {
            Ok(Ok(())) => PublishResult::Ok,
            Ok(Err(error)) if !error.is_timeout() => PublishResult::Error,
            Ok(Err(_)) | Err(_) => PublishResult::Timeout,
        };
        self.observer.publish(self.name(), message.qos.number(), result, started.elapsed());
    }
}
