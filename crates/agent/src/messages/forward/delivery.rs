//! One message given to one session, until its end is known.

use std::future::Future;
use std::time::Duration;

use modem::session::{Job, Outcome, Progress, Uplink};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};

use super::ledger::FlightId;
use super::target::Target;

/// After a session went down, the news of the message that it was publishing may come for so long.
const LAST_NEWS: Duration = Duration::from_secs(1);

/// The news of a publish that was given to a session.
pub(super) enum News {
    /// Its end.
    Done(Outcome),
    /// No result in time; the rest of its news will come here.
    Stalled(mpsc::Receiver<Progress>),
}

/// News of a flight.
pub(super) struct Delivery {
    pub(super) flight: FlightId,
    pub(super) news: News,
}

/// Gives a publish to a session, and waits for its end, or for its result to stay out.
pub(super) fn give(
    flight: FlightId,
    job: Job,
    news: mpsc::Receiver<Progress>,
    target: &Target,
) -> impl Future<Output = Delivery> + Send + use<> {
    // At once: futures that wait for their turn may be woken in another order.
    let job = match target.uplink.jobs.try_send(job) {
        Err(TrySendError::Full(job)) => Some(job),
        // The news of a job that is not taken end.
        Ok(()) | Err(TrySendError::Closed(_)) => None,
    };
    deliver(flight, job, news, target.uplink.clone(), target.is_late.subscribe())
}

/// `job`: it is still to be given. `is_late`: another message's result is late there, and this one should go elsewhere.
async fn deliver(
    flight: FlightId,
    job: Option<Job>,
    mut news: mpsc::Receiver<Progress>,
    uplink: Uplink,
    mut is_late: watch::Receiver<bool>,
) -> Delivery {
    let (mut state, mut stalled) = (uplink.state.clone(), uplink.stalled.clone());
    let given = async {
        if let Some(job) = job
            && uplink.jobs.send(job).await.is_err()
        {
            return Some(Progress::Done(Outcome::NotSent));
        }
        news.recv().await
    };
    // A session that has begun a publish ends it with news of its own; it gives the rest back.
    let down = async {
        if state.wait_for(|state| !state.is_connected()).await.is_ok() {
            tokio::time::sleep(LAST_NEWS).await;
        }
    };
    // Withdrawn if the session is down, or stalls on a message before this one. All arms are cancel
    // safe, and none awaits in its body.
    let told = tokio::select! {
        biased;
        told = given => told.unwrap_or(Progress::Done(Outcome::Lost { by_broker: false })),
        () = down => Progress::Done(Outcome::NotSent),
        _ = is_late.wait_for(|is_late| *is_late) => Progress::Done(Outcome::NotSent),
        _ = stalled.wait_for(|stalled| *stalled) => Progress::Done(Outcome::NotSent),
    };
    // It may be this very message on which the session stalls.
    let told = news.try_recv().unwrap_or(told);
    let news = match told {
        Progress::Stalled => News::Stalled(news),
        Progress::Done(outcome) => News::Done(outcome),
    };
    Delivery { flight, news }
}

/// Waits for the end of a message whose result stayed out.
pub(super) async fn await_end(flight: FlightId, mut rest: mpsc::Receiver<Progress>) -> Delivery {
    let outcome = loop {
        match rest.recv().await {
            Some(Progress::Done(outcome)) => break outcome,
            Some(Progress::Stalled) => {}
            None => break Outcome::Lost { by_broker: false },
        }
    };
    Delivery { flight, news: News::Done(outcome) }
}
