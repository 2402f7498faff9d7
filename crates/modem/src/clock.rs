//! A modem's clock, by which it judges the dates of certificates.

use std::time::{SystemTime, UNIX_EPOCH};

use at::Answer;

use crate::port::{At, Kind};
use crate::reply;
use crate::step::{StepError, run};

/// The difference in seconds beyond which a clock is set: unreported zones and slow clocks stay
/// below it.
const FAR_OFF: u64 = 86_400;

/// 2026-01-01 in seconds since 1970: a clock that shows less was never set.
const PLAUSIBLE: i64 = 1_767_225_600;

/// Sets the modem's clock by the system's if it is far off. The modem checks the dates of a
/// certificate against it. A failure is only logged: a wrong clock shows in the handshake.
pub async fn set_clock(at: &At) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let system = i64::try_from(since.as_secs()).unwrap_or(0);
    let shown = match clock(at).await {
        Ok(shown) => shown.filter(|shown| *shown >= PLAUSIBLE),
        Err(error) => return tracing::warn!("the modem's clock cannot be read: {error}"),
    };
    if system < PLAUSIBLE {
        if shown.is_none() {
            tracing::warn!(
                "neither the modem's clock nor this gateway's is set: certificates will appear not yet valid"
            );
        }
        return;
    }
    if shown.is_some_and(|shown| shown.abs_diff(system) <= FAR_OFF) {
        return;
    }
    let command = format!("AT+CCLK=\"{}\"", reply::clock_setting(system));
    match run(at, Kind::Setup, &command, Answer::None).await {
        Ok(_) => tracing::info!("the modem's clock was wrong and is set from this gateway's"),
        Err(error) => tracing::warn!("the modem's clock is wrong and cannot be set: {error}"),
    }
}

/// Reads the clock, in seconds since 1970; `None` while it is not set.
async fn clock(at: &At) -> Result<Option<i64>, StepError> {
    let lines = run(at, Kind::Setup, "AT+CCLK?", Answer::Prefix("+CCLK:")).await?;
    Ok(reply::clock(&lines)?.unix_seconds)
}
