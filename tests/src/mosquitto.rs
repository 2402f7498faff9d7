//! A real broker, and its log.

use std::fs::{self, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::pki::{Authority, Pair};
use crate::port::Port;
use crate::process::Process;
use crate::wait::until;

/// A mosquitto on its own port.
#[derive(Debug)]
pub struct Mosquitto {
    port: Port,
    /// A listener without TLS beside the one with TLS.
    plain: Option<Port>,
    process: Process,
    dir: TempDir,
}

impl Mosquitto {
    /// Starts a broker that accepts every client.
    #[must_use]
    pub fn open() -> Self {
        Self::start(tempfile::tempdir().unwrap(), Port::free(), "allow_anonymous true\n")
    }

    /// Starts a broker that accepts only these users with their passwords.
    ///
    /// # Panics
    /// If `mosquitto_passwd` is missing.
    #[must_use]
    pub fn with_users(users: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lines = Self::who_may(&dir, users);
        Self::start(dir, Port::free(), &lines)
    }

    /// Returns the lines that admit these users; with no users, every client.
    fn who_may(dir: &TempDir, users: &[(&str, &str)]) -> String {
        if users.is_empty() {
            return "allow_anonymous true\n".to_owned();
        }
        let file = dir.path().join("passwords");
        fs::write(&file, "").unwrap();
        for (user, password) in users {
            let made = Command::new("mosquitto_passwd")
                .arg("-b")
                .args([file.as_os_str(), user.as_ref(), password.as_ref()])
                .stderr(Stdio::null())
                .status();
            assert!(made.is_ok_and(|made| made.success()), "mosquitto_passwd failed");
        }
        readable(&file, 0o644);
        format!("allow_anonymous false\npassword_file {}\n", file.display())
    }

    /// Starts a broker over TLS with the certificate `server`. With `users`, only those are
    /// accepted; with `clients`, only clients with a certificate of that authority. A second
    /// listener without TLS is for subscribers of the test.
    #[must_use]
    pub fn over_tls(server: &Pair, clients: Option<&Authority>, users: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            readable(&path, 0o644);
            path.display().to_string()
        };
        let mut lines = format!(
            "certfile {}\nkeyfile {}\n",
            put("cert", &server.cert),
            put("key", &server.key)
        );
        if let Some(authority) = clients {
            lines += &format!("cafile {}\nrequire_certificate true\n", put("ca", &authority.pem));
        }
        let plain = Port::free();
        lines += &Self::who_may(&dir, users);
        // The lines before it belong to the first listener.
        lines += &format!("listener {} 127.0.0.1\n", plain.number());
        let broker = Self { plain: Some(plain), ..Self::start(dir, Port::free(), &lines) };
        until("the listener without TLS", || {
            TcpStream::connect(("127.0.0.1", broker.plain_port())).ok()
        });
        broker
    }

    fn start(dir: TempDir, port: Port, lines: &str) -> Self {
        // As root the broker changes its user, and that user needs access to the folder.
        readable(dir.path(), 0o755);
        let config = dir.path().join("mosquitto.conf");
        let number = port.number();
        fs::write(
            &config,
            format!(
                "listener {number} 127.0.0.1\nlog_dest stderr\nlog_type all\n\
                 max_queued_messages 0\n{lines}"
            ),
        )
        .unwrap();
        let process = Process::start("mosquitto", Command::new("mosquitto").arg("-c").arg(&config));
        let mut broker = Self { port, plain: None, process, dir };
        until("the broker", || {
            let ended = broker.process.ended();
            assert!(ended.is_none(), "mosquitto ended: {:?}", broker.process.stderr());
            TcpStream::connect(("127.0.0.1", number)).ok()
        });
        broker
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The port without TLS; for a broker without TLS, [`port`](Self::port).
    #[must_use]
    pub fn plain_port(&self) -> u16 {
        self.plain.as_ref().unwrap_or(&self.port).number()
    }

    /// Returns `HOST:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// Returns the broker's log, line by line.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.process.stderr()
    }

    /// Waits for a line of the log that holds `text`.
    ///
    /// # Panics
    /// If none comes in time.
    #[track_caller]
    pub fn logged(&self, text: &str) -> String {
        self.process.line(&format!("the broker to log {text:?}"), |line| line.contains(text))
    }

    /// Sends it a signal: it answers nothing under SIGSTOP, and everything after SIGCONT.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// The folder of its files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

fn readable(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}
