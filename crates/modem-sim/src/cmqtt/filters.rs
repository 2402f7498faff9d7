//! `AT+CMQTTSUB` and `AT+CMQTTUNSUB`.

use super::{
    Service, code,
    commands::{Needs, Outcome, Refusal, fails, optional, qos, refuse},
};
use crate::{
    broker,
    command::Arg,
    unit::{Action, Unit},
};

impl Service {
    pub(super) fn subscribe_cached(
        &mut self,
        unit: &mut Unit,
        port: usize,
        args: &[Arg],
    ) -> Outcome {
        let (index, client) = self.client("SUB", args, Needs::Connected)?;
        optional(args, 1, 0..=1, 0).ok_or_else(|| refuse("SUB", index, code::PARAMETER))?;
        let filters = std::mem::take(&mut client.subscribe);
        self.subscribe(unit, port, index, filters)
    }

    /// Reports whether "argtopic" puts the client's topics into the command itself.
    pub(super) fn is_in_one_line(&self, index: &Arg) -> bool {
        let index = index.number().and_then(|index| usize::try_from(index).ok());
        let client = index.and_then(|index| self.clients.get(index));
        client.is_some_and(|client| client.one_line.is_some())
    }

    pub(super) fn subscribe_in_one_line(
        &mut self,
        unit: &mut Unit,
        port: usize,
        args: &[Arg],
        topic: &Arg,
        level: &Arg,
    ) -> Outcome {
        let (index, _) = self.client("SUB", args, Needs::Connected)?;
        let filter = topic.text().map(|topic| topic.as_bytes().to_vec()).ok_or(Refusal::Bare)?;
        let qos = qos(std::slice::from_ref(level)).ok_or(Refusal::Bare)?;
        self.subscribe(unit, port, index, vec![(filter, qos)])
    }

    pub(super) fn subscribe(
        &mut self,
        unit: &mut Unit,
        port: usize,
        index: usize,
        filters: Vec<(Vec<u8>, u8)>,
    ) -> Outcome {
        if filters.is_empty() {
            return Err(refuse("SUB", index, code::NO_TOPIC));
        }
        let text = |(filter, qos)| String::from_utf8(filter).ok().map(|filter| (filter, qos));
        let Some(filters) = filters.into_iter().map(text).collect() else {
            return Ok(fails(unit, "SUB", index, code::PACKET));
        };
        let order = broker::Order::Subscribe { filters, timeout: self.operation_timeout(index) };
        unit.actions.push(Action::Order { client: index, order });
        Ok(self.begin(unit, port, index, "SUB"))
    }

    pub(super) fn unsubscribe_cached(
        &mut self,
        unit: &mut Unit,
        port: usize,
        args: &[Arg],
    ) -> Outcome {
        let (index, client) = self.client("UNSUB", args, Needs::Connected)?;
        optional(args, 1, 0..=1, 0).ok_or_else(|| refuse("UNSUB", index, code::PARAMETER))?;
        let filters = std::mem::take(&mut client.unsubscribe);
        self.unsubscribe(unit, port, index, filters)
    }

    pub(super) fn unsubscribe(
        &mut self,
        unit: &mut Unit,
        port: usize,
        index: usize,
        filters: Vec<Vec<u8>>,
    ) -> Outcome {
        if filters.is_empty() {
            return Err(refuse("UNSUB", index, code::NO_TOPIC));
        }
        let text = |filter| String::from_utf8(filter).ok();
        let Some(filters) = filters.into_iter().map(text).collect() else {
            return Ok(fails(unit, "UNSUB", index, code::PACKET));
        };
        let order = broker::Order::Unsubscribe { filters, timeout: self.operation_timeout(index) };
        unit.actions.push(Action::Order { client: index, order });
        Ok(self.begin(unit, port, index, "UNSUB"))
    }
}
