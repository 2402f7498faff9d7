//! Opening a tty: exclusively, off the runtime, with an error that names its holder.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
pub use tokio_serial::FlowControl;
use tokio_serial::{ClearBuffer, SerialPort as _, SerialPortBuilderExt, SerialStream};

use crate::holder::{self, Busy, Holder};
use crate::place::Place;
pub use crate::place::{Line, RATES};

/// The longest time for an `open(2)`. A wedged `option` tty hangs in it; its thread is then
/// abandoned.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// The time after which a new tty is checked for another holder: udevd is still busy with it
/// before.
const LOOK: Duration = Duration::from_millis(500);

/// The reason why a tty could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no such device now.
    #[error("{} is not there", path.display())]
    Absent {
        /// The tty.
        path: PathBuf,
    },
    /// Another process holds it.
    #[error("{0}")]
    Busy(Busy),
    /// The user lacks the right.
    #[error("no permission to open {}; add the user to the group that owns it (often `dialout`)", path.display())]
    Denied {
        /// The tty.
        path: PathBuf,
    },
    /// `open(2)` did not return; the driver is wedged.
    #[error("opening {} did not return within {OPEN_TIMEOUT:?}", path.display())]
    Wedged {
        /// The tty.
        path: PathBuf,
    },
    /// The port belongs to a modem on PCIe, and the kernel gives it no serial functions.
    #[error("{} is a port of a modem on PCIe and not a tty: modems on PCIe are not supported", path.display())]
    Pcie {
        /// The node.
        path: PathBuf,
    },
    /// Any other error of the system.
    #[error("could not open {} as a serial port", path.display())]
    Failed {
        /// The tty.
        path: PathBuf,
        /// The system's error.
        source: tokio_serial::Error,
    },
}

/// An open tty.
///
/// Flushing does nothing: the library would call `tcdrain(3)`, which blocks the runtime's thread
/// for as long as a modem does not read. End of file is an error: the kernel reports an unplug as a
/// read of no bytes, again and again.
#[derive(Debug)]
pub struct Tty(Option<SerialStream>);

/// A tty that was opened.
#[derive(Debug)]
pub struct Open {
    /// Its place.
    pub place: Place,
    /// The tty.
    pub tty: Tty,
    /// The detection of another program that has it open.
    pub stranger: Stranger,
}

/// The detection of another program that has a tty open, at a set time.
#[derive(Debug)]
pub struct Stranger(Option<Instant>, PathBuf);

/// Opens the tty of a place with the settings of its line, raw, locked against others (`TIOCEXCL`
/// and `flock`).
///
/// A second program at a port takes some of the first one's answers, so the current holder is
/// looked for first. A tty that has just appeared is unlikely to have a holder, and the look takes
/// longer than the modem's answer. There it follows the opening: see [`Open::stranger`].
///
/// # Errors
/// [`OpenError`].
///
/// # Cancel safety
/// Dropping the future abandons the opening thread; a tty that opens after that is closed again.
pub async fn open(place: Place) -> Result<Open, OpenError> {
    let (path, line, is_new) = (&place.tty, place.line, place.is_new());
    let asked = path.to_owned();
    // The thread that waits for a wedged driver lasts as long as the driver hangs: one is enough.
    let Some(attempt) = Attempt::begin(path) else {
        return Err(OpenError::Wedged { path: path.clone() });
    };
    let opening = tokio::task::spawn_blocking(move || {
        let _attempt = attempt;
        open_now(&asked, line, is_new)
    });
    match tokio::time::timeout(OPEN_TIMEOUT, opening).await {
        Ok(Ok(Ok(port))) => {
            let stranger = Stranger(is_new.then(|| Instant::now() + LOOK), path.clone());
            Ok(Open { place, tty: Tty(Some(port)), stranger })
        }
        Ok(Ok(Err(error))) => Err(error),
        // The opening thread does not panic by its own code; a lost thread counts as a wedged port.
        Ok(Err(_)) | Err(_) => Err(OpenError::Wedged { path: path.clone() }),
    }
}

/// Opens a tty on this thread, however long that takes.
fn open_now(path: &Path, line: Line, is_new: bool) -> Result<SerialStream, OpenError> {
    if !is_new && let Some(holder) = holder::stranger(path) {
        return Err(OpenError::Busy(Busy { tty: path.to_owned(), holder: Some(holder) }));
    }
    let port = tokio_serial::new(path.to_string_lossy(), line.baud).flow_control(line.flow_control);
    let port = port.open_native_async();
    let port = port.map_err(|error| explain(path, error))?;
    // Bytes that an earlier program left unread are not an answer to us. Not every tty supports
    // this.
    let _ = port.clear(ClearBuffer::All);
    Ok(port)
}

/// The ttys that threads are opening now.
static OPENING: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// One attempt to open a tty; it lasts as long as the system call.
struct Attempt(PathBuf);

impl Attempt {
    /// Begins an attempt; `None` while another attempt at this tty has not returned.
    fn begin(path: &Path) -> Option<Self> {
        let mut all = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(path.to_owned()).then(|| Self(path.to_owned()))
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        OPENING.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

fn explain(path: &Path, error: tokio_serial::Error) -> OpenError {
    let path = path.to_owned();
    match error.kind() {
        tokio_serial::ErrorKind::Io(io::ErrorKind::NotFound) => OpenError::Absent { path },
        tokio_serial::ErrorKind::Io(io::ErrorKind::PermissionDenied) => OpenError::Denied { path },
        // The library reports a lock held by others as "no device", and a port in TIOCEXCL as
        // EBUSY.
        _ if !path.exists() => OpenError::Absent { path },
        tokio_serial::ErrorKind::NoDevice
        | tokio_serial::ErrorKind::Io(io::ErrorKind::ResourceBusy) => {
            let holder = holder::holder(&path);
            OpenError::Busy(Busy { tty: path, holder })
        }
        _ if is_of_pcie(&path) => OpenError::Pcie { path },
        _ => OpenError::Failed { path, source: error },
    }
}

/// Reports whether a node is of the kernel's WWAN framework (`/dev/wwan0at0`) or of a vendor's MHI
/// driver (`/dev/mhi_DUN`).
fn is_of_pcie(path: &Path) -> bool {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let subsystem = holder::subsystem(&real).unwrap_or_default();
    // The kernel shows control ports of USB modems there, too.
    let folder = holder::sys_folder(&real);
    if folder.is_some_and(|folder| folder.to_string_lossy().contains("/usb")) {
        return false;
    }
    [name, subsystem].iter().any(|word| word.starts_with("wwan") || word.starts_with("mhi"))
}

impl OpenError {
    /// Returns the tty and its holder, if that is the reason.
    pub fn busy(&self) -> Option<&Busy> {
        match self {
            Self::Busy(busy) => Some(busy),
            _ => None,
        }
    }
}

impl Stranger {
    /// Waits until another program is seen; for ever if there is none.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn seen(&mut self) -> Holder {
        if let Self(Some(when), path) = self {
            tokio::time::sleep_until(*when).await;
            let path = path.clone();
            let look = tokio::task::spawn_blocking(move || holder::stranger(&path));
            let found = look.await.ok().flatten();
            self.0 = None;
            if let Some(holder) = found {
                return holder;
            }
        }
        std::future::pending().await
    }
}

impl Tty {
    /// Closes the tty and waits a while for that: a wedged driver is left to its thread.
    ///
    /// # Cancel safety
    /// The tty is closed all the same.
    pub async fn close(mut self) {
        let Some(port) = self.0.take() else { return };
        let close = tokio::task::spawn_blocking(move || shut(port));
        let _ = tokio::time::timeout(OPEN_TIMEOUT, close).await;
    }

    fn stream(&mut self) -> io::Result<Pin<&mut SerialStream>> {
        self.0.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl AsyncRead for Tty {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = self.stream()?.poll_read(cx, buf);
        if matches!(polled, Poll::Ready(Ok(()))) && buf.filled().len() == before {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        polled
    }
}

impl AsyncWrite for Tty {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Tty {
    /// Closes the tty on a thread of its own. Closing may block for half a minute while the driver
    /// tries to send the rest (the kernel's `closing_wait`).
    fn drop(&mut self) {
        let Some(port) = self.0.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || shut(port))),
            Err(_) => shut(port),
        }
    }
}

fn shut(port: SerialStream) {
    let _ = port.clear(ClearBuffer::Output);
    drop(port);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tty_whose_opening_hangs_takes_no_second_thread() {
        let place = Place::from(PathBuf::from("/dev/no-such-tty-either"));
        let hanging = Attempt::begin(&place.tty);
        assert!(hanging.is_some() && Attempt::begin(&place.tty).is_none());
        assert!(matches!(open(place.clone()).await, Err(OpenError::Wedged { .. })));
        drop(hanging);
        assert!(matches!(open(place).await, Err(OpenError::Absent { .. })));
    }
}
