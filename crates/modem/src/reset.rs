//! Resets of a modem that a person asks for: the request, its checks, and its course.
//!
//! A reset by hand is the ladder's modem reset with another cause. It has the same turn among the
//! modems of the gateway and the same vetoes, and counts against the budget of actions.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::chain::Chain;
use crate::climb::held;
use crate::core::Core;
use crate::end::{BOOTED, End};
use crate::holder::Busy;
use crate::port::At;
use crate::profile::Profile;
use crate::shared::Shared;
use crate::snapshot::State;

/// Requests that wait. One is answered within milliseconds, so that a second one is a double click.
const REQUESTS: usize = 1;

/// The longest wait for the answer to a request. The checks walk through /proc.
const ANSWER: Duration = Duration::from_secs(5);

/// The longest time for the sessions to finish their publishes and to sign out.
const PARTING: Duration = Duration::from_secs(10);

const BY_HAND: &str = "a person asked for a reset";

/// The reason why a reset is not done.
#[derive(Debug, thiserror::Error)]
pub enum ResetRefused {
    /// Another program has the radio.
    #[error("the fleet file says `radio: leave`, so another program has this modem's radio")]
    RadioIsOthers,
    /// The modem's flash may be half written.
    #[error("the modem updates its firmware ({line})")]
    Update {
        /// The last line of the modem about it.
        line: String,
    },
    /// Another program has a port of the device open.
    #[error("not while another program has the device: {0}")]
    Held(Busy),
    /// Another modem of the gateway has the turn.
    #[error("a modem of this gateway is being reset already; try again in a minute")]
    Turn,
    /// The modem does not answer, so that it takes no command.
    #[error("the modem is not identified now; recovery brings it back by other means")]
    Absent,
}

type Request = oneshot::Sender<Result<(), ResetRefused>>;

/// The way to ask for a reset of one modem.
#[derive(Debug, Clone)]
pub struct Resets(mpsc::Sender<Request>);

impl Resets {
    /// Creates the way, with the end that the modem's task keeps.
    pub(crate) fn new() -> (Self, Requests) {
        let (sender, requests) = mpsc::channel(REQUESTS);
        (Self(sender), Requests(requests))
    }

    /// Asks for a reset. `Ok` if the modem's sessions sign out now and the reset follows.
    ///
    /// # Errors
    /// [`ResetRefused`]; nothing was done.
    ///
    /// # Cancel safety
    /// A request that was not answered yet is withdrawn.
    pub async fn ask(&self) -> Result<(), ResetRefused> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.0.send(answer).await.map_err(|_| ResetRefused::Absent)?;
            answered.await.unwrap_or(Err(ResetRefused::Absent))
        };
        timeout(ANSWER, asked).await.unwrap_or(Err(ResetRefused::Absent))
    }
}

/// The requests as the modem's task gets them.
pub(crate) struct Requests(mpsc::Receiver<Request>);

/// Waits for a request that may be done, and resets the modem.
pub(crate) async fn reset_on_request(
    core: &Core,
    at: &At,
    profile: &dyn Profile,
    shared: &Shared,
    requests: &mut Requests,
) -> End {
    while let Some(answer) = requests.0.recv().await {
        // A request of the time without a port has nobody behind it any more.
        if answer.is_closed() {
            continue;
        }
        let taken = take(core).await;
        let is_taken = taken.is_ok();
        if answer.send(taken).is_ok() && is_taken {
            return reset(core, at, profile, shared).await;
        }
        if is_taken {
            core.end_turn();
        }
    }
    std::future::pending().await
}

/// Takes the turn for a reset, if nothing forbids it.
async fn take(core: &Core) -> Result<(), ResetRefused> {
    if !core.config.radio_is_ours {
        return Err(ResetRefused::RadioIsOthers);
    }
    if let Some((_, line)) = core.vitals.update() {
        return Err(ResetRefused::Update { line });
    }
    let tty = core.snapshot.borrow().tty.clone().unwrap_or_default();
    if let Some(busy) = held(&tty).await {
        return Err(ResetRefused::Held(busy));
    }
    let turn = core.env.turns.try_take(PARTING + core.config.recovery.boot);
    let turn = turn.ok_or(ResetRefused::Turn)?;
    *core.turn.lock().unwrap_or_else(PoisonError::into_inner) = Some(turn);
    Ok(())
}

/// Signs the sessions out, and resets the modem.
async fn reset(core: &Core, at: &At, profile: &dyn Profile, shared: &Shared) -> End {
    tracing::warn!("{BY_HAND}");
    shared.parting.cancel();
    let mut service = shared.service_up.subscribe();
    // The sender lives as long as `shared`.
    let _ = timeout(PARTING, service.wait_for(|is_up| !is_up)).await;
    core.vitals.interfering();
    core.ladder().reset_by_hand(Instant::now());
    core.stand(State::Recovering, Some(BY_HAND.to_owned()));
    if let Err(error) = profile.reset(at).await {
        if error.is_gone() || error.is_boot() {
            return error.into();
        }
        core.ladder().went_wrong(Instant::now());
        return End::Failed(Chain(&error).to_string());
    }
    core.ladder().done(Instant::now());
    if let Err(stopped) = core.pause(core.config.recovery.boot).await {
        return stopped;
    }
    tracing::warn!("the modem took its reset and did not boot");
    End::Booted(BOOTED)
}
