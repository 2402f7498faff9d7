//! The session of a client: whose it is, and taking it up.

use super::Connection;
use crate::messages::downlink::Subscription;
use crate::metrics::families::ConnectionRefusal;
use crate::mqtt::end::End;
use crate::mqtt::kept::{self, Found};
use crate::mqtt::link::Link;
use crate::mqtt::serving::SignedIn;
use crate::mqtt::wire::{Connect, ConnectReason};

impl<S: Link> Connection<S> {
    /// The client's user, if users are checked. Refuses a client that asks for another user's session.
    pub(super) fn user(&self, connect: &Connect, name: &str) -> Result<Option<String>, End> {
        let user = self.serving.users.borrow().user(connect.username.as_deref()).map(str::to_owned);
        let inbox = self.serving.downlink.inbox();
        if inbox.is_some_and(|inbox| inbox.is_of_another(name, user.as_deref())) {
            self.serving.metrics.applications.connection_refused(ConnectionRefusal::ClientId);
            return Err(self.not_kept(ConnectReason::NotAuthorized));
        }
        Ok(user)
    }

    /// Signs the client in under its client id. That of another user's client is refused.
    pub(super) fn sign_in(&self, name: &str, user: Option<&str>) -> Result<SignedIn, End> {
        self.serving.sign_in(name, user).ok_or_else(|| {
            self.serving.metrics.applications.connection_refused(ConnectionRefusal::ClientId);
            self.not_kept(ConnectReason::NotAuthorized)
        })
    }

    /// Takes up the session that the client asks for, or ends the rest of one.
    pub(super) async fn take_up(
        &mut self,
        connect: &Connect,
        name: &str,
        user: Option<&str>,
        subscription: &Subscription,
    ) -> Result<Found, End> {
        let inbox = self.serving.downlink.inbox();
        let found = kept::take_up(inbox, name, user, connect, subscription).await;
        let mut found = found.map_err(|reason| self.not_kept(reason))?;
        self.client.take_up(found.kept.take());
        Ok(found)
    }

    /// Refuses a client whose session cannot be had.
    fn not_kept(&self, reason: ConnectReason) -> End {
        tracing::warn!(
            address = %self.address,
            "a local MQTT client cannot have its session or client id: {reason:?}"
        );
        End::Refused(reason)
    }
}
