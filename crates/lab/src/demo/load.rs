//! The demo's applications: three sensors, and samples of other kinds of messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::news::News;
use super::tally::Print;
use api::client::{Call, Client, Target, TargetError};

/// The interval of each sensor.
const TELEMETRY: Duration = Duration::from_millis(200);

/// The interval of samples.
const SAMPLE: Duration = Duration::from_millis(1_700);

/// The largest payload that a modem takes, in bytes.
const LARGEST: usize = 10_240;

/// The number of sensors: one for each modem that is the first choice of a route.
const SENSORS: u64 = 3;

/// The publisher of the messages.
#[derive(Clone)]
pub(super) struct Source {
    agent: Target,
    news: mpsc::Sender<News>,
    stop: CancellationToken,
    numbers: Arc<AtomicU64>,
}

impl Source {
    /// Publishes through this agent until `stop`.
    pub(super) fn new(agent: Target, news: mpsc::Sender<News>, stop: CancellationToken) -> Self {
        Self { agent, news, stop, numbers: Arc::default() }
    }

    /// Starts the applications, each with its own connection. After `stop` each ends once its
    /// current message is answered.
    ///
    /// # Errors
    /// [`TargetError`] if such an agent cannot exist.
    pub(super) fn start(&self, tasks: &mut JoinSet<()>) -> Result<(), TargetError> {
        for sensor in 0..SENSORS {
            let (source, client) = (self.clone(), self.agent.client()?);
            tasks.spawn(source.every(TELEMETRY, client, move |number| telemetry(sensor, number)));
        }
        tasks.spawn(self.clone().every(SAMPLE, self.agent.client()?, sample));
        Ok(())
    }

    async fn every(self, period: Duration, mut client: Client, make: impl Fn(u64) -> Message) {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            self.hand_in(number, &mut client, make(number)).await;
        }
    }

    async fn hand_in(&self, number: u64, client: &mut Client, message: Message) {
        let Message { topic, qos, retain, payload } = message;
        let path = format!("/api/v1/publish?topic={topic}&qos={qos}&retain={retain}");
        let print = Print::of(&topic, &payload);
        let call =
            Call { method: Method::POST, path: &path, key: None, body: Bytes::from(payload) };
        let news = match client.json(&call).await {
            Ok(_) => News::Accepted { number, print, at: Instant::now() },
            Err(error) => News::Refused(format!("{topic}: {}", modem::session::Chain(&error))),
        };
        // It fails only if the receiver is gone, when the demo ends.
        drop(self.news.send(news).await);
    }
}

/// A message to publish.
#[derive(Debug)]
struct Message {
    topic: String,
    qos: u8,
    retain: bool,
    payload: Vec<u8>,
}

/// Returns a payload that begins with its number, for [`number`].
fn numbered(number: u64, rest: &str) -> String {
    format!("{{\"n\":{number}{rest}}}")
}

/// Returns the number in a payload that [`numbered`] made.
pub(super) fn number(payload: &[u8]) -> Option<u64> {
    let digits = payload.strip_prefix(b"{\"n\":")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

fn telemetry(sensor: u64, number: u64) -> Message {
    let celsius = 20 + (number + sensor * 7) % 10;
    Message {
        topic: format!("demo/sensor{sensor}/temperature"),
        qos: 1,
        retain: false,
        payload: numbered(number, &format!(",\"celsius\":{celsius}")).into_bytes(),
    }
}

/// Returns a retained message, one of QoS 2, or the largest payload with every byte value in it.
fn sample(number: u64) -> Message {
    let text = |what: &str| numbered(number, &format!(",\"sample\":\"{what}\"")).into_bytes();
    let (topic, qos, retain, payload) = match fastrand::u8(..3) {
        0 => ("retained", 1, true, text("retained")),
        1 => ("exactly-once", 2, false, text("exactly once")),
        _ => {
            let mut payload = numbered(number, "").into_bytes();
            let bytes = (0..=u8::MAX).cycle().take(LARGEST.saturating_sub(payload.len()));
            payload.extend(bytes);
            ("binary", 1, false, payload)
        }
    };
    Message { topic: format!("demo/samples/{topic}"), qos, retain, payload }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_payload_says_its_number_and_fits() {
        for n in [0, 7, 1_234_567] {
            for message in (0..20).map(|_| sample(n)).chain([telemetry(2, n)]) {
                assert_eq!(number(&message.payload), Some(n), "{message:?}");
                assert!(message.payload.len() <= LARGEST);
            }
        }
        for bad in [&b""[..], b"{\"n\":", b"{\"n\":}", b"{\"n\":1", b"x{\"n\":1}"] {
            assert_eq!(number(bad), None, "{bad:?}");
        }
    }
}
