//! A modem with its wires: the task that moves bytes, keeps time and owns the connections.

use std::{
    future::{pending, poll_fn},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{mpsc, watch},
    task::{AbortHandle, JoinError, JoinSet},
    time::{Duration, Instant, sleep_until},
};

use crate::{
    broker,
    firmware::Firmware,
    handle::{Control, Deed, Handle, Shared},
    illness::{Cure, Symptom},
    options::Options,
    port::{Closes, Link, Port, PortError, Source, Wire},
    port_state::PortState,
    stack,
    unit::Action,
};

/// The number of deeds that may wait: a test does a single deed at a time.
const CONTROL_DEPTH: usize = 16;

/// The number of events of connections that may wait; if the queue is full, a connection stops reading its
/// socket.
const EVENT_DEPTH: usize = 64;

/// The number of orders that may wait at a connection: an operation, a disconnect, and freezes.
const ORDER_DEPTH: usize = 16;

/// The interval of looks for a tty that has disappeared.
const REOPEN: Duration = Duration::from_millis(100);

/// The number of bytes read at once, the most that a tty returns.
const READ: usize = 4_096;

/// A simulated modem. It is created booted; [`Self::run`] runs it.
pub struct Modem {
    firmware: Firmware,
    ports: Vec<Port>,
    link_path: Option<PathBuf>,
    link: Option<Link>,
    control: mpsc::Receiver<Control>,
    tty: watch::Sender<Option<PathBuf>>,
    handle: Handle,
    connections: [Option<Connection>; stack::CLIENTS],
    tasks: JoinSet<()>,
    events: mpsc::Receiver<(usize, u64, broker::Event)>,
    sender: mpsc::Sender<(usize, u64, broker::Event)>,
    /// Watches the tty as long as closing it would cure an illness.
    closes: Option<Closes>,
    hung: bool,
    plugged: bool,
    /// The time to plug in again, or to look for the tty again.
    plug_at: Option<Instant>,
}

/// A running connection.
struct Connection {
    number: u64,
    orders: mpsc::Sender<broker::Order>,
    task: AbortHandle,
}

/// An event of a wire.
enum WireEvent {
    Read(usize, usize),
    /// Output has drained: waiting input can be processed.
    Room(usize),
    Gone(usize),
}

impl Modem {
    /// Creates a modem without a wire; the `on_…` methods give it a wire.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let (control, control_receiver) = mpsc::channel(CONTROL_DEPTH);
        let (sender, events) = mpsc::channel(EVENT_DEPTH);
        let (tty, tty_receiver) = watch::channel(None);
        let handle = Handle { control, shared: Arc::new(Shared::default()), tty: tty_receiver };
        let now = Instant::now();
        let mut firmware = Firmware::new(options, now);
        firmware.wake(now);
        Self {
            firmware,
            ports: vec![Port::new(Source::Stream)],
            link_path: None,
            link: None,
            control: control_receiver,
            tty,
            handle,
            connections: std::array::from_fn(|_| None),
            tasks: JoinSet::new(),
            events,
            sender,
            closes: None,
            hung: false,
            plugged: true,
            plug_at: None,
        }
    }

    /// Puts the modem on a pty of its own, with a link to it at `link`. Needs a runtime.
    ///
    /// # Errors
    /// [`PortError`] if there is no pty or the link cannot be made.
    pub fn on_pty(mut self, link: Option<&Path>) -> Result<Self, PortError> {
        self.ports = vec![Port::new(Source::Pty)];
        self.wire_up(link)
    }

    /// Puts the modem on existing ttys, one for each of its AT ports, with a link to the first at `link`. If a
    /// tty disappears, that is a loss of power; the tty is opened again once it is back. Needs a runtime.
    ///
    /// # Errors
    /// [`PortError`] if a tty cannot be opened or the link cannot be made.
    pub fn on_ttys(mut self, ttys: &[PathBuf], link: Option<&Path>) -> Result<Self, PortError> {
        self.ports = ttys.iter().cloned().map(|path| Port::new(Source::Device(path))).collect();
        self.firmware.set_ports(self.ports.len());
        self.wire_up(link)
    }

    /// Puts the modem on a stream, such as an end of `tokio::io::duplex`. If the other end closes, the modem
    /// keeps running; [`Handle::attach`] gives it the next stream.
    #[must_use]
    pub fn on_stream(mut self, wire: impl Wire + 'static) -> Self {
        self.ports = vec![Port { wire: Some(Box::new(wire)), ..Port::new(Source::Stream) }];
        self
    }

    fn wire_up(mut self, link: Option<&Path>) -> Result<Self, PortError> {
        self.link_path = link.map(Path::to_owned);
        self.open_ports()?;
        Ok(self)
    }

    /// Returns a handle on this modem.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Opens every missing wire, makes the link, and publishes the path.
    fn open_ports(&mut self) -> Result<(), PortError> {
        for port in &mut self.ports {
            port.open()?;
        }
        let path = self.ports.first().and_then(|port| port.path.clone());
        if let (Some(link), Some(target)) = (&self.link_path, &path) {
            self.link = None;
            self.link = Some(Link::make(link, target)?);
        }
        self.tty.send_replace(path.map(|path| self.link_path.clone().unwrap_or(path)));
        Ok(())
    }

    /// Runs until the future is dropped; then its connections break and its link is removed.
    ///
    /// # Cancel safety
    /// Dropping it is a loss of power.
    pub async fn run(mut self) {
        let mut buffer = vec![0; READ];
        loop {
            self.firmware.work_off_input();
            self.perform();
            self.handle.shared.store(&self.firmware.unit.counts);
            let wake = self.next_wake();
            let takes_events = !self.is_mute() && self.firmware.unit.takes_messages();
            self.closes = self.watch_closes();
            let hung = self.is_mute();
            let wires = &mut self.ports;
            let states = &mut self.firmware.unit.ports;
            // Every arm is cancel safe: `poll_wires` does a whole read or write at once, the
            // others are receives and a sleep.
            tokio::select! {
                event = poll_fn(|cx| poll_wires(wires, states, hung, &mut buffer, cx)) => {
                    self.wire_event(&event, &buffer);
                }
                Some((client, number, event)) = self.events.recv(), if takes_events => {
                    self.firmware.event(client, number, event, Instant::now());
                }
                () = closed(&mut self.closes) => self.firmware.treat(Cure::Reopen),
                Some((deed, done)) = self.control.recv() => {
                    // The caller may have dropped its receiver.
                    drop(done.send(self.act(deed)));
                }
                Some(end) = self.tasks.join_next() => self.connection_ended(&end),
                () = sleep_or_pend(wake) => self.wake(),
            }
        }
    }

    fn wire_event(&mut self, event: &WireEvent, buffer: &[u8]) {
        let now = Instant::now();
        match *event {
            WireEvent::Read(port, count) => {
                if !self.is_mute() {
                    self.firmware.receive(port, buffer.get(..count).unwrap_or(&[]), now);
                }
            }
            WireEvent::Room(port) => self.firmware.receive(port, &[], now),
            WireEvent::Gone(port) => {
                let Some(gone) = self.ports.get_mut(port) else { return };
                if gone.source == Source::Stream {
                    gone.close();
                } else {
                    self.unplug();
                    self.plug_at = Some(now + REOPEN);
                }
            }
        }
    }

    fn next_wake(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut wake = [self.plug_at, self.firmware.next_wake()].into_iter().flatten().min();
        if self.is_mute() {
            return wake;
        }
        for state in &mut self.firmware.unit.ports {
            // Due bytes are taken here and written by `poll_wires`, so the next time is in the future.
            state.output.ready(now);
            wake = [wake, state.output.next_due()].into_iter().flatten().min();
        }
        wake
    }

    fn wake(&mut self) {
        let now = Instant::now();
        self.firmware.wake(now);
        if self.plug_at.is_some_and(|at| at <= now) {
            self.plug_at = None;
            if let Err(error) = self.plug() {
                tracing::debug!(%error, "the tty is not back yet");
                self.plug_at = Some(now + REOPEN);
            }
        }
    }

    fn act(&mut self, deed: Deed) -> Result<(), PortError> {
        self.firmware.unit.now = Instant::now();
        match deed {
            Deed::Unplug => self.unplug(),
            Deed::Plug => return self.plug(),
            Deed::Hang(hung) => self.hung = hung,
            Deed::Coverage(coverage) => self.firmware.set_coverage(coverage),
            Deed::Fault(fault, probability) => {
                self.firmware.unit.dice.faults.set(fault, probability);
            }
            Deed::Signal(signal) => self.firmware.unit.set_radio(|n| n.radio.signal = signal),
            Deed::Registration(registration) => {
                self.firmware.unit.set_radio(|network| network.radio.registration = registration);
            }
            Deed::Access(access) => self.firmware.unit.set_radio(|n| n.radio.access = access),
            Deed::Attach(wire) => {
                if let Some(port) = self.ports.first_mut() {
                    *port = Port { wire: Some(wire), ..Port::new(Source::Stream) };
                }
            }
            Deed::LoseConnections => self.firmware.lose_connections(),
            Deed::Reset => self.firmware.reset(),
            Deed::TextMessage(text) => self.firmware.unit.text_message(&text),
            Deed::UsbReset => return self.usb_reset(),
            Deed::FallIll(illness) => self.firmware.fall_ill(illness),
            Deed::Heal(symptom) => self.firmware.heal(symptom),
        }
        Ok(())
    }

    /// Pulls the plug.
    fn unplug(&mut self) {
        self.plugged = false;
        self.plug_at = None;
        self.hung = false;
        self.link = None;
        self.ports.iter_mut().for_each(Port::close);
        self.tty.send_replace(None);
        self.firmware.power_off();
        self.firmware.treat(Cure::Power);
        self.firmware.cut_wires();
    }

    fn plug(&mut self) -> Result<(), PortError> {
        if self.plugged {
            return Ok(());
        }
        if let Err(error) = self.open_ports() {
            // All or nothing: a modem with some of its ports is not usable.
            self.ports.iter_mut().for_each(Port::close);
            return Err(error);
        }
        self.plugged = true;
        self.plug_at = None;
        self.firmware.power_on(Instant::now());
        Ok(())
    }

    /// Resets the USB device: new wires to the same modem.
    fn usb_reset(&mut self) -> Result<(), PortError> {
        self.link = None;
        self.ports.iter_mut().for_each(Port::close);
        self.firmware.cut_wires();
        self.firmware.treat(Cure::UsbReset);
        self.open_ports()
    }

    fn watch_closes(&mut self) -> Option<Closes> {
        if !self.firmware.unit.course.waits_for(Cure::Reopen) {
            return None;
        }
        let port = self.ports.first().filter(|port| port.source == Source::Pty)?;
        let path = port.path.as_ref()?;
        let watch = || Closes::of(path).inspect_err(|error| tracing::warn!(%error, "no watch"));
        self.closes.take().or_else(|| watch().ok())
    }

    /// Reports whether the modem answers nothing.
    fn is_mute(&self) -> bool {
        self.hung || self.firmware.unit.suffers(Symptom::Mute)
    }

    /// Carries out the actions that the firmware requests.
    fn perform(&mut self) {
        for action in std::mem::take(&mut self.firmware.unit.actions) {
            match action {
                Action::Open { client, connection, order } => self.open(client, connection, *order),
                Action::Dial { client, connection, order } => self.dial(client, connection, *order),
                Action::Order { client, order } => self.order(client, order),
                Action::Cut { client } => {
                    if let Some(slot) = self.connections.get_mut(client)
                        && let Some(connection) = slot.take()
                    {
                        connection.task.abort();
                    }
                }
                Action::Unplug => {
                    self.unplug();
                    self.plug_at = Some(Instant::now() + self.firmware.unit.options.unplugged);
                }
            }
        }
    }

    fn open(&mut self, client: usize, number: u64, order: broker::Connect) {
        let (orders, receiver) = mpsc::channel(ORDER_DEPTH);
        let events = broker::Events { client, connection: number, sender: self.sender.clone() };
        let task = self.tasks.spawn(broker::run(order, receiver, events));
        if let Some(slot) = self.connections.get_mut(client) {
            *slot = Some(Connection { number, orders, task });
        }
    }

    fn dial(&mut self, client: usize, number: u64, order: broker::Dial) {
        let (orders, receiver) = mpsc::channel(ORDER_DEPTH);
        let events = broker::Events { client, connection: number, sender: self.sender.clone() };
        let task = self.tasks.spawn(broker::dial(order, receiver, events));
        if let Some(slot) = self.connections.get_mut(client) {
            *slot = Some(Connection { number, orders, task });
        }
    }

    fn order(&self, client: usize, order: broker::Order) {
        let connection = self.connections.get(client).and_then(Option::as_ref);
        // A connection that has just ended has reported its end by an event, which ends the operation.
        if let Some(connection) = connection
            && connection.orders.try_send(order).is_err()
        {
            tracing::debug!(client, "the connection takes no order");
        }
    }

    /// Handles a connection that panicked. Otherwise a connection reports its own end by an event.
    fn connection_ended(&mut self, end: &Result<(), JoinError>) {
        let Some(error) = end.as_ref().err().filter(|error| error.is_panic()) else { return };
        tracing::error!(%error, "a connection to the broker panicked");
        for (client, slot) in self.connections.iter_mut().enumerate() {
            if let Some(connection) = slot.take_if(|connection| connection.task.is_finished()) {
                let (number, now) = (connection.number, Instant::now());
                self.firmware.event(client, number, broker::Event::Lost, now);
            }
        }
    }
}

async fn closed(closes: &mut Option<Closes>) {
    match closes {
        Some(closes) => closes.next().await,
        None => pending().await,
    }
}

async fn sleep_or_pend(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => pending().await,
    }
}

/// Writes due bytes, then reads, on any wire that is ready.
fn poll_wires(
    ports: &mut [Port],
    states: &mut [PortState],
    hung: bool,
    buffer: &mut [u8],
    cx: &mut Context<'_>,
) -> Poll<WireEvent> {
    for (index, (port, state)) in ports.iter_mut().zip(states).enumerate() {
        let Some(wire) = &mut port.wire else { continue };
        if !hung && let Poll::Ready(event) = poll_write(index, wire, state, cx) {
            return Poll::Ready(event);
        }
        if !hung && !state.wants_input() {
            continue;
        }
        let mut buffer = ReadBuf::new(buffer);
        if let Poll::Ready(read) = Pin::new(wire).poll_read(cx, &mut buffer) {
            let count = buffer.filled().len();
            return Poll::Ready(match read {
                Ok(()) if count > 0 => WireEvent::Read(index, count),
                Ok(()) | Err(_) => WireEvent::Gone(index),
            });
        }
    }
    Poll::Pending
}

fn poll_write(
    index: usize,
    wire: &mut Box<dyn Wire>,
    state: &mut PortState,
    cx: &mut Context<'_>,
) -> Poll<WireEvent> {
    let was_full = state.output.is_full();
    loop {
        let bytes = state.output.ready(Instant::now());
        if bytes.is_empty() {
            break;
        }
        match Pin::new(&mut *wire).poll_write(cx, bytes) {
            Poll::Ready(Ok(count @ 1..)) => state.output.wrote(count),
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(WireEvent::Gone(index)),
            Poll::Pending => break,
        }
    }
    if was_full && !state.output.is_full() {
        Poll::Ready(WireEvent::Room(index))
    } else {
        Poll::Pending
    }
}
