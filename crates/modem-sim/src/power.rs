//! Power, boot and reset: the state kept over them and the lines printed.

use tokio::time::Instant;

use crate::{
    clock::OwnClock,
    firmware::Firmware,
    illness::Symptom,
    port_state::PortState,
    unit::{Power, factory_settings},
};

impl Firmware {
    /// Applies power, at the plug.
    pub(crate) fn power_on(&mut self, now: Instant) {
        self.unit.now = now;
        self.start_boot();
    }

    /// Removes power: all state that is not in flash is lost.
    pub(crate) fn power_off(&mut self) {
        self.unit.power = Power::Off;
        self.boot = None;
        self.unit.agenda.clear();
        let cfun = self.unit.settings.cfun;
        self.unit.settings = factory_settings();
        if self.unit.suffers(Symptom::KeepsFlightMode) {
            self.unit.settings.cfun = cfun;
        }
        self.unit.sim.power_off();
        self.unit.network.power_off();
        self.unit.messages = self.unit.messages.after_reset();
        self.forget_sessions();
        self.unit.clock = OwnClock::new(self.unit.options.clock, self.unit.now);
        self.unit.ports.iter_mut().for_each(PortState::reset);
    }

    /// Reboots without a line before it. A modem without power stays so, and a modem that writes its firmware
    /// continues.
    pub(crate) fn reset(&mut self) {
        if self.unit.power != Power::Off && !self.unit.course.is_updating() {
            self.power_off();
            self.start_boot();
        }
    }

    pub(crate) fn start_boot(&mut self) {
        self.unit.power = Power::Dark;
        if self.unit.options.boot_time.is_zero() {
            for stage in [Power::SimBusy, Power::Ready, Power::On] {
                self.power_stage(stage);
            }
        } else {
            self.boot = Some((self.unit.now + self.unit.options.boot_time / 2, Power::SimBusy));
        }
    }

    pub(crate) fn enter(&mut self, stage: Power, due: Instant) {
        let quarter = self.unit.options.boot_time / 4;
        self.boot = match stage {
            Power::SimBusy => Some((due + quarter, Power::Ready)),
            Power::Ready => Some((due + quarter, Power::On)),
            Power::Off | Power::Dark | Power::On => None,
        };
        self.power_stage(stage);
    }

    fn power_stage(&mut self, stage: Power) {
        self.unit.power = stage;
        match stage {
            Power::Off | Power::Dark => {}
            Power::SimBusy | Power::Ready if self.unit.suffers(Symptom::SilentBoot) => {}
            Power::SimBusy => self.unit.urc(self.unit.options.model.ready_urc()),
            Power::Ready => {
                if let Some(state) = self.unit.card_state() {
                    self.unit.urc(&format!("+CPIN: {state}"));
                }
            }
            Power::On => {
                if self.unit.has_open_card() {
                    for line in self.unit.options.model.boot_urcs() {
                        self.unit.urc(line);
                    }
                }
            }
        }
    }
}
