//! A person's own commands on a modem's port: their judgement, their display, and their run beside
//! everything else that uses the port.
//!
//! A command that is not known to be harmless needs insistence. A list of commands that read is
//! sounder than a list of those that harm, since every firmware has commands that no manual names.
//! V.250's forms `?` and `=?` of `+` commands read by definition. For the others there are tables:
//! those of the standards here, and each vendor's in its profile.
//!
//! A command is one exchange like all others. Its data is complete before its line is sent, so that
//! no modem waits at a prompt while a person types.

mod access;
mod line;
mod outcome;
mod rule;
mod standard;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use at::{Answer, Exchange, Framing, ResultLine};
use zeroize::Zeroizing;

use crate::exchange::Kind;
pub use crate::urc_listeners::{Heard, Hearing};
use line::{Command, Form};

pub use access::Access;
pub(crate) use access::Open;
pub use line::Unreadable;
pub use outcome::Outcome;
pub use rule::{CommandRule, Effect, OperationResult};

/// The default time for an answer: manuals give 9 s for most commands.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The default time for the result of an operation (SIMCom's manual: 120 s).
const OPERATION: Duration = Duration::from_secs(130);

/// The shortest wait that a caller may ask for: a later answer puts the port out of step.
pub const SHORTEST: Duration = Duration::from_secs(1);

/// The longest wait that a caller may ask for: a search for networks takes three minutes.
pub const LONGEST: Duration = Duration::from_secs(240);

/// The longest wait beside sessions without insistence. A port that waits for one answer carries
/// nothing else, and after this time the sessions' messages go another way.
pub const LONGEST_BESIDE: Duration = Duration::from_secs(15);

/// The most bytes of data: the size of the largest payload.
pub const MAX_DATA: usize = 10_240;

/// The owner of the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleContext {
    /// An agent, whose sessions go on.
    Shared,
    /// The person.
    Own,
}

/// A command that a person wants to send.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// The command line.
    pub line: Zeroizing<String>,
    /// The data for its prompt.
    pub data: Option<Zeroizing<Vec<u8>>>,
    /// The longest wait for its answer.
    pub timeout: Option<Duration>,
    /// True to send it whatever its effect.
    pub dangerous: bool,
}

/// The reason why a wish is not granted. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The line is not valid for any modem.
    #[error("this is not a command line")]
    Line(#[source] at::InvalidLine),
    /// It cannot be judged.
    #[error("the line {0}, so its effect is not known; `--dangerous` sends it anyway")]
    Unreadable(Unreadable),
    /// A command in it does more than read.
    #[error("{command} {why}; `--dangerous` sends it anyway")]
    Dangerous {
        /// The command as it stands in the line, without its arguments.
        command: String,
        /// Its effect.
        why: &'static str,
    },
    /// The wait would be too long.
    #[error("a command waits for {} s at most{}", most.as_secs(), if *beside {
        " while sessions run, which wait as long; `--dangerous` allows more"
    } else {
        ""
    })]
    Timeout {
        /// The longest wait allowed.
        most: Duration,
        /// True if the bound holds because sessions wait too.
        beside: bool,
    },
    /// The wait would be so short that most answers would come late.
    #[error("a command waits for {} s at least", SHORTEST.as_secs())]
    Hasty,
    /// The command asks for data, and there is none.
    #[error("{command} asks for {length} bytes of data")]
    NoData {
        /// The command.
        command: String,
        /// The number of bytes that it announces.
        length: usize,
    },
    /// The command announces another length than that of the data.
    #[error("{command} announces {length} bytes, but the data has {given}")]
    DataLength {
        /// The command.
        command: String,
        /// The number of bytes that it announces.
        length: usize,
        /// The number of bytes given.
        given: usize,
    },
    /// The data's length in the command is not a number, or more than any modem takes.
    #[error("the length of the data must be a number up to {MAX_DATA}")]
    Length,
    /// The command asks for no data.
    #[error("{command} asks for no data")]
    NeedsNoData {
        /// The command.
        command: String,
    },
}

impl Refusal {
    /// Reports whether insistence would help.
    pub fn is_danger(&self) -> bool {
        matches!(
            self,
            Self::Unreadable(_) | Self::Dangerous { .. } | Self::Timeout { beside: true, .. }
        )
    }
}

/// A wish that was granted, ready to be run.
pub struct Order {
    exchange: Exchange,
    kind: Kind,
    /// True if it waits until no sequence of another user is half done.
    takes_turn: bool,
    result: Option<OperationResult>,
    /// True if it only reads.
    is_harmless: bool,
}

impl Order {
    /// Returns the line as logs may show it.
    pub fn shown(&self) -> &str {
        self.exchange.shown()
    }

    /// Reports whether logs hide the modem's answer.
    pub fn has_secret_answer(&self) -> bool {
        self.exchange.hides_answer()
    }

    /// Reports whether it only reads.
    pub fn is_harmless(&self) -> bool {
        self.is_harmless
    }
}

/// The rules of all known commands: the standards' and the vendors'.
#[derive(Debug, Clone)]
pub struct Commands {
    rules: Arc<[CommandRule]>,
    framing: Arc<Framing>,
}

impl Commands {
    /// Joins the standards' commands with these.
    pub(crate) fn new(vendors: &[CommandRule], framing: Framing) -> Self {
        // The vendor's rule comes first: the vendor knows its own commands best.
        let rules = vendors.iter().chain(standard::RULES).copied().collect();
        Self { rules, framing: Arc::new(framing) }
    }

    /// Returns a modem's line as a person may see it.
    pub fn shown_answer(&self, line: &str) -> String {
        self.framing.shown(line).into_owned()
    }

    /// Makes an order of a wish, or returns the reason for the refusal.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn order(&self, wish: Wish, context: ConsoleContext) -> Result<Order, Refusal> {
        let Wish { line, data, timeout, dangerous } = wish;
        let line = Zeroizing::new(line.trim().to_owned());
        let judged = self.judge(&line, context);
        let is_harmless = judged.as_ref().is_ok_and(|effect| *effect == Effect::Reads);
        if !dangerous {
            judged?;
        }
        let commands = line::commands(&line).unwrap_or_default();
        self.check_data(&commands, data.as_ref().map(|data| data.len()), dangerous)?;
        let most =
            if context == ConsoleContext::Shared && !dangerous { LONGEST_BESIDE } else { LONGEST };
        if timeout.is_some_and(|timeout| timeout < SHORTEST) {
            return Err(Refusal::Hasty);
        }
        if timeout.is_some_and(|timeout| timeout > most) {
            return Err(Refusal::Timeout { most, beside: most == LONGEST_BESIDE });
        }
        let wait = timeout.unwrap_or(PATIENCE);
        let mut exchange = Exchange::new(line.as_str(), wait)
            .map_err(Refusal::Line)?
            .answer(self.answer(&commands));
        let shown = self.shown(&line);
        if shown != *line {
            exchange = exchange.shown_as(shown);
        }
        if self.has_secret_answer(&line) {
            exchange = exchange.secret_answer();
        }
        let rule = self.only(&commands).map(|(rule, _)| rule);
        let result = rule.and_then(|rule| rule.result).filter(|_| {
            commands.iter().all(|command| matches!(command.form, Form::Set | Form::Execute))
        });
        if let Some(result) = &result {
            let line = result_line(result, commands.first());
            exchange = exchange.result(line, timeout.unwrap_or(OPERATION));
        }
        let lane = commands.iter().find_map(|c| self.rule(c)?.lane);
        if let Some(lane) = lane {
            exchange = exchange.lane(lane);
        }
        // Not a status exchange: a person must not wait for a load that never ends.
        let kind = match (&data, is_harmless) {
            (Some(_), _) => Kind::Prompt,
            (None, true) => Kind::Basic,
            (None, false) => Kind::Setup,
        };
        if let Some(data) = data {
            // The effect of the data is not known for every command.
            exchange = exchange.prompt(data.as_slice()).takes_effect();
            if rule.is_some_and(CommandRule::connects) {
                exchange = exchange.after_connect();
            }
            if rule.is_none_or(CommandRule::has_secret_data) {
                exchange = exchange.secret();
            }
        }
        let takes_turn = !is_harmless || lane.is_some();
        Ok(Order { exchange, kind, takes_turn, result, is_harmless })
    }

    /// Checks whether the line may be sent, before its data is there.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn check(
        &self,
        line: &str,
        context: ConsoleContext,
        dangerous: bool,
    ) -> Result<(), Refusal> {
        if dangerous { Ok(()) } else { self.judge(line.trim(), context).map(drop) }
    }

    /// Returns the number of bytes of data for which the line asks, if any.
    pub fn data_length(&self, line: &str) -> Option<usize> {
        let commands = line::commands(line).ok()?;
        let (rule, command) = self.only(&commands)?;
        rule.data_length(command)?.ok().filter(|length| *length <= MAX_DATA)
    }

    /// Returns the line as logs may show it, and as a history may keep it: secret arguments, and
    /// those that may be secret, are `***`.
    pub fn shown(&self, line: &str) -> String {
        let Ok(commands) = line::commands(line) else { return "AT***".to_owned() };
        if commands.iter().all(|command| self.shown_arguments(command) >= command.arguments.len()) {
            return line.to_owned();
        }
        let shown: Vec<String> =
            commands.iter().map(|command| self.shown_command(command)).collect();
        format!("AT{}", shown.join(";"))
    }

    /// Reports whether the data for the line is secret. True if that is not known.
    pub fn has_secret_data(&self, line: &str) -> bool {
        let commands = line::commands(line).unwrap_or_default();
        self.only(&commands).is_none_or(|(rule, _)| rule.has_secret_data())
    }

    /// Reports whether the answer is secret. True if that is not known.
    fn has_secret_answer(&self, line: &str) -> bool {
        line::commands(line).map_or(true, |commands| {
            commands.iter().any(|c| self.rule(c).is_none_or(|rule| rule.answers_secret))
        })
    }

    fn shown_command(&self, command: &Command) -> String {
        let Command { name, form, arguments } = command;
        let open = self.shown_arguments(command);
        let hides = open < arguments.len();
        let mut shown: Vec<&str> = arguments.iter().take(open).map(String::as_str).collect();
        if hides {
            shown.push("***");
        }
        let told = shown.join(",");
        match form {
            Form::Execute => format!("{name}{told}"),
            Form::Read => format!("{name}?"),
            Form::Test => format!("{name}=?"),
            Form::Set => format!("{name}={told}"),
        }
    }

    /// Returns the number of arguments that logs show. Arguments of an unknown command may be
    /// secret.
    fn shown_arguments(&self, command: &Command) -> usize {
        self.rule(command).map_or(0, CommandRule::shown_arguments)
    }

    /// Returns the greatest effect in the line, if it may be sent without insistence.
    fn judge(&self, line: &str, context: ConsoleContext) -> Result<Effect, Refusal> {
        let commands = line::commands(line).map_err(|fault| match fault {
            Unreadable::NotAt => Refusal::Line(at::InvalidLine::NotAt),
            fault => Refusal::Unreadable(fault),
        })?;
        let mut greatest = Effect::Reads;
        for command in &commands {
            let (effect, why) = self.effect(command);
            if effect > Effect::Uses
                || (effect == Effect::Uses && context == ConsoleContext::Shared)
            {
                return Err(Refusal::Dangerous { command: command.head(), why });
            }
            greatest = greatest.max(effect);
        }
        Ok(greatest)
    }

    fn effect(&self, command: &Command) -> (Effect, &'static str) {
        if let Some(rule) = self.rule(command) {
            return (rule.effect(command), rule.why());
        }
        // V.250 §5.4 defines these forms as reads; vendors' own prefixes and letters follow no such
        // rule.
        let reads = matches!(command.form, Form::Read | Form::Test)
            && (command.name.starts_with('+') || command.name.starts_with('S'))
            && (command.is_extended() || command.form == Form::Read);
        if reads { (Effect::Reads, "") } else { (Effect::Unknown, "is not known to be harmless") }
    }

    fn rule(&self, command: &Command) -> Option<&CommandRule> {
        self.rules.iter().find(|rule| rule.is_of(command))
    }

    /// Returns the known rule of a line with just one command.
    fn only<'a>(&self, commands: &'a [Command]) -> Option<(&CommandRule, &'a Command)> {
        let [command] = commands else { return None };
        Some((self.rule(command)?, command))
    }

    fn check_data(
        &self,
        commands: &[Command],
        given: Option<usize>,
        dangerous: bool,
    ) -> Result<(), Refusal> {
        let known = self.only(commands);
        let command = commands.first().map_or_else(|| "AT".to_owned(), Command::head);
        let wanted = known.and_then(|(rule, command)| rule.data_length(command));
        match (wanted, given) {
            (Some(Err(()) | Ok(MAX_DATA_AND_ONE..)), _) | (None, Some(MAX_DATA_AND_ONE..)) => {
                Err(Refusal::Length)
            }
            (Some(Ok(length)), None) => Err(Refusal::NoData { command, length }),
            (Some(Ok(length)), Some(given)) if length != given => {
                Err(Refusal::DataLength { command, length, given })
            }
            // With insistence the command may ask for data although no table has it.
            (None, Some(_)) if known.is_some() || !dangerous => {
                Err(Refusal::NeedsNoData { command })
            }
            _ => Ok(()),
        }
    }

    /// Returns the accepted answer lines: those with the commands' own names, and bare lines.
    fn answer(&self, commands: &[Command]) -> Answer {
        let name = |command: &Command| {
            let alias = self.rule(command).and_then(|rule| rule.answers_as).map(str::to_owned);
            alias.or_else(|| command.is_extended().then(|| command.name.clone()))
        };
        let may_answer = |c: &&Command| !self.rule(c).is_some_and(|rule| rule.is_unasked);
        Answer::Named(commands.iter().filter(may_answer).filter_map(name).collect())
    }
}

/// The first length that is too long, for a pattern.
const MAX_DATA_AND_ONE: usize = MAX_DATA + 1;

fn result_line(result: &OperationResult, command: Option<&Command>) -> ResultLine {
    let index = command.and_then(|command| command.arguments.first()?.parse().ok());
    ResultLine {
        prefix: result.prefix,
        first: index.filter(|_| result.is_indexed),
        interim: result.interim,
        ..ResultLine::BLANK
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Order").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
