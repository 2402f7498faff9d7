//! A small HTTP/1.1 client: one request for each connection, without retries or redirects.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::wait::PATIENCE;

/// The address of a server.
#[derive(Debug, Clone, Copy)]
pub struct Http {
    port: u16,
}

/// An answer of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns a header by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn parse(raw: &[u8]) -> Option<Self> {
        let end = raw.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&raw[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let first = lines.next()?;
        let rest = first.strip_prefix("HTTP/1.1 ").or_else(|| first.strip_prefix("HTTP/1.0 "))?;
        let status = rest.get(..3)?.parse().ok()?;
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer = Self { status, headers, body: raw[end + 4..].to_vec() };
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = joined(&answer.body)?;
            return Some(answer);
        }
        let length: usize = answer.header("content-length")?.parse().ok()?;
        if answer.body.len() < length {
            return None;
        }
        answer.body.truncate(length);
        Some(answer)
    }
}

/// Joins a body that came in chunks (RFC 9112 §7.1); `None` until the last chunk has come.
fn joined(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let length = std::str::from_utf8(&rest[..end]).ok()?;
        let length = usize::from_str_radix(length, 16).ok()?;
        let chunk = rest.get(end + 2..end + 2 + length)?;
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(chunk);
        rest = rest.get(end + 2 + length + 2..)?;
    }
}

impl Http {
    /// The server on this port of the loopback.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self { port }
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Opens a connection, for a client that breaks the protocol.
    ///
    /// # Errors
    /// Those of the system.
    pub fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Sends a request; `None` if no complete answer comes.
    #[must_use]
    pub fn try_ask(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Answer> {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
        for (name, value) in headers {
            let _ = write!(request, "{name}: {value}\r\n");
        }
        let _ = write!(request, "Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        let mut stream = self.connect().ok()?;
        stream.write_all(request.as_bytes()).ok()?;
        // A server may answer and close before it has read everything.
        drop(stream.write_all(body));
        read_answer(&mut stream)
    }

    /// Sends a request, and expects an answer.
    ///
    /// # Panics
    /// If no answer comes.
    #[must_use]
    pub fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.try_ask(method, target, headers, body)
            .unwrap_or_else(|| panic!("no answer to {method} {target}"))
    }

    /// Sends a head as it is, with the empty line behind it, and nothing else.
    ///
    /// # Panics
    /// If no answer comes.
    #[must_use]
    pub fn say(&self, head: &str) -> Answer {
        let mut stream = self.connect().unwrap();
        stream.write_all(format!("{head}\r\n\r\n").as_bytes()).unwrap();
        read_answer(&mut stream).unwrap_or_else(|| panic!("no answer to {head:?}"))
    }

    /// Sends a `GET`.
    #[must_use]
    pub fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, &[], b"")
    }

    /// Hands a message in; `query` is the part behind `?`.
    #[must_use]
    pub fn publish(&self, query: &str, payload: &[u8]) -> Answer {
        self.ask("POST", &format!("/api/v1/publish?{query}"), &[], payload)
    }
}

/// Reads one answer, to the end of the body that it announces; `None` if it is not complete.
#[must_use]
pub fn read_answer(stream: &mut TcpStream) -> Option<Answer> {
    let (mut raw, mut piece) = (Vec::new(), [0; 16 * 1024]);
    drop(stream.set_read_timeout(Some(PATIENCE + Duration::from_secs(20))));
    loop {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return Answer::parse(&raw),
            Ok(count) => raw.extend_from_slice(&piece[..count]),
        }
        if let Some(answer) = Answer::parse(&raw) {
            return Some(answer);
        }
    }
}
