//! What is known of a command: what it does, what of it is secret, what data and what result it has.

use super::line::{Command, Form};

/// What a command does, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It only tells something.
    Reads,
    /// It changes what the sessions of a running agent rest on; on a port of one's own it is daily use.
    Uses,
    /// It costs money, lasts beyond a reset, ends the dialogue, or may lose the modem or its SIM.
    Harms,
    /// It is in no table.
    Unknown,
}

/// The line that ends an operation for which `OK` is acceptance only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperationResult {
    /// How it begins, colon included.
    pub prefix: &'static str,
    /// Whether its first argument is that of the command: the number of a client.
    pub is_indexed: bool,
    /// Which of its arguments, counted from 0, is the code; 0 is success.
    pub code_at: usize,
    /// As of `ResultLine::interim`.
    pub interim: Option<(usize, &'static str)>,
    /// The place of the broker's own answer in a line that may have one behind its code, and the greatest number there
    /// that does not refuse.
    pub answer: Option<(usize, u32)>,
}

impl OperationResult {
    /// A line of no prefix with its code first: the fields of which nothing is said.
    pub const BLANK: Self =
        Self { prefix: "", is_indexed: false, code_at: 0, interim: None, answer: None };
}

/// What is known of one command.
///
/// Unless the rule says otherwise, the forms `?` and `=?` only read (27.007 §4.2), and the others do
/// what `effect` says.
#[derive(Debug, Clone, Copy)]
pub struct CommandRule {
    name: &'static str,
    effect: Effect,
    why: &'static str,
    reads_in_all_forms: bool,
    query_reads: bool,
    test_reads: bool,
    execute_reads: bool,
    /// Setting forms of at most so many arguments only read.
    set_reads: usize,
    /// Setting forms of one argument only read where it is one of these, and no other setting form does.
    asked: Option<&'static [&'static str]>,
    secret_from: Option<usize>,
    /// The modem says it unasked, and no command has this name.
    pub(super) is_unasked: bool,
    /// No log shows its answer.
    pub(super) answers_secret: bool,
    data: Option<DataRule>,
    pub(super) answers_as: Option<&'static str>,
    pub(super) result: Option<OperationResult>,
    pub(super) lane: Option<&'static str>,
}

/// The data that a command asks for with a prompt.
#[derive(Debug, Clone, Copy)]
struct DataRule {
    /// Which argument of the command is its length.
    length_at: usize,
    /// Commands of fewer arguments ask for none.
    arguments: usize,
    is_secret: bool,
    /// The line `CONNECT` asks for it, and no `>`.
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

    /// A command that only tells something, in whatever form.
    pub const fn reads(name: &'static str) -> Self {
        Self { reads_in_all_forms: true, ..Self::new(name, Effect::Reads, "") }
    }

    /// A command of [`Effect::Uses`]; `why` goes on after "it".
    pub const fn uses(name: &'static str, why: &'static str) -> Self {
        Self::new(name, Effect::Uses, why)
    }

    /// A command of [`Effect::Harms`]; `why` goes on after "it".
    pub const fn harms(name: &'static str, why: &'static str) -> Self {
        Self::new(name, Effect::Harms, why)
    }

    /// What the modem only says by itself, and those who wait for it must hear: no command has this name,
    /// and no answer.
    pub const fn unasked(name: &'static str) -> Self {
        let why = "is an unsolicited line of the modem and not a command";
        Self { is_unasked: true, ..Self::harms(name, why).in_every_form() }
    }

    /// No form of it only reads.
    #[must_use]
    pub const fn in_every_form(self) -> Self {
        Self { query_reads: false, test_reads: false, ..self }
    }

    /// Its form `=?` does more than to tell what there is, such as a search for networks.
    #[must_use]
    pub const fn in_its_test_form(self) -> Self {
        Self { test_reads: false, ..self }
    }

    /// Its bare form only reads.
    #[must_use]
    pub const fn but_bare(self) -> Self {
        Self { execute_reads: true, ..self }
    }

    /// With at most so many arguments it only reads.
    #[must_use]
    pub const fn but_with(self, arguments: usize) -> Self {
        Self { set_reads: arguments, ..self }
    }

    /// With one argument that is one of these, in quotation marks where the command has them, it only reads;
    /// no other setting form does.
    #[must_use]
    pub const fn but_asked(self, arguments: &'static [&'static str]) -> Self {
        let (effect, why) = match self.effect {
            Effect::Reads => (Effect::Unknown, "is not known to be harmless"),
            effect => (effect, self.why),
        };
        Self { asked: Some(arguments), effect, why, ..self }
    }

    /// Its answer is secret, such as the contents of a file: no log shows it.
    #[must_use]
    pub const fn answers_secret(self) -> Self {
        Self { answers_secret: true, ..self }
    }

    /// From this argument on, counted from 0, it holds what no log shows.
    #[must_use]
    pub const fn secret_from(self, argument: usize) -> Self {
        Self { secret_from: Some(argument), ..self }
    }

    /// It asks for data, whose length is this argument, where it has so many arguments.
    #[must_use]
    pub const fn asks(self, length_at: usize, arguments: usize) -> Self {
        Self {
            data: Some(DataRule { length_at, arguments, is_secret: false, connects: false }),
            ..self
        }
    }

    /// The same for data that no log shows, and no history keeps.
    #[must_use]
    pub const fn asks_secret(self, length_at: usize, arguments: usize) -> Self {
        let data = DataRule { length_at, arguments, is_secret: true, connects: false };
        Self { data: Some(data), ..self }
    }

    /// The same where the line `CONNECT` asks for the data in the place of `>`.
    #[must_use]
    pub const fn connects_secret(self, length_at: usize, arguments: usize) -> Self {
        let data = DataRule { length_at, arguments, is_secret: true, connects: true };
        Self { data: Some(data), ..self }
    }

    /// Its answer begins with this name instead of its own.
    #[must_use]
    pub const fn answers_as(self, name: &'static str) -> Self {
        Self { answers_as: Some(name), ..self }
    }

    /// A line of this kind ends it.
    #[must_use]
    pub const fn ends_with(self, result: OperationResult) -> Self {
        Self { result: Some(result), ..self }
    }

    /// It waits while a result of this lane is out.
    #[must_use]
    pub const fn in_lane(self, lane: &'static str) -> Self {
        Self { lane: Some(lane), ..self }
    }

    pub(super) fn is_of(&self, command: &Command) -> bool {
        self.name == command.name
    }

    /// What the command does in the form in which it stands there.
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

    /// Of how many arguments logs show the text.
    pub(super) fn shown_arguments(&self) -> usize {
        self.secret_from.unwrap_or(usize::MAX)
    }

    /// The length of the data that the command asks for; `Err` where that is no number.
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
