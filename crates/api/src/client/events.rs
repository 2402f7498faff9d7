//! A stream of server-sent events (WHATWG HTML §9.2), limited to the parts that the agent uses.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout, timeout_at};

use super::{ANSWER, Call, Client, ClientError, Link, MAX_ANSWER, body, refusal};

/// The longest line of an event. A URC with 10 KiB of data in Base64 needs a quarter of it.
const MAX_LINE: usize = 64 * 1024;

/// The time without a byte after which the stream counts as broken; the agent sends a heartbeat
/// every 15 s.
const SILENCE: Duration = Duration::from_secs(60);

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// Its data.
    pub data: String,
}

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    /// The time of the last byte.
    heard: Instant,
    _link: Link,
    parser: Parser,
}

/// A parser of bytes into events.
#[derive(Debug, Default)]
struct Parser {
    bytes: Vec<u8>,
    event: Event,
}

impl Client {
    /// Opens a stream of events, on a connection of its own.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn events(&self, path: &str) -> Result<Events, ClientError> {
        let mut link = self.open().await?;
        let address = link.address.clone();
        let request = link.request(&Call::get(path));
        let broken = |source| ClientError::Broken { address: address.clone(), source };
        let response = timeout(ANSWER, link.sender.send_request(request)).await;
        let response = response
            .map_err(|_late| ClientError::Late { address: address.clone(), after: ANSWER })?
            .map_err(broken)?;
        let status = response.status().as_u16();
        if status != 200 {
            let what = "more than an agent sends";
            let strange = |_fault| ClientError::Strange { address: address.clone(), status, what };
            let body = body(response).await.map_err(strange)?;
            return Err(refusal(address, status, &body));
        }
        let body = response.into_body();
        Ok(Events { body, heard: Instant::now(), _link: link, parser: Parser::default() })
    }
}

impl Events {
    /// Returns the next event; `None` once the stream ended, for any reason.
    ///
    /// # Cancel safety
    /// A dropped call loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.parser.next() {
                return Some(event);
            }
            let frame = timeout_at(self.heard + SILENCE, self.body.frame()).await.ok()??.ok()?;
            self.heard = Instant::now();
            let Ok(data) = frame.into_data() else { continue };
            self.parser.bytes.extend_from_slice(&data);
            if self.parser.bytes.len() > MAX_ANSWER {
                return None;
            }
        }
    }
}

impl Parser {
    fn next(&mut self) -> Option<Event> {
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if !event.name.is_empty() {
                    return Some(event);
                }
            } else if let Some((field, value)) =
                line.split_once(':').filter(|_| line.len() <= MAX_LINE)
            {
                let value = value.strip_prefix(' ').unwrap_or(value);
                match field {
                    "event" => value.clone_into(&mut self.event.name),
                    "data" => value.clone_into(&mut self.event.data),
                    _ => {}
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_whole_however_they_are_cut() {
        let text = b":\n\nevent: urc\ndata: {\"line\":\"a\"}\n\n: still here\n\nevent:dropped\r\ndata: 3\r\n\r\n";
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let mut events = Vec::new();
            for piece in text.chunks(size) {
                parser.bytes.extend_from_slice(piece);
                events.extend(std::iter::from_fn(|| parser.next()));
            }
            let told: Vec<_> = events.iter().map(|e| (e.name.as_str(), e.data.as_str())).collect();
            assert_eq!(told, [("urc", "{\"line\":\"a\"}"), ("dropped", "3")], "{size}");
        }
    }
}
