//! The connection of a client whose session is kept: taking it up, and serving it from the inbox.

use std::time::Duration;

use super::{Connection, End, fault};
use crate::messages::downlink::Subscription;
use crate::metrics::families::ConnectionRefusal;
use crate::mqtt::kept::{self, Found, Kept};
use crate::mqtt::link::Link;
use crate::mqtt::serving::SignedIn;
use crate::mqtt::wire::{Connect, ConnectReason, Grant, Id, Outgoing, Reason};

impl<S: Link> Connection<S> {
    /// The client's user, if users are checked. Refuses a client that asks for somebody else's session.
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
        self.kept = found.kept.take();
        Ok(found)
    }

    /// From here on the client is away: what it acknowledged is confirmed.
    pub(super) fn leave_session(&mut self) {
        if let Some(mut kept) = self.kept.take() {
            kept.leave();
        }
    }

    pub(super) fn subscribed(
        &mut self,
        id: Id,
        filters: &[(String, u8)],
        grants: Vec<Grant>,
    ) -> Result<(), End> {
        let Some(kept) = &mut self.kept else {
            return self.send(Outgoing::Subscribed { id, grants });
        };
        kept.subscribe(id, filters, grants);
        Ok(())
    }

    pub(super) fn unsubscribed(
        &mut self,
        id: Id,
        filters: Vec<String>,
        found: Vec<bool>,
    ) -> Result<(), End> {
        let Some(kept) = &mut self.kept else {
            return self.send(Outgoing::Unsubscribed { id, found });
        };
        kept.unsubscribe(id, filters, found);
        Ok(())
    }

    pub(super) fn acknowledged(&mut self, id: Id) {
        if let Some(kept) = &mut self.kept {
            kept.acknowledged(id);
        }
    }

    /// DISCONNECT says how long the session is to last. It cannot bring one back that CONNECT did not want
    /// (MQTT 5.0 §3.14.2.2.2).
    pub(super) fn set_expiry(&mut self, expiry: Option<Duration>) -> Result<(), End> {
        let Some(expiry) = expiry else { return Ok(()) };
        if self.is_brief && !expiry.is_zero() {
            return Err(fault(
                Reason::ProtocolError,
                "a session was made persistent that would have ended",
            ));
        }
        if let Some(kept) = &mut self.kept {
            kept.set_expiry(expiry);
        }
        Ok(())
    }

    /// Sends what the kept session has, as far as the window goes.
    pub(super) fn deliver_kept(&mut self) {
        while self.in_flight.len() < self.window {
            let next = self.kept.as_mut().and_then(|kept| kept.next(&self.in_flight));
            let Some(kept::Out { id, dup, message }) = next else { break };
            let is_sent = self.publish(id, dup, message);
            if let (false, Some(id), Some(kept)) = (is_sent, id, &mut self.kept) {
                // It never will be.
                kept.acknowledged(id);
            }
        }
        if let Some(kept) = &mut self.kept {
            kept.start();
        }
    }

    pub(super) fn kept_happened(&mut self, event: kept::Event) -> Result<(), End> {
        match self.kept.as_mut().and_then(|kept| kept.happened(event)) {
            Some(kept::Answer::Subscribed { id, grants }) => {
                self.send(Outgoing::Subscribed { id, grants })
            }
            Some(kept::Answer::Unsubscribed { id, found }) => {
                self.send(Outgoing::Unsubscribed { id, found })
            }
            _ => Ok(()),
        }
    }

    /// Says if there is place for what one more packet brings.
    pub(super) fn may_read(&self) -> bool {
        self.in_hand.has_place() && self.kept.as_ref().is_none_or(Kept::has_place)
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
