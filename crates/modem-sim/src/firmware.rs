//! The inside of the modem. Its inputs are bytes and events; its outputs are bytes with their times, and orders
//! to the network. No I/O happens here.

use tokio::time::Instant;

use crate::{
    broker::Event,
    dialect,
    fault::Pulls,
    options::{Coverage, Options},
    port_state::PortState,
    reply::Reply,
    stack::Stack,
    unit::{Power, Unit},
};

/// The modem without its wires.
#[derive(Debug)]
pub(crate) struct Firmware {
    pub(crate) unit: Unit,
    pub(crate) stack: Box<dyn Stack>,
    pub(crate) pulls: Pulls,
    /// The next step of the boot.
    pub(crate) boot: Option<(Instant, Power)>,
}

impl Firmware {
    /// Returns a booted modem with a single port. Its initial illnesses begin when the modem is first woken.
    pub(crate) fn new(options: Options, now: Instant) -> Self {
        Self {
            stack: dialect::stack(options.model),
            pulls: Pulls::new(&options.unplug_at),
            unit: Unit::new(options, now),
            boot: None,
        }
    }

    /// Gives the modem this many AT ports, at least a single port.
    pub(crate) fn set_ports(&mut self, count: usize) {
        self.unit.ports.resize_with(count.max(1), PortState::new);
    }

    /// Forgets pending output: the wires are gone.
    pub(crate) fn cut_wires(&mut self) {
        self.unit.ports.iter_mut().for_each(|port| port.output.clear());
    }

    /// Takes an event of a connection.
    pub(crate) fn event(&mut self, client: usize, connection: u64, event: Event, now: Instant) {
        self.unit.now = now;
        self.stack.event(&mut self.unit, client, connection, event);
    }

    /// Drops every connection, like a broker that closes them.
    pub(crate) fn lose_connections(&mut self) {
        self.stack.lose_connections(&mut self.unit);
    }

    /// Drops every connection for want of a network.
    pub(crate) fn lose_network(&mut self) {
        self.stack.lose_network(&mut self.unit);
    }

    /// Breaks every connection and forgets the stack's state.
    pub(crate) fn forget_sessions(&mut self) {
        self.stack.cut_connections(&mut self.unit);
        self.stack.reset(&self.unit);
    }

    /// Removes or restores the network.
    pub(crate) fn set_coverage(&mut self, coverage: Coverage) {
        self.unit.set_radio(|network| network.coverage = coverage);
        match coverage {
            Coverage::Full => self.stack.freeze_connections(&mut self.unit, false),
            Coverage::Silent => self.stack.freeze_connections(&mut self.unit, true),
            Coverage::None => self.lose_network(),
        }
    }

    /// Switches the radio on or off.
    pub(crate) fn switch_radio(&mut self, mode: u32) {
        let was = std::mem::replace(&mut self.unit.settings.cfun, mode);
        if mode == 1 && was != 1 {
            self.unit.network.attach();
        }
        if mode != 1 {
            self.lose_network();
        }
    }

    /// `AT+CGATT=0` ends all data, and the registration for it; voice stays.
    pub(crate) fn attach_or_detach(&mut self, state: Option<u32>) -> Reply {
        let before = self.unit.registration();
        match state {
            Some(0) => {
                self.unit.network.detach();
                self.lose_network();
            }
            Some(1) if self.unit.network.is_attached() => {}
            Some(1) => self.unit.network.attach(),
            _ => return Reply::error(),
        }
        self.unit.report_registration(before);
        Reply::ok()
    }
}
