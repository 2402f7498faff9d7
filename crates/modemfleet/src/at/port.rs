//! The two ways to a port: the running agent, and a tty of one's own.

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

/// How much longer than the command an agent may take: the command's turn, its prompt, its result.
const AGENT: Duration = Duration::from_secs(3 * console::LONGEST.as_secs() + 60);

/// Where commands go.
pub(super) struct AtClient<'a> {
    /// What is known of them.
    pub(super) commands: &'a Commands,
    way: Way<'a>,
}

enum Way<'a> {
    Agent { client: Box<Client>, modem: &'a str },
    Port(At),
}

impl<'a> AtClient<'a> {
    pub(super) fn of_agent(client: Client, modem: &'a str, commands: &'a Commands) -> Self {
        let client = Box::new(client.with_json(AGENT));
        Self { commands, way: Way::Agent { client, modem } }
    }

    pub(super) fn alone(at: At, commands: &'a Commands) -> Self {
        Self { commands, way: Way::Port(at) }
    }

    /// Whether a line may be sent, before somebody types its data.
    pub(super) fn check(&self, line: &str, dangerous: bool) -> Result<(), AtError> {
        let context = match self.way {
            Way::Agent { .. } => ConsoleContext::Shared,
            Way::Port(_) => ConsoleContext::Own,
        };
        let command = self.commands.shown(line);
        let checked = self.commands.check(line, context, dangerous);
        checked.map_err(|refusal| AtError::Refused { command, refusal })
    }

    /// Sends a command, where it may be sent, and gives what came of it.
    ///
    /// # Cancel safety
    /// Dropped, the command is withdrawn, or finished by who has the port.
    pub(super) async fn say(&mut self, wish: Wish) -> Result<Outcome, AtError> {
        let command = self.commands.shown(&wish.line);
        let refused = |refusal| AtError::Refused { command, refusal };
        match &mut self.way {
            Way::Port(at) => {
                let order = self.commands.order(wish, ConsoleContext::Own).map_err(refused)?;
                Ok(self.commands.run(at, order).await)
            }
            Way::Agent { client, modem } => {
                // The agent judges as well: it knows better what its sessions rest on.
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

/// What was said before an answer is on its way by another connection: it is waited for so long.
const ON_ITS_WAY: Duration = Duration::from_millis(30);

/// What the modem says unasked.
pub(super) enum UrcListener {
    Agent(Box<Events>),
    Port(Hearing),
    /// Nothing comes any more.
    Deaf,
}

/// One thing that the modem said, or that was missed.
pub(super) enum Said {
    Urc(Heard),
    /// So many were missed.
    Missed(u64),
    /// Nothing will come any more.
    End,
}

impl UrcListener {
    pub(super) async fn of_agent(client: &Client, modem: &str) -> Result<Self, ClientError> {
        let path = format!("{PATH}?modem={}", encode(modem));
        client.events(&path).await.map(|events| Self::Agent(Box::new(events)))
    }

    /// How long after an answer it may take until what was said before has come.
    pub(super) fn lag(&self) -> Duration {
        match self {
            Self::Agent(_) => ON_ITS_WAY,
            Self::Port(_) | Self::Deaf => Duration::ZERO,
        }
    }

    /// The next thing said; waits for ever once nothing will come.
    ///
    /// # Cancel safety
    /// A dropped call takes nothing.
    pub(super) async fn next(&mut self) -> Said {
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
