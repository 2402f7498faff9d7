//! The survey of a whole fleet: by the running agent, or by a process of its own if none runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use modem::exam::Link;
use modem::holder::Busy;
use modem::location::Place;
use modem::sim::PinLedger;
use modem::{Catalog, RecoveryCause, SessionState, Snapshot, State};
use queue::Failing;
use secrecy::ExposeSecret;

use super::modem::GivenPin;
use super::port::Port;
use super::rights::Rights;
use super::service::User;
use super::session::{Certificates, Reach, Secret};
use super::{Finding, host, modem as judged, session, usb};
use crate::budget::{Meter, Standing};
use crate::modems::devices::{DeviceReport, Devices};
use crate::modems::ledger::FileLedger;
use crate::now::{ModemView, View};
use fleet::pem;
use fleet::secret::Ref;
use fleet::{Access, Fleet, Session, SessionId};

/// The longest wait for a broker's connection from here, and for its name.
const REACH: Duration = Duration::from_secs(3);

/// Surveys all modems or one, with the knowledge of the running agent.
///
/// # Cancel safety
/// Questions that were not asked yet are withdrawn.
pub async fn by_agent(view: &View, devices: &Devices, only: Option<&str>) -> Vec<Finding> {
    // Asking takes seconds, and a reload must not wait for that: the needed values are copied
    // first.
    let (fleet, running) = {
        let now = view.now();
        (now.fleet.clone(), now.modems.iter().map(Running::of).collect::<Vec<_>>())
    };
    let (user, mut findings) = ground(&fleet, Some(view.queue.stat().failing)).await;
    let devices = &devices.report().await;
    if only.is_none() {
        findings.extend(usb::findings(devices));
        let imei = |it: &Running| it.snapshot.identified.as_ref().map(|is| is.imei.clone());
        let told: Vec<(&str, String)> =
            running.iter().filter_map(|it| Some((it.name.as_str(), imei(it)?))).collect();
        let told: Vec<(&str, &str)> = told.iter().map(|(name, imei)| (*name, &**imei)).collect();
        findings.extend(usb::twins(&told));
    }
    let (fleet, user) = (&fleet, &user);
    let with = |modem: &fleet::Modem| {
        running.iter().find(|running| running.name == modem.name.as_str()).cloned()
    };
    let modems = meant(fleet, only).filter_map(|modem| Some((modem, with(modem)?)));
    let modems = modems.map(|(modem, running)| of_running(fleet, modem, running, devices, user));
    findings.extend(join_all(modems).await.into_iter().flatten());
    findings
}

/// The agent's knowledge of a running modem.
#[derive(Clone)]
struct Running {
    name: String,
    place: String,
    snapshot: Snapshot,
    link: Option<Link>,
    busy: Option<Busy>,
    states: BTreeMap<SessionId, SessionState>,
    budget: Option<Standing>,
}

impl Running {
    fn of(view: &ModemView) -> Self {
        let states = view.sessions.iter().map(|session| (session.id.clone(), session.state()));
        Self {
            name: view.name.clone(),
            place: view.port.clone(),
            snapshot: view.snapshot.borrow().clone(),
            link: view.link.borrow().clone(),
            busy: view.activity.read().busy,
            states: states.collect(),
            budget: view.meter.as_ref().and_then(Meter::standing),
        }
    }
}

/// Surveys without an agent: this process opens the ports and asks. `devices` are the USB devices
/// that discovery found. Discovery must be over, since it opens ports too.
///
/// # Cancel safety
/// Open ports are closed a moment later.
pub async fn by_itself(
    fleet: &Fleet,
    catalog: &Catalog,
    devices: &[DeviceReport],
    only: Option<&str>,
) -> Vec<Finding> {
    let (user, mut findings) = ground(fleet, None).await;
    if only.is_none() {
        findings.extend(usb::findings(devices));
    }
    let modems = meant(fleet, only).map(|modem| of_asked(fleet, modem, catalog, devices, &user));
    findings.extend(join_all(modems).await.into_iter().flatten());
    findings
}

fn meant<'a>(
    fleet: &'a Fleet,
    only: Option<&'a str>,
) -> impl Iterator<Item = &'a fleet::Modem> + 'a {
    fleet.modems.iter().filter(move |modem| only.is_none_or(|name| modem.name.as_str() == name))
}

/// Runs blocking work on a thread of its own; `None` if it panics.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// Collects the facts around the agent. `failing` is the running agent's report of its queue's
/// commits.
async fn ground(fleet: &Fleet, failing: Option<Option<Failing>>) -> (User, Vec<Finding>) {
    let is_agents = failing.is_some();
    let fleet = fleet.clone();
    let seen = aside(move || {
        let watchdog = if is_agents { host::watched() } else { host::unit() };
        let disk = host::disk(&fleet.queue, failing);
        (host::user(), disk, host::rights(&fleet), host::recovery(&fleet), watchdog)
    });
    let Some((user, disk, rights, recovery, watchdog)) = seen.await else {
        let nobody = User { uid: u32::MAX, name: None, groups: Vec::new() };
        return (nobody, Vec::new());
    };
    let mut findings = vec![user.finding(is_agents), disk.finding()];
    findings.extend(rights.iter().filter_map(Rights::finding));
    findings.extend(recovery.finding());
    findings.push(watchdog.finding());
    (user, findings)
}

async fn of_running(
    fleet: &Fleet,
    modem: &fleet::Modem,
    running: Running,
    devices: &[DeviceReport],
    user: &User,
) -> Vec<Finding> {
    let Running { place, snapshot, link, busy, states, budget, .. } = running;
    let reason =
        || snapshot.reason.clone().unwrap_or_else(|| "nothing is known about it".to_owned());
    let exam = match link {
        Some(link) => Ok(link.exam().await),
        None => Err(reason()),
    };
    let tty = snapshot.tty.clone().or_else(|| fixed(modem)).or_else(|| at_port(devices, modem));
    let mut port = seen_port(place, tty, modem).await;
    port.busy = port.busy.or(busy);
    let state = Some((snapshot.state, snapshot.reason.clone()));
    let flaps = snapshot.causes.contains(&RecoveryCause::Flapping);
    let flapping = flaps.then(|| usb::flapping("port", "it", snapshot.returns));
    let told = AgentKnowledge { state, states, budget };
    let mut findings = judge(fleet, modem, port, exam, told, user).await;
    findings.extend(flapping.map(|finding| finding.of(modem.name.as_str())));
    findings
}

/// Returns the tty of a modem that is not looked for on USB.
fn fixed(modem: &fleet::Modem) -> Option<PathBuf> {
    modem.matching.port.clone().filter(|_| modem.matching.usb_path.is_none())
}

async fn of_asked(
    fleet: &Fleet,
    modem: &fleet::Modem,
    catalog: &Catalog,
    devices: &[DeviceReport],
    user: &User,
) -> Vec<Finding> {
    let fixed = fixed(modem);
    let place = match (&fixed, &modem.matching.usb_path) {
        (Some(port), _) => port.display().to_string(),
        (None, Some(usb_path)) => format!("a modem at USB {usb_path}"),
        (None, None) => "a modem that matches `match`".to_owned(),
    };
    let tty = fixed.or_else(|| at_port(devices, modem));
    let mut port = seen_port(place, tty.clone(), modem).await;
    let may_open = port.busy.is_none() && port.node.as_ref().is_some_and(|node| node.may_open);
    let exam = match tty.filter(|_| may_open) {
        Some(tty) => {
            let place = Place { line: modem.line, ..tty.into() };
            let cid = modem.apn.as_ref().map_or(modem::attach::CONTEXT, |apn| apn.cid);
            modem::exam::examine(&place, catalog, cid).await
        }
        None => {
            return judge(fleet, modem, port, Err(String::new()), AgentKnowledge::default(), user)
                .await;
        }
    };
    let exam = exam.map_err(|error| {
        if let modem::probe::ProbeError::Open(error) = &error {
            port.busy = error.busy().cloned();
        }
        host::probe_failed(&error)
    });
    judge(fleet, modem, port, exam, AgentKnowledge::default(), user).await
}

/// Returns the AT port of the device that discovery gave to a modem, else any of its ports.
fn at_port(devices: &[DeviceReport], modem: &fleet::Modem) -> Option<PathBuf> {
    let own = devices.iter().find(|device| device.modem.as_deref() == Some(modem.name.as_str()))?;
    own.ports.iter().min_by_key(|port| port.role).map(|port| port.tty.clone())
}

async fn seen_port(place: String, tty: Option<PathBuf>, modem: &fleet::Modem) -> Port {
    let (known, usb_path) = (place.clone(), modem.matching.usb_path.clone());
    let seen = aside(move || host::port(place, tty, usb_path.as_deref())).await;
    seen.unwrap_or(Port { place: known, tty: None, node: None, busy: None, is_plugged: false })
}

/// Knowledge that only a running agent has.
#[derive(Default)]
struct AgentKnowledge {
    state: Option<(State, Option<String>)>,
    states: BTreeMap<SessionId, SessionState>,
    budget: Option<Standing>,
}

async fn judge(
    fleet: &Fleet,
    modem: &fleet::Modem,
    port: Port,
    exam: Result<modem::exam::Exam, String>,
    told: AgentKnowledge,
    user: &User,
) -> Vec<Finding> {
    let at_port = port.finding(user);
    let is_reachable = at_port.level == api::doctor::Level::Ok;
    let (pin, pin_secret) = given_pin(fleet, modem, exam.as_ref().ok()).await;
    let can = exam.as_ref().ok().map(|exam| (exam.speaks_tls, exam.signs_aliyun)).unzip();
    let seen = judged::Seen { exam, state: told.state, pin, may_set_clock: clock_is_set() };
    let mut findings = vec![at_port];
    // If the port itself is at fault, the modem is not blamed as well.
    if is_reachable {
        findings.extend(seen.findings(modem));
    }
    findings.extend(pin_secret);
    findings.extend(told.budget.as_ref().map(super::budget::finding));
    let mut findings: Vec<Finding> =
        findings.into_iter().map(|finding| finding.of(&modem.name)).collect();
    for session in &modem.sessions {
        let state = told.states.get(&session.id).cloned();
        let configured = session.clone();
        let seen = aside(move || look(&configured, can, state)).await;
        let of_session = seen.map(|seen| seen.findings(session)).unwrap_or_default();
        findings.extend(of_session.into_iter().map(|finding| finding.of(&session.id)));
    }
    findings
}

fn clock_is_set() -> bool {
    let shown = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    shown >= super::gateway::PLAUSIBLE
}

/// Returns the state of the PIN in the fleet file, and the finding on its place.
async fn given_pin(
    fleet: &Fleet,
    modem: &fleet::Modem,
    exam: Option<&modem::exam::Exam>,
) -> (GivenPin, Option<Finding>) {
    let Some(place) = modem.pin.clone() else { return (GivenPin::None, None) };
    let Some(read) = aside(move || (secret("pin", &place), place.read())).await else {
        return (GivenPin::Untried, None);
    };
    let (seen, pin) = read;
    let finding = session::unusable(&seen);
    let (Ok(pin), Some(exam)) = (pin, exam) else { return (GivenPin::Untried, finding) };
    let Ok(iccid) = &exam.iccid else { return (GivenPin::Untried, finding) };
    let ledger = FileLedger::new(&fleet.queue.path);
    // A ledger that cannot be read also keeps the agent from trying: the fault is then the disk.
    let refused = ledger.was_refused(iccid, &pin).await.unwrap_or(false);
    (if refused { GivenPin::Refused } else { GivenPin::Untried }, finding)
}

fn secret(key: &'static str, place: &Ref) -> Secret {
    Secret {
        key,
        place: place.place(),
        fault: place.read().err().map(|error| error.to_string()),
        open_to_all: place.world_readable(),
    }
}

/// Collects the facts of a session. It reads files.
fn look(
    session: &Session,
    (speaks_tls, signs_aliyun): (Option<bool>, Option<bool>),
    state: Option<SessionState>,
) -> session::Seen {
    let mut secrets = Vec::new();
    let mut has_odd_secret = false;
    match &session.access {
        Access::Plain { password, .. } => {
            secrets.extend(password.as_ref().map(|place| secret("password", place)));
        }
        Access::Aliyun { secret: place, .. } => {
            secrets.push(secret("device_secret", place));
            let odd = |text: secrecy::SecretString| session::is_odd_secret(text.expose_secret());
            has_odd_secret = place.read().is_ok_and(odd);
        }
    }
    let mut certificates = Vec::new();
    if let Some(tls) = &session.tls {
        if let Some(ca) = &tls.ca {
            secrets.push(secret("tls.ca", ca));
            certificates.extend(certificate("ca", ca, None));
        }
        if let Some(identity) = &tls.identity {
            secrets.push(secret("tls.cert", &identity.cert));
            secrets.push(secret("tls.key", &identity.key));
            certificates.extend(certificate("cert", &identity.cert, Some(&identity.key)));
        }
    }
    let now = SystemTime::now();
    session::Seen { secrets, certificates, speaks_tls, signs_aliyun, has_odd_secret, state, now }
}

fn certificate(key: &'static str, place: &Ref, private: Option<&Ref>) -> Option<Certificates> {
    let text = place.read().ok()?;
    let chain = pem::certificates(text.expose_secret()).ok()?;
    let own = private.and_then(|place| place.read().ok());
    let own = own.and_then(|text| pem::private_key(text.expose_secret()).ok());
    Some(Certificates {
        key,
        place: place.place(),
        valid: pem::validity(&chain),
        fits_key: own.and_then(|own| pem::belongs(&own, &chain)),
    })
}

/// Tries to reach the brokers of the fleet from this machine, each once.
///
/// # Cancel safety
/// Connections that are being opened are dropped.
pub async fn reach(fleet: &Fleet, only: Option<&str>) -> Vec<Finding> {
    let mut wanted: Vec<(String, u16)> = Vec::new();
    for session in meant(fleet, only).flat_map(|modem| &modem.sessions) {
        let address = session.address();
        if !wanted.contains(&address) {
            wanted.push(address);
        }
    }
    let each = wanted
        .iter()
        .map(|(host, port)| async { try_to_reach(host, *port).await.finding(host, *port) });
    join_all(each).await
}

async fn try_to_reach(host: &str, port: u16) -> Reach {
    let late = || format!("no answer within {} s", REACH.as_secs());
    let found = tokio::time::timeout(REACH, tokio::net::lookup_host((host, port))).await;
    let addresses = match found {
        Ok(Ok(addresses)) => addresses.collect::<Vec<_>>(),
        Ok(Err(error)) => return Reach::NoName(error.to_string()),
        Err(_) => return Reach::NoName(late()),
    };
    match tokio::time::timeout(REACH, tokio::net::TcpStream::connect(&*addresses)).await {
        Ok(Ok(_)) => Reach::Open,
        Ok(Err(error)) => Reach::Closed(error.to_string()),
        Err(_) => Reach::Closed(late()),
    }
}
