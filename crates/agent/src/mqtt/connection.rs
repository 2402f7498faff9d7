//! The connection of one client: its bytes in and out, its keep-alive, its end.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

mod admission;
mod leaving;
mod left;
mod session;

use admission::Admitted;

use super::client::{Client, ClientEvent};
use super::end::{End, fault, taken_over};
use super::entrance::AtEntrance;
use super::keep_alive::{Finding, KeepAlive};
use super::link::Link;
use super::serving::{Serving, SignedIn, Unheard};
use super::wire::{Outgoing, Reason};
use super::{FOREVER, WRITE};
use crate::messages::downlink::{self, Subscription};

/// The reason for which a silent client is given up.
const SILENT: &str = "no packet arrived within 1.5 times the keep-alive";

/// The event that ends a wait.
enum Woken {
    Read(io::Result<usize>),
    Client(ClientEvent),
    Delivery(Arc<downlink::Message>, u8),
    Again,
    /// The client is not read from, and it is time for a look at it.
    Look,
    Silent,
    ThrownOut,
    Stop,
}

/// A client's connection.
pub(super) struct Connection<S> {
    stream: S,
    client: Client,
    keep_alive: KeepAlive,
    serving: Arc<Serving>,
    address: IpAddr,
    /// Its place among the clients that were let in.
    place: Option<OwnedSemaphorePermit>,
    signed_in: Option<SignedIn>,
    /// It gives way to another client as long as nothing is heard of it.
    unheard: Option<Unheard>,
}

impl<S: Link> Connection<S> {
    pub(super) fn new(stream: S, serving: Arc<Serving>, peer: SocketAddr) -> Self {
        let (hand_in, metrics) = (serving.hand_in.clone(), Arc::clone(&serving.metrics));
        Self {
            stream,
            client: Client::new(peer.to_string(), hand_in, metrics),
            keep_alive: KeepAlive::new(Instant::now()),
            serving,
            address: peer.ip(),
            place: None,
            signed_in: None,
            unheard: None,
        }
    }

    /// Serves the client until it leaves, breaks the protocol, falls silent, or the agent ends; then stores
    /// the messages that it left behind. Its place among the clients is free once the connection is closed.
    ///
    /// # Cancel safety
    /// Dropping it closes the connection; a message without acknowledgement may or may not have been taken.
    pub(super) async fn serve(mut self, entrance: AtEntrance) {
        let end = match self.talk(entrance).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        self.client.leave_session();
        self.finish(&end).await;
        let Self { stream, place, serving, client, signed_in, .. } = self;
        drop((stream, place));
        let (peer, in_hand) = client.into_left();
        left::Left { serving, peer, in_hand, signed_in }.store(matches!(end, End::Stopping)).await;
    }

    async fn talk(&mut self, entrance: AtEntrance) -> Result<std::convert::Infallible, End> {
        let Admitted { connect, assigned, name, user } = self.let_in(entrance).await?;
        let mut subscription = self.serving.downlink.client();
        let signed_in = self.sign_in(&name, user.as_deref())?;
        let stop = self.serving.stop.clone();
        let out = signed_in.out.clone();
        self.client.in_hand().hold_back(!signed_in.is_first());
        self.signed_in = Some(signed_in);
        // A client that is thrown out, or is to end, waits for no disk.
        let found = tokio::select! {
            found = self.take_up(&connect, &name, user.as_deref(), &subscription) => found?,
            () = out.cancelled() => return Err(taken_over()),
            () = stop.cancelled() => return Err(End::Stopping),
        };
        self.keep_alive.agree(connect.keep_alive);
        let (present, expiry) = (found.present, found.expiry);
        self.client.accept(*connect, &name, Outgoing::Connected { assigned, present, expiry })?;
        tracing::debug!(peer = self.client.peer(), "a local MQTT client connected");
        loop {
            self.client.take_packets(&subscription)?;
            left::start(self.client.in_hand(), self.signed_in.as_ref());
            self.client.deliver_kept();
            // A client that is thrown out is not waited for: its messages go before those of the next of its name.
            tokio::select! {
                flushed = self.flush() => flushed?,
                () = out.cancelled() => return Err(taken_over()),
            }
            let woken = self.wait(&mut subscription, &out).await;
            self.woken(woken)?;
        }
    }

    /// Waits for the next thing to do.
    ///
    /// # Cancel safety
    /// A dropped call takes nothing.
    async fn wait(&mut self, downlink: &mut Subscription, out: &CancellationToken) -> Woken {
        let may_read = self.client.may_read();
        let silent_at = self.keep_alive.silent_at(Instant::now());
        let has_room = self.client.has_room();
        let pause = self.client.in_hand().pause();
        let (input, events) = self.client.split(may_read);
        // All arms are cancel safe: an event that is not taken now is there the next time.
        tokio::select! {
            read = self.stream.read_buf(input), if may_read => Woken::Read(read),
            event = events.next() => Woken::Client(event),
            (message, qos) = downlink.next(), if has_room => Woken::Delivery(message, qos),
            () = sleep(pause.unwrap_or(FOREVER)), if pause.is_some() => Woken::Again,
            () = sleep_until(self.keep_alive.look_at()), if !may_read => Woken::Look,
            () = sleep_until(silent_at), if may_read => Woken::Silent,
            () = out.cancelled() => Woken::ThrownOut,
            () = self.serving.stop.cancelled() => Woken::Stop,
        }
    }

    fn woken(&mut self, woken: Woken) -> Result<(), End> {
        match woken {
            Woken::Read(read) => self.read(read)?,
            Woken::Client(ClientEvent::Settled(settled)) => {
                if let Some(settled) = settled {
                    self.client.settled(*settled)?;
                }
                // Messages that one sync made durable are answered in one write.
                while let Some(Some(settled)) = self.client.in_hand().next().now_or_never() {
                    self.client.settled(settled)?;
                }
            }
            Woken::Client(ClientEvent::Kept(event)) => self.client.kept_happened(event)?,
            Woken::Delivery(message, qos) => self.client.deliver(&message, qos),
            Woken::Again => {}
            Woken::Look => self.look(),
            Woken::Silent => {
                // After a pause of the agent itself the sign of life is there, and tokio does not know it yet.
                if self.stream.unread() == 0 {
                    return Err(fault(Reason::KeepAliveTimeout, SILENT));
                }
                self.keep_alive.heard(Instant::now());
            }
            Woken::ThrownOut => return Err(taken_over()),
            Woken::Stop => return Err(End::Stopping),
        }
        Ok(())
    }

    fn read(&mut self, read: io::Result<usize>) -> Result<(), End> {
        if read? == 0 {
            return Err(End::Broken);
        }
        if self.keep_alive.heard(Instant::now()) {
            self.unheard = None;
        }
        Ok(())
    }

    /// Looks at a client that is not read from.
    fn look(&mut self) {
        let is_lost = match self.keep_alive.look(self.stream.unread(), Instant::now()) {
            Finding::Alive => {
                self.unheard = None;
                false
            }
            Finding::Quiet => false,
            // The system asks whether it is there.
            Finding::Stuck => {
                self.unheard.get_or_insert_with(|| self.serving.unheard()).is_displaced()
            }
            Finding::Silent => true,
        };
        if is_lost || self.stream.is_ended() {
            self.lose();
        }
    }

    /// The client has gone. It is read to the end all the same, for messages that are not sent once more.
    fn lose(&mut self) {
        self.keep_alive.lose();
        self.unheard = None;
        self.client.in_hand().leave(&self.serving.left);
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.keep_alive.has_gone() {
            self.client.forget_output();
        }
        if !self.write().await? {
            self.lose();
        }
        Ok(())
    }

    /// Writes the packets that wait. `false`: the client does not take them any more.
    async fn write(&mut self) -> Result<bool, End> {
        let output = self.client.output();
        if output.is_empty() {
            return Ok(true);
        }
        let written = timeout(WRITE, self.stream.write_all_buf(output)).await;
        Ok(written.map_err(|_| End::Broken)?.is_ok())
    }
}
