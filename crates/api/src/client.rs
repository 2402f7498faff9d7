//! A client of the HTTP API: it finds the running agent, sends requests and reads the answers.
//!
//! The commands that need a running agent share it. So they look for the agent in the same places
//! and print the same errors. A request that may have reached the agent is never sent again.

mod events;
mod owner;
mod target;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use fleet::printable::{complain, printable_lines};
use fleet::secret::{Ref, SecretError};

use crate::error::ErrorBody;
use owner::Owners;

pub use events::{Event, Events};
pub use target::{DEFAULT_CONFIG, DEFAULT_URL, Target, TargetError};

/// The time limit of a connect: a local agent accepts at once, a remote one within a few round
/// trips.
const CONNECT: Duration = Duration::from_secs(5);

/// The time limit of an answer. The agent gives up a request after 30 s.
const ANSWER: Duration = Duration::from_secs(35);

/// The most bytes of an answer: `/metrics` of a hundred modems has less than one MiB.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// Exit code for a wrong configuration or wrong usage.
pub const WRONG: u8 = 2;

/// Exit code if no agent runs.
pub const NO_AGENT: u8 = 3;

/// One address of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A host and a port.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "http://[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "http://{host}:{port}"),
            Self::Unix(path) => write!(f, "the socket {}", path.display()),
        }
    }
}

/// The addresses that could not be reached, each with the system's error.
#[derive(Debug)]
pub struct Attempts {
    tried: Vec<(Address, io::Error)>,
    /// An address of the agent that was not tried, since the token would be shown there.
    withheld: Option<Address>,
}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (address, error)) in self.tried.iter().enumerate() {
            let comma = if at == 0 { "tried " } else { ", " };
            write!(f, "{comma}{address} ({error})")?;
        }
        let Some(address) = &self.withheld else { return Ok(()) };
        write!(
            f,
            "; the token is not sent to {address} instead, since another program may listen there: give an address that \
             you trust with `--url` and `--token-file`"
        )
    }
}

/// The reason why a request to the agent failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens at any of the agent's addresses.
    #[error("no agent runs: {0}; start one with `modemfleet run --config FILE`")]
    NotRunning(Attempts),
    /// As above, and the fleet file that names the addresses has errors.
    #[error("{rendered}\nno agent runs with this file: {attempts}")]
    Faulty {
        /// The file's problems with their places.
        rendered: String,
        /// The addresses that were tried.
        attempts: Attempts,
    },
    /// The agent cannot be reached, but may be running.
    #[error("the agent cannot be reached: {0}")]
    Unreachable(Attempts),
    /// The token could not be read.
    #[error("{address} needs a token, which could not be read")]
    Token {
        /// The address that asks for the token.
        address: Address,
        /// The error of the read.
        source: SecretError,
    },
    /// A program of another user listens on the port.
    #[error(
        "the token is not sent to {address}: a program of {user} listens there, which is not the agent's user; stop that \
         program, or give the address with `--url` and `--token-file` if you trust it"
    )]
    Stranger {
        /// The address.
        address: Address,
        /// The owner of the program that listens there.
        user: String,
    },
    /// The connection ended before the end of the answer, or the answer was not HTTP.
    #[error("{address} gave no complete answer")]
    Broken {
        /// The address of the request.
        address: Address,
        /// The error of the HTTP connection.
        source: hyper::Error,
    },
    /// No answer came in time.
    #[error("{address} did not answer within {} s", after.as_secs())]
    Late {
        /// The address of the request.
        address: Address,
        /// The time limit.
        after: Duration,
    },
    /// The agent refused the request.
    #[error("refused: {code}: {message}")]
    Refused {
        /// The API's error code, for programs.
        code: String,
        /// The API's message, for people.
        message: String,
    },
    /// The answer is HTTP but not the agent's.
    #[error("{address} answered {status} with {what}: is it a modemfleet agent?")]
    Strange {
        /// The address of the request.
        address: Address,
        /// The status of the answer.
        status: u16,
        /// The fault of the answer.
        what: &'static str,
    },
}

impl ClientError {
    /// Returns the exit code: 3 if no agent runs, 2 for a wrong configuration, 1 otherwise.
    pub fn code(&self) -> ExitCode {
        match self {
            Self::NotRunning(_) => ExitCode::from(NO_AGENT),
            Self::Token { .. } | Self::Faulty { .. } => ExitCode::from(WRONG),
            _ => ExitCode::FAILURE,
        }
    }

    /// Reports whether the agent refused the request with this error code.
    pub fn is_refusal_of(&self, word: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == word)
    }

    /// Reports whether the next request would fail as well.
    pub fn is_lasting(&self) -> bool {
        !matches!(self, Self::Refused { .. } | Self::Late { .. })
    }

    /// Reports whether the agent may have done the request although no good answer came.
    pub fn is_in_doubt(&self) -> bool {
        matches!(self, Self::Broken { .. } | Self::Late { .. } | Self::Strange { .. })
    }
}

/// A request to the agent.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The method.
    pub method: Method,
    /// Path and query, percent-encoded.
    pub path: &'a str,
    /// The header `Idempotency-Key`.
    pub key: Option<&'a HeaderValue>,
    /// The body.
    pub body: Bytes,
}

impl<'a> Call<'a> {
    /// Returns a GET of `path`.
    pub fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, key: None, body: Bytes::new() }
    }
}

/// A client of one agent. It keeps its connection from one request to the next.
#[derive(Debug)]
pub struct Client {
    addresses: Vec<Address>,
    token: Option<Ref>,
    /// The users whose programs may see the token; `None` if the operator named the address.
    owners: Option<Owners>,
    /// An address of the agent that is not tried, since the token would be shown there.
    withheld: Option<Address>,
    /// The problems of the fleet file that names the addresses.
    faulty: Option<String>,
    /// The header `Content-Type` of bodies, for the paths that need it.
    content_type: Option<HeaderValue>,
    /// The time limit of an answer.
    patience: Duration,
    link: Option<Link>,
}

/// An open connection.
#[derive(Debug)]
struct Link {
    sender: SendRequest<Full<Bytes>>,
    address: Address,
    /// The header `Authorization`, if the address needs it.
    authorization: Option<HeaderValue>,
    content_type: Option<HeaderValue>,
    /// The task that drives the connection; it is aborted when the link is dropped.
    _driver: JoinSet<()>,
}

impl Client {
    fn at(addresses: Vec<Address>, token: Option<Ref>) -> Self {
        Self {
            addresses,
            token,
            owners: None,
            withheld: None,
            faulty: None,
            content_type: None,
            patience: ANSWER,
            link: None,
        }
    }

    /// Returns a second client of the same agent, with its own connection.
    #[must_use]
    pub fn another(&self) -> Self {
        Self {
            owners: self.owners.clone(),
            withheld: self.withheld.clone(),
            content_type: self.content_type.clone(),
            patience: self.patience,
            // The file's problems are printed once.
            ..Self::at(self.addresses.clone(), self.token.clone())
        }
    }

    /// Returns the client with bodies of type JSON and a longer time for answers.
    #[must_use]
    pub fn with_json(self, patience: Duration) -> Self {
        let content_type = Some(HeaderValue::from_static("application/json"));
        Self { content_type, patience: patience.max(ANSWER), ..self }
    }

    /// Sends the request and returns the JSON of a good answer.
    ///
    /// # Errors
    /// [`ClientError`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the agent may or may not have done the request.
    pub async fn json(&mut self, call: &Call<'_>) -> Result<Value, ClientError> {
        self.read(call).await
    }

    /// Sends the request and reads a good answer as a `T`.
    ///
    /// # Errors
    /// [`ClientError`].
    ///
    /// # Cancel safety
    /// As [`Self::json`].
    pub async fn read<T: DeserializeOwned>(&mut self, call: &Call<'_>) -> Result<T, ClientError> {
        let (address, status, body) = self.ask(call).await?;
        serde_json::from_slice(&body).map_err(|_fault| ClientError::Strange {
            address,
            status,
            what: "something that cannot be read",
        })
    }

    /// Returns the address that gave the last answer.
    pub fn place(&self) -> String {
        self.link.as_ref().map(|link| link.address.to_string()).unwrap_or_default()
    }

    /// Sends the request and returns the text of a good answer.
    ///
    /// # Errors
    /// [`ClientError`].
    ///
    /// # Cancel safety
    /// As [`Self::json`].
    pub async fn text(&mut self, call: &Call<'_>) -> Result<String, ClientError> {
        let (_, _, body) = self.ask(call).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    async fn ask(&mut self, call: &Call<'_>) -> Result<(Address, u16, Bytes), ClientError> {
        let mut link = match self.kept().await {
            Some(link) => link,
            None => self.open().await?,
        };
        let mut answer = link.exchange_within(self.patience, call).await;
        if let Err(Failed::Unsent(_)) = answer {
            // The kept connection ended just now, and nothing of the request was sent.
            link = self.open().await?;
            answer = link.exchange_within(self.patience, call).await;
        }
        let (status, body) =
            answer.map_err(|(Failed::Unsent(error) | Failed::Sent(error))| error)?;
        let address = link.address.clone();
        self.link = Some(link);
        if self.faulty.take().is_some() {
            complain(&format!(
                "the fleet file has errors (`modemfleet check` lists them); the agent at {address} runs with another file, or with the former one"
            ));
        }
        if (200..300).contains(&status) {
            return Ok((address, status, body));
        }
        Err(refusal(address, status, &body))
    }

    /// Returns the connection of the last request if it is still open.
    async fn kept(&mut self) -> Option<Link> {
        let mut link = self.link.take()?;
        // It becomes ready when the last answer was read, or fails if the agent closed it.
        let ready = timeout(CONNECT, link.sender.ready()).await;
        ready.is_ok_and(|ready| ready.is_ok()).then_some(link)
    }

    /// Connects to the first address that accepts.
    async fn open(&self) -> Result<Link, ClientError> {
        let mut tried = Vec::new();
        for address in &self.addresses {
            match timeout(CONNECT, self.link_to(address)).await {
                Ok(Ok(link)) => {
                    return Ok(Link { content_type: self.content_type.clone(), ..link });
                }
                Ok(Err(OpenError::Refused(error))) => tried.push((address.clone(), error)),
                Ok(Err(OpenError::Client(error))) => return Err(error),
                Err(_) => tried.push((address.clone(), io::ErrorKind::TimedOut.into())),
            }
        }
        let absent = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
        };
        let is_absent = tried.iter().all(|(_, error)| absent(error));
        let attempts = Attempts { tried, withheld: self.withheld.clone() };
        Err(match &self.faulty {
            _ if !is_absent => ClientError::Unreachable(attempts),
            Some(rendered) => ClientError::Faulty { rendered: rendered.clone(), attempts },
            None => ClientError::NotRunning(attempts),
        })
    }

    async fn link_to(&self, address: &Address) -> Result<Link, OpenError> {
        match address {
            Address::Unix(path) => {
                Link::over(UnixStream::connect(path).await?, address, None).await
            }
            Address::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                // Small requests, one after the other: nothing is gained by waiting for more bytes.
                stream.set_nodelay(true)?;
                self.judge(&stream, address)?;
                Link::over(stream, address, self.authorization(address)?).await
            }
        }
    }

    /// Checks that the listener belongs to a trusted user before the token is shown to it.
    fn judge(&self, stream: &TcpStream, address: &Address) -> Result<(), OpenError> {
        let (Some(owners), Some(_)) = (&self.owners, &self.token) else { return Ok(()) };
        match owners.stranger(stream.local_addr()?, stream.peer_addr()?) {
            None => Ok(()),
            Some(user) => Err(ClientError::Stranger { address: address.clone(), user }.into()),
        }
    }

    /// Reads the token at each connect, so that a rotated token takes effect.
    fn authorization(&self, address: &Address) -> Result<Option<HeaderValue>, ClientError> {
        let Some(token) = &self.token else { return Ok(None) };
        let failed = |source| ClientError::Token { address: address.clone(), source };
        let shown = format!("Bearer {}", token.read().map_err(failed)?.expose_secret());
        // The rule for tokens allows only characters that a header can hold.
        let mut value = HeaderValue::from_str(&shown).ok();
        if let Some(value) = &mut value {
            value.set_sensitive(true);
        }
        Ok(value)
    }
}

/// The reason why a connection was not opened.
enum OpenError {
    /// The address did not accept; the next address may.
    Refused(io::Error),
    /// The error is not the address's alone: no other address is tried.
    Client(ClientError),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Refused(error)
    }
}

impl From<ClientError> for OpenError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// A failed request, by whether it may be sent again without being done twice.
enum Failed {
    /// Nothing of it was sent.
    Unsent(ClientError),
    /// It may have arrived.
    Sent(ClientError),
}

impl Link {
    async fn over<S>(
        stream: S,
        address: &Address,
        authorization: Option<HeaderValue>,
    ) -> Result<Self, OpenError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|source| ClientError::Broken { address: address.clone(), source })?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // The waiting request gets the error. Without a request there is no reader of it.
            drop(connection.await);
        });
        let address = address.clone();
        Ok(Self { sender, address, authorization, content_type: None, _driver: driver })
    }

    async fn exchange_within(
        &mut self,
        after: Duration,
        call: &Call<'_>,
    ) -> Result<(u16, Bytes), Failed> {
        let address = self.address.clone();
        let late = |_| Err(Failed::Sent(ClientError::Late { address, after }));
        timeout(after, self.exchange(call)).await.unwrap_or_else(late)
    }

    async fn exchange(&mut self, call: &Call<'_>) -> Result<(u16, Bytes), Failed> {
        let broken = |source| ClientError::Broken { address: self.address.clone(), source };
        let response = match self.sender.try_send_request(self.request(call)).await {
            Ok(response) => response,
            Err(mut failed) => {
                let kind =
                    if failed.take_message().is_some() { Failed::Unsent } else { Failed::Sent };
                return Err(kind(broken(failed.into_error())));
            }
        };
        let status = response.status().as_u16();
        let what = "more than an agent sends";
        let strange = || ClientError::Strange { address: self.address.clone(), status, what };
        body(response).await.map(|body| (status, body)).map_err(|error| {
            let error = error.downcast::<hyper::Error>();
            Failed::Sent(error.map_or_else(|_too_long| strange(), |source| broken(*source)))
        })
    }

    fn request(&self, call: &Call<'_>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        // Only percent-encoded paths of this program come here; `/` would be answered with 404.
        *request.uri_mut() = call.path.parse().unwrap_or_default();
        let host = match &self.address {
            Address::Tcp(..) => self.address.to_string().replacen("http://", "", 1),
            Address::Unix(_) => "localhost".to_owned(),
        };
        let headers = request.headers_mut();
        headers.extend(HeaderValue::from_str(&host).ok().map(|host| (HOST, host)));
        headers.extend(self.content_type.clone().map(|kind| (CONTENT_TYPE, kind)));
        headers.extend(self.authorization.clone().map(|shown| (AUTHORIZATION, shown)));
        let key = HeaderName::from_static("idempotency-key");
        headers.extend(call.key.cloned().map(|value| (key, value)));
        request
    }
}

async fn body(
    response: Response<hyper::body::Incoming>,
) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    Ok(Limited::new(response.into_body(), MAX_ANSWER).collect().await?.to_bytes())
}

/// Returns the API's refusal, or an error if the answer is not from the API.
fn refusal(address: Address, status: u16, body: &[u8]) -> ClientError {
    match serde_json::from_slice(body) {
        // The message about a refused file has several lines.
        Ok(ErrorBody { error, message }) => ClientError::Refused {
            code: printable_lines(&error),
            message: printable_lines(&message),
        },
        Err(_) => ClientError::Strange { address, status, what: "an error that is not of the API" },
    }
}

/// Encodes a value of a query: all but the unreserved characters (RFC 3986 §2.3).
pub fn encode(text: &str) -> String {
    use fmt::Write;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing into a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Runs a command's conversation with the agent on its own runtime.
///
/// # Errors
/// The system's error if the runtime cannot be built.
pub fn converse<T>(conversation: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(conversation);
    // A read of standard input may block for ever, so the runtime does not wait for it.
    runtime.shutdown_background();
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_into_a_query_is_encoded() {
        assert_eq!(encode("a/b c&d=é#+"), "a/b%20c%26d%3D%C3%A9%23%2B");
    }

    #[test]
    fn a_refusal_cannot_command_the_terminal() {
        let address = Address::Tcp("h".to_owned(), 1);
        let body = br#"{"error":"full","message":"no \u001b[2J room"}"#;
        let said = refusal(address.clone(), 429, body).to_string();
        assert_eq!(said, "refused: full: no \u{fffd}[2J room");
        let said = refusal(address, 502, b"<html>").to_string();
        assert!(said.contains("http://h:1 answered 502"), "{said}");
    }
}
