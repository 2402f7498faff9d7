//! The MQTT listener: unmodified clients of this gateway publish through the modems, and hear what comes down.
//!
//! It is no broker. What a client publishes goes into the queue, is acknowledged once it is on disk, and
//! is echoed to nobody; who subscribes gets what the sessions received ([`crate::messages::downlink`]). Where the
//! fleet has an inbox a client's session is kept while it is away, if it asks for that (`kept.rs`); else a
//! session ends with its connection, and CONNACK says so.
//!
//! When the queue is full under `reject`, a connection keeps what it has read (at most `IN_HAND`
//! messages), acknowledges nothing and stops reading, so that TCP holds the client back; nothing is lost.
//! A client that goes meanwhile is noticed, and leaves what nobody would send again: its messages of QoS 0 and
//! its will. They wait on, bounded in memory, before those of the next client of that name.

mod access;
mod client;
mod connection;
mod end;
mod entrance;
mod in_memory;
mod keep_alive;
mod kept;
mod link;
mod listener;
mod published;
mod send_quota;
mod serving;
mod wire;

use std::time::Duration;

pub use access::Users;
#[doc(hidden)]
pub use in_memory::serve_in_memory;
pub use listener::listen;
pub use serving::Serving;

/// Messages of one client that are on their way to the disk; beyond it nothing is read. As many as
/// clients commonly have in flight (20), and some. With full payloads about 360 KiB for each client.
const IN_HAND: u16 = 32;

/// Messages on their way to one client without its acknowledgement. The rest waits in the downlink's backlog.
const IN_FLIGHT: u16 = 32;

/// The largest packet in bytes: a payload, a topic, and room for the properties of MQTT 5.
const MAX_PACKET: u32 = 16 * 1024;

/// Clients at the same time that were let in; one more is refused.
const CONNECTIONS: usize = 256;

/// Subscriptions of one client.
const FILTERS: usize = 64;

/// From the connection to a whole CONNECT.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a client may leave what is written to it unread.
const WRITE: Duration = Duration::from_secs(30);

/// Instead of a keep-alive of 0, which is none (MQTT 3.1.1 §3.1.2.10).
const FOREVER: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a full queue is asked for room while a message waits for it.
const ROOM_AGAIN: Duration = Duration::from_millis(50);

/// How long the last answers to a client are waited for before its connection is closed.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// Memory in bytes for what clients that have gone leave behind and nobody would send again: their messages
/// of QoS 0 and their wills, which wait for room in the queue.
const LEFT: usize = 4 * 1024 * 1024;

/// What each of these costs beside its topic and payload, in bytes.
const LEFT_COST: u32 = 1024;

/// How often the queue is asked for room for them.
const LEFT_AGAIN: Duration = Duration::from_millis(500);

/// How often a client that is not read from is looked at: whether it is still there.
const LOOK: Duration = Duration::from_secs(1);

/// Room in bytes for what one read may bring.
const READ: usize = 4 * 1024;

/// Of a client that has gone nothing more comes than what is read within this time.
const LAST_READ: Duration = Duration::from_millis(10);

/// With so many bytes unread the window may be shut: the client cannot send a ping then.
const DEAF: usize = 32 * 1024;

/// After so long, or what its keep-alive allows if that is shorter, such a client gives way to another one.
const UNHEARD: Duration = Duration::from_secs(60);

/// How long the messages in hand may take to reach the disk once the agent ends.
const LAST_APPENDS: Duration = Duration::from_millis(500);
