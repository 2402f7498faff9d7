//! Power, boot and reset: what is kept over them and what is printed.

use tokio::time::Instant;

use crate::{
    clock::OwnClock,
    firmware::{Firmware, factory_settings},
    illness::Symptom,
    port_state::PortState,
};

/// How far the modem is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Power {
    /// No power.
    Off,
    /// Booting; the port is mute.
    Dark,
    /// The port answers, the SIM does not yet.
    SimBusy,
    /// Everything but the message store, whose lines are still to come.
    Ready,
    /// Booted.
    On,
}

impl Firmware {
    /// Applies power, at the plug.
    pub(crate) fn power_on(&mut self, now: Instant) {
        self.now = now;
        self.start_boot();
    }

    /// Takes power away: every state that is not in flash is gone.
    pub(crate) fn power_off(&mut self) {
        self.power = Power::Off;
        self.boot = None;
        self.agenda.clear();
        let cfun = self.settings.cfun;
        self.settings = factory_settings();
        if self.suffers(Symptom::KeepsFlightMode) {
            self.settings.cfun = cfun;
        }
        self.sim.power_off();
        self.network.power_off();
        self.messages = self.messages.after_reset();
        self.forget_sessions();
        self.clock = OwnClock::new(self.options.clock, self.now);
        self.ports.iter_mut().for_each(PortState::reset);
    }

    /// Breaks every connection and forgets what the MQTT stacks hold.
    pub(crate) fn forget_sessions(&mut self) {
        self.cut_connections();
        self.service = self.service.after_reset(self.suffers(Symptom::LeftClients));
        self.cmq = self.cmq.after_reset();
        self.qmt = self.qmt.after_reset();
    }

    /// Reboots without a word before it. A modem without power stays so, and one that writes its firmware goes on.
    pub(crate) fn reset(&mut self) {
        if self.power != Power::Off && !self.is_updating() {
            self.power_off();
            self.start_boot();
        }
    }

    /// What is printed before a reset that was asked for (as seen on a SIM7600EI).
    pub(crate) fn announce_reset(&mut self) {
        if self.service.is_started() {
            self.urc("+CIPEVENT: NETWORK CLOSED UNEXPECTEDLY");
            for client in self.service.connected() {
                self.urc(&format!("+CMQTTCONNLOST: {client},3"));
            }
            self.urc("+CMQTTNONET");
        }
    }

    pub(crate) fn start_boot(&mut self) {
        self.power = Power::Dark;
        if self.options.boot_time.is_zero() {
            for stage in [Power::SimBusy, Power::Ready, Power::On] {
                self.power_stage(stage);
            }
        } else {
            self.boot = Some((self.now + self.options.boot_time / 2, Power::SimBusy));
        }
    }

    pub(crate) fn enter(&mut self, stage: Power, due: Instant) {
        let quarter = self.options.boot_time / 4;
        self.boot = match stage {
            Power::SimBusy => Some((due + quarter, Power::Ready)),
            Power::Ready => Some((due + quarter, Power::On)),
            Power::Off | Power::Dark | Power::On => None,
        };
        self.power_stage(stage);
    }

    fn power_stage(&mut self, stage: Power) {
        self.power = stage;
        match stage {
            Power::Off | Power::Dark => {}
            Power::SimBusy | Power::Ready if self.suffers(Symptom::SilentBoot) => {}
            Power::SimBusy => self.urc(self.options.model.ready_urc()),
            Power::Ready => {
                if let Some(state) = self.card_state() {
                    self.urc(&format!("+CPIN: {state}"));
                }
            }
            Power::On => {
                if self.has_open_card() {
                    for line in self.options.model.boot_urcs() {
                        self.urc(line);
                    }
                }
            }
        }
    }

    /// Reports whether the modem has finished booting, and with it registering.
    pub(crate) fn is_up(&self) -> bool {
        self.power == Power::On
    }
}
