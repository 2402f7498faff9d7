//! The MQTT listener: unmodified clients of this gateway publish through the modems, and get the messages that come down.
//!
//! It is not a broker. A client's message goes into the queue, is acknowledged once it is on disk, and is not sent to
//! other clients; a subscriber gets the messages that the modems' sessions received ([`crate::messages::downlink`]). If
//! the fleet has an inbox, a client's session is kept while it is away, if it asks for that (`kept.rs`). Otherwise a
//! session ends with its connection, and CONNACK says so.
//!
//! When the queue is full under `reject`, a connection keeps what it has read (at most `IN_HAND`
//! messages), acknowledges nothing and stops reading, so that TCP holds the client back; nothing is lost.
//! A client that goes meanwhile is noticed. It leaves behind the messages that it would not send again: those of QoS 0
//! and its will. They wait on, bounded in memory, before those of the next client of that name.

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

/// The longest time that a client may leave its packets unread.
const WRITE: Duration = Duration::from_secs(30);

/// Instead of a keep-alive of 0, which is none (MQTT 3.1.1 §3.1.2.10).
const FOREVER: Duration = Duration::from_secs(24 * 60 * 60);

/// The time between two questions to a full queue for room, while a message waits for it.
const ROOM_AGAIN: Duration = Duration::from_millis(50);

/// The longest wait for the last answers to a client before its connection is closed.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// Memory in bytes for messages of clients that have gone which are not sent again: those of QoS 0 and wills. They wait
/// for room in the queue.
const LEFT: usize = 4 * 1024 * 1024;

/// The cost of each of these beside its topic and payload, in bytes.
const LEFT_COST: u32 = 1024;

/// The time between two questions to the queue for room for them.
const LEFT_AGAIN: Duration = Duration::from_millis(500);

/// The time between two looks at a client that is not read from: it may have gone.
const LOOK: Duration = Duration::from_secs(1);

/// Room for one read, in bytes.
const READ: usize = 4 * 1024;

/// The packets of a client that has gone are read within this time.
const LAST_READ: Duration = Duration::from_millis(10);

/// With so many bytes unread the window may be shut: the client cannot send a ping then.
const DEAF: usize = 32 * 1024;

/// After so long, or what its keep-alive allows if that is shorter, such a client gives way to another one.
const UNHEARD: Duration = Duration::from_secs(60);

/// The longest time for the messages in hand to reach the disk once the agent ends.
const LAST_APPENDS: Duration = Duration::from_millis(500);
