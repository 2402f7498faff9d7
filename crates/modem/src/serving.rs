//! Sessions in service: who has which client of the MQTT stack, and what ends the service of all.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};

use crate::identify::Known;
use crate::modem::Core;
use crate::mqtt::Client;
use crate::port::At;
use crate::roster::{Lent, Roster};
use crate::service::{NO_NETWORK, Shared};
use crate::session::{Ground, Lost, ServeEnd, Session, SessionConfig};
use crate::veto::Told;

/// How often a veto is looked at again.
const VETO: Duration = Duration::from_secs(1);

/// News of lost sessions waiting to be read: there is one per connection at most.
const LOSSES: usize = 8;

/// The session that holds a client of the MQTT stack.
pub(crate) struct Holder {
    pub(crate) session: String,
    is_secured: bool,
    pub(crate) lost: mpsc::Sender<Lost>,
}

/// Who holds which client of the MQTT stack.
#[derive(Default)]
pub(crate) struct Holders(watch::Sender<BTreeMap<Client, Holder>>);

impl Core {
    /// Serves sessions until they stop, or until the modem is in trouble.
    pub(crate) async fn serve_sessions(
        &self,
        at: &At,
        known: &Known,
        roster: &Roster,
        shared: &Shared,
        is_up: bool,
    ) -> ServeEnd {
        shared.holders.0.send_modify(BTreeMap::clear);
        // What was lost before is over: the service was just started.
        let mut service_lost = shared.service_lost.subscribe();
        shared.heard.clear();
        let all = async {
            if is_up {
                self.serve_all(at, known, roster, shared).await
            } else {
                self.await_sessions(roster).await
            }
        };
        // A session that works knows better than what the modem says of itself.
        let no_network = async {
            while service_lost.changed().await.is_ok() && shared.heard.is_sound() {
                tracing::warn!("{NO_NETWORK}, it says; but a session works");
            }
        };
        let no_registration = async {
            self.lost_too_long(shared).await;
            while shared.heard.is_sound() {
                tokio::time::sleep(VETO).await;
                self.lost_too_long(shared).await;
            }
        };
        // All arms are cancel safe in that dropped sessions are told by `went`; none awaits in its body.
        tokio::select! {
            end = all => end,
            () = no_network => ServeEnd::ServiceLost,
            () = no_registration => ServeEnd::Unregistered,
        }
    }

    /// Serves without sessions until there is one.
    async fn await_sessions(&self, roster: &Roster) -> ServeEnd {
        while roster.is_empty() {
            // Both arms are cancel safe, and none awaits in its body.
            tokio::select! {
                () = roster.changed() => {}
                () = self.env.stop.cancelled() => return ServeEnd::Stopped,
            }
        }
        ServeEnd::Regrouped
    }

    /// Serves the sessions that are there, and those that come, as long as there is a client for them.
    async fn serve_all(
        &self,
        at: &At,
        known: &Known,
        roster: &Roster,
        shared: &Shared,
    ) -> ServeEnd {
        let (stop, model) = (&self.env.stop, &known.model);
        let mut serving = FuturesUnordered::new();
        loop {
            while !stop.is_cancelled()
                && let Some(client) = shared.holders.free_client(model.mqtt.clients)
                && let Some(lent) = roster.lend()
            {
                serving.push(self.serve_one(at, known, lent, client, shared));
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

    /// Serves one session until the modem is told to stop, or the session to leave.
    fn serve_one<'a>(
        &'a self,
        at: &'a At,
        known: &'a Known,
        mut lent: Lent<'a>,
        client: Client,
        shared: &'a Shared,
    ) -> impl Future<Output = (Client, ServeEnd)> + Send + 'a {
        let lost = shared.holders.hold(client, lent.session());
        async move {
            let witness = Told { core: self, shared, client };
            let stop = self.env.stop.child_token();
            let Some(session) = lent.session() else { return (client, ServeEnd::Stopped) };
            let leave = session.leave.clone();
            let end = {
                let mut serving = std::pin::pin!(session.serve(Ground {
                    at,
                    mqtt: known.profile.mqtt(),
                    client,
                    registered: shared.registered.subscribe(),
                    forbidden: shared.forbidden.subscribe(),
                    lost,
                    stagger: &self.env.stagger,
                    stop: &stop,
                    witness: &witness,
                }));
                // Both arms are cancel safe: what serves is asked again.
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
            // At rest again, or gone, before its client is given to another.
            drop(lent);
            (client, end)
        }
    }
}

impl Holders {
    fn free_client(&self, clients: u8) -> Option<Client> {
        let holders = self.0.borrow();
        (0..clients).map(Client).find(|client| !holders.contains_key(client))
    }

    /// Gives a client to a session, which hears of its losses.
    fn hold(&self, client: Client, session: Option<&mut Session>) -> mpsc::Receiver<Lost> {
        let (lost, losses) = mpsc::channel(LOSSES);
        if let Some(SessionConfig { name, secured, .. }) = session.map(|session| &session.config) {
            let holder = Holder { session: name.clone(), is_secured: *secured, lost };
            self.0.send_modify(|holders| drop(holders.insert(client, holder)));
        }
        losses
    }

    /// Reports whether more than one session is in service, or about to be.
    pub(crate) fn is_shared(&self) -> bool {
        self.0.borrow().len() > 1
    }

    fn let_go(&self, client: Client) {
        self.0.send_modify(|holders| drop(holders.remove(&client)));
    }

    /// Does something with the session that has this client.
    pub(crate) fn with(&self, client: Client, tell: impl FnOnce(&Holder)) {
        if let Some(holder) = self.0.borrow().get(&client) {
            tell(holder);
        }
    }

    /// Who has a session over TLS now.
    pub(crate) fn secured(&self) -> Vec<Client> {
        let holders = self.0.borrow();
        holders.iter().filter(|(_, holder)| holder.is_secured).map(|(client, _)| *client).collect()
    }
}
