//! The agent's end: it asks `modemfleet recover` over the socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use modem::environment::{Privileged, PrivilegedError};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::{Answer, MAX_LINE, PrivilegedAction, UsbPath};
use fleet::Name;

/// The longest wait for an answer. A script may take a minute; the answer comes a little later.
const PATIENCE: Duration = Duration::from_secs(90);

/// The kernel's folder of the ttys' devices.
const TTYS: &str = "/sys/class/tty";

/// Asks `modemfleet recover` over its socket.
#[derive(Debug)]
pub struct Recoverer {
    socket: PathBuf,
}

impl Recoverer {
    /// Makes a recoverer that asks over this socket. It connects at the first request.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    async fn ask(&self, action: &PrivilegedAction) -> Result<(), PrivilegedError> {
        let asked = tokio::time::timeout(PATIENCE, self.exchange(action)).await;
        let failed = |reason: String| Err(PrivilegedError::Failed { reason });
        match asked {
            Ok(Ok(Some(Answer::Done))) => Ok(()),
            Ok(Ok(Some(Answer::Failed(reason)))) => failed(reason),
            Ok(Ok(Some(Answer::Busy(reason)))) => Err(PrivilegedError::Busy { reason }),
            Ok(Ok(Some(Answer::Unavailable(reason)))) => {
                Err(PrivilegedError::Unavailable { reason })
            }
            Ok(Ok(None)) => failed(format!("{} gave no answer", self.socket.display())),
            Ok(Err(AskError::Closed(error))) => Err(PrivilegedError::Unavailable {
                reason: format!(
                    "no answer at {} ({error}); enable modemfleet-recover.socket",
                    self.socket.display()
                ),
            }),
            Ok(Err(AskError::Broken(error))) => failed(error.to_string()),
            Err(_) => failed(format!("no answer within {PATIENCE:?}")),
        }
    }

    async fn exchange(&self, action: &PrivilegedAction) -> Result<Option<Answer>, AskError> {
        let mut stream = UnixStream::connect(&self.socket).await.map_err(AskError::Closed)?;
        let asking = async {
            stream.write_all(format!("{action}\n").as_bytes()).await?;
            let mut line = Vec::new();
            BufReader::new(stream.take(MAX_LINE)).read_until(b'\n', &mut line).await?;
            Ok(Answer::of_line(&String::from_utf8_lossy(&line)))
        };
        asking.await.map_err(AskError::Broken)
    }
}

/// A failed exchange.
enum AskError {
    /// No program accepted the connection.
    Closed(io::Error),
    /// The connection was accepted, and then broke.
    Broken(io::Error),
}

#[async_trait]
impl Privileged for Recoverer {
    async fn usb_reset(&self, tty: &Path) -> Result<(), PrivilegedError> {
        let tty = tty.to_owned();
        let place = tokio::task::spawn_blocking(move || usb_path(Path::new(TTYS), &tty)).await;
        let Some(place) = place.ok().flatten() else {
            let reason = "its tty is not there, or does not belong to a USB device".to_owned();
            return Err(PrivilegedError::Unavailable { reason });
        };
        self.ask(&PrivilegedAction::UsbReset(place)).await
    }

    async fn power(&self, script: &str) -> Result<(), PrivilegedError> {
        match Name::new(script) {
            Some(name) => self.ask(&PrivilegedAction::Power(name)).await,
            None => {
                let reason = format!("{script:?} is not the name of a script");
                Err(PrivilegedError::Unavailable { reason })
            }
        }
    }
}

/// Returns the USB path of a tty's device: the last part of its path among the kernel's devices
/// that is a bus and ports.
fn usb_path(ttys: &Path, tty: &Path) -> Option<UsbPath> {
    let node = tty.canonicalize().ok()?;
    let device = ttys.join(node.file_name()?).canonicalize().ok()?;
    device.iter().rev().find_map(|part| UsbPath::new(part.to_str()?))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_place_of_a_tty_is_found_behind_links() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        let device =
            at("devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.4/1-1.4:1.2/ttyUSB2/tty/ttyUSB2");
        fs::create_dir_all(&device).unwrap();
        fs::create_dir_all(at("class/tty")).unwrap();
        fs::create_dir_all(at("devices/platform/serial8250/tty/ttyS0")).unwrap();
        symlink(&device, at("class/tty/ttyUSB2")).unwrap();
        symlink(at("devices/platform/serial8250/tty/ttyS0"), at("class/tty/ttyS0")).unwrap();
        for node in ["ttyUSB2", "ttyS0", "ttyUSB9"] {
            fs::write(at(node), "").unwrap();
        }
        symlink(at("ttyUSB2"), at("by-path")).unwrap();
        let place = |node: &str| usb_path(&at("class/tty"), &at(node));
        assert_eq!(place("ttyUSB2"), UsbPath::new("1-1.4"));
        assert_eq!(place("by-path"), UsbPath::new("1-1.4"));
        for none in ["ttyS0", "ttyUSB9", "ttyUSB1"] {
            assert_eq!(place(none), None, "{none}");
        }
    }

    #[tokio::test]
    async fn without_a_socket_it_is_not_to_be_had() {
        let dir = tempfile::tempdir().unwrap();
        let recoverer = Recoverer::new(dir.path().join("none.sock"));
        let error = recoverer.power("north").await.unwrap_err();
        assert!(matches!(error, PrivilegedError::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains("modemfleet-recover.socket"), "{error}");
        let error = recoverer.power("../north").await.unwrap_err();
        assert!(matches!(error, PrivilegedError::Unavailable { .. }), "{error}");
    }
}
