//! An MQTT client of raw bytes: its packets are written by hand, so that they can also be wrong.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::wait::PATIENCE;

/// A connection on which packets are sent and read as bytes.
#[derive(Debug)]
pub struct MqttPeer {
    stream: TcpStream,
}

/// A received packet: the first byte, and the bytes behind the length.
pub type Packet = (u8, Vec<u8>);

/// Makes a packet of these bytes, with its length.
///
/// # Panics
/// If the body is longer than 2 MiB.
#[must_use]
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut rest = body.len();
    loop {
        let digit = u8::try_from(rest % 128).unwrap();
        rest /= 128;
        bytes.push(if rest > 0 { digit | 0x80 } else { digit });
        if rest == 0 {
            break;
        }
    }
    assert!(bytes.len() <= 4);
    bytes.extend_from_slice(body);
    bytes
}

/// Makes a string with its length in front.
///
/// # Panics
/// If it is longer than 65,535 bytes.
#[must_use]
pub fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

/// Makes a CONNECT of version 4 or 5 with a clean session and a keep-alive of a minute.
#[must_use]
pub fn connect(version: u8, client: &str) -> Vec<u8> {
    let mut body = [text("MQTT"), vec![version, 2, 0, 60]].concat();
    if version == 5 {
        body.push(0);
    }
    body.extend(text(client));
    packet(0x10, &body)
}

/// Makes a PUBLISH; `id` is used if the QoS is not 0.
#[must_use]
pub fn publish(version: u8, qos: u8, id: u16, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    if version == 5 {
        body.push(0);
    }
    body.extend_from_slice(payload);
    packet(0x30 | qos << 1, &body)
}

impl MqttPeer {
    /// Opens a connection and sends nothing.
    ///
    /// # Panics
    /// If the port is closed.
    #[must_use]
    pub fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    /// Takes over a connection, such as one that was accepted.
    ///
    /// # Panics
    /// If the system refuses the limit of a read.
    #[must_use]
    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream }
    }

    /// Opens a connection, and signs in.
    ///
    /// # Panics
    /// If the broker rejects it.
    #[must_use]
    #[track_caller]
    pub fn signed_in(port: u16, version: u8, client: &str) -> Self {
        let mut peer = Self::open(port);
        peer.send(&connect(version, client));
        let (first, body) = peer.read().expect("CONNACK");
        assert_eq!((first, &body[..2]), (0x20, &[0, 0][..]), "CONNACK");
        peer
    }

    /// Returns a second handle of the connection, for a thread that writes while this one reads.
    ///
    /// # Panics
    /// If the system refuses.
    #[must_use]
    pub fn another_end(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    /// Sends bytes; an error after the peer has closed is ignored.
    pub fn send(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes));
    }

    /// Reads a packet; `None` if the peer closes first.
    ///
    /// # Panics
    /// If nothing comes for [`PATIENCE`].
    #[must_use]
    pub fn read(&mut self) -> Option<Packet> {
        let first = self.byte()?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        Some((first, body))
    }

    /// Reports whether nothing comes for this long.
    ///
    /// # Panics
    /// If the system refuses the limit.
    #[must_use]
    pub fn is_silent(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let silent = self.stream.peek(&mut [0]).is_err();
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        silent
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => None,
            Ok(_) => Some(byte[0]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("nothing came from the other side: {error}"),
        }
    }
}
