//! The wires: a pty of our own, an existing tty, or a stream in memory.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::symlink},
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::{
    fs::{
        Mode, OFlags,
        inotify::{self, CreateFlags, WatchFlags},
    },
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{OptionalActions, ioctl_tiocnxcl, tcgetattr, tcsetattr},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, unix::AsyncFd};

/// Anything an AT port can run on.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// The reason why a port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// No pty.
    #[error("cannot make a pty")]
    Pty(#[source] io::Error),
    /// The tty cannot be opened, or the path is not a tty.
    #[error("cannot open {path} as a tty")]
    Tty {
        /// Its path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The folder of the links cannot be made.
    #[error("cannot make the folder {path}")]
    Folder {
        /// Its path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The link cannot be made; `AlreadyExists`: its path holds something other than a link.
    #[error("cannot make the link {path}")]
    Link {
        /// Its path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// A tty or the master of a pty, without blocking.
#[derive(Debug)]
pub(crate) struct Tty {
    fd: AsyncFd<OwnedFd>,
    /// Our own end of the slave. Without it the master reads EIO whenever no process has the slave open, and
    /// the next process finds the settings of a fresh tty.
    slave: Option<OwnedFd>,
}

impl Tty {
    /// Makes a pty; returns its master and the path of its slave.
    pub(crate) fn pty() -> Result<(Self, PathBuf), PortError> {
        let make = || {
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
            let master = openpt(flags)?;
            grantpt(&master)?;
            unlockpt(&master)?;
            let name = ptsname(&master, Vec::new())?;
            let path = PathBuf::from(name.to_string_lossy().into_owned());
            let slave = open_raw(&path)?;
            let flags = rustix::fs::fcntl_getfl(&master)?;
            rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK)?;
            Ok((Self { fd: watched(master)?, slave: Some(slave) }, path))
        };
        make().map_err(PortError::Pty)
    }

    /// Opens an existing tty.
    pub(crate) fn open(path: &Path) -> Result<Self, PortError> {
        let open = || Ok(Self { fd: watched(open_raw(path)?)?, slave: None });
        open().map_err(|source| PortError::Tty { path: path.to_owned(), source })
    }
}

impl Tty {
    /// Removes the exclusive mode that serial libraries set. A real tty loses it at its last close; a pty keeps
    /// it, and would shut the next program out for good.
    fn share(&self) {
        if let Some(slave) = &self.slave
            && let Err(error) = ioctl_tiocnxcl(slave)
        {
            tracing::debug!(%error, "the pty stays exclusive");
        }
    }
}

/// Registers a descriptor with the runtime.
#[expect(
    deprecated,
    reason = "its successor is unsafe, which this workspace forbids. What it asks for holds: the \
              descriptor is owned by the AsyncFd alone and is never replaced or closed before it"
)]
fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}

/// Opens a tty and makes it raw: else it echoes the modem's output back to the modem.
fn open_raw(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())?;
    let mut settings = tcgetattr(&fd)?;
    settings.make_raw();
    tcsetattr(&fd, OptionalActions::Now, &settings)?;
    Ok(fd)
}

impl AsyncRead for Tty {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(cx))?;
            let read = |fd: &AsyncFd<OwnedFd>| {
                rustix::io::read(fd, buf.initialize_unfilled()).map_err(io::Error::from)
            };
            if let Ok(result) = guard.try_io(read) {
                buf.advance(result?);
                self.share();
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Tty {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.fd.poll_write_ready(cx))?;
            let write = |fd: &AsyncFd<OwnedFd>| rustix::io::write(fd, buf).map_err(io::Error::from);
            if let Ok(result) = guard.try_io(write) {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Reports when another process closes a tty.
pub(crate) struct Closes(AsyncFd<OwnedFd>);

impl Closes {
    /// Watches the tty at `path`.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        inotify::add_watch(&inotify, path, WatchFlags::CLOSE_WRITE)?;
        Ok(Self(watched(inotify)?))
    }

    /// Waits for a close.
    ///
    /// # Cancel safety
    /// Nothing is lost: pending events stay in the queue.
    pub(crate) async fn next(&mut self) {
        let mut events = [0; 1024];
        loop {
            let Ok(mut ready) = self.0.readable().await else {
                return std::future::pending().await;
            };
            let read =
                |fd: &AsyncFd<OwnedFd>| rustix::io::read(fd, &mut events).map_err(io::Error::from);
            if let Ok(Ok(_)) = ready.try_io(read) {
                return;
            }
        }
    }
}

/// A symbolic link to a tty, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Link {
    path: PathBuf,
    target: PathBuf,
}

impl Link {
    /// Makes the link. A link left by a killed run is replaced.
    pub(crate) fn make(path: &Path, target: &Path) -> Result<Self, PortError> {
        let failed = |source| PortError::Link { path: path.to_owned(), source };
        if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
            fs::remove_file(path).map_err(failed)?;
        }
        symlink(target, path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), target: target.to_owned() })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Another run may have put its own link there.
        if fs::read_link(&self.path).is_ok_and(|target| target == self.target)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the link");
        }
    }
}

/// The source of a port's wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A pty of our own, a new one at each plug.
    Pty,
    /// An existing tty.
    Device(PathBuf),
    /// A wire given from outside; once it is gone only a new wire can replace it.
    Stream,
}

/// An AT port of the modem and its wire, if it has a wire.
pub(crate) struct Port {
    pub(crate) source: Source,
    pub(crate) wire: Option<Box<dyn Wire>>,
    /// The path that the other side opens.
    pub(crate) path: Option<PathBuf>,
}

impl Port {
    /// Returns a port without a wire.
    pub(crate) fn new(source: Source) -> Self {
        Self { source, wire: None, path: None }
    }

    /// Opens the wire if it is missing and can be opened.
    pub(crate) fn open(&mut self) -> Result<(), PortError> {
        if self.wire.is_some() {
            return Ok(());
        }
        match &self.source {
            Source::Pty => {
                let (tty, path) = Tty::pty()?;
                self.wire = Some(Box::new(tty));
                self.path = Some(path);
            }
            Source::Device(path) => {
                self.wire = Some(Box::new(Tty::open(path)?));
                self.path = Some(path.clone());
            }
            Source::Stream => {}
        }
        Ok(())
    }

    /// Closes the wire.
    pub(crate) fn close(&mut self) {
        self.wire = None;
        self.path = None;
    }
}
