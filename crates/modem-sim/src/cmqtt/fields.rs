//! Fields of a client that are filled at a prompt, and the use of prompt data.

use super::{
    Client, Link, Service, code,
    commands::{Needs, Outcome, Refusal, refuse},
};
use crate::{
    command::Arg,
    prompt::{Field, Purpose},
    reply::{Answer, Reply},
    unit::Unit,
};

/// The most bytes of all topics that are cached for a SUB or UNSUB.
const MAX_CACHED: usize = 5_120;

impl Service {
    /// Prompts for a field of a client.
    pub(super) fn field(
        &mut self,
        word: &'static str,
        args: &[Arg],
        count: std::ops::RangeInclusive<usize>,
        field: impl FnOnce(&[Arg]) -> Option<Field>,
    ) -> Outcome {
        if !count.contains(&args.len()) {
            return Err(Refusal::Bare);
        }
        let needs = if word.starts_with("WILL") { Needs::Acquired } else { Needs::Connected };
        let (index, client) = self.client(word, args, needs)?;
        let rest = args.get(2..).unwrap_or(&[]);
        let field = field(rest).ok_or_else(|| refuse(word, index, code::PARAMETER))?;
        let most = if matches!(field, Field::Payload) { 10_240 } else { 1_024 };
        let length = args.get(1).and_then(Arg::number).ok_or(Refusal::Bare)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !(1..=most).contains(&length) || !client.has_room(field, length) {
            return Err(refuse(word, index, code::LENGTH));
        }
        Ok(Answer::Prompt(length, Purpose::Field(index, field)))
    }

    pub(super) fn fill(
        &mut self,
        unit: &mut Unit,
        port: usize,
        index: usize,
        field: Field,
        data: Vec<u8>,
    ) -> Outcome {
        let word = field.word();
        let refuse = |code| refuse(word, index, code);
        let client = self.clients.get_mut(index).ok_or(Refusal::Bare)?;
        // The state may have changed since the prompt.
        if client.acquired.is_none() {
            return Err(refuse(code::NOT_ACQUIRED));
        }
        if client.check_utf8 && std::str::from_utf8(&data).is_err() {
            return Err(refuse(code::BAD_UTF8));
        }
        match field {
            Field::Topic => client.topic = Some(data),
            Field::Payload => client.payload = Some(data),
            Field::WillTopic => client.will_topic = Some(data),
            Field::WillMessage { qos } => client.will_message = Some((data, qos)),
            Field::SubTopic { qos } => client.subscribe.push((data, qos)),
            Field::UnsubTopic => client.unsubscribe.push(data),
            Field::Sub { .. } | Field::Unsub if client.operation.is_some() => {
                return Err(refuse(code::BUSY));
            }
            Field::Sub { .. } | Field::Unsub if client.link != Link::Up => {
                return Err(refuse(code::NO_CONNECTION));
            }
            Field::Sub { qos } => return self.subscribe(unit, port, index, vec![(data, qos)]),
            Field::Unsub => return self.unsubscribe(unit, port, index, vec![data]),
        }
        Ok(Reply::ok().into())
    }
}

impl Client {
    /// Reports whether the cache of topics has room for another topic.
    fn has_room(&self, field: Field, length: usize) -> bool {
        let cached: usize = match field {
            Field::SubTopic { .. } => self.subscribe.iter().map(|(topic, _)| topic.len()).sum(),
            Field::UnsubTopic => self.unsubscribe.iter().map(Vec::len).sum(),
            _ => 0,
        };
        cached + length <= MAX_CACHED.max(length)
    }
}
