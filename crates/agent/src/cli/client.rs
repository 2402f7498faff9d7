//! A client of the running agent's HTTP API: where the agent is, and what it answers.
//!
//! The commands that need a running agent share it, so that they look for it in the same places and
//! fail in the same words. A request that may have reached the agent is never sent a second time.

mod events;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::{self, Secrets};
use crate::secret::{Ref, Rule, SecretError, Source};

pub use events::{Event, Events};

/// The fleet file of an installed agent.
pub const DEFAULT_CONFIG: &str = "/etc/modemfleet/fleet.yaml";

/// Where an agent listens that is told nothing else.
pub const DEFAULT_URL: &str = "http://127.0.0.1:9810";

/// A gateway's own agent answers at once; a remote one within a few round trips.
const CONNECT: Duration = Duration::from_secs(5);

/// The agent gives up a request after 30 s; a little later nothing comes any more.
const ANSWER: Duration = Duration::from_secs(35);

/// The most bytes of an answer: `/metrics` of a hundred modems has less than one MiB.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// Exit code where no agent runs.
const NO_AGENT: u8 = 3;

/// Where the running agent is.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Where the agent is")]
pub struct Target {
    /// The agent's fleet file, which says where it listens and where its token lies [default:
    /// /etc/modemfleet/fleet.yaml where it exists].
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub config: Option<PathBuf>,
    /// The agent's address [default: http://127.0.0.1:9810 where there is no fleet file].
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// A file with the token that the agent asks for.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// Why it is not known where the agent is. All are wrong usage.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The fleet file has errors.
    #[error("{rendered}\nname the agent's address with `--url`, or another file with `--config`")]
    Config {
        /// Its problems with their places.
        rendered: String,
    },
    /// The URL names no agent.
    #[error("the URL {url:?} {fault}; write it like {DEFAULT_URL}")]
    Url {
        /// The URL as given.
        url: String,
        /// The end of a sentence.
        fault: &'static str,
    },
}

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

/// The addresses that were tried in vain, and what the system said of each.
#[derive(Debug)]
pub struct Attempts(Vec<(Address, io::Error)>);

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (address, error)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "tried " } else { ", " };
            write!(f, "{comma}{address} ({error})")?;
        }
        Ok(())
    }
}

/// Why the agent gave no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens at any of its addresses.
    #[error("no agent runs: {0}; start one with `modemfleet run --config FILE`")]
    NotRunning(Attempts),
    /// It cannot be reached, and may run all the same.
    #[error("the agent cannot be reached: {0}")]
    Unreachable(Attempts),
    /// The token to show is not there.
    #[error("{address} asks for a token, which could not be read")]
    Token {
        /// Where it would have been shown.
        address: Address,
        /// Why it could not be read.
        source: SecretError,
    },
    /// The connection ended, or something else than HTTP came, before the end of the answer.
    #[error("{address} gave no whole answer")]
    Broken {
        /// Who was asked.
        address: Address,
        /// What HTTP says of it.
        source: hyper::Error,
    },
    /// No answer came in time.
    #[error("{address} did not answer within {} s", after.as_secs())]
    Late {
        /// Who was asked.
        address: Address,
        /// How long it was waited for.
        after: Duration,
    },
    /// The agent said no.
    #[error("refused: {code}: {message}")]
    Refused {
        /// The API's word for programs.
        code: String,
        /// Its sentence for people.
        message: String,
    },
    /// What answered speaks HTTP and is no agent.
    #[error("{address} answered {status} with {what}: is it a modemfleet agent?")]
    Strange {
        /// Who answered.
        address: Address,
        /// The status.
        status: u16,
        /// What is wrong with the answer.
        what: &'static str,
    },
}

impl ClientError {
    /// The exit code by the contract: 3 no agent runs, 2 wrong configuration, else 1.
    pub fn code(&self) -> ExitCode {
        match self {
            Self::NotRunning(_) => ExitCode::from(NO_AGENT),
            Self::Token { .. } => crate::wrong(),
            _ => ExitCode::FAILURE,
        }
    }

    /// Whether the agent said no with this word.
    pub fn is_refusal_of(&self, word: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == word)
    }

    /// Whether the next request would fare no better.
    pub fn is_lasting(&self) -> bool {
        !matches!(self, Self::Refused { .. } | Self::Late { .. })
    }

    /// Whether the request may have been done without its answer having come back.
    pub fn is_in_doubt(&self) -> bool {
        matches!(self, Self::Broken { .. } | Self::Late { .. } | Self::Strange { .. })
    }
}

impl Target {
    /// A client of the agent that is meant. It connects at the first request.
    ///
    /// # Errors
    /// [`TargetError`] where the fleet file or the URL is wrong.
    pub fn client(&self) -> Result<Client, TargetError> {
        let default = Path::new(DEFAULT_CONFIG);
        let file = self
            .config
            .as_deref()
            .or_else(|| (self.url.is_none() && default.exists()).then_some(default));
        let (addresses, token) = match file {
            Some(file) => of_fleet(file)?,
            None => (vec![of_url(self.url.as_deref().unwrap_or(DEFAULT_URL))?], None),
        };
        Ok(Client::at(addresses, self.token().or(token)))
    }

    /// The same where the fleet file cannot be used: at the URL, or where an agent listens by default.
    ///
    /// # Errors
    /// [`TargetError`] where the URL is wrong.
    pub fn client_without_file(&self) -> Result<Client, TargetError> {
        let address = of_url(self.url.as_deref().unwrap_or(DEFAULT_URL))?;
        Ok(Client::at(vec![address], self.token()))
    }

    fn token(&self) -> Option<Ref> {
        let path = self.token_file.clone()?;
        Some(Ref::new("token", Source::File(path)).with_rule(Rule::Token))
    }
}

/// The socket first: it needs no token. The secrets of the modems are none of ours.
fn of_fleet(file: &Path) -> Result<(Vec<Address>, Option<Ref>), TargetError> {
    let loaded = config::load_with(file, Secrets::Skip)
        .map_err(|problems| TargetError::Config { rendered: problems.render(false) })?;
    let http = loaded.fleet.http;
    let listen = reachable(http.listen);
    let tcp = Address::Tcp(listen.ip().to_string(), listen.port());
    let addresses = http.socket.map(Address::Unix).into_iter().chain([tcp]);
    Ok((addresses.collect(), http.token))
}

/// Where to connect to reach what listens at `listen`: "any address" is none to connect to.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn of_url(url: &str) -> Result<Address, TargetError> {
    let wrong = |fault| TargetError::Url { url: url.to_owned(), fault };
    let uri: Uri = url.parse().map_err(|_fault| wrong("is no URL"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(wrong("asks for TLS, which the agent does not speak")),
        _ => return Err(wrong("does not begin with http://")),
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        // It would be seen by every user of the machine, and the agent knows no users.
        return Err(TargetError::Url {
            url: "…".to_owned(),
            fault: "must not hold a user name or a password",
        });
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(wrong("holds a path"));
    }
    let (host, all) =
        (uri.host().unwrap_or_default(), uri.authority().map_or("", |it| it.as_str()));
    let port = match all.get(host.len()..).unwrap_or_default().trim_start_matches(':') {
        "" => 80,
        port => port.parse().map_err(|_fault| wrong("has a port beyond 65535"))?,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(wrong("names no host"));
    }
    Ok(Address::Tcp(host.to_owned(), port))
}

/// What is asked of the agent.
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
    /// A GET of `path`.
    pub fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, key: None, body: Bytes::new() }
    }
}

/// An agent's API, over a connection that is kept from one request to the next.
#[derive(Debug)]
pub struct Client {
    addresses: Vec<Address>,
    token: Option<Ref>,
    /// What bodies are called, where the API asks for it.
    content_type: Option<HeaderValue>,
    /// How long an answer may take.
    patience: Duration,
    link: Option<Link>,
}

/// An open connection.
#[derive(Debug)]
struct Link {
    sender: SendRequest<Full<Bytes>>,
    address: Address,
    /// `Authorization`, where the address asks for it.
    authorization: Option<HeaderValue>,
    content_type: Option<HeaderValue>,
    /// The task that drives the connection; it ends with this value.
    _driver: JoinSet<()>,
}

impl Client {
    fn at(addresses: Vec<Address>, token: Option<Ref>) -> Self {
        Self { addresses, token, content_type: None, patience: ANSWER, link: None }
    }

    /// The same, whose bodies are called JSON, and which waits longer for an answer.
    #[must_use]
    pub fn with_json(self, patience: Duration) -> Self {
        let content_type = Some(HeaderValue::from_static("application/json"));
        Self { content_type, patience: patience.max(ANSWER), ..self }
    }

    /// Asks, and returns the JSON of a good answer.
    ///
    /// # Errors
    /// [`ClientError`].
    ///
    /// # Cancel safety
    /// Dropped, it leaves open whether the agent did what was asked.
    pub async fn json(&mut self, call: &Call<'_>) -> Result<Value, ClientError> {
        let (address, status, body) = self.ask(call).await?;
        serde_json::from_slice(&body).map_err(|_fault| ClientError::Strange {
            address,
            status,
            what: "something that is no JSON",
        })
    }

    /// Who gave the last answer.
    pub fn place(&self) -> String {
        self.link.as_ref().map(|link| link.address.to_string()).unwrap_or_default()
    }

    /// Asks, and returns the text of a good answer.
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
            // The kept connection ended just now, and nothing of the request has left.
            link = self.open().await?;
            answer = link.exchange_within(self.patience, call).await;
        }
        let (status, body) =
            answer.map_err(|(Failed::Unsent(error) | Failed::Sent(error))| error)?;
        let address = link.address.clone();
        self.link = Some(link);
        if (200..300).contains(&status) {
            return Ok((address, status, body));
        }
        Err(refusal(address, status, &body))
    }

    /// The connection of the last request, where it still stands.
    async fn kept(&mut self) -> Option<Link> {
        let mut link = self.link.take()?;
        // It becomes ready once the last answer is wholly in, or fails where the agent closed it.
        let ready = timeout(CONNECT, link.sender.ready()).await;
        ready.is_ok_and(|ready| ready.is_ok()).then_some(link)
    }

    /// Connects to the first address that takes a connection.
    async fn open(&self) -> Result<Link, ClientError> {
        let mut attempts = Vec::new();
        for address in &self.addresses {
            match timeout(CONNECT, self.link_to(address)).await {
                Ok(Ok(link)) => {
                    return Ok(Link { content_type: self.content_type.clone(), ..link });
                }
                Ok(Err(OpenError::Refused(error))) => attempts.push((address.clone(), error)),
                Ok(Err(OpenError::Client(error))) => return Err(error),
                Err(_) => attempts.push((address.clone(), io::ErrorKind::TimedOut.into())),
            }
        }
        let absent = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
        };
        let nobody = attempts.iter().all(|(_, error)| absent(error));
        let attempts = Attempts(attempts);
        Err(if nobody {
            ClientError::NotRunning(attempts)
        } else {
            ClientError::Unreachable(attempts)
        })
    }

    async fn link_to(&self, address: &Address) -> Result<Link, OpenError> {
        match address {
            Address::Unix(path) => {
                Link::over(UnixStream::connect(path).await?, address, None).await
            }
            Address::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                // Small requests one after the other: nothing is gained by waiting for more.
                stream.set_nodelay(true)?;
                Link::over(stream, address, self.authorization(address)?).await
            }
        }
    }

    /// Read at each connect, so that a rotated token is taken up.
    fn authorization(&self, address: &Address) -> Result<Option<HeaderValue>, ClientError> {
        let Some(token) = &self.token else { return Ok(None) };
        let failed = |source| ClientError::Token { address: address.clone(), source };
        let shown = format!("Bearer {}", token.read().map_err(failed)?.expose_secret());
        // The rule of a token lets nothing through that a header cannot hold.
        let mut value = HeaderValue::from_str(&shown).ok();
        if let Some(value) = &mut value {
            value.set_sensitive(true);
        }
        Ok(value)
    }
}

/// Why a connection was not opened.
enum OpenError {
    /// Nothing took it; the next address may.
    Refused(io::Error),
    /// Something is wrong beyond the address.
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

/// A failed request, by whether it can be sent again without being done twice.
enum Failed {
    /// Nothing of it has left.
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
            // What goes wrong is told to the request that waits; without one nobody asks.
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
        let what = "more than an agent says";
        let strange = || ClientError::Strange { address: self.address.clone(), status, what };
        body(response).await.map(|body| (status, body)).map_err(|error| {
            let error = error.downcast::<hyper::Error>();
            Failed::Sent(error.map_or_else(|_too_long| strange(), |source| broken(*source)))
        })
    }

    fn request(&self, call: &Call<'_>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        // Only our own percent-encoded paths come here; `/` would be answered with 404.
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

/// The API's own words for its refusal.
fn refusal(address: Address, status: u16, body: &[u8]) -> ClientError {
    let object: Option<Value> = serde_json::from_slice(body).ok();
    // A refused file is told with its lines.
    let lines = |text: &str| text.split('\n').map(printable).collect::<Vec<_>>().join("\n");
    let word = |key: &str| Some(lines(object.as_ref()?.get(key)?.as_str()?));
    match (word("error"), word("message")) {
        (Some(code), Some(message)) => ClientError::Refused { code, message },
        _ => ClientError::Strange { address, status, what: "an error that is not the API's" },
    }
}

/// Text from outside for a terminal: without the control characters that could command it.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A query's value: all but the unreserved characters (RFC 3986 §2.3) percent-encoded.
pub(super) fn encode(text: &str) -> String {
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

/// Runs a command's conversation with the agent on a runtime of its own.
///
/// # Errors
/// Where the system gives no runtime.
pub(super) fn converse<T>(conversation: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(conversation);
    // A read of standard input may hang for ever; nobody waits for it.
    runtime.shutdown_background();
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_an_address_or_are_refused() {
        let tcp = |host: &str, port| Some(Address::Tcp(host.to_owned(), port));
        for (url, expected) in [
            ("http://127.0.0.1:9810", tcp("127.0.0.1", 9810)),
            ("http://gw.example.com/", tcp("gw.example.com", 80)),
            ("http://[::1]:9810", tcp("::1", 9810)),
            ("https://gw:9810", None),
            ("gw:9810", None),
            ("http://u:p@gw:9810", None),
            ("http://gw/api", None),
            ("http://gw:99999", None),
            ("", None),
        ] {
            assert_eq!(of_url(url).ok(), expected, "{url}");
        }
        let error = of_url("http://u:hunter2@gw").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert_eq!(Address::Tcp("::1".to_owned(), 1).to_string(), "http://[::1]:1");
    }

    #[test]
    fn any_address_is_reached_at_loopback() {
        let ask = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(ask("0.0.0.0:9810"), "127.0.0.1:9810");
        assert_eq!(ask("[::]:9810"), "[::1]:9810");
        assert_eq!(ask("10.0.0.1:80"), "10.0.0.1:80");
    }

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
