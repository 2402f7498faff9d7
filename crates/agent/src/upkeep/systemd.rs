//! Notices to systemd, and the listeners that it hands over (sd_notify(3), sd_listen_fds(3)).
//!
//! Without a service manager all of this does nothing.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use queue::Queue;
use sd_notify::NotifyState;
use tokio::net::{TcpListener, UnixListener};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::upkeep::health;

/// Reports that the agent serves.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Reports that the agent reads its fleet file again (sd_notify(3), `RELOADING=1`).
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("could not read the clock for the service manager: {error}"),
    }
}

/// Reports that the reload is over, with its result.
pub fn reloaded(words: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(words)]);
}

/// Reports that the agent ends, in order.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("could not notify the service manager: {error}");
    }
}

/// Feeds the watchdog as long as the loops make progress, by the same fact as `/livez`. Otherwise
/// the service manager restarts the agent after `WatchdogSec`, and the log has the reason. A full
/// disk is not such a reason: see [`health`].
///
/// # Cancel safety
/// Dropping the future ends the feeding.
pub async fn feed_watchdog(queue: &Queue, stop: &CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        // There is no watchdog.
        return stop.cancelled().await;
    };
    // sd_watchdog_enabled(3) advises half of the limit; a check may also take its part of it.
    let mut turn = tokio::time::interval((limit / 4).max(Duration::from_millis(100)));
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Both arms are cancel safe, and none awaits in its body.
    while tokio::select! { _ = turn.tick() => true, () = stop.cancelled() => false } {
        match health::check(queue).await {
            Ok(()) => tell(&[NotifyState::Watchdog]),
            Err(error) => tracing::error!("the watchdog is not fed: {error}"),
        }
    }
}

/// The packaged unit of the API's unix socket: by default a socket has the name of its unit.
const PACKAGED: &str = "modemfleet.socket";

/// The name of a socket that has none (sd_listen_fds(3)).
const UNNAMED: &str = "unknown";

/// Listeners that the service manager opened, each with the name in its unit
/// (`FileDescriptorName=`).
///
/// The address determines the use of a listener; the name is only for messages. So neither depends
/// on the other being right.
#[derive(Debug, Default)]
pub struct Handed {
    tcp: Vec<(String, std::net::TcpListener)>,
    unix: Vec<(String, std::os::unix::net::UnixListener)>,
}

impl Handed {
    /// Takes the sockets that were handed over, once for the life of the process.
    ///
    /// # Errors
    /// If a socket is not a listening socket of TCP or of the file system.
    pub fn take() -> io::Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').filter(|name| !name.is_empty());
        let mut fds = listenfd::ListenFd::from_env();
        let mut handed = Self::default();
        for at in 0..fds.len() {
            let name = names.next().unwrap_or(UNNAMED).to_owned();
            if let Ok(Some(listener)) = fds.take_tcp_listener(at) {
                must_listen(&listener, &name)?;
                listener.set_nonblocking(true)?;
                handed.tcp.push((name, listener));
            } else if let Some(listener) = fds.take_unix_listener(at)? {
                must_listen(&listener, &name)?;
                listener.set_nonblocking(true)?;
                handed.unix.push((name, listener));
            }
        }
        Ok(handed)
    }

    /// Listens at this address: with the socket that was handed over for it, else with a new
    /// socket.
    ///
    /// # Errors
    /// The system's error.
    pub async fn listen(&mut self, at: SocketAddr) -> io::Result<TcpListener> {
        let is_meant = |(_, listener): &(_, std::net::TcpListener)| {
            listener.local_addr().is_ok_and(|is| is == at)
        };
        match self.tcp.iter().position(is_meant) {
            Some(position) => TcpListener::from_std(self.tcp.swap_remove(position).1),
            None => TcpListener::bind(at).await.map_err(|error| self.in_the_way(at, error)),
        }
    }

    /// Adds to the error the sockets that were handed over for this port, if the port is taken: one
    /// of them may hold it.
    fn in_the_way(&self, at: SocketAddr, error: io::Error) -> io::Error {
        let held = |(name, listener): &(String, std::net::TcpListener)| {
            let is = listener.local_addr().ok().filter(|is| is.port() == at.port())?;
            Some(format!("{is} (socket {name:?})"))
        };
        let held: Vec<String> = self.tcp.iter().filter_map(held).collect();
        if error.kind() != io::ErrorKind::AddrInUse || held.is_empty() {
            return error;
        }
        let words = format!(
            "{error}; systemd holds {} for this agent: make `listen` and ListenStream= of that unit the same, or disable it",
            held.join(" and ")
        );
        io::Error::new(error.kind(), words)
    }

    /// Takes the unix socket that was handed over for this path.
    ///
    /// # Errors
    /// The system's error.
    pub fn socket(&mut self, path: &Path) -> io::Result<Option<UnixListener>> {
        let is_meant = |(_, listener): &(_, std::os::unix::net::UnixListener)| {
            path_of(listener).is_some_and(|is| is == path || is_same(&is, path))
        };
        let position = self.unix.iter().position(is_meant);
        let found = position.map(|position| self.unix.swap_remove(position).1);
        found.map(UnixListener::from_std).transpose()
    }

    /// Logs the sockets left, which the fleet file does not name, and returns those that serve the
    /// API all the same. The package's socket does, since it is enabled together with the service.
    /// No other is served: a unix socket may be for fewer rights than the API's, and a TCP address
    /// may lie beyond loopback, without a token.
    ///
    /// # Errors
    /// The system's error.
    pub fn rest(self) -> io::Result<Vec<UnixListener>> {
        for (name, listener) in &self.tcp {
            let at = listener.local_addr().map_or_else(|_| "?".to_owned(), |at| at.to_string());
            tracing::error!(
                "systemd holds {at} for this agent (socket {name:?}), and no part of the fleet file listens there: \
                 make `listen` of `http` or `hand_in.mqtt` and ListenStream= of that unit the same, or disable it; \
                 connections there get no answer"
            );
        }
        let mut served = Vec::new();
        for (name, listener) in self.unix {
            let at = path_of(&listener).unwrap_or_default();
            let is_ours = name == PACKAGED || name == UNNAMED;
            let fate =
                if is_ours { "it serves the API" } else { "connections there get no answer" };
            tracing::warn!(
                "systemd holds {} for this agent (socket {name:?}), which the fleet file does not name: {fate}, but \
                 commands do not find it; make `http.socket` and ListenStream= of that unit the same, or disable it",
                at.display()
            );
            if is_ours {
                served.push(UnixListener::from_std(listener)?);
            }
        }
        Ok(served)
    }
}

/// Refuses a connection, as handed over by a unit with `Accept=yes`.
fn must_listen(socket: impl AsFd, name: &str) -> io::Result<()> {
    if rustix::net::sockopt::socket_acceptconn(socket)? {
        return Ok(());
    }
    let words = format!("the socket {name:?} does not listen: its unit needs Accept=no");
    Err(io::Error::new(io::ErrorKind::InvalidInput, words))
}

fn path_of(listener: &std::os::unix::net::UnixListener) -> Option<PathBuf> {
    Some(listener.local_addr().ok()?.as_pathname()?.to_owned())
}

/// Reports whether two paths lead to the same file.
fn is_same(one: &Path, other: &Path) -> bool {
    let real = std::fs::canonicalize(one);
    real.is_ok_and(|real| std::fs::canonicalize(other).is_ok_and(|other| other == real))
}
