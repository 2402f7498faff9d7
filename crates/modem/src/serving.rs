//! Sessions in service: the client of the MQTT stack that each has, and the end of the service for
//! all.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::climb::is_restart_due;
use crate::core::Core;
use crate::known::Known;
use crate::message::Client;
use crate::port::At;
use crate::recovery::Sign;
use crate::roster::{Roster, SessionLoan};
use crate::search::lost_too_long;
use crate::session::{ServeEnd, SessionContext, Supervisor};
use crate::shared::Shared;

/// The interval between looks at a veto.
const VETO: Duration = Duration::from_secs(1);

pub(crate) const NO_NETWORK: &str = "the modem's MQTT service lost its network";

/// Serves sessions until they stop, or until the modem is in trouble.
pub(crate) async fn serve_sessions(
    core: &Core,
    at: &At,
    known: &Known,
    roster: &Roster,
    shared: &Shared,
    is_up: bool,
) -> ServeEnd {
    shared.holders.clear();
    // Earlier losses are over: the service was just started.
    let mut service_lost = shared.service_lost.subscribe();
    shared.heard.clear();
    let all = async {
        if is_up {
            serve_all(core, at, known, roster, shared).await
        } else {
            await_sessions(shared, roster).await
        }
    };
    // A working session is better evidence than the modem's own report.
    let no_network = async {
        while service_lost.changed().await.is_ok() && shared.heard.is_sound() {
            tracing::warn!("the modem reports: {NO_NETWORK}; but a session works");
        }
    };
    let no_registration = async {
        lost_too_long(core, shared).await;
        while shared.heard.is_sound() {
            tokio::time::sleep(VETO).await;
            lost_too_long(core, shared).await;
        }
    };
    // All arms are cancel safe, since `went` informs dropped sessions; none awaits in its body.
    tokio::select! {
        end = all => end,
        () = no_network => ServeEnd::ServiceLost,
        () = no_registration => ServeEnd::Unregistered,
    }
}

/// Waits without sessions until there is one.
async fn await_sessions(shared: &Shared, roster: &Roster) -> ServeEnd {
    while roster.is_empty() {
        // Both arms are cancel safe, and none awaits in its body.
        tokio::select! {
            () = roster.changed() => {}
            () = shared.parting.cancelled() => return ServeEnd::Stopped,
        }
    }
    ServeEnd::Regrouped
}

/// Serves present and joining sessions, as long as there is a client for them.
async fn serve_all(
    core: &Core,
    at: &At,
    known: &Known,
    roster: &Roster,
    shared: &Shared,
) -> ServeEnd {
    let (stop, model) = (&shared.parting, &known.model);
    let mut serving = FuturesUnordered::new();
    loop {
        while !stop.is_cancelled()
            && let Some(client) = shared.holders.free_client(model.mqtt.clients)
            && let Some(lent) = roster.lend()
        {
            serving.push(serve_one(core, at, known, lent, client, shared));
        }
        if serving.is_empty() {
            return if stop.is_cancelled() { ServeEnd::Stopped } else { ServeEnd::Regrouped };
        }
        let (id, clients) = (&model.id, model.mqtt.clients);
        roster.turn_away(&format!("no free client: a {id} holds {clients}"));
        // Both arms are cancel safe, and none awaits in its body.
        tokio::select! {
            Some((client, end)) = serving.next() => {
                shared.holders.let_go(client);
                if end != ServeEnd::Stopped {
                    return end;
                }
            }
            () = roster.changed() => {}
        }
    }
}

/// Serves one session until the modem's stop, or until the session has to leave.
fn serve_one<'a>(
    core: &'a Core,
    at: &'a At,
    known: &'a Known,
    mut lent: SessionLoan<'a>,
    client: Client,
    shared: &'a Shared,
) -> impl Future<Output = (Client, ServeEnd)> + Send + 'a {
    let lost = shared.holders.hold(client, lent.session());
    async move {
        let supervisor = SessionSupervisor { core, shared, client };
        let stop = shared.parting.child_token();
        let Some(session) = lent.session() else { return (client, ServeEnd::Stopped) };
        let leave = session.leave.clone();
        let end = {
            let mut serving = std::pin::pin!(session.serve(SessionContext {
                at,
                mqtt: known.profile.mqtt(),
                client,
                registered: shared.registered.subscribe(),
                forbidden: shared.forbidden.subscribe(),
                lost,
                stagger: &core.env.stagger,
                stop: &stop,
                supervisor: &supervisor,
            }));
            // Both arms are cancel safe: `serving` is polled again.
            let end = tokio::select! {
                end = &mut serving => Some(end),
                () = leave.cancelled() => None,
            };
            match end {
                Some(end) => end,
                None => {
                    stop.cancel();
                    serving.await
                }
            }
        };
        // It is at rest again, or gone, before another session gets its client.
        drop(lent);
        (client, end)
    }
}

/// The reports of one session to its modem.
struct SessionSupervisor<'a> {
    core: &'a Core,
    shared: &'a Shared,
    client: Client,
}

impl Supervisor for SessionSupervisor<'_> {
    fn connecting(&self) {
        self.core.vitals.starting();
    }

    fn connected(&self) {
        self.shared.heard.note_connected(self.client);
        self.core.shows(Sign::Broker);
        self.shared.connected.notify_one();
        self.core.ready();
    }

    fn refused(&self) {
        self.core.shows(Sign::Service);
    }

    fn acknowledged(&self) {
        self.shared.heard.note(self.client);
    }

    fn fails(&self, session: &str, fails: bool) {
        self.core.failing.note(session, fails);
        if self.core.failing.is_none() {
            self.core.shows(Sign::Sessions);
        }
    }

    fn is_shared(&self) -> bool {
        self.shared.holders.is_shared()
    }

    fn is_restart_due(&self) -> bool {
        is_restart_due(self.core)
    }

    fn ended(&self) {
        self.shared.heard.forget(self.client);
    }

    fn others_are_sound(&self) -> bool {
        self.shared.heard.is_sound_beside(self.client)
    }
}
