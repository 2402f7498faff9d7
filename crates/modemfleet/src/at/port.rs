//! The two ways to a port: through the running agent, or directly on a tty.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use modem::At;
use modem::console::{self, Commands, ConsoleContext, Heard, Hearing, Outcome, Wish};
use serde_json::json;

use super::error::AtError;
use api::at::{Command, Urc};
use api::client::{Call, Client, ClientError, Event, Events, encode};
use api::messages::Missed;

const PATH: &str = "/api/v1/at";

/// The time limit of the agent beyond the command itself: for the command's turn, its prompt and
/// its result.
const AGENT: Duration = Duration::from_secs(3 * console::LONGEST.as_secs() + 60);

/// The path of commands to the modem.
pub(crate) struct AtClient<'a> {
    /// Facts about the commands.
    pub(crate) commands: &'a Commands,
    way: Way<'a>,
}

enum Way<'a> {
    Agent { client: Box<Client>, modem: &'a str },
    Port(At),
}

impl<'a> AtClient<'a> {
    pub(crate) fn of_agent(client: Client, modem: &'a str, commands: &'a Commands) -> Self {
        let client = Box::new(client.with_json(AGENT));
        Self { commands, way: Way::Agent { client, modem } }
    }

    pub(crate) fn alone(at: At, commands: &'a Commands) -> Self {
        Self { commands, way: Way::Port(at) }
    }

    /// Checks if a line may be sent, before its data is typed.
    pub(crate) fn check(&self, line: &str, dangerous: bool) -> Result<(), AtError> {
        let context = match self.way {
            Way::Agent { .. } => ConsoleContext::Shared,
            Way::Port(_) => ConsoleContext::Own,
        };
        let command = self.commands.shown(line);
        let checked = self.commands.check(line, context, dangerous);
        checked.map_err(|refusal| AtError::Refused { command, refusal })
    }

    /// Sends a command if it may be sent, and returns its outcome.
    ///
    /// # Cancel safety
    /// If the future is dropped, the task that has the port withdraws the command, or finishes it.
    pub(crate) async fn say(&mut self, wish: Wish) -> Result<Outcome, AtError> {
        let command = self.commands.shown(&wish.line);
        let refused = |refusal| AtError::Refused { command, refusal };
        match &mut self.way {
            Way::Port(at) => {
                let order = self.commands.order(wish, ConsoleContext::Own).map_err(refused)?;
                Ok(self.commands.run(at, order).await)
            }
            Way::Agent { client, modem } => {
                // The agent checks as well, since it knows which commands would disturb its
                // sessions.
                drop(self.commands.order(wish.clone(), ConsoleContext::Shared).map_err(refused)?);
                let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                let body = json!(Command {
                    modem: (*modem).to_owned(),
                    line: wish.line.to_string(),
                    data_base64: wish.data.map(|data| STANDARD.encode(&*data)),
                    timeout_ms: wish.timeout.map(millis),
                    dangerous: wish.dangerous,
                });
                let body = body.to_string().into();
                let call = Call { method: Method::POST, path: PATH, key: None, body };
                let answer = client.json(&call).await?;
                serde_json::from_value(answer).map_err(|_fault| AtError::Strange)
            }
        }
    }
}

/// The wait after an answer for URCs that came before it: they arrive on another connection.
const ON_ITS_WAY: Duration = Duration::from_millis(30);

/// The source of the modem's URCs.
pub(crate) enum UrcListener {
    Agent(Box<Events>),
    Port(Hearing),
    /// The source has ended.
    Deaf,
}

/// A URC, or a note that URCs were missed.
pub(crate) enum Said {
    Urc(Heard),
    /// The number of URCs that were missed.
    Missed(u64),
    /// The source has ended.
    End,
}

impl UrcListener {
    pub(crate) async fn of_agent(client: &Client, modem: &str) -> Result<Self, ClientError> {
        let path = format!("{PATH}?modem={}", encode(modem));
        client.events(&path).await.map(|events| Self::Agent(Box::new(events)))
    }

    /// Returns the time after an answer in which earlier URCs may still arrive.
    pub(crate) fn lag(&self) -> Duration {
        match self {
            Self::Agent(_) => ON_ITS_WAY,
            Self::Port(_) | Self::Deaf => Duration::ZERO,
        }
    }

    /// Returns the next URC; waits for ever after the end.
    ///
    /// # Cancel safety
    /// A dropped call takes nothing.
    pub(crate) async fn next(&mut self) -> Said {
        let said = match self {
            Self::Deaf => return std::future::pending().await,
            Self::Port(hearing) => match hearing.next().await {
                Some(heard) => Said::Urc(heard),
                None => Said::End,
            },
            Self::Agent(events) => events.next().await.map_or(Said::End, |event| said(&event)),
        };
        if matches!(said, Said::End) {
            *self = Self::Deaf;
        }
        said
    }
}

fn said(event: &Event) -> Said {
    match event.name.as_str() {
        "urc" => match serde_json::from_str::<Urc>(&event.data) {
            Ok(Urc { line, data_base64 }) => {
                let data = data_base64.and_then(|data| STANDARD.decode(data).ok());
                Said::Urc(Heard { line, data })
            }
            Err(_) => Said::Missed(1),
        },
        _ => {
            let told = serde_json::from_str(&event.data);
            Said::Missed(told.map_or(1, |Missed { missed }| missed))
        }
    }
}
