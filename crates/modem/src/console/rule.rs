//! The rule of a command: its effect, its secrets, its data and its result.

use super::line::{Command, Form};

/// The effect of a command, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It only reads.
    Reads,
    /// It changes settings that the sessions of a running agent depend on. On a person's own port
    /// that is daily use.
    Uses,
    /// It costs money, lasts beyond a reset, ends the dialogue, or may lose the modem or its SIM.
    Harms,
    /// It is in no table.
    Unknown,
}

/// The line that ends an operation for which `OK` is acceptance only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperationResult {
    /// Its beginning, colon included.
    pub prefix: &'static str,
    /// True if its first argument is that of the command: the number of a client.
    pub is_indexed: bool,
    /// The index of the code among its arguments, from 0; code 0 is success.
    pub code_at: usize,
    /// The interim line of `ResultLine::interim`, if any.
    pub interim: Option<(usize, &'static str)>,
    /// The index of the broker's own answer, and the greatest number there that is not a refusal.
    /// The line may lack that answer, which is behind its code.
    pub answer: Option<(usize, u32)>,
}

impl OperationResult {
    /// A result without prefix and with its code first: the defaults of the fields.
    pub const BLANK: Self =
        Self { prefix: "", is_indexed: false, code_at: 0, interim: None, answer: None };
}

/// The rule of one command.
///
/// Unless the rule says otherwise, the forms `?` and `=?` only read (27.007 §4.2), and the others
/// have the `effect`.
#[derive(Debug, Clone, Copy)]
pub struct CommandRule {
    name: &'static str,
    effect: Effect,
    why: &'static str,
    reads_in_all_forms: bool,
    query_reads: bool,
    test_reads: bool,
    execute_reads: bool,
    /// Setting forms with at most this many arguments only read.
    set_reads: usize,
    /// Setting forms with one of these as the only argument read, and no other setting form does.
    asked: Option<&'static [&'static str]>,
    secret_from: Option<usize>,
    /// The modem prints it unasked, and no command has this name.
    pub(super) is_unasked: bool,
    /// Logs hide its answer.
    pub(super) answers_secret: bool,
    data: Option<DataRule>,
    pub(super) answers_as: Option<&'static str>,
    pub(super) result: Option<OperationResult>,
    pub(super) lane: Option<&'static str>,
}

/// The data that a command asks for with a prompt.
#[derive(Debug, Clone, Copy)]
struct DataRule {
    /// The index of the argument that is its length.
    length_at: usize,
    /// The least number of arguments with which the command asks for data.
    arguments: usize,
    is_secret: bool,
    /// The line `CONNECT` asks for it, not `>`.
    connects: bool,
}

impl CommandRule {
    const fn new(name: &'static str, effect: Effect, why: &'static str) -> Self {
        Self {
            name,
            effect,
            why,
            reads_in_all_forms: false,
            query_reads: true,
            test_reads: true,
            execute_reads: false,
            set_reads: 0,
            asked: None,
            secret_from: None,
            answers_secret: false,
            is_unasked: false,
            data: None,
            answers_as: None,
            result: None,
            lane: None,
        }
    }

    /// Creates the rule of a command that only reads, in any form.
    pub const fn reads(name: &'static str) -> Self {
        Self { reads_in_all_forms: true, ..Self::new(name, Effect::Reads, "") }
    }

    /// Creates the rule of a command of [`Effect::Uses`]; `why` goes on after "it".
    pub const fn uses(name: &'static str, why: &'static str) -> Self {
        Self::new(name, Effect::Uses, why)
    }

    /// Creates the rule of a command of [`Effect::Harms`]; `why` goes on after "it".
    pub const fn harms(name: &'static str, why: &'static str) -> Self {
        Self::new(name, Effect::Harms, why)
    }

    /// Creates the rule of a name that only URCs have. The tasks that wait for it must get its
    /// lines, so it is neither a command nor an answer.
    pub const fn unasked(name: &'static str) -> Self {
        let why = "is an unsolicited line of the modem and not a command";
        Self { is_unasked: true, ..Self::harms(name, why).in_every_form() }
    }

    /// Applies the effect to all forms: none only reads.
    #[must_use]
    pub const fn in_every_form(self) -> Self {
        Self { query_reads: false, test_reads: false, ..self }
    }

    /// Applies the effect to the form `=?`, too, which does more than list values, such as a search
    /// for networks.
    #[must_use]
    pub const fn in_its_test_form(self) -> Self {
        Self { test_reads: false, ..self }
    }

    /// Lets the bare form only read.
    #[must_use]
    pub const fn but_bare(self) -> Self {
        Self { execute_reads: true, ..self }
    }

    /// Lets setting forms with at most this many arguments only read.
    #[must_use]
    pub const fn but_with(self, arguments: usize) -> Self {
        Self { set_reads: arguments, ..self }
    }

    /// Lets setting forms with one of these as the only argument read, in quotation marks if the
    /// command has them. No other setting form only reads.
    #[must_use]
    pub const fn but_asked(self, arguments: &'static [&'static str]) -> Self {
        let (effect, why) = match self.effect {
            Effect::Reads => (Effect::Unknown, "is not known to be harmless"),
            effect => (effect, self.why),
        };
        Self { asked: Some(arguments), effect, why, ..self }
    }

    /// Makes the answer secret, such as the contents of a file: logs hide it.
    #[must_use]
    pub const fn answers_secret(self) -> Self {
        Self { answers_secret: true, ..self }
    }

    /// Makes the arguments from this index on secret, counted from 0: logs hide them.
    #[must_use]
    pub const fn secret_from(self, argument: usize) -> Self {
        Self { secret_from: Some(argument), ..self }
    }

    /// Notes that the command asks for data if it has at least `arguments` arguments. The data's
    /// length is the argument at `length_at`.
    #[must_use]
    pub const fn asks(self, length_at: usize, arguments: usize) -> Self {
        Self {
            data: Some(DataRule { length_at, arguments, is_secret: false, connects: false }),
            ..self
        }
    }

    /// As [`asks`](Self::asks), for data that logs hide, and that no history keeps.
    #[must_use]
    pub const fn asks_secret(self, length_at: usize, arguments: usize) -> Self {
        let data = DataRule { length_at, arguments, is_secret: true, connects: false };
        Self { data: Some(data), ..self }
    }

    /// As [`asks_secret`](Self::asks_secret), if the line `CONNECT` asks for the data in place of
    /// `>`.
    #[must_use]
    pub const fn connects_secret(self, length_at: usize, arguments: usize) -> Self {
        let data = DataRule { length_at, arguments, is_secret: true, connects: true };
        Self { data: Some(data), ..self }
    }

    /// Sets the name with which the answer begins, instead of the command's own.
    #[must_use]
    pub const fn answers_as(self, name: &'static str) -> Self {
        Self { answers_as: Some(name), ..self }
    }

    /// Sets the line that ends the operation.
    #[must_use]
    pub const fn ends_with(self, result: OperationResult) -> Self {
        Self { result: Some(result), ..self }
    }

    /// Sets the lane: the command waits while a result of this lane is out.
    #[must_use]
    pub const fn in_lane(self, lane: &'static str) -> Self {
        Self { lane: Some(lane), ..self }
    }

    pub(super) fn is_of(&self, command: &Command) -> bool {
        self.name == command.name
    }

    /// Returns the effect of the command in its form.
    pub(super) fn effect(&self, command: &Command) -> Effect {
        let is_told = |asked: &[&str]| match command.arguments.as_slice() {
            [only] => asked.iter().any(|known| known.eq_ignore_ascii_case(only)),
            _ => false,
        };
        let reads = match (command.form, self.asked) {
            (Form::Set, Some(asked)) => is_told(asked),
            _ if self.reads_in_all_forms => true,
            // `ATZ?` may be `ATZ` and a question mark.
            (Form::Read, _) => self.query_reads && command.is_extended(),
            (Form::Test, _) => self.test_reads && command.is_extended(),
            (Form::Execute, _) => self.execute_reads,
            (Form::Set, None) => command.arguments.len() <= self.set_reads,
        };
        if reads { Effect::Reads } else { self.effect }
    }

    pub(super) fn why(&self) -> &'static str {
        self.why
    }

    /// Returns the number of arguments that logs show.
    pub(super) fn shown_arguments(&self) -> usize {
        self.secret_from.unwrap_or(usize::MAX)
    }

    /// Returns the length of the data that the command asks for; `Err` if that is not a number.
    pub(super) fn data_length(&self, command: &Command) -> Option<Result<usize, ()>> {
        let data = self.data.filter(|data| {
            command.form == Form::Set && command.arguments.len() >= data.arguments
        })?;
        let length = command.arguments.get(data.length_at)?;
        Some(length.parse().map_err(|_| ()))
    }

    pub(super) fn connects(&self) -> bool {
        self.data.is_some_and(|data| data.connects)
    }

    pub(super) fn has_secret_data(&self) -> bool {
        self.data.is_some_and(|data| data.is_secret)
    }
}
