//! A client whose connection is in memory: for `crates/fuzzed`, which needs neither ports nor a listener.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use tokio::io::DuplexStream;

use super::connection::Connection;
use super::entrance::Entrance;
use super::link::Link;
use super::serving::Serving;

impl Link for DuplexStream {
    /// Its end comes behind the bytes before it, and is read.
    fn is_ended(&self) -> bool {
        false
    }

    fn unread(&self) -> usize {
        0
    }
}

/// Serves one client, as [`listen`](super::listen) does each of its own.
///
/// # Cancel safety
/// Dropping it closes the connection; a message without acknowledgement may or may not have been taken.
#[doc(hidden)]
pub async fn serve_in_memory(stream: DuplexStream, serving: Arc<Serving>) {
    let address = IpAddr::from(Ipv4Addr::LOCALHOST);
    let entrance = Arc::new(Entrance::default()).enter(address);
    Connection::new(stream, serving, (address, 0).into()).serve(entrance).await;
}
