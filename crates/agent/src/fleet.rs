//! The modems of a fleet file: made, run, and run again after a panic.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use modem::attach::Apn;
use modem::backoff::Backoff;
use modem::mqtt::{Connection, Message, Qos};
use modem::{Environment, Modem, ModemConfig, SessionConfig, session};
use secrecy::SecretString;
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::config::{self, Fleet};
use crate::metrics::Metrics;
use crate::secret::SecretError;
use crate::view::{ModemView, SessionView};

/// Waits after a panic of a modem's task.
const AFTER_PANIC: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// After so many panics a modem is left alone: a loop would hide a bug.
const MAX_PANICS: u32 = 5;

/// Makes all modems of a fleet; none is opened yet.
///
/// # Errors
/// [`SecretError`] where a PIN or an access point's password cannot be read.
pub fn modems(
    fleet: &Fleet,
    env: &Environment,
    metrics: &Arc<Metrics>,
) -> Result<Vec<(ModemView, Modem)>, SecretError> {
    fleet.modems.iter().map(|modem| one(modem, env, metrics)).collect()
}

fn one(
    modem: &config::Modem,
    env: &Environment,
    metrics: &Arc<Metrics>,
) -> Result<(ModemView, Modem), SecretError> {
    let names: Vec<&str> =
        modem.sessions.iter().map(|session| session.id.session.as_str()).collect();
    let observer = metrics.modem(modem.name.as_str(), &names);
    let (views, sessions) = modem
        .sessions
        .iter()
        .map(|configured| {
            let (uplink, session) = session(session_config(configured), Arc::clone(&observer));
            let broker = configured.broker.to_string();
            (SessionView { id: configured.id.clone(), broker, uplink }, session)
        })
        .unzip();
    let (made, snapshot) = Modem::new(modem_config(modem)?, sessions, env.clone(), observer);
    let port = modem.matching.port.display().to_string();
    Ok((ModemView { name: modem.name.to_string(), port, snapshot, sessions: views }, made))
}

fn modem_config(modem: &config::Modem) -> Result<ModemConfig, SecretError> {
    let config::Match { port, imei, iccid, model } = modem.matching.clone();
    Ok(ModemConfig {
        name: modem.name.to_string(),
        port,
        imei,
        model,
        iccid,
        apn: modem.apn.as_ref().map(apn).transpose()?,
        pin: modem.pin.as_ref().map(crate::secret::Ref::read).transpose()?,
        roaming: modem.roaming == config::Roaming::Allow,
        poll: modem.poll,
    })
}

fn apn(apn: &config::Apn) -> Result<Apn, SecretError> {
    let password = apn.password.as_ref().map(crate::secret::Ref::read).transpose()?;
    Ok(Apn {
        name: apn.name.clone(),
        pdp_type: match apn.kind {
            config::PdpType::Ip => modem::reply::PdpType::Ipv4,
            config::PdpType::Ipv6 => modem::reply::PdpType::Ipv6,
            config::PdpType::Ipv4v6 => modem::reply::PdpType::Ipv4v6,
        },
        login: apn
            .user
            .clone()
            .map(|user| (user, password.unwrap_or_else(|| SecretString::from("")))),
    })
}

fn session_config(session: &config::Session) -> SessionConfig {
    let configured = session.clone();
    let connection = move || {
        let login = configured.login().map_err(|error| error.to_string())?;
        let keep_alive = configured.keep_alive.as_secs();
        Ok(Connection {
            host: login.host,
            port: login.port,
            client_id: login.client_id,
            username: login.username,
            password: login.password,
            keep_alive_s: u16::try_from(keep_alive).unwrap_or(u16::MAX),
            clean_session: configured.clean_session,
            will: configured.will.as_ref().map(|will| Message {
                topic: will.topic.clone(),
                payload: will.payload.clone().into_bytes(),
                qos: qos(will.qos),
                retain: will.retain,
            }),
        })
    };
    SessionConfig {
        name: session.id.session.to_string(),
        connection: Arc::new(connection),
        subscriptions: session.subscribe.iter().map(|s| (s.filter.clone(), qos(s.qos))).collect(),
    }
}

fn qos(qos: config::Qos) -> Qos {
    match qos {
        config::Qos::AtMostOnce => Qos::AtMostOnce,
        config::Qos::AtLeastOnce => Qos::AtLeastOnce,
        config::Qos::ExactlyOnce => Qos::ExactlyOnce,
    }
}

/// Runs each modem as a task of its own, in `tasks`.
pub fn spawn(modems: Vec<(String, Modem)>, metrics: &Arc<Metrics>, tasks: &mut JoinSet<()>) {
    for (name, modem) in modems {
        let metrics = Arc::clone(metrics);
        let span = tracing::info_span!("modem", name);
        tasks.spawn(keep_running(name, modem, metrics).instrument(span));
    }
}

/// Runs a modem. A panic ends its stay on the port and nothing else: it is counted, and the modem
/// begins again after a while.
async fn keep_running(name: String, mut modem: Modem, metrics: Arc<Metrics>) {
    let mut backoff = Backoff::new(AFTER_PANIC.0, AFTER_PANIC.1);
    for _ in 0..MAX_PANICS {
        // The modem's state is brought back to "absent" below, whatever the panic left of it.
        if AssertUnwindSafe(modem.run()).catch_unwind().await.is_ok() {
            return;
        }
        metrics.panicked(&name);
        tracing::error!("the modem's task panicked; it begins again");
        modem.panicked("its task panicked; it begins again");
        tokio::time::sleep(backoff.next_wait()).await;
    }
    tracing::error!("the modem's task panicked {MAX_PANICS} times and is left alone");
    modem.give_up("its task panicked too often; restart the agent, and report this");
}
