//! Makes modems from the fleet file.

use std::path::PathBuf;
use std::sync::Arc;

use modem::attach::Apn;
use modem::location::Handover;
use modem::mqtt::{Connection, Inbox, Message};
use modem::observe::All;
use modem::session::Presence;
use modem::{
    Environment, Location, Modem, ModemConfig, Observer, Roster, Session, SessionConfig, session,
};
use secrecy::SecretString;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::activity::{Activities, ActivityRecord};
use crate::budget::Books;
use crate::messages::downlink::Downlink;
use crate::metrics::Metrics;
use crate::modems::ledger::FileLedger;
use crate::modems::session_inbox::SessionInbox;
use crate::now::{ModemView, Security, SessionView};
use discovery::{Wanted, WantedModems};
use fleet::Fleet;
use fleet::secret::SecretError;

/// A modem of the fleet that can be run.
pub struct NewModem {
    /// Its state, for observers.
    pub view: ModemView,
    /// The modem to run.
    pub modem: Modem,
    /// The handles of the running modem.
    pub running: RunningModem,
}

/// The handles of a running modem, to change it and to end it.
#[derive(Clone)]
pub struct RunningModem {
    /// The channel for its ports from discovery; absent for a modem at a fixed tty.
    pub wanted: Option<Wanted>,
    /// Ends it in order.
    pub stop: CancellationToken,
    /// Its sessions: more may join, and each may leave.
    pub roster: Arc<Roster>,
    observer: Arc<dyn Observer>,
}

/// The parts that modems are made with.
#[derive(Clone)]
pub struct ModemFactory {
    /// The environment that all modems of this gateway share.
    pub env: Environment,
    /// The ledger of PINs that were tried.
    pub ledger: FileLedger,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The activity of each modem.
    pub activities: Activities,
    /// The destination of received messages.
    pub downlink: Downlink,
    /// The traffic of each SIM, if a modem has a budget.
    pub books: Option<Arc<Books>>,
}

impl ModemFactory {
    /// Makes a modem; it is not opened yet.
    ///
    /// # Errors
    /// [`SecretError`] if a PIN or an access point's password cannot be read.
    pub fn modem(&self, modem: &fleet::Modem) -> Result<NewModem, SecretError> {
        let name = modem.name.as_str();
        let meter = self.books.as_ref().map(|books| books.meter(name));
        let activity = self.activities.begin(name);
        let recorder: Arc<dyn Observer> = Arc::<ActivityRecord>::clone(&activity);
        let mut observers = vec![self.metrics.modem(name), recorder];
        if let Some(meter) = meter.clone() {
            observers.push(Arc::new(meter));
        }
        let observer: Arc<dyn Observer> = Arc::new(All(observers));
        let (location, wanted) = location(name, &modem.matching);
        let port = location.to_string();
        let config = modem_config(modem, location, meter.is_some())?;
        let (views, sessions) =
            modem.sessions.iter().map(|s| self.session(modem, s, Arc::clone(&observer))).unzip();
        let stop = self.env.stop.child_token();
        let ledger = Arc::new(self.ledger.of_modem(name));
        let env = Environment { stop: stop.clone(), ledger, ..self.env.clone() };
        let (made, snapshot) = Modem::new(config, sessions, env, Arc::clone(&observer));
        let running = RunningModem { wanted, stop, roster: made.roster(), observer };
        let usb_path = modem.matching.usb_path.clone();
        let name = name.to_owned();
        let (access, link, resets) = (made.access(), made.link(), made.resets());
        let sessions = views;
        let view = ModemView {
            name,
            port,
            usb_path,
            snapshot,
            link,
            activity,
            meter,
            access,
            resets,
            sessions,
        };
        Ok(NewModem { view, modem: made, running })
    }

    /// Makes a session for a running modem; it does not join the modem yet.
    pub fn session_of(
        &self,
        running: &RunningModem,
        modem: &fleet::Modem,
        configured: &fleet::Session,
    ) -> (SessionView, Session) {
        self.session(modem, configured, Arc::clone(&running.observer))
    }

    fn session(
        &self,
        modem: &fleet::Modem,
        configured: &fleet::Session,
        observer: Arc<dyn Observer>,
    ) -> (SessionView, Session) {
        self.metrics.session(&configured.id);
        let inbox = Arc::new(SessionInbox::new(configured, self.downlink.clone()));
        let (uplink, session) = session(session_config(modem, configured, inbox), observer);
        let (id, broker) = (configured.id.clone(), configured.broker.to_string());
        (SessionView { id, broker, security: security(configured), uplink }, session)
    }
}

/// Returns the security of a session. A session that accepts any certificate is logged.
fn security(session: &fleet::Session) -> Security {
    match &session.tls {
        None => Security::Plain,
        Some(tls) if tls.is_insecure() => {
            tracing::warn!(
                session = %session.id,
                "`insecure: true`: the broker's certificate is not checked, so anyone on the network path can read and change everything"
            );
            Security::InsecureTls
        }
        Some(_) => Security::Tls,
    }
}

/// Returns the modems that discovery looks for, for a caller that does not use the ports.
pub fn wanted_modems(fleet: &Fleet) -> WantedModems {
    let wanted = fleet.modems.iter().filter_map(|m| location(m.name.as_str(), &m.matching).1);
    WantedModems { modems: wanted.collect(), fixed: fixed(fleet) }
}

/// Returns the fixed ttys, with the modems that use them.
pub fn fixed(fleet: &Fleet) -> Vec<(String, PathBuf)> {
    let at_a_tty = fleet.modems.iter().filter(|modem| modem.matching.usb_path.is_none());
    at_a_tty
        .filter_map(|modem| Some((modem.name.to_string(), modem.matching.port.clone()?)))
        .collect()
}

/// Returns the location of a modem, and the request for discovery if it is not fixed.
fn location(modem: &str, matching: &fleet::Match) -> (Location, Option<Wanted>) {
    let fleet::Match { port, usb_path, imei, iccid, model } = matching;
    if let (Some(port), None) = (port, usb_path) {
        return (Location::Fixed(port.clone()), None);
    }
    let (ports, watched) = watch::channel(None);
    let ports = Arc::new(ports);
    let handover = Handover::default();
    let keys = [("imei", imei), ("iccid", iccid), ("model", model)];
    let keys = keys.iter().filter_map(|(key, value)| Some(format!("{key} {}", value.as_ref()?)));
    let name = match usb_path {
        Some(usb_path) => format!("USB {usb_path}"),
        None => format!("a modem with {}", keys.collect::<Vec<_>>().join(" and ")),
    };
    (
        Location::Usb { name, ports: watched, handover: handover.clone() },
        Some(Wanted { name: modem.to_owned(), matching: matching.clone(), ports, handover }),
    )
}

fn modem_config(
    modem: &fleet::Modem,
    port: Location,
    sim_first: bool,
) -> Result<ModemConfig, SecretError> {
    let fleet::Match { imei, iccid, model, .. } = modem.matching.clone();
    Ok(ModemConfig {
        name: modem.name.to_string(),
        port,
        imei,
        model,
        iccid,
        sim_first,
        apn: modem.apn.as_ref().map(apn).transpose()?,
        pin: modem.pin.as_ref().map(fleet::secret::Ref::read).transpose()?,
        roaming: modem.roaming == fleet::Roaming::Allow,
        radio_is_ours: modem.radio == fleet::Owner::Ours,
        poll: modem.poll,
        stores_messages: modem.sms == fleet::Owner::Ours,
        line: modem.line,
        recovery: modem.recovery.clone(),
    })
}

fn apn(apn: &fleet::Apn) -> Result<Apn, SecretError> {
    let password = apn.password.as_ref().map(fleet::secret::Ref::read).transpose()?;
    Ok(Apn {
        name: apn.name.clone(),
        cid: apn.cid,
        pdp_type: apn.kind,
        auth: apn.auth,
        login: apn
            .user
            .clone()
            .map(|user| (user, password.unwrap_or_else(|| SecretString::from("")))),
    })
}

/// Returns the presence messages of a session, if it carries the telemetry of its modem.
fn presence(modem: &fleet::Modem, session: &fleet::Session) -> Option<Presence> {
    let telemetry = modem.telemetry.as_ref()?;
    let carries = telemetry.session == session.id.session;
    let topic = telemetry.status.as_ref().filter(|_| carries)?;
    let message = |word: &str| Message {
        topic: topic.clone(),
        payload: word.as_bytes().to_vec(),
        qos: telemetry.qos,
        retain: true,
    };
    Some(Presence { online: message("online"), offline: message("offline") })
}

fn session_config(
    modem: &fleet::Modem,
    session: &fleet::Session,
    inbox: Arc<dyn Inbox>,
) -> SessionConfig {
    let configured = session.clone();
    let context = modem.apn.as_ref().map_or(modem::attach::CONTEXT, |apn| apn.cid);
    let connection = move || {
        let login = configured.login().map_err(|error| error.to_string())?;
        let keep_alive = configured.keep_alive.as_secs();
        Ok(Connection {
            host: login.host,
            port: login.port,
            client_id: login.client_id,
            username: login.username,
            password: login.password,
            is_shared: false,
            keep_alive_s: u16::try_from(keep_alive).unwrap_or(u16::MAX),
            clean_session: configured.clean_session,
            will: configured.will.as_ref().map(|will| Message {
                topic: will.topic.clone(),
                payload: will.payload.clone().into_bytes(),
                qos: will.qos,
                retain: will.retain,
            }),
            tls: login.tls,
            context,
            triple: login.triple,
        })
    };
    SessionConfig {
        name: session.id.session.to_string(),
        connection: Arc::new(connection),
        subscriptions: session.subscribe.iter().map(|s| (s.filter.clone(), s.qos)).collect(),
        reconnect_max: session.reconnect_max,
        secured: session.tls.is_some(),
        presence: presence(modem, session),
        inbox,
    }
}
