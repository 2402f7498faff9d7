//! Keep-alive: a client's signs of life (MQTT 3.1.1 §3.1.2.10).

use std::time::Duration;

use tokio::time::Instant;

use super::{DEAF, FOREVER, LAST_READ, LOOK, UNHEARD};

/// The signs of life of a client.
#[derive(Debug)]
pub(super) struct KeepAlive {
    /// The longest silence of the client.
    silence: Duration,
    heard: Instant,
    /// The last look at a client that is not read from, and the bytes that were unread then.
    looked: Instant,
    unread: usize,
    /// The client has closed, or fell silent, while it was not read from. The bytes that it had sent are still read.
    has_gone: bool,
}

/// The finding of a look at a client that is not read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Bytes have come. They count as a sign of life, as if they were read.
    Alive,
    /// It may still be silent.
    Quiet,
    /// It is silent, and may have no way to give a sign: its bytes fill the connection.
    Stuck,
    /// It was silent for too long.
    Silent,
}

impl KeepAlive {
    /// The client may be silent for ever until it has said otherwise.
    pub(super) fn new(now: Instant) -> Self {
        Self { silence: FOREVER, heard: now, looked: now, unread: 0, has_gone: false }
    }

    /// The client promises a packet within these seconds; 0 is no promise.
    pub(super) fn agree(&mut self, seconds: u16) {
        if seconds > 0 {
            self.silence = Duration::from_secs(u64::from(seconds)) * 3 / 2;
        }
    }

    /// Notes a sign of life. `false` if the client has gone: then it is none.
    pub(super) fn heard(&mut self, now: Instant) -> bool {
        if !self.has_gone {
            self.heard = now;
        }
        !self.has_gone
    }

    /// The time from which on a client that is read from is silent for too long.
    pub(super) fn silent_at(&self, now: Instant) -> Instant {
        if self.has_gone { now + LAST_READ } else { self.heard + self.silence }
    }

    /// The time of the next look at a client that is not read from.
    pub(super) fn look_at(&self) -> Instant {
        self.looked + LOOK
    }

    /// Looks at a client that is not read from, of which so many bytes are unread.
    pub(super) fn look(&mut self, unread: usize, now: Instant) -> Finding {
        let was_paused = now - self.looked > 2 * LOOK;
        self.looked = now;
        if unread != self.unread || was_paused {
            (self.unread, self.heard) = (unread, now);
            return Finding::Alive;
        }
        let quiet = now - self.heard;
        match unread < DEAF {
            true if quiet >= self.silence => Finding::Silent,
            false if quiet >= self.silence.min(UNHEARD) => Finding::Stuck,
            _ => Finding::Quiet,
        }
    }

    /// Notes that the client has gone.
    pub(super) fn lose(&mut self) {
        self.has_gone = true;
    }

    /// Reports whether the client has gone.
    pub(super) fn has_gone(&self) -> bool {
        self.has_gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_be_silent_for_half_as_long_again_as_it_promised() {
        let now = Instant::now();
        let mut client = KeepAlive::new(now);
        assert_eq!(client.silent_at(now), now + FOREVER);
        client.agree(0);
        assert_eq!(client.silent_at(now), now + FOREVER);
        client.agree(10);
        let later = now + Duration::from_secs(3);
        assert!(client.heard(later));
        assert_eq!(client.silent_at(later), later + Duration::from_secs(15));
        client.lose();
        assert!(!client.heard(later) && client.has_gone());
        assert_eq!(client.silent_at(later), later + LAST_READ);
    }

    /// Looks at it once a second, with so many bytes unread, and returns the seconds until it is not quiet any more.
    fn seconds_until(client: &mut KeepAlive, unread: usize, from: Instant) -> (u64, Finding) {
        for seconds in 1..=100 {
            match client.look(unread, from + Duration::from_secs(seconds)) {
                Finding::Quiet => {}
                found => return (seconds, found),
            }
        }
        (100, Finding::Quiet)
    }

    #[test]
    fn one_that_is_not_read_from_is_judged_by_what_comes_all_the_same() {
        let now = Instant::now();
        for (promise, unread, expected) in [
            (10, 0, (15, Finding::Silent)),
            (10, 7, (15, Finding::Silent)),
            (10, DEAF, (15, Finding::Stuck)),
            (1_000, DEAF, (60, Finding::Stuck)),
            (0, DEAF, (60, Finding::Stuck)),
            (0, 7, (100, Finding::Quiet)),
        ] {
            let mut client = KeepAlive::new(now);
            client.agree(promise);
            if unread > 0 {
                assert_eq!(client.look(unread, now), Finding::Alive);
            }
            assert_eq!(seconds_until(&mut client, unread, now), expected, "{promise} {unread}");
        }
    }

    #[test]
    fn a_pause_of_the_agent_is_not_the_clients_silence() {
        let now = Instant::now();
        let mut client = KeepAlive::new(now);
        client.agree(1);
        assert_eq!(client.look(0, now + Duration::from_secs(60)), Finding::Alive);
        assert_eq!(client.look(0, now + Duration::from_secs(61)), Finding::Quiet);
        assert_eq!(client.look(0, now + Duration::from_secs(62)), Finding::Silent);
    }
}
