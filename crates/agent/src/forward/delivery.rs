//! One message given to one session, until its end is known.

use std::time::Duration;

use modem::mqtt::{Message, Qos};
use modem::session::{Job, Outcome, Progress, Uplink};
use tokio::sync::{mpsc, watch};

use super::given::Holding;
use super::parcel::Parcel;

/// How long after a session went down the news of the message it was publishing may still come.
const LAST_NEWS: Duration = Duration::from_secs(1);

/// What became of a message given to a session.
pub(super) enum News {
    /// Its end.
    Done(Outcome),
    /// No result in time; the rest of its news will come here.
    Stalled(mpsc::Receiver<Progress>),
}

/// A message on its way, and what became of it.
pub(super) struct Delivery {
    /// The messages.
    pub(super) parcel: Parcel,
    /// Which session of the lane has it.
    pub(super) target: usize,
    /// Notes that the session has it.
    pub(super) given: Holding,
    /// What is new of it.
    pub(super) news: News,
}

/// Gives a message to a session and waits for its end, or for its result to stay out.
pub(super) async fn deliver(
    parcel: Parcel,
    topic: String,
    target: usize,
    uplink: Uplink,
    stall: Duration,
    mut moved: watch::Receiver<bool>,
    given: Holding,
) -> Delivery {
    let (job, mut news) = Job::new(message(&parcel, topic), stall);
    let (mut state, mut stalled) = (uplink.state.clone(), uplink.stalled.clone());
    let handed = async {
        if uplink.jobs.send(job).await.is_err() {
            return Some(Progress::Done(Outcome::NotSent));
        }
        news.recv().await
    };
    // What a session has begun it ends with news of its own; the rest it gives back.
    let down = async {
        if state.wait_for(|state| !state.is_connected()).await.is_ok() {
            tokio::time::sleep(LAST_NEWS).await;
        }
    };
    // Withdrawn where the session is down, or stalls on a message before this one. All arms are cancel
    // safe, and none awaits in its body.
    let told = tokio::select! {
        biased;
        told = handed => told.unwrap_or(Progress::Done(Outcome::Lost { by_broker: false })),
        () = down => Progress::Done(Outcome::NotSent),
        _ = moved.wait_for(|moved| *moved) => Progress::Done(Outcome::NotSent),
        _ = stalled.wait_for(|stalled| *stalled) => Progress::Done(Outcome::NotSent),
    };
    // It may be this very message on which the session stalls.
    let told = news.try_recv().unwrap_or(told);
    let news = match told {
        Progress::Stalled => News::Stalled(news),
        Progress::Done(outcome) => News::Done(outcome),
    };
    Delivery { parcel, target, given, news }
}

/// Waits for the end of a message whose result stayed out.
pub(super) async fn await_end(
    parcel: Parcel,
    target: usize,
    mut rest: mpsc::Receiver<Progress>,
    given: Holding,
) -> Delivery {
    let outcome = loop {
        match rest.recv().await {
            Some(Progress::Done(outcome)) => break outcome,
            Some(Progress::Stalled) => {}
            None => break Outcome::Lost { by_broker: false },
        }
    };
    Delivery { parcel, target, given, news: News::Done(outcome) }
}

fn message(parcel: &Parcel, topic: String) -> Message {
    let lease = &parcel.first;
    Message {
        topic,
        payload: parcel.payload().to_vec(),
        // The queue was given one of the three.
        qos: Qos::from_number(lease.qos).unwrap_or(Qos::AtLeastOnce),
        retain: lease.retain,
    }
}
