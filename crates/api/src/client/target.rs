//! The address of the running agent: from the command's options or from the fleet file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use hyper::Uri;

use super::{Address, Client, Owners};
use fleet::Secrets;
use fleet::secret::{Ref, Rule, Source};

/// The fleet file of an installed agent.
pub const DEFAULT_CONFIG: &str = "/etc/modemfleet/fleet.yaml";

/// The address of an agent whose file names no other.
pub const DEFAULT_URL: &str = "http://127.0.0.1:9810";

/// The socket that the package's fleet file adds.
const USUAL_SOCKET: &str = "/run/modemfleet/api.sock";

/// The options that say how the agent is found.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Address of the agent")]
pub struct Target {
    /// The agent's fleet file, which has its address and the place of its token [default:
    /// /etc/modemfleet/fleet.yaml if it exists].
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub config: Option<PathBuf>,
    /// The agent's address [default: http://127.0.0.1:9810 if there is no fleet file].
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// A file with the agent's token.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// True if `url` is a guess of this program.
    #[arg(skip)]
    pub is_guess: bool,
}

/// The reason why the agent's address is not known. Each one is wrong usage.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The fleet file gives no address: it cannot be read, or its `http` has errors.
    #[error("{rendered}\ngive the agent's address with `--url`, or another file with `--config`")]
    Config {
        /// The file's problems with their places.
        rendered: String,
    },
    /// The URL does not name an agent.
    #[error("the URL {url:?} {fault}; write it like {DEFAULT_URL}")]
    Url {
        /// The URL as given.
        url: String,
        /// The fault of the URL, as the end of a sentence.
        fault: &'static str,
    },
}

impl Target {
    /// Returns a client of this agent. It connects at the first request.
    ///
    /// # Errors
    /// [`TargetError`] if the fleet file cannot be read, or the URL is wrong.
    pub fn client(&self) -> Result<Client, TargetError> {
        let default = Path::new(DEFAULT_CONFIG);
        let file = self
            .config
            .as_deref()
            .or_else(|| (self.url.is_none() && default.exists()).then_some(default));
        let Some(file) = file else { return self.client_without_file() };
        let ByFile { socket, tcp, token, queue, faulty } = ByFile::of(file)?;
        let token = self.token().or(token);
        let client = match socket {
            // The socket needs no token. If the socket is missing, any program may have the port.
            Some(socket) if token.is_some() => {
                Client { withheld: Some(tcp), ..Client::at(vec![Address::Unix(socket)], None) }
            }
            Some(socket) => Client::at(vec![Address::Unix(socket), tcp], None),
            None => {
                let owners = Some(Owners::of(queue.as_deref()));
                Client { owners, ..Client::at(vec![tcp], token) }
            }
        };
        Ok(Client { faulty, ..client })
    }

    /// Returns a client for when the fleet file cannot be read: at the URL, or at the default
    /// address.
    ///
    /// # Errors
    /// [`TargetError`] if the URL is wrong.
    pub fn client_without_file(&self) -> Result<Client, TargetError> {
        let address = of_url(self.url.as_deref().unwrap_or(DEFAULT_URL))?;
        let is_guess = self.is_guess || self.url.is_none();
        let owners = is_guess.then(|| Owners::of(None));
        Ok(Client { owners, ..Client::at(vec![address], self.token()) })
    }

    fn token(&self) -> Option<Ref> {
        let path = self.token_file.clone()?;
        Some(Ref::new("token", Source::File(path)).with_rule(Rule::Token))
    }
}

/// Facts about the agent in a fleet file. A file with errors counts too: the agent still runs with
/// the file of before.
struct ByFile {
    socket: Option<PathBuf>,
    tcp: Address,
    token: Option<Ref>,
    /// The folder of the queue, which the agent owns.
    queue: Option<PathBuf>,
    /// The problems of the file.
    faulty: Option<String>,
}

impl ByFile {
    fn of(file: &Path) -> Result<Self, TargetError> {
        let problems = match fleet::load_with(file, Secrets::Skip) {
            Ok(loaded) => {
                let queue = Some(loaded.fleet.queue.path);
                return Ok(Self { queue, ..Self::of_http(loaded.fleet.http) });
            }
            Err(problems) => problems.render(false),
        };
        let found = match fleet::http_of_faulty(file) {
            Some(http) => Self::of_http(http),
            // The addresses of the installed agent are known anyway. An agent of another file must
            // not be mistaken for it.
            None if file == Path::new(DEFAULT_CONFIG) && fleet::read(file).is_ok() => {
                let socket = Some(USUAL_SOCKET.into());
                Self { socket, tcp: of_url(DEFAULT_URL)?, token: None, queue: None, faulty: None }
            }
            None => return Err(TargetError::Config { rendered: problems }),
        };
        Ok(Self { faulty: Some(problems), ..found })
    }

    /// Takes only the agent's own token: the modems' secrets are not needed.
    fn of_http(http: fleet::Http) -> Self {
        let listen = reachable(http.listen);
        let tcp = Address::Tcp(listen.ip().to_string(), listen.port());
        Self { socket: http.socket, tcp, token: http.token, queue: None, faulty: None }
    }
}

/// Returns an address that reaches a listener at `listen`. The unspecified address cannot be
/// connected to.
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
    let uri: Uri = url.parse().map_err(|_fault| wrong("is not a URL"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(wrong("needs TLS, which the agent does not support")),
        _ => return Err(wrong("does not begin with http://")),
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        // Every user of the machine could see it, and the agent has no users.
        return Err(TargetError::Url {
            url: "…".to_owned(),
            fault: "must not have a user name or a password",
        });
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(wrong("must not have a path"));
    }
    let (host, all) =
        (uri.host().unwrap_or_default(), uri.authority().map_or("", |it| it.as_str()));
    let port = match all.get(host.len()..).unwrap_or_default().trim_start_matches(':') {
        "" => 80,
        port => port.parse().map_err(|_fault| wrong("has a port beyond 65535"))?,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(wrong("has no host"));
    }
    Ok(Address::Tcp(host.to_owned(), port))
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
}
