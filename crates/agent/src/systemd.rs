//! What the agent tells systemd, and what it is handed by it (sd_notify(3), sd_listen_fds(3)).
//!
//! Without a service manager all of this does nothing.

use std::io;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use queue::Queue;
use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::health;

/// Says that the agent serves.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Says that the agent takes in its fleet file anew (sd_notify(3), `RELOADING=1`).
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("could not read the clock for the service manager: {error}"),
    }
}

/// Says that the reload is over, and what came of it.
pub fn reloaded(words: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(words)]);
}

/// Says that the agent ends, in order.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("could not tell the service manager: {error}");
    }
}

/// Feeds the watchdog as long as the loops make progress, by the same fact as `/livez`. If they do not,
/// the service manager starts the agent again after `WatchdogSec`, and the log has the reason. A full disk is no such
/// reason: see [`health`].
///
/// # Cancel safety
/// Dropping the future ends the feeding.
pub async fn feed_watchdog(queue: &Queue, stop: &CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        // Nobody watches.
        return stop.cancelled().await;
    };
    // Half of the limit is what sd_watchdog_enabled(3) advises; a check may take its part of it too.
    let mut turn = tokio::time::interval((limit / 4).max(Duration::from_millis(100)));
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Both arms are cancel safe, and none awaits in its body.
    while tokio::select! { _ = turn.tick() => true, () = stop.cancelled() => false } {
        match health::check(queue).await {
            Ok(()) => tell(&[NotifyState::Watchdog]),
            Err(error) => tracing::error!("the watchdog is not fed: {error}"),
        }
    }
}

/// The API's unix socket, where the service manager opened it (`modemfleet.socket`).
///
/// # Errors
/// Where what was handed over is no listening unix socket.
pub fn handed_over() -> io::Result<Option<UnixListener>> {
    let mut handed = listenfd::ListenFd::from_env();
    if handed.len() == 0 {
        return Ok(None);
    }
    let listener = handed.take_unix_listener(0)?;
    listener.as_ref().map(|listener| listener.set_nonblocking(true)).transpose()?;
    Ok(listener)
}
