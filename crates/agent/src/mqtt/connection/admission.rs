//! Admission of a client, from its first byte to a CONNECT that is accepted and a place for it.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{sleep, timeout};

use super::Connection;
use crate::messages::hand_in::Refusal;
use crate::metrics::families::ConnectionRefusal;
use crate::mqtt::CONNECT;
use crate::mqtt::end::{End, fault};
use crate::mqtt::entrance::AtEntrance;
use crate::mqtt::link::Link;
use crate::mqtt::published::submission;
use crate::mqtt::wire::{Connect, ConnectReason, Incoming, Malformed, Reason};

/// Before a wrong password is answered. Its connection keeps its place at the entrance meanwhile, of which there are
/// few, so that guesses are as well.
const WRONG_PASSWORD: Duration = Duration::from_millis(500);

/// A client that may come in.
pub(super) struct Admitted {
    pub(super) connect: Box<Connect>,
    /// Its client id if this side gave it one.
    pub(super) assigned: Option<String>,
    /// Its client id.
    pub(super) name: String,
    /// Its user, if users are checked.
    pub(super) user: Option<String>,
}

impl<S: Link> Connection<S> {
    /// Lets a client in, unless it has to give way to another one before.
    ///
    /// # Errors
    /// [`End`].
    pub(super) async fn let_in(&mut self, entrance: AtEntrance) -> Result<Admitted, End> {
        let displaced = entrance.displaced.clone();
        tokio::select! {
            // A CONNECT that is there counts, however short its time was.
            biased;
            admitted = self.admitted() => admitted,
            () = displaced.cancelled() => {
                self.serving.metrics.applications.connection_refused(ConnectionRefusal::Displaced);
                Err(End::Broken)
            }
        }
    }

    async fn admitted(&mut self) -> Result<Admitted, End> {
        let connect = match timeout(CONNECT, self.connect()).await {
            Ok(connect) => connect?,
            Err(_) => return Err(fault(Reason::MaximumConnectTime, "no CONNECT arrived in time")),
        };
        let assigned = connect.client_id.is_empty().then(|| uuid::Uuid::now_v7().to_string());
        self.check_client_id(&connect)?;
        self.check_password(&connect).await?;
        self.check_will(&connect)?;
        let name = assigned.clone().unwrap_or_else(|| connect.client_id.clone());
        let user = self.user(&connect, &name)?;
        self.take_place()?;
        Ok(Admitted { connect, assigned, name, user })
    }

    /// The first packet has to be CONNECT (MQTT 3.1.1 §3.1).
    async fn connect(&mut self) -> Result<Box<Connect>, End> {
        loop {
            match self.client.decode() {
                Ok(Some(Incoming::Connect(connect))) => return Ok(connect),
                Ok(Some(_)) => {
                    return Err(fault(Reason::ProtocolError, "the first packet is not a CONNECT"));
                }
                Err(Malformed { refusal: Some(reason), .. }) => return Err(End::Refused(reason)),
                Err(Malformed { reason, .. }) => {
                    return Err(fault(
                        reason,
                        "the first packet is not a CONNECT of MQTT 3.1 to 5",
                    ));
                }
                Ok(None) => {}
            }
            // Nothing is lost if the agent ends: nothing was taken.
            let read = tokio::select! {
                read = self.stream.read_buf(self.client.input()) => read?,
                () = self.serving.stop.cancelled() => return Err(End::Stopping),
            };
            if read == 0 {
                return Err(End::Broken);
            }
        }
    }

    fn check_client_id(&self, connect: &Connect) -> Result<(), End> {
        if connect.nameless || connect.client_id.len() > fleet::Name::MAX_BYTES * 8 {
            return Err(End::Refused(ConnectReason::ClientIdentifierNotValid));
        }
        Ok(())
    }

    async fn check_password(&mut self, connect: &Connect) -> Result<(), End> {
        if connect.wants_authentication {
            return Err(End::Refused(ConnectReason::BadAuthenticationMethod));
        }
        let (name, password) = (connect.username.as_deref(), connect.password.as_deref());
        if self.serving.users.borrow().admit(name, password) {
            return Ok(());
        }
        self.serving.metrics.applications.connection_refused(ConnectionRefusal::Password);
        // With the port no two lines would be the same, and the log is to count repetitions.
        tracing::warn!(
            address = %self.address,
            "a local MQTT client gave a wrong user name or password"
        );
        tokio::select! {
            () = sleep(WRONG_PASSWORD) => {}
            () = self.serving.stop.cancelled() => {}
        }
        Err(End::Refused(ConnectReason::BadUserNameOrPassword))
    }

    /// A will that could never be published is better refused now than lost then.
    fn check_will(&self, connect: &Connect) -> Result<(), End> {
        let Some(will) = &connect.will else { return Ok(()) };
        let checked = submission(will.clone()).and_then(|will| self.serving.hand_in.check(&will));
        let Err(refusal) = checked else { return Ok(()) };
        Err(End::Refused(match refusal {
            Refusal::TooLarge { .. } | Refusal::TooLargeForPaths { .. } => {
                ConnectReason::PacketTooLarge
            }
            Refusal::Topic { .. } => ConnectReason::TopicNameInvalid,
            Refusal::NoText => ConnectReason::PayloadFormatInvalid,
            _ => ConnectReason::NotAuthorized,
        }))
    }

    /// Takes one of the places of clients that are let in.
    fn take_place(&mut self) -> Result<(), End> {
        self.place = self.serving.place();
        if self.place.is_some() {
            return Ok(());
        }
        self.serving.metrics.applications.connection_refused(ConnectionRefusal::Full);
        Err(End::Refused(ConnectReason::ServerBusy))
    }
}
