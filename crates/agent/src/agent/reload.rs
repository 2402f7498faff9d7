//! The application of a plan: parts that end do so in order, parts that stay are not touched, then the rest begins.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use modem::session::Uplink;
use modem::{Catalog, Session};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Agent, Sources, open_books};
use crate::http::Tokens;
use crate::messages::forward::{self, Adoption, LanePlan};
use crate::modems::factory::NewModem;
use crate::modems::reconcile::Order;
use crate::mqtt::Users;
use crate::now::{ModemView, Now, SessionView};
use crate::reload::plan::Step;
use crate::reload::planner::{knowing, learn};
use crate::reload::{Contents, Plan, Refused, Request};
use crate::upkeep::systemd;
use api::events::{Event, Level};
use api::reload::{Line, summary};
use fleet::{Context, Fleet, Loaded, Modem, Secrets, SessionId};

/// The longest that a reload waits for the parts that end: its caller waits too.
const SIGN_OUT: Duration = Duration::from_secs(10);

/// The longest time that a reload looks at messages in lanes that it takes away, before it takes them. A million
/// messages take some seconds; the rest is looked at while the forwarders wait.
const LOOK: Duration = Duration::from_secs(10);

/// The parts that begin, made and not started: whatever can fail has failed before anything ends.
struct Next {
    modems: Vec<NewModem>,
    /// Sessions of modems that go on.
    sessions: Vec<(SessionView, Session)>,
    tokens: Option<Tokens>,
    users: Option<Users>,
}

/// A file that was read, the contents of its secrets, and all models.
type Read = Result<(Loaded, Contents, Catalog), Refused>;

impl Agent {
    /// Reloads the fleet file, and answers the request; without one, SIGHUP asked for it.
    ///
    /// # Cancel safety
    /// A reload that is dropped is done by half: only for the end of the agent.
    pub async fn serve_request(&mut self, request: Option<Request>) {
        let done = self.reload().await;
        self.chronicle_reload(&done, request.is_some());
        // The caller may have gone.
        if let Some(answer) = request {
            drop(answer.send(done));
        }
    }

    async fn reload(&mut self) -> Result<Vec<Line>, Refused> {
        systemd::reloading();
        let done = self.apply().await;
        self.factory.metrics.reloaded(done.is_ok());
        let words = match &done {
            Ok(lines) => {
                for line in lines.iter().filter(|line| line.sign != '=') {
                    tracing::info!("reload: {line}");
                }
                let words = format!("reload applied: {}", summary(lines));
                tracing::info!("{words}");
                words
            }
            Err(refused) => {
                let refused = refused.for_log();
                tracing::error!(
                    "the reload is refused, and the fleet keeps running unchanged: {refused}"
                );
                "reload refused, the fleet keeps running unchanged: see the log".to_owned()
            }
        };
        systemd::reloaded(&words);
        done
    }

    fn chronicle_reload(&self, done: &Result<Vec<Line>, Refused>, is_by_api: bool) {
        let (level, words) = match done {
            Ok(lines) => (Level::Info, format!("reload applied: {}", summary(lines))),
            Err(why) => {
                let words = why.for_log();
                (Level::Bad, format!("reload refused, the fleet runs on as it is: {words}"))
            }
        };
        let (kind, by) = ("reload".to_owned(), (!is_by_api).then(|| "SIGHUP".to_owned()));
        self.factory.activities.chronicle.push(Event {
            kind,
            level,
            words,
            by,
            ..Event::default()
        });
    }

    async fn apply(&mut self) -> Result<Vec<Line>, Refused> {
        let Sources { file, gateway, library } = self.sources.clone();
        let read = move || {
            let catalog = library.read().map(|models| models.catalog);
            let context = knowing(Context::named(&file, Secrets::Read, gateway), &catalog);
            let loaded = fleet::load_in(&file, &context).map_err(Refused::File)?;
            let contents = Contents::of(&loaded.fleet);
            Ok((loaded, contents, catalog?))
        };
        let (loaded, mut contents, catalog) = off_the_runtime(read).await?;
        if !loaded.warnings.is_empty() {
            tracing::warn!("the fleet file: {}", loaded.warnings.places());
        }
        let old = self.view.now();
        let applied = self.applied.contents.borrow().clone();
        let is_rotated = |secret: &_| applied.differ(&contents, secret);
        let mut plan = Plan::new(&old.fleet, &loaded.fleet, is_rotated);
        let known = Arc::clone(&self.applied.catalog.borrow());
        let is_new = learn(&mut plan, &old, &known, &catalog);
        let fleet = plan.applicable(&old.fleet, loaded.fleet);
        for secret in plan.not_applied(&fleet) {
            contents.keep(&applied, secret);
        }
        let next = self.prepare(&plan, &fleet)?;
        if is_new {
            self.applied.catalog.send_replace(Arc::new(catalog));
        }
        self.change(&plan, &old, fleet, next).await;
        self.applied.contents.send_replace(contents);
        Ok(plan.lines())
    }

    /// Makes all that begins.
    fn prepare(&mut self, plan: &Plan, fleet: &Fleet) -> Result<Next, Refused> {
        if self.factory.books.is_none() {
            self.factory.books = open_books(fleet).map_err(Refused::Books)?;
            self.keep_books();
        }
        let begins = |modem: &&Modem| plan.modem(&modem.name).is_some_and(Step::begins);
        let modems = fleet.modems.iter().filter(begins).map(|modem| self.factory.modem(modem));
        let modems = modems.collect::<Result<Vec<NewModem>, _>>()?;
        let mut sessions = Vec::new();
        for (id, _) in plan.sessions.iter().filter(|(_, step)| step.begins()) {
            // Those of a modem that begins are made with it.
            let is_alone = plan.modem(&id.modem).is_some_and(|step| !step.begins());
            let modem = fleet.modems.iter().find(|m| m.name == id.modem).filter(|_| is_alone);
            let found = modem.and_then(|m| Some((m, m.sessions.iter().find(|s| s.id == *id)?)));
            let running = self.modems.running.get(id.modem.as_str());
            let make = |(running, (modem, s))| self.factory.session_of(running, modem, s);
            sessions.extend(running.zip(found).map(make));
        }
        let changes = |key| plan.settings.iter().any(|s| s.key == key && s.at_restart.is_none());
        let is_other = changes("http.token") || changes("http.publish_token");
        let tokens = is_other.then(|| Tokens::read(&fleet.http)).transpose()?;
        let users = fleet.mqtt.as_ref().filter(|_| changes("hand_in.mqtt.users"));
        let users = users.map(|mqtt| Users::read(&mqtt.users)).transpose()?;
        Ok(Next { modems, sessions, tokens, users })
    }

    /// Does it; from here on nothing is refused.
    async fn change(&mut self, plan: &Plan, old: &Now, fleet: Fleet, next: Next) {
        let Next { modems: made, sessions: joining, tokens, users } = next;
        if let Some(books) = &self.factory.books {
            books.revise(&fleet.modems);
        }
        let views = views(&fleet, old, &made, &joining);
        let lanes = forward::plan(&fleet, &views);
        self.adopter.stop().await;
        // While all goes on: lanes that are known by now need no look while they stand still.
        let mut adoption = Adoption::new(&self.view.queue, &fleet);
        adoption.look(LOOK).await;
        self.forwarding.hold(adoption.hold());
        self.end_what_ends(plan, old, &lanes, fleet.shutdown_grace.min(SIGN_OUT)).await;
        adoption.rename().await;
        self.forwarding.start(lanes);
        let waiting = self.forwarding.waiting();
        self.applied.now.send_replace(Arc::new(Now { fleet, modems: views, waiting }));
        let now = self.view.now();
        self.tell();
        self.adopter.begin(adoption);
        for (view, session) in joining {
            if let Some(running) = self.modems.running.get(view.id.modem.as_str()) {
                running.roster.join(session);
            }
        }
        for made in made {
            self.modems.start(made).await;
        }
        self.applied.wanted.send_replace(self.modems.wanted(&now.fleet));
        self.factory.metrics.keep_fleet(&now.fleet);
        self.factory.activities.keep_fleet(&now.fleet);
        if let Some(tokens) = tokens {
            self.applied.tokens.send_replace(tokens);
        }
        if let Some(users) = users {
            self.applied.users.send_replace(users);
        }
    }

    /// Ends forwarders, sessions and modems at the same time, each in order and within its time.
    async fn end_what_ends(&mut self, plan: &Plan, old: &Now, lanes: &[LanePlan], grace: Duration) {
        self.forwarding.end_others(lanes);
        let leaves = |id: &SessionId, step: &Step| {
            step.ends() && plan.modem(&id.modem).is_some_and(|modem| !modem.ends())
        };
        let mut leaving = Vec::new();
        for (id, _) in plan.sessions.iter().filter(|(id, step)| leaves(id, step)) {
            let session = old.sessions().find(|session| session.id == *id);
            if let Some((session, running)) =
                session.zip(self.modems.running.get(id.modem.as_str()))
            {
                running.roster.leave(&session.uplink);
                leaving.push(session.uplink.clone());
            }
        }
        let ends = plan.modems.iter().filter(|(_, step)| step.ends());
        let ending: Vec<String> = ends.map(|(name, _)| name.to_string()).collect();
        for name in &ending {
            self.modems.running.remove(name);
        }
        let orders = &self.modems.orders;
        let retired = join_all(ending.iter().map(|name| async move {
            let ended = |is_late| async move {
                let (done, ended) = oneshot::channel();
                let order = Order::Retire { name: name.clone(), is_late, done };
                // Without a reconciler, or a modem, there is nothing to wait for.
                drop(orders.send(order).await);
                drop(ended.await);
            };
            if timeout(grace, ended(false)).await.is_err() {
                tracing::warn!(modem = name, "the modem did not end in time, and is ended at once");
                ended(true).await;
            }
        }));
        let left = timeout(grace, join_all(leaving.into_iter().map(has_left)));
        let (_, left, ()) = tokio::join!(retired, left, self.forwarding.ended());
        if left.is_err() {
            tracing::warn!("a removed session did not sign out in time; it may still do so");
        }
    }
}

async fn off_the_runtime(read: impl FnOnce() -> Read + Send + 'static) -> Read {
    tokio::task::spawn_blocking(read).await.unwrap_or(Err(Refused::Thread))
}

/// Waits until a session has signed out and is gone.
async fn has_left(mut session: Uplink) {
    while session.state.changed().await.is_ok() {}
}

/// The views of a fleet: of the modems that go on as they were, and of those that begin.
fn views(
    fleet: &Fleet,
    old: &Now,
    made: &[NewModem],
    joining: &[(SessionView, Session)],
) -> Vec<ModemView> {
    let view = |modem: &Modem| {
        let name = modem.name.as_str();
        if let Some(made) = made.iter().find(|made| made.view.name == name) {
            return Some(made.view.clone());
        }
        let before = old.modem(name)?;
        let sessions = modem.sessions.iter().filter_map(|session| {
            let joins = joining.iter().map(|(view, _)| view);
            let view = joins.chain(&before.sessions).find(|view| view.id == session.id)?;
            Some(SessionView { broker: session.broker.to_string(), ..view.clone() })
        });
        Some(ModemView { sessions: sessions.collect(), ..before.clone() })
    };
    fleet.modems.iter().filter_map(view).collect()
}
